"""Session transfers in a drain: sessions without a room keep their identity and their queue positions."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.harness.fleets import fleet
from tests.harness.polling import eventually
from tickwire.client.client import connect
from tickwire.matchmaking import MatchmakerUnavailable
from tickwire.schemas.messages import MatchRequest
from tickwire.server.config import Settings
from tickwire.server.errors import Unavailable
from tickwire.server.shard import Shard


@pytest.fixture
def settings(shard_settings: Settings) -> Settings:
    return msgspec.structs.replace(shard_settings, drain_timeout_s=30.0)


def is_waiting(shard: Shard, count: int = 1) -> bool:
    return len(shard.parts.queue_service) == count


async def test_queued_session_is_matched_on_another_shard(settings: Settings) -> None:
    async with fleet(settings) as (one, other), connect(one.url) as ann, connect(other.url) as bob:
        waiting = asyncio.create_task(ann.match("versus", options={"skill": 10}, timeout_s=30))
        await eventually(lambda: is_waiting(one))
        (before,) = one.parts.edge.registry
        position = one.parts.queue_service.find_position(before)
        assert position is not None
        await one.drain()
        await eventually(lambda: is_waiting(other))
        assert len(one.parts.edge.registry) == 0
        (after,) = (session for session in other.parts.edge.registry if session.session_id == before.session_id)
        assert after.player_id == before.player_id
        moved = other.parts.queue_service.find_position(after)
        assert moved is not None
        assert (moved.entry.entry_id, moved.enqueued_ms) == (position.entry.entry_id, position.enqueued_ms)
        joined = await asyncio.gather(waiting, bob.match("versus", options={"skill": 20}, timeout_s=30))
        assert joined[0].room_id == joined[1].room_id
        assert ann.sessions_lost == 0


async def test_party_with_a_transferred_member_is_matched_together(settings: Settings) -> None:
    async with (
        fleet(settings) as (one, other),
        connect(one.url) as ann,
        connect(other.url) as bob,
        connect(other.url) as eve,
    ):
        first = asyncio.create_task(ann.match("trios", party=("us", 2), timeout_s=30))
        await eventually(lambda: is_waiting(one))
        await one.drain()
        await eventually(lambda: is_waiting(other))
        joined = await asyncio.gather(
            first, bob.match("trios", party=("us", 2), timeout_s=30), eve.match("trios", timeout_s=30)
        )
        assert len({seat.room_id for seat in joined}) == 1


async def test_session_without_a_room_is_transferred(settings: Settings) -> None:
    async with fleet(settings) as (one, other), connect(one.url) as ann:
        (before,) = one.parts.edge.registry
        await one.drain()
        await ann.wait_for(lambda: ann.url == other.url and ann.is_connected)
        (after,) = other.parts.edge.registry
        assert after.session_id == before.session_id
        assert (ann.resumes, ann.sessions_lost) == (1, 0)
        await ann.wait_for(lambda: ann.is_connected)
        await ann.join("garden")


async def test_disconnected_session_keeps_its_queue_position_on_any_shard(settings: Settings) -> None:
    async with fleet(settings, 3) as (one, other, third), connect(one.url, reconnect_s=0) as ann:
        waiting = asyncio.create_task(ann.match("versus", options={"skill": 10}, timeout_s=30))
        await eventually(lambda: is_waiting(one))
        (session,) = one.parts.edge.registry
        await ann.drop()
        await eventually(lambda: one.parts.edge.registry.disconnected_count == 1)
        await one.drain()
        assert len(one.parts.edge.registry) == 0
        assert not is_waiting(other)
        assert not is_waiting(third)
        await third.parts.session_transfer.receive(session.session_id)  # as a Hello with its token
        assert is_waiting(third)
        assert third.parts.edge.registry.disconnected_count == 1
        await asyncio.gather(waiting, return_exceptions=True)


async def test_transfer_is_received_although_its_connection_ends_meanwhile(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client reconnects while Redis stalls: its first Hello is cancelled, its second one finds the session."""
    async with fleet(settings) as (one, other), connect(one.url, reconnect_s=0) as ann:
        waiting = asyncio.create_task(ann.match("versus", options={"skill": 10}, timeout_s=30))
        await eventually(lambda: is_waiting(one))
        (session,) = one.parts.edge.registry
        await ann.drop()
        await eventually(lambda: one.parts.edge.registry.disconnected_count == 1)
        await one.drain()
        transfer, is_taken, may_continue = other.parts.session_transfer, asyncio.Event(), asyncio.Event()
        publish_location = transfer.publish_location

        async def stalled(session_id: str, shard_id: str) -> None:
            is_taken.set()
            await may_continue.wait()
            await publish_location(session_id, shard_id)

        monkeypatch.setattr(transfer, "publish_location", stalled)
        first = asyncio.create_task(transfer.receive(session.session_id))
        await is_taken.wait()
        first.cancel()
        second = asyncio.create_task(transfer.receive(session.session_id))
        await asyncio.wait([first])
        may_continue.set()
        assert await second
        assert is_waiting(other)
        assert [each.session_id for each in other.parts.edge.registry] == [session.session_id]
        await asyncio.gather(waiting, return_exceptions=True)


async def test_session_is_received_although_the_reply_to_its_take_was_lost(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis stalls while a shard takes the session. The client retries on a third shard, which redirects it."""
    async with fleet(settings, 3) as (one, other, third), connect(one.url, reconnect_s=0) as ann:
        waiting = asyncio.create_task(ann.match("versus", options={"skill": 10}, timeout_s=30))
        await eventually(lambda: is_waiting(one))
        (session,) = one.parts.edge.registry
        await ann.drop()
        await eventually(lambda: one.parts.edge.registry.disconnected_count == 1)
        await one.drain()
        handoffs, here = other.parts.matchmaker.session_handoffs, other.parts.session_transfer
        take = handoffs.take

        async def stalled(*arguments: str) -> None:
            await take(*arguments)
            raise MatchmakerUnavailable("Redis does not answer")

        with monkeypatch.context() as patched:
            patched.setattr(handoffs, "take", stalled)
            with pytest.raises(Unavailable):
                await here.receive(session.session_id)
        assert not await third.parts.session_transfer.receive(session.session_id)
        assert await third.parts.session_transfer.find_location(session.session_id) == here.shard_id
        assert await here.receive(session.session_id)
        assert await handoffs.find_taker(session.session_id) == "", "it cannot be restored again"
        assert is_waiting(other)
        assert [each.session_id for each in other.parts.edge.registry] == [session.session_id]
        await asyncio.gather(waiting, return_exceptions=True)


async def test_session_stays_until_the_drain_ends_without_another_shard(settings: Settings) -> None:
    short = msgspec.structs.replace(settings, drain_timeout_s=1.0)
    async with fleet(short, 1) as (one,), connect(one.url) as ann:
        async with asyncio.timeout(20):
            await one.drain()
        assert ann.is_connected
        assert len(one.parts.edge.registry) == 1


async def test_session_is_transferred_to_a_shard_that_becomes_ready_later(settings: Settings) -> None:
    patient = msgspec.structs.replace(settings, drain_timeout_s=20.0)
    async with fleet(patient, 1) as (one,), connect(one.url) as ann:
        with capture_logs() as lines:
            draining = asyncio.create_task(one.drain())
            await eventually(lambda: any(line["event"] == "drain_delayed" for line in lines))
            async with fleet(patient, 1) as (other,):
                await draining
                await ann.wait_for(lambda: ann.url == other.url and ann.is_connected)
                assert (ann.resumes, ann.sessions_lost) == (1, 0)


async def test_drain_without_sessions_ends_at_once(settings: Settings) -> None:
    async with fleet(msgspec.structs.replace(settings, drain_timeout_s=3600.0), 1) as (one,):
        async with asyncio.timeout(20):
            await one.drain()


async def test_sessions_are_not_transferred_while_redis_is_unavailable(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise MatchmakerUnavailable("Redis does not answer")

    async with fleet(settings) as (one, other), connect(one.url) as ann:
        monkeypatch.setattr(one.parts.matchmaker.session_handoffs, "put", away)
        monkeypatch.setattr(other.parts.matchmaker.session_handoffs, "take", away)
        assert await one.parts.session_transfer.transfer_all(2.0) == 1
        assert ann.is_connected
        ann._machine.connection.moved(other.url)
        await ann.drop()
        await ann.wait_for(lambda: ann.is_connected and ann.url == one.url, 15)
        assert (ann.resumes, ann.sessions_lost, len(other.parts.edge.registry)) == (1, 0, 0)
        await ann.join("garden")


async def test_sessions_are_transferred_when_redis_answers_again_before_the_deadline(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet(settings) as (one, other), connect(one.url) as ann, connect(one.url) as bob:
        put = one.parts.matchmaker.session_handoffs.put
        failures = iter([MatchmakerUnavailable("Redis does not answer")] * 2)

        async def fails_twice(name: str, data: bytes, *, ttl_ms: int) -> None:
            for error in failures:
                raise error
            await put(name, data, ttl_ms=ttl_ms)

        monkeypatch.setattr(one.parts.matchmaker.session_handoffs, "put", fails_twice)
        await one.drain()
        for client in (ann, bob):
            await client.wait_for(lambda client=client: client.url == other.url and client.is_connected)  # type: ignore[misc]
            assert (client.resumes, client.sessions_lost) == (1, 0)
        assert len(one.parts.edge.registry) == 0


async def test_session_that_changes_during_its_transfer_is_transferred_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The player requests a match during the transfer, so the stored session is outdated."""
    async with fleet(settings) as (one, other), connect(one.url) as ann:
        (session,) = one.parts.edge.registry
        put = one.parts.matchmaker.session_handoffs.put

        async def slowly(name: str, data: bytes, *, ttl_ms: int) -> None:
            await put(name, data, ttl_ms=ttl_ms)
            if not len(one.parts.queue_service):
                one.parts.join_service.is_draining = False
                one.parts.queue_service.enqueue(session, MatchRequest("versus"))

        monkeypatch.setattr(one.parts.matchmaker.session_handoffs, "put", slowly)
        await one.drain()
        await ann.wait_for(lambda: ann.url == other.url and ann.is_connected)
        await eventually(lambda: is_waiting(other))
        assert one.parts.queue_service.results["transferred"] == 1


async def test_transfer_that_cannot_be_decoded_restores_no_session(settings: Settings) -> None:
    async with fleet(settings, 1) as (one,):
        await one.parts.matchmaker.session_handoffs.put("a-session", b"\x81\xa1x\x01", ttl_ms=10_000)
        await one.parts.session_transfer.receive("a-session")
        assert len(one.parts.edge.registry) == 0
