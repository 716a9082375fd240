"""Peers that send too much: each is bounded and counted, keeps its session, and costs the other players nothing."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.harness.polling import eventually
from tests.harness.raw_peer import HELLO, REQUEST, STRANGER, RawPeer, frame, raw_peer
from tests.harness.sample_rooms import Warehouse
from tests.harness.shard_process import ShardProcess, running
from tests.harness.tick_meter import TickMeter
from tickwire.client.client import Client, connect
from tickwire.schemas import SCHEMA_VERSION
from tickwire.schemas.codec import encode_client, encode_input
from tickwire.schemas.messages import (
    Command,
    Error,
    ErrorCode,
    Goodbye,
    Hello,
    Join,
    Joined,
    MatchRequest,
    Ping,
    Reply,
    Welcome,
)
from tickwire.server.config import Settings
from tickwire.server.edge.addresses import MESSAGE_TOKENS, REQUEST_TOKENS
from tickwire.server.edge.close_codes import SessionCloseCode
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.shard import Shard


async def send_until(peer: RawPeer, data: bytes, is_over: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Send the same bytes as fast as the server takes them."""
    async with asyncio.timeout(timeout_s):
        while not is_over():
            try:
                peer.writer.write(data)
                async with asyncio.timeout(0.05):
                    await peer.writer.drain()
            except TimeoutError:
                continue
            except ConnectionError:
                break
    await eventually(is_over)


def waiting_bytes(shard: Shard) -> int:
    """The most that waits for any one client."""
    return max((connection.backlog_bytes for connection in shard.parts.edge.connections), default=0)


@pytest.fixture
async def bystander(shard: Shard) -> AsyncIterator[Client]:
    """Somebody who plays on; checked at the end."""
    async with connect(shard.url) as client:
        joined = await client.join("garden")
        meter = TickMeter(shard, joined.tick_rate_hz)
        yield client
        meter.check()
        tick = client.world.tick
        await client.send_input({"dx": 1.0})
        await client.wait_for(lambda: client.world.tick > tick)
        assert client.resumes == client.core.mismatches == client.core.resyncs == client.core.events_missed == 0


def with_edge(settings: Settings, **changes: Any) -> Settings:
    return msgspec.structs.replace(settings, edge=EdgeSettings(**changes))


FLOODS = {
    "pings": frame(b"x" * 100, 0x89),
    "empty pings": frame(b"", 0x89),
    "pongs": frame(b"x" * 100, 0x8A),
    "messages": frame(encode_client(Ping(7))),
    "empty fragments": frame(b"", 0x00),
    "fragments": frame(b"x", 0x00),
}


# -- one connection --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pings", "pongs"])
async def test_a_stranger_that_floods_before_its_hello_is_dropped_and_counted(
    shard: Shard, bystander: Client, kind: str
) -> None:
    async with raw_peer(shard, first=b"") as peer:
        await send_until(peer, FLOODS[kind] * 1000, lambda: peer.is_lost)
    assert shard.parts.edge.counters.closed["flood"] == 1
    assert shard.parts.edge.counters.other_frames < 500, "it ended when the first second's worth was used up"


@pytest.mark.parametrize("first", [b"", REQUEST + b"\x82\xfe\x10\x00"], ids=["request", "frame"])
async def test_a_stranger_that_sends_byte_by_byte_is_dropped_and_counted(
    shard: Shard, bystander: Client, first: bytes
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", shard.parts.edge.port, local_addr=(STRANGER, 0))
    writer.write(first)

    async def dribble() -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.001)

    dribbling = asyncio.create_task(dribble())
    await eventually(lambda: shard.parts.edge.counters.closed["flood"] == 1)
    dribbling.cancel()
    writer.transport.abort()


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_of_any_frames_ends_the_connection_and_not_the_session(
    shard: Shard, bystander: Client, kind: str
) -> None:
    first = frame(HELLO) + (frame(b"x", 0x02) if "fragments" in kind else b"")
    async with raw_peer(shard, first=first) as peer:
        before = shard.parts.edge.counters.messages_received
        started_s = asyncio.get_running_loop().time()
        await send_until(peer, FLOODS[kind] * 1000, lambda: peer.close_code or peer.is_lost)
        duration_s = asyncio.get_running_loop().time() - started_s
    counters, rate = shard.parts.edge.counters, EdgeSettings().messages_per_second_max
    assert peer.close_code == 4004
    assert [error.code for error in peer.of(Error)][-1:] == [ErrorCode.RATE_LIMITED]
    assert counters.closed["flood"] == 1
    assert counters.throttled["connection"] > 0
    handled = counters.other_frames + counters.messages_received - before
    assert handled < rate * (duration_s + 2) + 200, "no more than the rate, whatever was sent"
    assert counters.bytes_received < 1 << 20, "what is not handled is not read"
    await eventually(lambda: shard.parts.edge.registry.disconnected_count == 1, what="the session can be resumed")


@pytest.mark.parametrize("kind", ["pings", "messages"])
async def test_a_flooder_that_reads_nothing_has_no_answers_queued(shard_settings: Settings, kind: str) -> None:
    buffer_bytes = 4096
    settings = with_edge(
        shard_settings,
        send_buffer_bytes=buffer_bytes,
        write_buffer_bytes_max=buffer_bytes,
        messages_per_second_max=2_000,
        bytes_per_second_max=1 << 20,
    )
    async with running(settings) as shard, raw_peer(shard) as peer:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        peer._reading.cancel()
        most = 0

        def is_over() -> bool:
            nonlocal most
            most = max(most, waiting_bytes(shard))
            return bool(shard.parts.edge.counters.closed["flood"])

        await send_until(peer, FLOODS[kind] * 1000, is_over)
        assert shard.parts.edge.counters.rejected["ping_congested"] > 1_000
    assert buffer_bytes < most < 2 * buffer_bytes + 1024


async def test_a_peer_that_reads_no_answers_is_closed_as_a_slow_consumer(shard_settings: Settings) -> None:
    settings = with_edge(shard_settings, send_buffer_bytes=4096, write_buffer_bytes_max=8192)
    async with running(settings) as shard, raw_peer(shard, first=frame(HELLO)) as peer:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        peer._reading.cancel()
        unknown = frame(encode_client(Command(1, "x" * 60)))
        counters = shard.parts.edge.counters
        async with asyncio.timeout(60):
            while not counters.closed["slow_consumer"]:
                peer.writer.write(unknown * 50)  # each is answered: it is in no room
                await asyncio.sleep(0.5)
                assert waiting_bytes(shard) < 3 * 8192
        assert not counters.closed["flood"], "it stayed below its limit"


async def test_messages_after_a_close_frame_are_not_read_and_the_peer_sees_the_close(
    shard: Shard, bystander: Client
) -> None:
    async with raw_peer(shard) as peer:
        session = shard.parts.edge.registry.get(peer.of(Welcome)[0].session_id)
        assert session is not None
        before = shard.parts.edge.counters.bytes_received
        session.close(SessionCloseCode.GOING_AWAY, "a test", counted_as="test")
        await send_until(peer, frame(b"whatever") * 1000, lambda: peer.is_lost)
        assert shard.parts.edge.counters.bytes_received - before < 1 << 20
        assert peer.close_code == SessionCloseCode.GOING_AWAY
    assert shard.parts.edge.counters.throttled["connection"] == 1


async def test_three_hundred_commands_at_once_are_all_answered(shard: Shard) -> None:
    async with raw_peer(shard, first=frame(HELLO) + frame(encode_client(Join("garden")))) as peer:
        await eventually(lambda: bool(peer.of(Joined)))
        for id in range(1, 301):
            peer.writer.write(frame(encode_client(Command(id, "planted"))))
        await eventually(lambda: len(peer.of(Reply)) == 300)
        assert all(reply.ok for reply in peer.of(Reply))
        assert not peer.of(Error)


# -- one address -----------------------------------------------------------------------------------------------


async def test_connections_of_an_address_share_a_limit_that_does_not_affect_others(
    shard_settings: Settings,
) -> None:
    limit = 500
    settings = with_edge(shard_settings, messages_per_second_per_address_max=limit)
    async with running(settings) as shard, connect(shard.url) as bystander:
        await bystander.join("garden")
        counters = shard.parts.edge.counters
        async with AsyncExitStack() as stack:
            peers = [await stack.enter_async_context(raw_peer(shard)) for _ in range(20)]
            before, started_s = counters.messages_received, asyncio.get_running_loop().time()
            sent = 0
            while asyncio.get_running_loop().time() - started_s < 3:
                for peer in peers:
                    peer.writer.write(frame(encode_client(Ping(7))) * 5)
                sent += 5 * len(peers)
                await asyncio.sleep(0.1)  # 50 messages a second each, within the limit of a connection
            await eventually(lambda: counters.throttled["address"] > 0)
            duration_s = asyncio.get_running_loop().time() - started_s
            handled = counters.messages_received - before
            assert sent > handled
            assert handled < limit * (duration_s + 1) / (1 + MESSAGE_TOKENS) + 50
            assert not counters.throttled["connection"]
            assert not counters.closed["flood"], "it may be a school"
            before = bystander.world.tick
            await bystander.wait_for(lambda: bystander.world.tick > before + 5)


async def test_queue_request_flood_of_one_address_is_throttled_without_delaying_others(
    shard_settings: Settings,
) -> None:
    limit = 2_000
    settings = with_edge(
        shard_settings, messages_per_second_per_address_max=limit, joins_per_minute_max=1_000, resume_window_s=1.0
    )
    requests = frame(encode_client(MatchRequest("versus"))) + frame(encode_client(MatchRequest("trios")))
    async with running(settings) as shard, connect(shard.url) as bystander:
        await bystander.join("garden")
        counters = shard.parts.edge.counters
        async with AsyncExitStack() as stack:
            peers = [await stack.enter_async_context(raw_peer(shard)) for _ in range(100)]
            before, started_s = counters.messages_received, asyncio.get_running_loop().time()
            for peer in peers:
                peer.writer.write(requests * 60)
            await eventually(lambda: counters.messages_received - before > 200, 30)
            duration_s = asyncio.get_running_loop().time() - started_s
            handled = counters.messages_received - before
            assert handled < limit * (duration_s + 1) / (1 + MESSAGE_TOKENS + REQUEST_TOKENS) + 100
            assert counters.throttled["address"] > 0
            tick = bystander.world.tick
            await bystander.wait_for(lambda: bystander.world.tick > tick + 5)
        await eventually(
            lambda: len(shard.parts.queue_service) == 0, 20, "their places have ended with their sessions"
        )


async def test_an_address_gets_a_limited_number_of_handshakes(shard_settings: Settings) -> None:
    settings = with_edge(shard_settings, handshakes_per_second_max=4, admission_timeout_s=2)
    async with running(settings) as shard:

        async def status() -> str:
            reader, writer = await asyncio.open_connection("127.0.0.1", shard.parts.edge.port)
            writer.write(REQUEST)
            try:
                answer = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode()
            except (ConnectionError, asyncio.IncompleteReadError):
                answer = ""  # refused before its request was there
            writer.transport.abort()
            return answer.partition("\r\n")[0].partition(" ")[2]

        statuses = Counter(await asyncio.gather(*(status() for _ in range(30))))
        assert statuses["101 Switching Protocols"] >= 4
        assert set(statuses) <= {"429 Too Many Requests", "", "101 Switching Protocols"}
        assert shard.parts.edge.counters.refused["address_handshakes"] >= 4
        async with raw_peer(shard):
            pass  # another address


async def test_eight_guests_that_flood_a_chat_are_limited_and_close_none_of_its_readers(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """110 lines a second each, for 28 players: below the rate of a connection, above what a room sends for them.

    The limit is low, so that a slow machine exceeds it, too.
    """
    monkeypatch.setattr(Warehouse, "fan_out_max", 500.0)
    join, rate = frame(HELLO) + frame(encode_client(Join("warehouse", "hall"))), 110
    line = msgspec.msgpack.encode(20)
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(connect(shard.url)) for _ in range(20)]
        for reader in readers:
            await reader.join("warehouse", name="hall")
        guests = [await stack.enter_async_context(raw_peer(shard, first=join)) for _ in range(8)]
        await eventually(lambda: all(guest.of(Joined) for guest in guests))
        (room,) = shard.parts.host
        assert len(room.seats) == 28
        counters, sent = shard.parts.host.counters, 0
        started_s = asyncio.get_running_loop().time()
        while (passed_s := asyncio.get_running_loop().time() - started_s) < 3.0:
            for number in range(sent, int(passed_s * rate)):
                for guest in guests:
                    guest.writer.write(frame(encode_client(Command(number + 1, "tell", line))))
                sent = number + 1
            await asyncio.sleep(0.02)
        for guest in guests:
            await eventually(lambda guest=guest: len(guest.of(Reply)) == sent, 20)
            replies = guest.of(Reply)
            assert ErrorCode.RATE_LIMITED in {reply.error for reply in replies if not reply.ok}
            budget = Warehouse.fan_out_max * (1 + asyncio.get_running_loop().time() - started_s)
            assert sum(reply.ok for reply in replies) <= 1 + budget / len(room.seats)
        assert counters.fan_out_refusals > 0
        for reader in readers:
            assert reader.is_connected
            assert (reader.resumes, reader.core.events_missed) == (0, 0), (
                "no reader is closed because of other players' messages"
            )
        assert not shard.parts.edge.counters.closed["slow_consumer"]


# -- networks and shards that stall ----------------------------------------------------------------------------


async def test_a_shard_that_was_stopped_for_five_seconds_loses_none_of_its_players(
    shard_settings: Settings, tmp_path: Path
) -> None:
    shard = ShardProcess(shard_settings, tmp_path)
    try:
        await shard.ready()
        async with connect(shard.url) as client:
            await client.join("garden")
            shard.process.send_signal(signal.SIGSTOP)
            until_s = asyncio.get_running_loop().time() + 5.0
            while asyncio.get_running_loop().time() < until_s:
                await client.send_input({"dx": 1.0})
                await asyncio.sleep(1 / 60)
            shard.process.send_signal(signal.SIGCONT)
            last = await client.send_input({"dx": 0.5})
            await client.wait_for(lambda: client.acknowledged_seq >= last)
            assert client.resumes == 0
    finally:
        shard.stop()


async def test_network_stall_of_five_seconds_closes_no_connection(shard: Shard, bystander: Client) -> None:
    async with raw_peer(shard, first=frame(HELLO) + frame(encode_client(Join("garden")))) as peer:
        await eventually(lambda: bool(peer.of(Joined)))
        await asyncio.sleep(2)  # it plays: the limit must not depend on a long silence before
        size = sum(-(-field.bits // 8) for field in peer.of(Joined)[0].description.inputs)
        payload = bytes(-(-size // 4) * 4)
        await asyncio.sleep(5)
        peer.writer.write(b"".join(frame(encode_input(seq, 1, payload)) for seq in range(1, 301)))
        peer.writer.write(frame(encode_client(Command(1, "planted"))))
        await eventually(lambda: bool(peer.of(Reply)))
        assert not peer.of(Goodbye)
        assert not peer.of(Error)
        assert shard.parts.edge.counters.throttled["connection"] == 0, "it was handled at once"


async def test_hellos_of_strangers_end_no_session_of_a_seated_player_nor_of_another_address(
    shard_settings: Settings,
) -> None:
    settings = with_edge(shard_settings, connections_max=20, connections_per_address_max=15)
    seated_address, lobby_address = "127.0.0.3", "127.0.0.4"
    async with running(settings) as shard:
        join = frame(HELLO) + frame(encode_client(Join("garden")))
        async with raw_peer(shard, first=join, address=seated_address) as seated:
            await eventually(lambda: bool(seated.of(Joined)))
        async with raw_peer(shard, address=lobby_address) as lobby:
            pass
        await eventually(lambda: shard.parts.edge.registry.disconnected_count == 2)
        for _ in range(60):
            async with raw_peer(shard):
                pass
        await eventually(lambda: shard.parts.edge.counters.ended["evicted"] >= 40)
        for away, address, has_seat in ((seated, seated_address, True), (lobby, lobby_address, False)):
            before = away.of(Welcome)[0]
            resume = frame(encode_client(Hello(SCHEMA_VERSION, resume_token=before.resume_token)))
            async with raw_peer(shard, first=resume, address=address) as again:
                welcome = again.of(Welcome)[0]
                assert (welcome.session_id, welcome.generation) == (before.session_id, 2)
                assert bool(welcome.room_id) == has_seat
