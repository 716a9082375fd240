"""Room migration with connected players, over real sockets, Redis and MongoDB."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.harness.fleets import fleet, moves_with
from tests.harness.polling import eventually
from tests.harness.raw_client import hello, raw_client
from tests.harness.sample_rooms import Duel, Pulse
from tests.harness.shard_process import running
from tickwire.client.client import connect
from tickwire.matchmaking import StaleLease
from tickwire.schemas.messages import Join, Joined, Redirect, Welcome
from tickwire.server.config import Settings
from tickwire.server.edge.close_codes import SessionCloseCode, moved_reason
from tickwire.server.migration import room_sender
from tickwire.server.persistence.saver import close_fenced_room
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.shard import Shard
from tickwire.server.storage.ledger_documents import TransactionRequest, TransactionResult


def with_market(settings: Settings, drain_timeout_s: float) -> Settings:
    rooms = ["tests.harness.sample_rooms", "tickwire.examples.market"]
    return msgspec.structs.replace(settings, rooms=rooms, drain_timeout_s=drain_timeout_s)


@pytest.fixture
async def two(shard_settings: Settings) -> AsyncIterator[tuple[Shard, Shard]]:
    async with fleet(with_market(shard_settings, 30.0)) as (one, other):
        yield one, other


@pytest.fixture
async def unable(shard_settings: Settings) -> AsyncIterator[tuple[Shard, Shard]]:
    """Two shards for rooms that cannot move: their drains last until the deadline."""
    async with fleet(with_market(shard_settings, 8.0)) as (one, other):
        yield one, other


async def test_room_migrates_with_its_players_without_loss(two: tuple[Shard, Shard]) -> None:
    one, other = two
    async with connect(one.url) as ann, connect(one.url) as bob:
        joined = await ann.join("duel")
        await bob.join("duel", room_id=joined.room_id)
        sessions = {client.core.resume_token for client in (ann, bob)}
        for _ in range(5):
            await ann.send_input({"dx": 0.33})
        assert await bob.command("plant", {"x": 7.0}) > 0
        await ann.wait_for(lambda: len(ann.world.table("flowers")) == 1)
        room = one.parts.host.get(joined.room_id)
        assert room is not None
        assert isinstance(room.room, Duel)
        x = room.room.walkers[joined.entity].x
        tick = room.tick
        await one.drain()
        assert len(one.parts.host) == 0
        await asyncio.gather(moves_with(ann, other), moves_with(bob, other))
        moved = other.parts.host.get(joined.room_id)
        assert moved is not None
        assert isinstance(moved.room, Duel)
        assert moved.tick >= tick
        assert moved.epoch > room.epoch
        assert moved.room.walkers[joined.entity].x == x, "exactly, not only to the quantisation step"
        assert moved.room.total == 1
        assert await bob.command("planted") == 1
        assert await ann.command("plant", {"x": 1.0}) > 0
        for client in (ann, bob):
            await client.wait_for(lambda: len(client.world.table("flowers")) == 2)  # noqa: B023
            assert (client.resumes, client.sessions_lost, client.core.mismatches) == (1, 0, 0)
            assert (client.core.events_missed, client.core.events_repeated) == (0, 0)
        assert sessions.isdisjoint({client.core.resume_token for client in (ann, bob)})
        assert one.parts.room_sender.results == {"completed": 1}
        assert other.parts.room_receiver.results == {"claimed": 1}


async def test_rooms_with_hundreds_of_players_migrate_while_ticking(two: tuple[Shard, Shard]) -> None:
    one, other = two
    async with connect(one.url) as client:
        joined = await client.join("pulse")
        room = one.parts.host.get(joined.room_id)
        assert room is not None
        assert isinstance(room.room, Pulse)
        await one.drain()
        await moves_with(client, other)
        tick = client.world.tick
        await client.wait_for(lambda: client.world.tick > tick + 10)
        assert client.core.mismatches == 0
        assert len(client.world.table("dots")) == 300


async def test_durable_room_migrates_and_older_owners_are_fenced(two: tuple[Shard, Shard]) -> None:
    one, other = two
    async with connect(one.url) as client:
        await client.join("garden", name="home")
        await client.command("plant", {"x": 1.0})
        await one.drain()
        await moves_with(client, other)
        assert await client.command("plant", {"x": 2.0}) > 0

        async def is_saved() -> bool:
            world = await other.parts.store.worlds.load("garden", "home")
            return world is not None and world.tables["flowers"].count == 2

        await eventually(is_saved)
        assert one.parts.write_behind.failures == other.parts.write_behind.failures == 0
        assert client.core.mismatches == 0


async def test_inventories_move_with_the_room_exactly_once(two: tuple[Shard, Shard]) -> None:
    one, other = two
    async with connect(one.url) as client:
        await client.join("market", name="home")
        told = 0

        async def earn() -> None:
            nonlocal told
            while client.url == one.url or told < 100:
                told += await client.command("work", timeout_s=20)

        earning = asyncio.create_task(earn())
        await eventually(lambda: told >= 30)
        await one.drain()
        await earning
        assert await client.command("purse") == {"gold": told}
        player = await other.parts.store.database["players"].find_one({"holdings.gold": told})
        assert player is not None
        assert await other.parts.store.ledger.sums(player["_id"]) == {"gold": told}
        assert (client.sessions_lost, client.core.events_missed) == (0, 0)


async def test_disconnected_player_resumes_on_the_new_shard(two: tuple[Shard, Shard]) -> None:
    one, other = two
    async with connect(one.url) as client:
        joined = await client.join("duel")
        await client.command("plant", {"x": 1.0})
        draining = asyncio.create_task(one.drain())
        await client.drop()
        await draining
        await moves_with(client, other)
        assert client.core.joined is not None
        assert client.core.joined.room_id == joined.room_id
        assert await client.command("planted") == 1
        assert client.sessions_lost == 0


async def test_migrations_are_paced_by_the_players_that_reconnect(
    shard_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = msgspec.structs.replace(shard_settings, drain_timeout_s=30.0)
    monkeypatch.setattr(room_sender, "RECONNECTS_PER_S", 2.0)
    moved_at_s: list[float] = []
    async with running(settings) as one, connect(one.url) as ann, connect(one.url) as bob:
        freeze = one.parts.host.freeze

        def record(runtime: RoomRuntime) -> None:
            moved_at_s.append(asyncio.get_running_loop().time())
            freeze(runtime)

        monkeypatch.setattr(one.parts.host, "freeze", record)
        await ann.join("garden", name="a")
        await bob.join("garden", name="b")
        async with running(settings) as other:
            await one.drain()
            await asyncio.gather(moves_with(ann, other), moves_with(bob, other))
            assert len(moved_at_s) == 2
            assert moved_at_s[1] - moved_at_s[0] > 0.4, "one player takes half a second"
            assert (ann.sessions_lost, bob.sessions_lost) == (0, 0)


async def test_drain_waits_until_another_shard_is_ready(shard_settings: Settings) -> None:
    settings = msgspec.structs.replace(shard_settings, drain_timeout_s=20.0)
    async with running(settings) as one, connect(one.url) as client:
        await client.join("duel")
        await client.command("plant", {"x": 1.0})
        with capture_logs() as lines:
            draining = asyncio.create_task(one.drain())
            await eventually(lambda: any(line["event"] == "drain_delayed" for line in lines))
            tick = client.world.tick
            await client.wait_for(lambda: client.world.tick > tick + 5)
            async with running(settings) as other:
                await draining
                await moves_with(client, other)
                assert await client.command("planted") == 1
                assert (client.resumes, client.sessions_lost, client.core.mismatches) == (1, 0, 0)
        assert len([line for line in lines if line["event"] == "drain_delayed"]) == 1


async def test_drain_without_another_shard_ends_at_its_deadline_and_rooms_keep_running(
    shard_settings: Settings,
) -> None:
    settings = msgspec.structs.replace(shard_settings, drain_timeout_s=1.0)
    async with running(settings) as shard, connect(shard.url) as client:
        await client.join("duel")
        async with asyncio.timeout(20):
            await shard.drain()
        assert len(shard.parts.host) == 1
        tick = client.world.tick
        await client.send_input({"dx": 1.0})
        await client.wait_for(lambda: client.world.tick > tick)


async def test_drain_of_empty_rooms_does_not_wait_for_another_shard(shard_settings: Settings) -> None:
    settings = msgspec.structs.replace(shard_settings, drain_timeout_s=3600.0)
    async with running(settings) as shard:
        async with connect(shard.url) as client:
            await client.join("garden", name="home")
        await eventually(lambda: not any(room.seats for room in shard.parts.host))
        assert len(shard.parts.host) == 1
        async with asyncio.timeout(20):
            await shard.drain()


async def test_target_that_accepts_and_fails_costs_a_short_pause(
    unable: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = unable

    asked: list[asyncio.Task[object]] = []

    async def nothing(offer: object) -> None:
        while not room.is_frozen:
            await asyncio.sleep(0.01)
        if not asked:
            asked.append(asyncio.create_task(client.command("echo", 5)))

    monkeypatch.setattr(other.parts.room_receiver, "_receive", nothing)
    monkeypatch.setattr("tickwire.server.migration.handoff_steps.CLAIM_TIMEOUT_S", 0.3)
    async with connect(one.url) as client:
        joined = await client.join("pulse")
        found = one.parts.host.get(joined.room_id)
        assert found is not None
        room = found
        await one.drain()
        assert await asked[0] == 5, "a command to the frozen room is answered after it resumes"
        assert one.parts.room_sender.results["unclaimed"] >= 1
        assert one.parts.room_sender.results["completed"] == 0
        tick = client.world.tick
        await client.wait_for(lambda: client.world.tick > tick + 5)
        assert await client.command("echo", 7) == 7
        assert (client.resumes, client.core.mismatches) == (0, 0)
        assert client.url == one.url


async def test_room_that_the_target_cannot_decode_stays_on_the_source(
    unable: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = unable

    def unreadable(data: bytes) -> object:
        raise ValueError("made by a build of the future")

    monkeypatch.setattr("tickwire.server.migration.room_receiver.decode_room", unreadable)
    monkeypatch.setattr("tickwire.server.migration.handoff_steps.CLAIM_TIMEOUT_S", 0.3)
    async with connect(one.url) as client:
        await client.join("duel")
        await one.drain()
        assert other.parts.room_receiver.results["failed"] >= 1
        assert (len(one.parts.host), len(other.parts.host)) == (1, 0)
        assert await client.command("planted") == 0
        assert len(other.parts.edge.registry) == 0, "no session exists twice"


async def test_room_that_refuses_migration_is_retried(
    two: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    asked = 0

    def can_migrate(room: Duel) -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    monkeypatch.setattr(Duel, "can_migrate", can_migrate)
    async with connect(one.url) as client:
        await client.join("duel")
        await one.drain()
        await moves_with(client, other)
        assert one.parts.room_sender.results == {"postponed": 2, "completed": 1}


async def test_room_that_changes_its_mind_while_it_waits_to_be_sent_stays(
    two: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = two
    answers = iter([True, False])
    monkeypatch.setattr(Duel, "can_migrate", lambda room: next(answers))
    async with connect(one.url) as client:
        joined = await client.join("duel")
        room = one.parts.host.get(joined.room_id)
        assert room is not None
        shards = await one.parts.matchmaker.directory.list_shards()
        target = next(shard for shard in shards if shard.info.shard_id != one.shard_id)
        assert not await one.parts.room_sender.migrate(room, target)
        assert one.parts.room_sender.results == {"postponed": 1}
        assert await one.parts.matchmaker.handoffs.get_state(joined.room_id) == "", "the target waits no longer"
        tick = client.world.tick
        await client.wait_for(lambda: client.world.tick > tick + 5)
        assert client.resumes == 0


async def test_room_with_attributes_that_cannot_be_copied_does_not_migrate(shard_settings: Settings) -> None:
    """The drain does not wait for it until the deadline, which is an hour away."""
    settings = msgspec.structs.replace(shard_settings, drain_timeout_s=3600.0)
    async with fleet(settings) as (one, other), connect(one.url) as client:
        joined = await client.join("pulse")
        room = one.parts.host.get(joined.room_id)
        assert room is not None
        room.room.timer = object()  # type: ignore[attr-defined]
        with capture_logs() as lines:
            async with asyncio.timeout(20):
                await one.drain()
        assert (len(one.parts.host), len(other.parts.host)) == (1, 0)
        logged = [(line["event"], line["missing"]) for line in lines if "missing" in line]
        assert logged == [("room_attributes_lost", ("timer",)), ("room_migration_blocked", ("timer",))]


async def test_attributes_migrate_with_the_room(two: tuple[Shard, Shard]) -> None:
    one, other = two
    async with connect(one.url) as client:
        joined = await client.join("pulse")
        room = one.parts.host.get(joined.room_id)
        assert room is not None
        room.room.score = {"red": 7}  # type: ignore[attr-defined]
        await one.drain()
        await moves_with(client, other)
        moved = other.parts.host.get(joined.room_id)
        assert moved is not None
        assert moved.room.score == {"red": 7}  # type: ignore[attr-defined]


async def test_commands_to_a_frozen_room_run_on_its_new_shard(
    two: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    receive = other.parts.room_receiver._receive

    async def slowly(offer: object) -> None:
        await asyncio.sleep(0.0)
        frozen = one.parts.host.get(joined.room_id)
        assert frozen is not None
        while not frozen.is_frozen:
            await asyncio.sleep(0.01)
        asked.append(asyncio.create_task(client.command("plant", {"x": 3.0}, timeout_s=20)))
        await asyncio.sleep(0.2)
        await receive(offer)  # type: ignore[arg-type]

    asked: list[asyncio.Task[object]] = []
    monkeypatch.setattr(other.parts.room_receiver, "_receive", slowly)
    async with connect(one.url) as client:
        joined = await client.join("duel")
        await one.drain()
        await moves_with(client, other)
        assert await asked[0]
        assert await client.command("planted") == 1


async def test_join_on_a_draining_shard_is_redirected(two: tuple[Shard, Shard]) -> None:
    one, other = two
    await one.drain()
    async with connect(one.url) as client:
        await client.join("duel")
        assert client.url == other.url


async def test_rooms_migrate_to_the_least_loaded_shards(shard_settings: Settings) -> None:
    settings = msgspec.structs.replace(shard_settings, drain_timeout_s=30.0)
    async with fleet(settings, 3) as shards, AsyncExitStack() as stack:
        one, *others = shards
        clients = [await stack.enter_async_context(connect(one.url)) for _ in range(12)]
        for number, client in enumerate(clients):
            await client.join("garden", name=f"home {number}")
        there = [client for client in clients if client.url == one.url]
        await one.drain()
        assert len(one.parts.host) == 0
        for client in there:
            await client.wait_for(lambda: client.url != one.url and client.is_connected)  # noqa: B023
            assert await client.command("planted") == 0
            assert client.sessions_lost == 0
        assert sum(len(other.parts.host) for other in others) == 12
        assert all(len(other.parts.host) >= 3 for other in others)


async def test_private_room_keeps_its_access_and_code(two: tuple[Shard, Shard]) -> None:
    one, other = two
    async with connect(one.url) as host, connect(other.url) as guest, connect(other.url) as stranger:
        joined = await host.join("duel", is_private=True)
        there = one if one.parts.host.get(joined.room_id) is not None else other
        to = other if there is one else one
        await there.drain()
        await moves_with(host, to)
        moved = to.parts.host.get(joined.room_id)
        assert moved is not None
        assert (moved.room.code, moved.room.access) == (joined.room_code, "private")
        assert (await guest.join("duel", code=joined.room_code)).room_id == joined.room_id
        assert (await stranger.join("duel")).room_id != joined.room_id


async def test_room_migrates_there_and_back(shard_settings: Settings) -> None:
    settings = msgspec.structs.replace(shard_settings, drain_timeout_s=30.0)
    async with running(settings) as one, running(settings) as other, connect(one.url) as client:
        joined = await client.join("garden", name="home")
        start = one if one.parts.host.get(joined.room_id) is not None else other
        end = other if start is one else one
        await start.drain()
        await moves_with(client, end)
        start.parts.join_service.is_draining = False
        start.parts.lease_keeper.shard = msgspec.structs.replace(start.parts.lease_keeper.shard, state="ready")
        await start.parts.matchmaker.directory.register(start.parts.lease_keeper.shard, was_registered=True)
        await end.drain()
        await moves_with(client, start)
        assert await client.command("plant", {"x": 1.0}) > 0
        assert (client.sessions_lost, client.core.mismatches, client.core.events_missed) == (0, 0, 0)
        room = start.parts.host.get(joined.room_id)
        assert room is not None
        assert len(room.seats) == 1


async def test_source_without_an_outcome_resumes_the_room_and_is_fenced(
    two: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target claims the room and the source does not learn it: the room ticks there until its next renewal."""
    one, other = two

    async def not_learned(*_: object) -> bool:
        return False

    monkeypatch.setattr(one.parts.room_sender._handoffs, "is_claimed", not_learned)
    async with connect(one.url) as client:
        await client.join("garden", name="home")
        await client.command("plant", {"x": 1.0})
        await one.drain()
        await eventually(lambda: len(one.parts.host) == 0, what="its renewal finds the lease lost")
        await moves_with(client, other)
        assert await client.command("planted") == 1
        assert client.sessions_lost == 0


async def test_target_that_claims_too_late_has_no_sessions(
    unable: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = unable

    async def too_late(room_id: str, shard_id: str) -> int:
        raise StaleLease("it was withdrawn")

    monkeypatch.setattr(other.parts.matchmaker.handoffs, "claim", too_late)
    monkeypatch.setattr("tickwire.server.migration.handoff_steps.CLAIM_TIMEOUT_S", 0.3)
    async with connect(one.url) as client:
        await client.join("duel")
        await one.drain()
        assert other.parts.room_receiver.results["failed"] >= 1
        assert len(other.parts.edge.registry) == len(other.parts.host) == 0
        assert await client.command("planted") == 0


async def test_locked_room_stays_locked_after_migration(two: tuple[Shard, Shard]) -> None:
    one, other = two
    async with connect(one.url) as client:
        joined = await client.join("duel")
        room = one.parts.host.get(joined.room_id)
        assert room is not None
        room.room.lock()
        await one.drain()
        await moves_with(client, other)
        moved = other.parts.host.get(joined.room_id)
        assert moved is not None
        assert moved.room.access == "locked"


async def test_target_claims_the_world_in_the_store_at_once(two: tuple[Shard, Shard]) -> None:
    one, other = two
    async with connect(one.url) as client:
        joined = await client.join("garden", name="home")
        await client.command("plant", {"x": 1.0})
        await one.drain()
        await moves_with(client, other)
        moved = other.parts.host.get(joined.room_id)
        assert moved is not None
        epoch = moved.epoch

        async def is_fenced() -> bool:
            fence = await other.parts.store.database["fences"].find_one({"_id": "garden/home"})
            return fence is not None and fence["epoch"] == epoch

        await eventually(is_fenced)


async def test_migration_waits_for_transactions_in_flight(
    shard_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = msgspec.structs.replace(shard_settings.mongo, deadline_s=6.0)
    settings = msgspec.structs.replace(shard_settings, rooms=["tickwire.examples.market"], mongo=patient)
    async with fleet(settings) as (one, other), connect(one.url) as client:

        async def slowly(request: TransactionRequest) -> TransactionResult:
            await asyncio.sleep(1.7)  # an offer is received within a second, so the room is frozen by then
            return await commit(request)

        await client.join("market", name="home")
        source, target = (one, other) if len(one.parts.host) else (other, one)
        commit = source.parts.store.ledger.commit
        monkeypatch.setattr(source.parts.store.ledger, "commit", slowly)
        asked = asyncio.create_task(client.command("work", timeout_s=20))
        await source.drain()
        assert await asked == 10
        await moves_with(client, target)
        assert source.parts.transactions.results == {"committed": 1}
        assert target.parts.transactions.results == {}, "no command was retried"
        assert await client.command("purse") == {"gold": 10}


async def test_migrating_room_is_not_closed_by_lost_leases_or_fences(two: tuple[Shard, Shard]) -> None:
    one, _ = two
    async with connect(one.url) as client:
        joined = await client.join("garden", name="home")
        room = one.parts.host.get(joined.room_id)
        assert room is not None
        one.parts.host.freeze(room)
        one.parts.lease_keeper._close_lost_room(joined.room_id)
        close_fenced_room(one.parts.host, "garden/home")
        assert one.parts.host.get(joined.room_id) is room
        one.parts.host.unfreeze(room)
        tick = client.world.tick
        await client.send_input({"dx": 1.0})
        await client.wait_for(lambda: client.world.tick > tick)


async def test_close_of_a_moved_session_has_the_address_of_its_redirect(two: tuple[Shard, Shard]) -> None:
    """For libraries that drop messages that arrive together with a close."""
    one, other = two
    async with raw_client(one.url, hello(), Join("duel")) as client:
        welcome = await client.next(Welcome)
        joined = await client.next(Joined)
        await one.drain()
        assert (await client.next(Redirect)).url == other.url
        assert await client.close_code() == SessionCloseCode.MOVED
        assert client.socket.close_reason == f"moved to {other.url}"
    again = hello(resume_token=welcome.resume_token, attempt=2, room_id=joined.room_id)
    async with raw_client(one.url, again) as late:
        assert (await late.next(Redirect)).url == other.url
        assert await late.close_code() == SessionCloseCode.MOVED
        assert late.socket.close_reason == f"moved to {other.url}"


def test_address_that_does_not_fit_into_a_close_is_left_out() -> None:
    assert moved_reason("wss://" + "x" * 108) == "moved to wss://" + "x" * 108
    assert moved_reason("wss://" + "x" * 109) == "the session is on another shard"
