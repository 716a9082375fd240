"""Players in a room, over the real WebSocket, on real stores."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter

import pytest

from tests.harness.polling import eventually, eventually_joins
from tests.harness.shard_process import readiness, running, scrape
from tests.harness.worlds import agree, flowers_of
from tickwire.client.client import Client, CommandFailed, Refused, connect
from tickwire.schemas.messages import ErrorCode
from tickwire.server.config import Settings
from tickwire.server.edge.session import Session as ServerSession
from tickwire.server.rooms.seat import Seat
from tickwire.server.shard import Shard


async def test_input_changes_the_world_of_all_clients(shard: Shard) -> None:
    async with connect(shard.url) as walker, connect(shard.url) as watcher:
        me = (await walker.join("garden")).entity
        await watcher.join("garden")
        for _ in range(32):
            await walker.send_input({"dx": 1.0})
        await watcher.wait_for(lambda: me in watcher.world.table("walkers"))
        await watcher.wait_for(lambda: watcher.world.table("walkers").entity(me)["x"] > 0)
        await walker.wait_for(lambda: walker.core.acknowledged_seq == walker.core.input_seq)
        await agree(walker, watcher)


async def test_player_that_leaves_disappears_for_others_and_may_join_again(shard: Shard) -> None:
    async with connect(shard.url) as leaver, connect(shard.url) as watcher:
        gone = (await leaver.join("garden")).entity
        await watcher.join("garden")
        await watcher.wait_for(lambda: gone in watcher.world.table("walkers"))
        await leaver.leave()
        await watcher.wait_for(lambda: gone not in watcher.world.table("walkers"))
        assert (await leaver.join("garden")).entity != gone


async def test_events_arrive_in_order_without_a_gap(shard: Shard) -> None:
    async with connect(shard.url) as first, connect(shard.url) as second:
        await first.join("garden")
        await second.join("garden")
        await first.wait_for(lambda: len(first.events) == 2)
        assert [event.number for event in first.events] == [1, 2]
        assert first.core.events_missed == 0


async def test_commands_are_answered_once_each_also_when_they_fail(shard: Shard) -> None:
    async with connect(shard.url) as client:
        await client.join("garden")
        await client.command("plant", {"x": 3.0})
        assert await client.command("planted") == 1
        with pytest.raises(CommandFailed, match="unknown command"):
            await client.command("dance")
        with pytest.raises(CommandFailed, match="failed to run"):
            await client.command("fail")
        assert await client.command("planted") == 1


async def test_world_is_restored_after_a_stop(shard_settings: Settings) -> None:
    async with running(shard_settings) as shard, connect(shard.url) as client:
        await client.join("garden", name="home")
        await client.wait_for(lambda: client.world.tick > 2)
        tick = client.world.tick
        for x in (1.0, 2.0, 3.0):
            await client.command("plant", {"x": x})
    async with running(shard_settings) as shard, connect(shard.url) as client:
        joined = await client.join("garden", name="home")
        await client.wait_for(lambda: client.world.tick > joined.tick)
        assert flowers_of(client) == [1.0, 2.0, 3.0]
        assert await client.command("planted") == 3
        assert joined.tick >= tick, "the room continues at the saved tick"


async def test_empty_durable_room_is_restored_for_any_player_that_joins(shard_settings: Settings) -> None:
    async with running(shard_settings) as shard:
        async with connect(shard.url) as client:
            await client.join("garden", name="home")
            await client.command("plant", {"x": 5.0})
        await eventually(lambda: len(shard.parts.host) == 0, what="the empty room is closed")
        async with connect(shard.url) as client:
            await eventually_joins(client, "garden", "home")
            await client.wait_for(lambda: flowers_of(client) == [5.0])


async def test_a_durable_room_moves_to_another_shard_when_its_own_has_stopped(shard_settings: Settings) -> None:
    async with running(shard_settings) as second:
        async with running(shard_settings) as first, connect(first.url) as client:
            await client.join("garden", name="home")
            await client.command("plant", {"x": 5.0})
        async with connect(second.url) as client:
            await client.join("garden", name="home")
            await client.wait_for(lambda: flowers_of(client) == [5.0])


async def test_a_join_on_the_wrong_shard_is_redirected_and_all_agree(shard_settings: Settings) -> None:
    async with (
        running(shard_settings) as first,
        running(shard_settings) as second,
        connect(first.url) as one,
        connect(second.url) as two,
    ):
        there = await one.join("garden", name="home")
        assert (await two.join("garden", name="home")).room_id == there.room_id
        assert two.url == first.url
        await two.command("plant", {"x": 9.0})
        await one.wait_for(lambda: flowers_of(one) == [9.0])
        await agree(one, two)


async def test_a_full_room_refuses_players_until_a_seat_is_released(shard: Shard) -> None:
    async with connect(shard.url) as one, connect(shard.url) as two, connect(shard.url) as three:
        await one.join("duel", name="final")
        await two.join("duel", name="final")
        with pytest.raises(Refused) as refused:
            await three.join("duel", name="final")
        assert (refused.value.error.code, refused.value.error.retryable) == (ErrorCode.ROOM_FULL, True)
        await one.leave()
        await eventually_joins(three, "duel", "final")


async def test_an_unknown_room_type_is_refused_and_named(shard: Shard) -> None:
    async with connect(shard.url) as client:
        with pytest.raises(
            Refused, match=r"'chess' is not hosted here; known are: .*diary, duel, estate, garden"
        ) as refused:
            await client.join("chess")
        assert refused.value.error.code is ErrorCode.NO_SUCH_ROOM_TYPE
        assert not refused.value.error.retryable
        await client.join("garden")


async def test_a_room_that_raises_ends_alone(shard: Shard) -> None:
    async with connect(shard.url) as unlucky, connect(shard.url) as other:
        await unlucky.join("garden", name="bad")
        await other.join("garden", name="good")
        await unlucky.send_input({"is_bad": 1.0})
        await unlucky.wait_for(lambda: unlucky.core.world is None)
        tick = other.world.tick
        await other.wait_for(lambda: other.core.acknowledged_seq == 0 and len(shard.parts.host) == 1)
        await other.send_input({"dx": 1.0})
        await other.wait_for(lambda: other.world.tick > tick)
        assert shard.parts.host.counters.room_errors.total() == 1
        await eventually_joins(unlucky, "garden", "bad")


async def test_a_room_that_cannot_be_made_or_joined_is_an_error_for_that_player_alone(shard: Shard) -> None:
    async with connect(shard.url) as client:
        for options in ({"is_bad": True}, {"is_bad_join": True}):
            with pytest.raises(Refused) as refused:
                await client.join("garden", name=f"made with {options}", options=options)
            assert refused.value.error.code is ErrorCode.ROOM_FAILED
        await client.join("garden")


async def test_a_player_that_the_game_refuses_gets_its_reason_and_the_seat_is_free(shard: Shard) -> None:
    async with connect(shard.url) as one, connect(shard.url) as two:
        await one.join("duel", name="members")
        for _ in range(3):  # more often than the room has seats
            with pytest.raises(Refused, match="members only") as refused:
                await two.join("duel", name="members", options={"is_stranger": True})
            assert (refused.value.error.code, refused.value.error.retryable) == (ErrorCode.COMMAND_FAILED, False)
        await eventually_joins(two, "duel", "members")
        await agree(one, two)


async def test_players_receive_goodbye_when_the_shard_stops(shard_settings: Settings) -> None:
    async with running(shard_settings) as shard:
        client = Client(shard.url, token="", build="test")
        await client.open()
        await client.join("garden")
    await eventually(lambda: not client.is_connected)
    assert client.close_code == 1001
    assert client.events[-1].name == "goodbye"
    await client.close()


async def test_metrics_and_health_follow_rooms_players_and_stores(shard: Shard) -> None:
    async with connect(shard.url) as client:
        await client.join("garden")
        await client.send_input({"dx": 1.0})
        await client.wait_for(lambda: client.core.acknowledged_seq == 1)
        metrics = await asyncio.to_thread(scrape, shard.parts.operations.port)
    assert metrics["tickwire_sessions"] == 1
    assert metrics['tickwire_rooms{type="garden"}'] == 1
    assert metrics['tickwire_joins_total{result="seated"}'] == 1
    assert metrics["tickwire_inputs_total"] == 1
    assert metrics["tickwire_ticks_total"] >= 1
    assert metrics["tickwire_resyncs_total"] == 0
    assert await asyncio.to_thread(readiness, shard.parts.operations.port) == (200, {"ready": True, "reasons": {}})


async def test_ended_sessions_leave_no_cycles_for_the_collector(shard: Shard) -> None:
    """The collector rarely looks for cycles, because its pauses delay ticks: ended sessions must leave none.

    A soak of fifteen minutes grew by 12 MB a minute because of such cycles.
    """
    gc.collect()
    gc.disable()
    try:
        for number in range(5):
            async with connect(shard.url) as client:
                await client.join("garden", name=f"room {number}")
                await client.send_input({"dx": 0.5})
                await client.command("plant", {"x": 1.0})
                await client.drop()
                await client.wait_for(lambda: client.is_connected)
                tick = client.world.tick
                await client.send_input({"dx": 0.5})
                await client.wait_for(lambda: client.world.tick > tick)  # noqa: B023
        for session in shard.parts.edge.registry:
            session.end("gone", counted_as="resume_window_over")
            del session
        await eventually(lambda: shard.parts.edge.connection_count == 0)
        await asyncio.sleep(0.1)
        left = Counter(type(one).__name__ for one in gc.get_objects() if issubclass(type(one), ServerSession | Seat))
        assert not left
    finally:
        gc.enable()
