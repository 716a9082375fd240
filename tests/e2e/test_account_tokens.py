"""Access tokens of accounts at shards: verified without a call, beside other tokens, and refused once revoked."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import msgspec

from tests.harness.api_process import ApiProcess
from tests.harness.fleets import fleet
from tests.harness.polling import eventually
from tests.harness.raw_client import RawClient, hello, raw_client
from tests.harness.shard_process import running
from tests.harness.token_processes import SECRET as ACCOUNTS_SECRET
from tests.harness.tokens import SECRET, token_of
from tickwire.schemas.messages import Authenticate, Authenticated, Error, ErrorCode, Goodbye, Welcome
from tickwire.server.admin.operator_policy import POLL_S
from tickwire.server.config import Settings
from tickwire.server.edge.auth.settings import AuthSettings
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.shard import Shard
from tickwire.services.accounts.settings import AccountSettings
from tickwire.services.accounts.token_parts import TokenDatabase, create_token_parts
from tickwire.services.accounts.token_service import TokenService


def with_accounts(settings: Settings, **auth: Any) -> Settings:
    """Return settings of a shard that accepts access tokens; it has no secret of the accounts."""
    return msgspec.structs.replace(settings, auth=AuthSettings(accounts=True, **auth))


def tokens_of(shard: Shard) -> TokenService:
    """Return a service that issues tokens, as a process of the role `api` has it."""
    store = shard.parts.store
    stored = TokenDatabase(store.database, store.calls, store.revocations)
    return create_token_parts(stored, AccountSettings(secret=ACCOUNTS_SECRET), time.time).service


async def code_of(client: RawClient) -> ErrorCode:
    return (await client.next(Error)).code


def observe_polls(shard: Shard) -> list[int]:
    """Return a list that has the number of sessions that were ended by a revocation, after each poll."""
    found: list[int] = []
    policy = shard.parts.operator_policy
    poll = policy.poll

    async def observed() -> None:
        await poll()
        found.append(shard.parts.edge.counters.ended["token_revoked"])

    policy.poll = observed  # type: ignore[method-assign]
    return found


async def test_session_opens_with_an_access_token_and_a_check_makes_no_call(shard_settings: Settings) -> None:
    async with running(with_accounts(shard_settings)) as shard:
        tokens = await tokens_of(shard).issue("p-ann", "device")
        async with raw_client(shard.url, hello(token=tokens.access_token)) as ann:
            await ann.next(Welcome)
            assert [session.player_id for session in shard.parts.edge.registry] == ["p-ann"]
        find = shard.parts.store.database["signing_keys"]
        await find.delete_many({})
        for _ in range(3):
            async with raw_client(shard.url, hello(token=tokens.access_token)) as ann:
                await ann.next(Welcome)


async def test_access_tokens_and_tokens_of_another_issuer_are_accepted_side_by_side(shard_settings: Settings) -> None:
    async with running(with_accounts(shard_settings, secret=SECRET)) as shard:
        tokens = await tokens_of(shard).issue("p-ann", "device")
        for token in (tokens.access_token, token_of("bob")):
            async with raw_client(shard.url, hello(token=token)) as client:
                await client.next(Welcome)
        forged = jwt.encode(
            {"iss": "tickwire", "aud": "tickwire", "sub": "p-ann", "fam": "f", "exp": time.time() + 60},
            SECRET,
            algorithm="HS256",
        )
        async with raw_client(shard.url, hello(token=forged)) as client:
            assert await code_of(client) is ErrorCode.UNAUTHORIZED


async def test_logout_ends_the_sessions_of_its_login_within_a_second(shard_settings: Settings) -> None:
    settings = msgspec.structs.replace(with_accounts(shard_settings), edge=EdgeSettings(duplicate_sessions="allow"))
    async with running(settings) as shard:
        service = tokens_of(shard)
        first = await service.issue("p-ann", "device")
        second = await service.issue("p-ann", "device")
        ended_by_poll = observe_polls(shard)
        async with (
            raw_client(shard.url, hello(token=first.access_token)) as one,
            raw_client(shard.url, hello(token=second.access_token)) as two,
        ):
            await one.next(Welcome)
            await two.next(Welcome)
            await service.log_out(first.refresh_token)
            polls_before = len(ended_by_poll)
            assert (await one.next(Goodbye)).code is ErrorCode.UNAUTHORIZED
            await eventually(lambda: 1 in ended_by_poll, 10)
            assert ended_by_poll.index(1) <= polls_before + 1, "the first poll that begins after the logout"
            assert 2 * POLL_S < 1
            assert await one.close_code() == 4502
            assert len(list(shard.parts.edge.registry)) == 1, "the other login continues"
            async with raw_client(shard.url, hello(token=first.access_token)) as again:
                assert await code_of(again) is ErrorCode.UNAUTHORIZED
            await service.end_all("p-ann")
            assert (await two.next(Goodbye)).code is ErrorCode.UNAUTHORIZED
        third = await service.issue("p-ann", "device")
        async with raw_client(shard.url, hello(token=third.access_token)) as new:
            await new.next(Welcome)
        assert shard.parts.edge.counters.ended["token_revoked"] == 2


async def test_revoked_token_is_refused_after_a_restart(shard_settings: Settings) -> None:
    settings = with_accounts(shard_settings)
    async with running(settings) as shard:
        service = tokens_of(shard)
        tokens = await service.issue("p-ann", "device")
        await service.end_all("p-ann")
    async with running(settings) as shard:
        await eventually(lambda: len(shard.parts.operator_policy.revocations) >= 2, 10)
        async with raw_client(shard.url, hello(token=tokens.access_token)) as client:
            assert await code_of(client) is ErrorCode.UNAUTHORIZED


async def test_renewed_token_outlives_a_revocation_of_the_first_one(shard_settings: Settings) -> None:
    """The session has authenticated again since then, with a token of another login."""
    async with running(with_accounts(shard_settings)) as shard:
        service = tokens_of(shard)
        first = await service.issue("p-ann", "device")
        async with raw_client(shard.url, hello(token=first.access_token)) as ann:
            await ann.next(Welcome)
            second = await service.issue("p-ann", "device")
            await ann.say(Authenticate(second.access_token))
            await ann.next(Authenticated)
            await service.log_out(first.refresh_token)
            await eventually(lambda: len(shard.parts.operator_policy.revocations) == 1, 10)
            await ann.say(Authenticate(first.access_token))
            assert await code_of(ann) is ErrorCode.UNAUTHORIZED
            assert len(list(shard.parts.edge.registry)) == 1


async def test_session_that_moves_to_another_shard_ends_with_its_login(shard_settings: Settings) -> None:
    async with fleet(with_accounts(shard_settings), 2) as shards:
        first, second = shards
        service = tokens_of(first)
        tokens = await service.issue("p-ann", "device")
        async with raw_client(first.url, hello(token=tokens.access_token)) as ann:
            await ann.next(Welcome)
            checkpoint = next(iter(first.parts.edge.registry)).to_checkpoint()
        restored = second.parts.sessions.restore(checkpoint)
        assert restored is not None
        await service.log_out(tokens.refresh_token)
        await eventually(lambda: len(second.parts.operator_policy.revocations) == 1, 10)
        second.parts.sessions.settle(restored)
        await eventually(lambda: second.parts.edge.counters.ended["token_revoked"] == 1, 10, "it came after the poll")


async def test_role_api_publishes_its_keys(shard_settings: Settings, tmp_path: Path) -> None:
    made = ApiProcess(shard_settings, tmp_path, {"TICKWIRE__ACCOUNTS__SECRET": ACCOUNTS_SECRET})
    try:
        await made.ready()
        async with running(with_accounts(shard_settings)) as shard:
            token = (await tokens_of(shard).issue("p-ann", "device")).access_token
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
            session.get(f"{made.url}/.well-known/jwks.json") as response,
        ):
            assert response.status == 200
            assert response.headers["Cache-Control"] == "public, max-age=60"
            keys = jwt.PyJWKSet.from_dict(await response.json())
        key = keys[jwt.get_unverified_header(token)["kid"]]
        claims = jwt.decode(token, key, algorithms=["EdDSA"], audience="tickwire", issuer="tickwire")
        assert claims["sub"] == "p-ann"
        assert ACCOUNTS_SECRET not in made.log.read_text()
    finally:
        made.stop()
