"""A session outlives its connections: missed events arrive once and in order, and no command runs twice."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from tests.harness.polling import eventually
from tests.harness.raw_client import RawClient, hello, raw_client
from tests.harness.sample_rooms import Diary
from tests.harness.shard_process import running
from tests.harness.tokens import token_of, with_tokens
from tickwire.client.client import Client, ConnectionState, connect
from tickwire.limits import REPLIES_MAX
from tickwire.schemas.messages import (
    Command,
    Error,
    ErrorCode,
    Event,
    Goodbye,
    Hello,
    Input,
    Join,
    Joined,
    Ping,
    Pong,
    Reply,
    StateFrame,
    Welcome,
)
from tickwire.server.config import Settings
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.rooms.outbox import EVENTS_MAX
from tickwire.server.shard import Shard


@asynccontextmanager
async def raw(shard: Shard, hello: Hello) -> AsyncIterator[tuple[RawClient, Welcome]]:
    async with raw_client(shard.url, hello) as client:
        yield client, await client.next(Welcome)


def back(welcome: Welcome, **changes: Any) -> Hello:
    return hello(resume_token=welcome.resume_token, **changes)


def diary_of(shard: Shard) -> Diary:
    (simulation,) = shard.parts.host
    assert isinstance(simulation.room, Diary)
    return simulation.room


async def test_client_resumes_after_a_cut_and_the_room_runs_its_hooks(shard: Shard) -> None:
    async with connect(shard.url) as client, connect(shard.url) as other:
        me = (await client.join("diary")).entity
        await other.join("diary")
        for number in range(5):
            await client.drop()
            answer = await client.command("say", {"what": number, "times": 3})
            assert answer[1] == number + 1
        await client.wait_for(lambda: len([e for e in client.events if e.name == "said"]) == 15)
        said = [event.payload for event in client.events if event.name == "said"]
        assert said == [number for number in range(5) for _ in range(3)]
        sent = await client.send_input({"dx": 1.0})
        await client.wait_for(lambda: client.core.acknowledged_seq >= sent)
        assert client.world.table("walkers").entity(me)["x"] == 1.0
        await other.wait_for(lambda: other.world.table("walkers").entity(me)["x"] == 1.0)
        assert (client.resumes, client.sessions_lost) == (5, 0)
        assert client.core.mismatches == client.core.resyncs == client.core.events_missed == 0
        noted = diary_of(shard).noted
        assert noted[2:] == ["disconnect", "resume"] * 5
        assert len(diary_of(shard).runs) == 5
    assert shard.parts.edge.counters.resumes == {"resumed": 5}


async def test_a_resume_gets_a_delta_from_the_tick_it_names_or_a_keyframe(shard: Shard) -> None:
    async with connect(shard.url) as mover:
        await mover.join("diary")

        async def move() -> None:
            while True:
                await mover.send_input({"dx": 1 / 64})
                await asyncio.sleep(0.02)

        moving = asyncio.create_task(move())
        async with raw(shard, hello()) as (first, welcome):
            await first.say(Join("diary"))
            joined = await first.next(Joined)
            for _ in range(5):
                frame = await first.next(StateFrame)
            first.cut()
        async with raw(shard, back(welcome, room_id=joined.room_id, last_tick=frame.tick)) as (second, welcome):
            assert (welcome.generation, welcome.room_id) == (2, joined.room_id)
            delta = await second.next(StateFrame)
            assert delta.tick - delta.age == frame.tick
            second.cut()
        async with raw(shard, back(welcome, room_id=joined.room_id, last_tick=9999)) as (third, welcome):
            assert (await third.next(StateFrame)).age == 0
            third.cut()
        async with raw(shard, back(welcome)) as (fourth, _):
            assert (await fourth.next(Joined)).room_id == joined.room_id, (
                "a client that does not know its room receives Joined"
            )
            assert (await fourth.next(StateFrame)).age == 0
        moving.cancel()


async def test_newer_connection_replaces_the_older_one_whose_messages_are_ignored(shard: Shard) -> None:
    async with raw(shard, hello()) as (older, welcome):
        await older.say(Join("diary"), Ping(1))
        await older.next(Joined)
        older.socket.transport.pause_reading()  # it does not read the Error REPLACED
        async with raw(shard, back(welcome)) as (newer, again):
            assert (again.session_id, again.generation) == (welcome.session_id, 2)
            await newer.next(Joined)
            await older.say(Command(9, "do"), Input(99, 0, b"\x00" * 4))
            older.socket.transport.resume_reading()
            assert (await older.next(Goodbye)).code is ErrorCode.REPLACED
            assert await older.close_code() == 4501
            await newer.say(Ping(2))
            await newer.next(Pong)
    assert diary_of(shard).runs == []
    assert shard.parts.edge.counters.closed["replaced"] == 1


async def test_a_token_is_good_once_and_until_its_successor_has_arrived(shard: Shard) -> None:
    async with raw(shard, hello()) as (first, one):
        first.cut()
    async with raw(shard, back(one)) as (lost, two):  # as if this Welcome had never arrived
        lost.cut()
    async with raw(shard, back(one)) as (second, three):
        assert (three.session_id, three.generation) == (one.session_id, 3)
        await second.say(Ping(1, generation=3))
        await second.next(Pong)
        second.cut()
    for used in (one, two):
        async with raw(shard, back(used)) as (_, other):
            assert other.session_id != one.session_id
            assert other.generation == 1
    async with raw(shard, back(three)) as (_, four):
        assert four.session_id == one.session_id
    async with raw(shard, hello(resume_token=f"{one.session_id}.guessed")) as (_, other):
        assert other.session_id != one.session_id
    assert shard.parts.edge.counters.resumes == {"resumed": 3, "unknown": 3}


async def test_after_the_resume_window_the_player_leaves_and_the_session_is_new(shard_settings: Settings) -> None:
    edge = EdgeSettings(resume_window_s=0.3)
    async with running(msgspec.structs.replace(shard_settings, edge=edge)) as shard, connect(shard.url) as keeper:
        await keeper.join("diary")
        async with raw(shard, hello()) as (first, welcome):
            assert welcome.resume_window_ms == 300
            await first.say(Join("diary"))
            await first.next(Joined)
            first.cut()
        await eventually(lambda: diary_of(shard).noted[-2:] == ["disconnect", "leave"])
        async with raw(shard, back(welcome)) as (_, again):
            assert (again.generation, again.room_id) == (1, "")
        assert shard.parts.edge.counters.ended["resume_window_over"] == 1


async def test_a_repeated_command_is_answered_alike_and_one_too_old_is_not_run(shard: Shard) -> None:
    async with raw(shard, hello()) as (first, welcome):
        await first.say(Join("diary"))
        await first.next(Joined)
        await first.say(Command(5, "do", msgspec.msgpack.encode("once")))
        reply = await first.next(Reply)
        first.cut()
    async with raw(shard, back(welcome)) as (second, _):
        await second.say(Command(5, "do", msgspec.msgpack.encode("once")))
        assert await second.next(Reply) == reply
        for start in range(10, 10 + REPLIES_MAX, 64):
            await second.say(*(Command(number, "do") for number in range(start, start + 64)))
            await asyncio.sleep(1.0)  # the rate of messages is limited
        await second.say(Command(5, "do", msgspec.msgpack.encode("once")), Command(7, "do"))
        replies = []
        async with asyncio.timeout(20):
            while len(replies) < REPLIES_MAX + 2:
                replies.append(await second.next(Reply))
        assert [(r.id, r.error) for r in replies[-2:]] == [
            (5, ErrorCode.COMMAND_TOO_OLD),
            (7, ErrorCode.INTERNAL),
        ], "7 is above all that were forgotten"
        assert diary_of(shard).runs.count("once") == 1


async def test_discarded_events_are_reported_on_resume(shard: Shard) -> None:
    async with raw(shard, hello()) as (first, welcome):
        await first.say(Join("diary"))
        await first.next(Joined)
        first.cut()
    await eventually(lambda: diary_of(shard).noted[-1] == "disconnect")
    (player,) = diary_of(shard).players.values()
    for number in range(EVENTS_MAX + 10):
        player.send("noise", number)
    async with raw(shard, back(welcome, last_event=1)) as (second, _):
        error = await second.next(Error)
        assert error.code is ErrorCode.RESYNC
        events = [await second.next(Event) for _ in range(EVENTS_MAX)]
        assert [event.number for event in events] == list(range(12, EVENTS_MAX + 12))


async def test_join_completes_while_its_player_is_disconnected(shard: Shard) -> None:
    async with raw(shard, hello()) as (first, welcome):
        await first.say(Join("diary"))
        first.cut()
    await eventually(lambda: bool(shard.parts.host) and diary_of(shard).noted == ["join", "disconnect"])
    async with raw(shard, back(welcome)) as (second, again):
        assert again.room_id
        assert (await second.next(Joined)).room_id == again.room_id


async def test_a_room_that_closed_meanwhile_is_a_seat_lost(shard: Shard) -> None:
    async with connect(shard.url) as client:
        room_id = (await client.join("diary")).room_id
        await client.drop()
        shard.parts.host.close(room_id, "over")
        await client.wait_for(lambda: client.resumes == 1 and client.is_connected)
        assert client.core.joined is None
        assert client.state is ConnectionState.CONNECTED
        await client.join("diary")


async def test_a_resume_token_is_worthless_to_another_player(shard_settings: Settings) -> None:
    async with running(with_tokens(shard_settings, guests=False)) as shard:
        async with raw(shard, hello(token=token_of("alice"))) as (first, welcome):
            first.cut()
        async with raw(shard, back(welcome, token=token_of("mallory"))) as (_, other):
            assert other.session_id != welcome.session_id
        async with raw(shard, back(welcome, token=token_of("alice"))) as (_, again):
            assert again.session_id == welcome.session_id
        assert shard.parts.edge.counters.resumes == {"other_player": 1, "resumed": 1}


@pytest.mark.parametrize("policy", ["replace", "refuse", "allow"])
async def test_a_player_in_two_sessions_is_a_policy(shard_settings: Settings, policy: Any) -> None:
    async with (
        running(with_tokens(shard_settings, guests=False, duplicate_sessions=policy)) as shard,
        raw(shard, hello(token=token_of("alice"))) as (first, _),
        raw_client(shard.url, hello(token=token_of("alice"))) as second,
    ):
        answer = await second.next(Welcome | Error)
        if policy == "refuse":
            assert answer.code is ErrorCode.ALREADY_CONNECTED
            assert await second.close_code() == 4503
        else:
            assert isinstance(answer, Welcome)
        if policy == "replace":
            assert (await first.next(Goodbye)).code is ErrorCode.REPLACED
            assert await first.close_code() == 4501
        else:
            await first.say(Ping(3))
            assert (await first.next(Pong)).client_time_us == 3


async def test_replaced_client_does_not_reconnect(shard_settings: Settings) -> None:
    async with running(with_tokens(shard_settings, guests=False)) as shard:
        first = Client(shard.url, token=token_of("alice"))
        await first.open()
        async with connect(shard.url, token=token_of("alice")):
            await eventually(lambda: first.state is ConnectionState.CLOSED)
        assert first.close_code == 4501
        await first.close()


async def test_a_connection_that_ended_leaves_nothing_to_the_collector(shard: Shard) -> None:
    """Connections come and go by the thousand; cycles of them made the memory of a long soak grow."""
    gc.collect()
    gc.disable()
    try:
        async with raw(shard, hello()) as (first, welcome):
            (connection,) = shard.parts.edge.connections
            library = weakref.ref(connection._library)
            del connection
            await first.say(Join("diary"))
            await first.next(Joined)
            first.cut()
        async with raw(shard, back(welcome)) as (second, _):
            await second.next(Joined)
            await eventually(lambda: library() is None, what="the first connection is freed")
    finally:
        gc.enable()
