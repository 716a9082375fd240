"""Tokens of running sessions, over real sockets: renewal, logins of guests, the end of a token, bans, migrations."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from tests.harness.fleets import fleet
from tests.harness.polling import eventually
from tests.harness.raw_client import RawClient, hello, raw_client
from tests.harness.shard_process import admin, running
from tests.harness.tokens import SECRET, token_of
from tickwire.client.client import ConnectionState, Refused, connect
from tickwire.schemas.messages import (
    Authenticate,
    Authenticated,
    Command,
    EndSession,
    Error,
    ErrorCode,
    Goodbye,
    Join,
    Joined,
    Leave,
    Left,
    Ping,
    Pong,
    Redirect,
    Reply,
    TokenExpiring,
    Welcome,
)
from tickwire.server.config import Settings
from tickwire.server.edge.auth.settings import AuthSettings
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.shard import Shard


def with_auth(settings: Settings, **auth: Any) -> Settings:
    return msgspec.structs.replace(settings, auth=AuthSettings(secret=SECRET, **auth))


async def answer_to(client: RawClient, token: str) -> Authenticated | Error:
    await client.say(Authenticate(token))
    answer: Authenticated | Error = await client.next(Authenticated | Error)
    return answer


def players_of(shard: Shard) -> set[str]:
    return {session.player_id for session in shard.parts.edge.registry}


async def test_client_renews_its_token_when_the_server_asks_for_it(shard_settings: Settings) -> None:
    settings = with_auth(shard_settings, token_renewal_s=60.0)
    async with running(settings) as shard, raw_client(shard.url, hello(token=token_of("ann", ttl_s=4))) as ann:
        await ann.next(Welcome)
        expiring = await ann.next(TokenExpiring)
        assert 0 < expiring.expires_in_ms <= 2000, "half of its time is over"
        answer = await answer_to(ann, token_of("ann"))
        assert isinstance(answer, Authenticated)
        assert 590_000 < answer.expires_in_ms <= 600_000
        assert shard.parts.edge.counters.authentications == {"renewed": 1}


async def test_session_of_an_expired_token_is_resumed_with_a_new_one(shard_settings: Settings) -> None:
    settings = with_auth(shard_settings, on_token_expired="end", leeway_s=0.0, token_grace_s=0.0)
    async with running(settings) as shard:
        async with raw_client(shard.url, hello(token=token_of("ann", ttl_s=2))) as ann:
            welcome = await ann.next(Welcome)
            goodbye = await ann.next(Goodbye)
            assert (goodbye.code, goodbye.come_back) == (ErrorCode.UNAUTHORIZED, True)
            assert await ann.close_code() == 4005
        old = hello(token=token_of("ann", ttl_s=-1), resume_token=welcome.resume_token, attempt=2)
        async with raw_client(shard.url, old) as late:
            assert (await late.next(Error)).code is ErrorCode.UNAUTHORIZED
        new = hello(token=token_of("ann"), resume_token=welcome.resume_token, attempt=3)
        async with raw_client(shard.url, new) as again:
            assert (await again.next(Welcome)).session_id == welcome.session_id


async def test_session_outlives_its_token_by_default(shard_settings: Settings) -> None:
    settings = with_auth(shard_settings, leeway_s=0.0, token_grace_s=0.0)
    async with running(settings) as shard, raw_client(shard.url, hello(token=token_of("ann", ttl_s=2))) as ann:
        await ann.next(Welcome)
        await eventually(lambda: shard.parts.edge.counters.token_expiries == {"keep": 1})
        await ann.say(Join("bank"))
        await ann.next(Joined)


async def test_guest_logs_in_during_play_and_buys_at_the_next_join(shard_settings: Settings) -> None:
    async with running(with_auth(shard_settings)) as shard, raw_client(shard.url, hello()) as guest:
        await guest.next(Welcome)
        await guest.say(Join("bank"))
        await guest.next(Joined)
        (guest_id,) = players_of(shard)
        answer = await answer_to(guest, token_of("ann"))
        assert isinstance(answer, Authenticated)
        assert answer.player_id == "ann"
        assert players_of(shard) == {"ann"}
        (runtime,) = shard.parts.host
        assert list(runtime.room.players) == [guest_id], "until the next join"
        await guest.say(Leave())
        await guest.next(Left)
        await guest.say(Join("bank"))
        await guest.next(Joined)
        await guest.say(Command(1, "sword"))
        reply = await guest.next(Reply)
        assert reply.ok, reply.message
        records = await shard.parts.store.players.load(["ann", guest_id])
        assert (records["ann"].holdings, records[guest_id].holdings) == ({"sword": 1}, {})


async def test_ban_of_a_player_who_has_logged_in_during_play_ends_the_session(shard_settings: Settings) -> None:
    settings = with_auth(shard_settings)
    async with fleet(settings) as (one, other), raw_client(other.url, hello()) as guest:
        await guest.next(Welcome)
        assert isinstance(await answer_to(guest, token_of("eve")), Authenticated)
        await admin(one.parts.operations.port, "PUT", "/bans/eve", {"duration_s": 60, "reason": "cheats"})
        await eventually(lambda: not other.parts.edge.registry.find_by_player("eve"), 5.0, "the session has ended")
        assert (await guest.next(Goodbye)).code is ErrorCode.BANNED
        assert await guest.close_code() == 4505


async def test_login_replaces_the_session_of_the_player_on_another_shard(shard_settings: Settings) -> None:
    """Although that session was opened later than the guest's."""
    async with fleet(with_auth(shard_settings)) as (one, other), raw_client(one.url, hello()) as guest:
        await guest.next(Welcome)
        async with raw_client(other.url, hello(token=token_of("ann"))) as ann:
            await ann.next(Welcome)
            assert isinstance(await answer_to(guest, token_of("ann")), Authenticated)
            assert (await ann.next(Goodbye)).code is ErrorCode.REPLACED
            assert await ann.close_code() == 4501
        await guest.say(Ping(3))
        await guest.next(Pong)
        assert players_of(one) == {"ann"}


async def test_login_is_refused_while_the_player_has_a_session_on_another_shard(shard_settings: Settings) -> None:
    edge = EdgeSettings(duplicate_sessions="refuse")
    settings = msgspec.structs.replace(with_auth(shard_settings), edge=edge)
    async with fleet(settings) as (one, other), raw_client(one.url, hello()) as guest:
        await guest.next(Welcome)
        async with raw_client(other.url, hello(token=token_of("ann"))) as ann:
            await ann.next(Welcome)
            refused = await answer_to(guest, token_of("ann"))
            assert isinstance(refused, Error)
            assert refused.code is ErrorCode.ALREADY_CONNECTED
            assert players_of(other) == {"ann"}
            await ann.say(EndSession())
            assert await ann.close_code() == 1000
        await eventually(lambda: not other.parts.presence.sessions.ended, what="the record is released")
        assert isinstance(await answer_to(guest, token_of("ann")), Authenticated)


async def test_player_who_has_logged_in_moves_with_its_room(shard_settings: Settings) -> None:
    settings = msgspec.structs.replace(with_auth(shard_settings), drain_timeout_s=30.0)
    async with fleet(settings) as (one, other), AsyncExitStack() as stack:
        guest = await stack.enter_async_context(raw_client(one.url, hello()))
        welcome = await guest.next(Welcome)
        await guest.say(Join("duel"))
        joined = await guest.next(Joined)
        assert isinstance(await answer_to(guest, token_of("ann")), Authenticated)
        await one.drain()
        redirect = await guest.next(Redirect)
        assert (redirect.url, redirect.is_resume) == (other.url, True)
        (session,) = other.parts.edge.registry
        assert (session.player_id, session.is_guest) == ("ann", False)
        assert session.token is not None
        assert session.token.expires_at_s > 0
        back = hello(token=token_of("ann"), resume_token=welcome.resume_token, room_id=joined.room_id, attempt=2)
        again = await stack.enter_async_context(raw_client(other.url, back))
        assert (await again.next(Welcome)).session_id == welcome.session_id


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c", "x" * 4096])
async def test_hostile_tokens_are_refused_and_the_session_goes_on(shard_settings: Settings, token: str) -> None:
    async with running(with_auth(shard_settings)) as shard, raw_client(shard.url, hello()) as guest:
        await guest.next(Welcome)
        refused = await answer_to(guest, token)
        assert isinstance(refused, Error)
        assert (refused.code, refused.retryable) == (ErrorCode.UNAUTHORIZED, False)
        assert not token or token not in refused.message
        assert isinstance(await answer_to(guest, token_of("ann")), Authenticated)


async def test_token_that_is_too_large_is_malformed(shard_settings: Settings) -> None:
    async with running(with_auth(shard_settings)) as shard, raw_client(shard.url, hello()) as guest:
        await guest.next(Welcome)
        await guest.say(Authenticate("x" * 4097))
        assert (await guest.next(Error)).code is ErrorCode.MALFORMED


async def test_flood_of_tokens_is_limited(shard_settings: Settings) -> None:
    async with running(with_auth(shard_settings)) as shard, raw_client(shard.url, hello()) as guest:
        await guest.next(Welcome)
        await guest.say(*[Authenticate(token_of("ann")) for _ in range(20)])
        limited = await guest.next(Error)
        assert (limited.code, limited.retryable) == (ErrorCode.RATE_LIMITED, True)
        assert shard.parts.edge.counters.authentications["rate_limited"] >= 10
        await eventually(lambda: players_of(shard) == {"ann"})


# -- the Python client --------------------------------------------------------------------------------------


async def test_python_client_renews_its_session(shard_settings: Settings) -> None:
    lifetimes_s = [4, 600]

    async def provide() -> str:
        return token_of("ann", ttl_s=lifetimes_s.pop(0))

    async with running(with_auth(shard_settings)) as shard, connect(shard.url, token=provide) as ann:
        await ann.join("bank")
        await eventually(lambda: shard.parts.edge.counters.authentications["renewed"] >= 1)
        (session,) = shard.parts.edge.registry
        assert session.token is not None
        assert (ann.resumes, ann.sessions_lost, len(lifetimes_s)) == (0, 0, 0)


async def test_python_client_resumes_with_a_new_token_after_its_token_has_expired(shard_settings: Settings) -> None:
    settings = with_auth(shard_settings, on_token_expired="end", leeway_s=0.0, token_grace_s=0.0, token_renewal_s=0.0)
    lifetimes_s = [2, 600]

    async def provide() -> str:
        return token_of("ann", ttl_s=lifetimes_s.pop(0))

    async with running(settings) as shard, connect(shard.url, token=provide) as ann:
        await ann.join("bank")
        await ann.wait_for(lambda: ann.resumes == 1 and ann.is_connected, timeout_s=20)
        assert ann.sessions_lost == 0
        assert ann.core.joined is not None


async def test_python_client_without_another_token_ends_when_its_token_expires(shard_settings: Settings) -> None:
    settings = with_auth(shard_settings, on_token_expired="end", leeway_s=0.0, token_grace_s=0.0)
    async with running(settings) as shard, connect(shard.url, token=token_of("ann", ttl_s=2)) as ann:
        await eventually(lambda: ann.state is ConnectionState.CLOSED)
        assert ann.last_error is not None
        assert ann.last_error.code is ErrorCode.UNAUTHORIZED


async def test_guest_logs_in_with_the_python_client_and_resumes_as_the_player(shard_settings: Settings) -> None:
    async with running(with_auth(shard_settings)) as shard, connect(shard.url) as guest:
        joined = await guest.join("bank")
        with pytest.raises(Refused) as refused:
            await guest.authenticate("nonsense")
        assert refused.value.error.code is ErrorCode.UNAUTHORIZED
        assert await guest.authenticate(token_of("ann")) == "ann"
        await guest.drop()
        await guest.wait_for(lambda: guest.resumes == 1 and guest.is_connected, timeout_s=20)
        assert (players_of(shard), guest.sessions_lost) == ({"ann"}, 0)
        assert guest.core.joined is not None
        assert guest.core.joined.room_id == joined.room_id
        await guest.leave()
        await guest.join("bank")
        assert (await guest.command("sword")) is None
        records = await shard.parts.store.players.load(["ann"])
        assert records["ann"].holdings == {"sword": 1}
