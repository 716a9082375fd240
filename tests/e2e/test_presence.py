"""One player has one session in the fleet: takeovers between real shards, over sockets."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.harness.fleets import fleet
from tests.harness.polling import acknowledges, eventually, eventually_joins
from tests.harness.raw_client import hello, raw_client
from tests.harness.shard_process import SHORT_LEASE_S, ShardProcess, running, scrape, with_short_lease
from tests.harness.tokens import SECRET, token_of, with_tokens
from tickwire.client.client import Client, connect
from tickwire.client.connection_state import ConnectionState
from tickwire.client.errors import Refused
from tickwire.matchmaking import Matchmaker, MatchmakerUnavailable, PresenceRecord
from tickwire.schemas.messages import Error, ErrorCode, Welcome
from tickwire.server.config import Settings
from tickwire.server.edge.close_codes import SessionCloseCode
from tickwire.server.edge.session import Session
from tickwire.server.presence import presence_keeper
from tickwire.server.shard import Shard

ANN = "ann"
AT_ONCE_S = 1.0
"""A notice arrives within milliseconds, and within a second if it wakes no shard; a loaded machine is slower."""


@pytest.fixture
def settings(shard_settings: Settings) -> Settings:
    return with_tokens(shard_settings, guests=True)


def with_policy(settings: Settings, policy: Any) -> Settings:
    return msgspec.structs.replace(settings, edge=msgspec.structs.replace(settings.edge, duplicate_sessions=policy))


def player(url: str, name: str = ANN, **options: Any) -> Any:
    return connect(url, token=token_of(name), **options)


def sessions_of(shards: list[Shard], name: str = ANN) -> list[Session]:
    return [session for shard in shards for session in shard.parts.sessions.find_by_player(name)]


async def present(shard: Shard, name: str = ANN) -> PresenceRecord | None:
    return await shard.parts.matchmaker.presence.get(name)


async def until_known(shards: list[Shard], name: str = ANN) -> None:
    """Wait until presence has the player's only session, as it is."""

    async def is_known() -> bool:
        (session,) = sessions_of(shards, name)
        record = await present(shards[0], name)
        return record is not None and (record.session_id, record.room_id, record.is_connected) == (
            session.session_id,
            session.room_id,
            session.connection is not None,
        )

    await eventually(is_known, what="presence has the session")


async def test_presence_follows_a_session(settings: Settings) -> None:
    async with fleet(settings) as shards, player(shards[0].url, reconnect_s=0) as ann, connect(shards[0].url):
        await until_known(shards)
        await ann.join("garden")
        await until_known(shards)
        record = await present(shards[1])
        assert record is not None
        assert (record.shard_id, record.room_type) == (shards[0].shard_id, "garden")
        await ann.leave()
        await until_known(shards)
        await ann.drop()
        await until_known(shards)
        assert len(shards[0].parts.presence.sessions) == 1, "guests have no presence"
        shards[0].parts.sessions.get(record.session_id).end("tests", counted_as="tests")  # type: ignore[union-attr]

        async def is_away() -> bool:
            return await present(shards[1]) is None

        await eventually(is_away)


@pytest.mark.parametrize("is_woken", [True, False])
async def test_session_on_another_shard_is_replaced_while_it_is_in_a_room(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, is_woken: bool
) -> None:
    async with fleet(settings) as shards, player(shards[0].url) as first:
        if not is_woken:
            monkeypatch.setattr(shards[0].parts.presence, "wake", lambda partition: None)
        await first.join("garden")
        (left,) = sessions_of(shards)
        room = shards[0].parts.host.get(left.room_id)
        assert room is not None
        await until_known(shards)
        async with player(shards[1].url) as second:
            await eventually(lambda: first.state is ConnectionState.CLOSED)
            assert first.close_code == SessionCloseCode.REPLACED
            assert not room.seats, "it has left its seat"
            await eventually(lambda: not shards[0].parts.presence.sessions.ended)
            (stays,) = sessions_of(shards)
            assert stays.session_id == second.core.resume_token.partition(".")[0]
            await until_known(shards)
            assert sum(shards[0].parts.presence.counters.takeovers.values()) == 1
            assert shards[1].parts.presence.counters.claims["taken_over"] == 1
            assert shards[0].parts.sessions.counters.ended["replaced"] == 1


async def test_takeover_does_not_wait_for_the_next_round(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis wakes the shard: its rounds are further apart here than the test waits."""
    monkeypatch.setattr(presence_keeper, "ROUND_INTERVAL_S", 60.0)
    patient = msgspec.structs.replace(settings, redis=msgspec.structs.replace(settings.redis, lease_s=300.0))
    async with fleet(patient) as shards, player(shards[0].url) as first:
        await until_known(shards)
        async with player(shards[1].url):
            await eventually(lambda: first.state is ConnectionState.CLOSED)


@pytest.mark.parametrize("other", [0, 1])
async def test_client_that_was_replaced_while_it_was_away_does_not_take_over_again(
    settings: Settings, other: int
) -> None:
    may_return = asyncio.Event()
    may_return.set()

    async def token() -> str:
        await may_return.wait()
        return token_of(ANN)

    async with fleet(settings) as shards, connect(shards[0].url, token=token) as first:
        await first.join("garden")
        await first.wait_for(lambda: first.world.tick > 0)
        (left,) = sessions_of(shards)
        may_return.clear()
        await first.drop()
        async with player(shards[other].url) as second:
            await eventually(lambda: left.is_over)
            await until_known(shards)
            may_return.set()
            await eventually(lambda: first.state is ConnectionState.CLOSED)
            assert shards[0].parts.sessions.counters.rejected["replaced"] == 1
            await acknowledges_or_joins(second)
            assert len(sessions_of(shards)) == 1
        async with player(shards[0].url) as again:
            assert again.is_connected, "the player opens a session here by intention"


async def test_client_that_was_replaced_takes_over_from_a_client_that_is_away(settings: Settings) -> None:
    """The player has left the other device, or its session was recovered from an old save: nobody plays with it."""
    may_return = asyncio.Event()
    may_return.set()

    async def token() -> str:
        await may_return.wait()
        return token_of(ANN)

    async with fleet(settings) as shards, connect(shards[0].url, token=token) as first:
        await first.join("garden")
        await first.wait_for(lambda: first.world.tick > 0)
        (left,) = sessions_of(shards)
        may_return.clear()
        await first.drop()
        async with player(shards[1].url, reconnect_s=0) as second:
            await eventually(lambda: left.is_over)
            await second.drop()
            await until_known(shards)
            may_return.set()
            await eventually(lambda: first.is_connected)
            assert first.sessions_lost == 1
            await eventually(lambda: len(sessions_of(shards)) == 1)
            await until_known(shards)


async def acknowledges_or_joins(client: Client) -> None:
    """Join a room and play, which shows that the session lives."""
    await client.join("garden")
    await acknowledges(client)


async def test_client_that_has_missed_the_welcome_of_its_new_session_gets_another_one(settings: Settings) -> None:
    async with fleet(settings) as shards, player(shards[0].url, reconnect_s=0) as first:
        await first.join("garden")
        await until_known(shards)
        lost = first.core.resume_token
        (session,) = sessions_of(shards)
        session.end("tests", counted_as="tests")
        for attempt in range(2, 5):
            hello_again = hello(token=token_of(ANN), resume_token=lost, last_tick=9, attempt=attempt)
            async with raw_client(shards[0].url, hello_again) as raw:
                assert (await raw.next(Welcome)).generation == 1
                raw.cut()
            await until_known(shards)


async def test_session_that_arrives_while_presence_is_read_is_resumed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet(settings, 1) as shards, player(shards[0].url, reconnect_s=0) as first:
        saved = first.core.resume_token
        sessions = shards[0].parts.sessions
        (session,) = sessions_of(shards)
        checkpoint = session.to_checkpoint()
        session.end("tests", counted_as="tests")

        async def arrives(player_id: str, session_id: str) -> bool:
            restored = sessions.restore(checkpoint)
            assert restored is not None
            sessions.settle(restored)
            return False

        monkeypatch.setattr(shards[0].parts.presence, "is_replaced", arrives)
        resuming = hello(token=token_of(ANN), resume_token=saved, last_tick=9, attempt=9)
        async with raw_client(shards[0].url, resuming) as raw:
            assert (await raw.next(Welcome)).generation == 2
            assert [one.session_id for one in sessions_of(shards)] == [session.session_id]


async def test_client_that_is_started_again_takes_over(settings: Settings) -> None:
    async with fleet(settings) as shards, player(shards[0].url, reconnect_s=0) as first:
        await until_known(shards)
        saved = first.core.resume_token
        async with player(shards[1].url) as second:
            await eventually(lambda: first.state is ConnectionState.CLOSED)
            async with raw_client(shards[0].url, hello(token=token_of(ANN), resume_token=saved, attempt=99)) as raw:
                await raw.next(Welcome)
                await eventually(lambda: second.state is ConnectionState.CLOSED)


async def test_second_session_in_the_fleet_is_refused(settings: Settings) -> None:
    async with fleet(with_policy(settings, "refuse")) as shards, player(shards[0].url) as first:
        await until_known(shards)
        for shard in shards:
            with pytest.raises(Refused) as refused:
                async with player(shard.url):
                    pass
            assert "session already" in str(refused.value)
        assert first.is_connected
        assert len(sessions_of(shards)) == 1
        await first.close()
        async with player(shards[1].url):
            await until_known(shards)


@pytest.mark.parametrize("policy", ["replace", "refuse"])
async def test_policy_holds_for_a_guest_who_logs_in(settings: Settings, policy: str) -> None:
    async with (
        fleet(with_policy(settings, policy)) as shards,
        player(shards[0].url) as first,
        connect(shards[1].url) as guest,
    ):
        await until_known(shards)
        if policy == "refuse":
            with pytest.raises(Refused):
                await guest.authenticate(token_of(ANN))
            assert first.is_connected
            await first.close()
        await guest.authenticate(token_of(ANN))
        if policy == "replace":
            await eventually(lambda: first.state is ConnectionState.CLOSED)
        assert guest.is_connected
        await until_known(shards)


async def test_second_session_is_refused_to_a_guest_who_resumes_with_a_login(settings: Settings) -> None:
    async with fleet(with_policy(settings, "refuse")) as shards, player(shards[0].url) as first:
        await until_known(shards)
        async with connect(shards[1].url, reconnect_s=0) as guest:
            saved = guest.core.resume_token
            await guest.drop()
        login = hello(token=token_of(ANN), resume_token=saved, attempt=9)
        async with raw_client(shards[1].url, login) as raw:
            assert (await raw.next(Error)).code is ErrorCode.ALREADY_CONNECTED
        assert first.is_connected
        await first.close()
        login = hello(token=token_of(ANN), resume_token=saved, attempt=10)
        async with raw_client(shards[1].url, login) as raw:
            assert (await raw.next(Welcome)).generation > 1
            await until_known(shards)


async def test_refusal_is_not_caused_by_a_session_whose_client_has_followed_a_redirect(settings: Settings) -> None:
    """The shard of the other session is asked: its client does not close it, as a client without our SDK."""
    async with fleet(with_policy(settings, "refuse")) as shards, player(shards[0].url, reconnect_s=0) as first:
        await until_known(shards)
        (left,) = sessions_of(shards)
        await first.drop()
        await eventually(lambda: left.connection is None)
        left.is_redirected = True
        async with player(shards[1].url):
            assert left.is_over
            await until_known(shards)


async def test_allowed_sessions_stay_and_presence_names_the_newest(settings: Settings) -> None:
    async with fleet(with_policy(settings, "allow")) as shards, player(shards[0].url) as first:
        await until_known(shards)
        async with player(shards[1].url) as second:
            session_id = second.core.resume_token.partition(".")[0]

            async def is_named(wanted: str) -> bool:
                record = await present(shards[0])
                return record is not None and record.session_id == wanted

            await eventually(lambda: is_named(session_id))
            assert first.is_connected
        await eventually(lambda: is_named(first.core.resume_token.partition(".")[0]))


async def test_session_is_replaced_while_its_shard_drains(settings: Settings) -> None:
    patient = msgspec.structs.replace(settings, drain_timeout_s=30.0)
    async with fleet(patient, 3) as shards, player(shards[0].url) as first, player(shards[0].url, "friend") as friend:
        for client in (first, friend):
            await client.join("garden", name="ours")
        await until_known(shards)
        draining = asyncio.create_task(shards[0].drain())
        async with player(shards[2].url) as second:
            await draining
            await eventually(lambda: first.state is ConnectionState.CLOSED)
            assert first.close_code == SessionCloseCode.REPLACED
            await eventually(lambda: len(sessions_of(shards)) == 1)
            await second.join("garden", name="ours")
            await acknowledges(second)
            await acknowledges(friend)
            rooms = [runtime for shard in shards for runtime in shard.parts.host]
            assert sorted(seat.player_id for seat in rooms[0].seats) == [ANN, "friend"]


async def test_session_that_moves_is_not_replaced_by_itself(settings: Settings) -> None:
    """Room migration, session transfer, a redirect to another shard's room, and a resume there."""
    patient = msgspec.structs.replace(settings, drain_timeout_s=30.0)
    async with fleet(patient, 3) as shards, player(shards[0].url) as ann, player(shards[0].url, "bob") as bob:
        await ann.join("garden", name="ours")
        session_ids = [client.core.resume_token.partition(".")[0] for client in (ann, bob)]
        await shards[0].drain()
        for client in (ann, bob):
            await client.wait_for(lambda client=client: client.is_connected and client.url != shards[0].url)  # type: ignore[misc]
        assert [client.core.resume_token.partition(".")[0] for client in (ann, bob)] == session_ids
        for name in (ANN, "bob"):
            await until_known(shards, name)
        await acknowledges(ann)
        other = next(shard for shard in shards[1:] if shard.url != ann.url)
        async with player(other.url, "eve") as eve:
            await eve.join("garden", name="ours")
            assert eve.url == ann.url
            await until_known(shards, "eve")
        counted = [shard.parts.sessions.counters.ended["replaced"] for shard in shards]
        assert sum(counted) == 0
        assert (ann.sessions_lost, bob.sessions_lost) == (0, 0)


async def test_sessions_open_while_redis_is_unavailable_and_one_stays_afterwards(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: object, **__: object) -> None:
        raise MatchmakerUnavailable("Redis does not answer")

    async with fleet(settings) as shards:
        with monkeypatch.context() as patched:
            for shard in shards:
                for name in ("claim", "renew"):
                    patched.setattr(shard.parts.matchmaker.presence, name, unavailable)
            async with player(shards[0].url) as first, player(shards[1].url) as second:
                assert first.is_connected
                assert second.is_connected
                patched.undo()
                await eventually(lambda: first.state is ConnectionState.CLOSED, what="the first one ends")
                assert first.close_code == SessionCloseCode.REPLACED
                assert second.is_connected
                await until_known(shards)


async def test_presence_is_restored_after_redis_was_emptied(settings: Settings, redis_url: str) -> None:
    async with fleet(settings) as shards, player(shards[0].url), player(shards[1].url, "bob"):
        for name in (ANN, "bob"):
            await until_known(shards, name)
        client = shards[0].parts.matchmaker.presence
        for number in range(8):
            runner = client.script_runners[number]
            for key in await runner._client.keys(f"{runner.prefix}*"):  # type: ignore[attr-defined]
                await runner._client.delete(key)  # type: ignore[attr-defined]
        assert await present(shards[0]) is None
        for name in (ANN, "bob"):
            await until_known_again(shards, name)


async def until_known_again(shards: list[Shard], name: str) -> None:
    async def is_known() -> bool:
        return await present(shards[0], name) is not None

    await eventually(is_known)
    await until_known(shards, name)


async def test_player_is_kicked_on_any_shard(settings: Settings) -> None:
    async with fleet(settings) as shards, player(shards[0].url) as ann:
        await until_known(shards)
        delivery = await shards[1].parts.matchmaker.presence.kick(ANN, "spam")
        assert delivery.status == "sent"
        await eventually(lambda: ann.state is ConnectionState.CLOSED, AT_ONCE_S * 5)
        assert ann.close_code == SessionCloseCode.KICKED
        assert ann.goodbye is not None
        assert ann.goodbye.message == "spam"


# -- shards that are paused or killed -------------------------------------------------------------------------


class _Fleet:
    """Shards in processes, and a reader of presence."""

    def __init__(self, settings: Settings, folder: Path, policy: str = "replace") -> None:
        environ = {"TICKWIRE__AUTH__SECRET": SECRET, "TICKWIRE__EDGE__DUPLICATE_SESSIONS": policy}
        self.shards = [ShardProcess(settings, folder, environ=environ) for _ in range(2)]
        self.matchmaker = Matchmaker.from_url(settings.redis.url, namespace=settings.redis.namespace)

    async def __aenter__(self) -> _Fleet:
        await asyncio.gather(*(shard.ready() for shard in self.shards))
        return self

    async def __aexit__(self, *_: object) -> None:
        for shard in self.shards:
            shard.process.kill()
        await self.matchmaker.aclose()

    async def session_of(self, name: str) -> str:
        record = await self.matchmaker.presence.get(name)
        return record.session_id if record is not None else ""

    async def until_known(self, client: Client, name: str = ANN) -> None:
        async def is_known() -> bool:
            return await self.session_of(name) == client.core.resume_token.partition(".")[0]

        await eventually(is_known)


@pytest.mark.parametrize("pause_s", [0.5, SHORT_LEASE_S + 1])
async def test_session_of_a_paused_shard_is_replaced_when_it_wakes(
    settings: Settings, tmp_path: Path, pause_s: float
) -> None:
    async with _Fleet(with_short_lease(settings), tmp_path) as these:
        paused, other = these.shards
        async with player(paused.url) as first:
            await eventually_joins(first, "garden")
            await these.until_known(first)
            paused.process.send_signal(signal.SIGSTOP)
            try:
                async with player(other.url) as second:
                    await eventually_joins(second, "garden")
                    await asyncio.sleep(pause_s)
                    await these.until_known(second)
                    paused.process.send_signal(signal.SIGCONT)
                    # its connection is closed, or it has lost the connection before, and may not resume
                    await eventually(lambda: first.state is ConnectionState.CLOSED)
                    await acknowledges(second)
                    await these.until_known(second)
                    ended = await asyncio.to_thread(scrape, paused.operations_port)
                    assert ended['tickwire_sessions_ended_total{reason="replaced"}'] == 1
            finally:
                paused.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("policy", ["replace", "refuse"])
async def test_player_of_a_killed_shard_is_locked_out_no_longer_than_its_lease(
    settings: Settings, tmp_path: Path, policy: str
) -> None:
    async with _Fleet(with_short_lease(settings), tmp_path, policy) as these:
        killed, other = these.shards
        async with player(killed.url, reconnect_s=0) as first:
            await these.until_known(first)
            killed.kill()
            started_s = asyncio.get_running_loop().time()

            async def is_admitted() -> bool:
                try:
                    async with player(other.url) as second:
                        await these.until_known(second)
                        return True
                except Refused:
                    return False

            await eventually(is_admitted)
            elapsed_s = asyncio.get_running_loop().time() - started_s
            assert elapsed_s < SHORT_LEASE_S + 5
            if policy == "refuse":
                assert elapsed_s > SHORT_LEASE_S / 2, "the shard may only have been paused"


async def test_durable_session_of_a_killed_shard_is_not_restored_over_a_later_one(
    settings: Settings, tmp_path: Path
) -> None:
    """Its room is recovered by another shard, with a copy of the session that has been replaced meanwhile."""
    async with _Fleet(with_short_lease(settings), tmp_path) as these:
        killed, other = these.shards
        async with player(killed.url, reconnect_s=0) as first:
            await eventually_joins(first, "estate", "hers")
            await acknowledges(first)
            await asyncio.sleep(2.5)  # a save
            killed.kill()
            async with player(other.url) as second, player(other.url, "bob") as bob:
                await these.until_known(second)
                await eventually_joins(bob, "estate", "hers", 30)
                await these.until_known(second)
                assert second.is_connected

                async def is_alone() -> bool:
                    found = await asyncio.to_thread(scrape, other.operations_port)
                    return found["tickwire_sessions"] == 2

                await eventually(is_alone, what="the copy has ended")


async def test_shard_that_stops_releases_its_players(settings: Settings) -> None:
    async with fleet(with_policy(settings, "refuse"), 1) as (stays,):
        async with running(with_policy(settings, "refuse")) as stops:
            first = Client(stops.url, token=token_of(ANN), reconnect_s=0)
            await first.open()
            await until_known([stops])
        assert await present(stays) is None
        async with player(stays.url):
            await until_known([stays])
        await first.close()
