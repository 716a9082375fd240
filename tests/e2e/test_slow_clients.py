"""A client that stops reading does not delay other clients, uses no server memory, and ends with the right world."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from tests.harness.lightweight_clients import crowd
from tests.harness.polling import eventually
from tests.harness.raw_peer import HELLO, frame, raw_peer
from tests.harness.shard_process import running
from tests.harness.tick_meter import TickMeter
from tickwire.client.client import Client
from tickwire.schemas.codec import encode_client
from tickwire.schemas.messages import Join, Joined, Rate
from tickwire.server.config import Settings
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.rooms import send_rate
from tickwire.server.shard import Shard

SMALL = EdgeSettings(send_buffer_bytes=4096, write_buffer_bytes_max=8192, messages_per_second_max=1000)
FRAME_BYTES_MAX = 4096


async def slow_client(shard: Shard) -> Client:
    """A client in the crowd's room whose kernel takes little."""
    client = Client(shard.url)
    await client.open()
    raw = transport_of(client).get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    await client.join("pulse", name="crowd")
    await client.wait_for(lambda: client.ticks_received > 3)
    return client


def transport_of(client: Client) -> Any:
    assert client._session._socket is not None
    return client._session._socket._websocket.transport


def waiting_bytes(shard: Shard) -> int:
    """The most that waits for any one client."""
    connections = list(shard.parts.edge.connections)
    return max(c._transport.get_write_buffer_size() for c in connections if c._transport is not None)


async def test_one_client_that_stops_reading_does_not_delay_two_hundred_others(shard_settings: Settings) -> None:
    edge = msgspec.structs.replace(SMALL, write_buffer_bytes_max=8192)
    async with (
        running(msgspec.structs.replace(shard_settings, edge=edge)) as shard,
        crowd(shard.parts.edge.port, 200, dots=300) as watchers,
    ):
        client = await slow_client(shard)
        steps = shard.parts.host.counters.slow_clients
        transport_of(client).pause_reading()
        (runtime,) = shard.parts.host
        first, begun = runtime.tick, [watcher.ticks for watcher in watchers]  # seated one after another
        most = 0
        for rung in ("coalesced", "halved", "keyframes"):
            while not steps[rung]:
                most = max(most, waiting_bytes(shard))
                await asyncio.sleep(0.05)
        for _ in range(20):
            most = max(most, waiting_bytes(shard))
            await asyncio.sleep(0.05)
        assert 8192 < most < 8192 + FRAME_BYTES_MAX, "no more than one frame above the mark"
        transport_of(client).resume_reading()
        await client.wait_for(lambda: client.core.rate.keyframes_only, 30)
        assert runtime.room.tick_rate_hz == 20
        await client.wait_for(lambda: client.core.rate == Rate(1), 60)  # after 120 ticks
        assert steps["raised"] == 2
        assert client.core.mismatches == client.core.resyncs == 0
        assert client.resumes == 0, "it was never closed"
        before = client.world.tick
        await client.wait_for(lambda: client.world.tick >= before + 10)
        ticked = runtime.tick - first
        pairs = list(zip(watchers, begun, strict=True))
        await eventually(lambda: all(watcher.ticks - before >= ticked for watcher, before in pairs))
        await client.close()


async def test_two_hundred_clients_that_read_nothing_use_bounded_memory_and_delay_no_tick(
    shard_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_rate, "SLOW_S_MAX", 2.0)
    count, first = 200, frame(HELLO) + frame(encode_client(Join("pulse", "crowd")))
    async with (
        running(msgspec.structs.replace(shard_settings, edge=SMALL)) as shard,
        crowd(shard.parts.edge.port, 5),  # it checks that each of these receives every tick
        AsyncExitStack() as stack,
    ):
        for _ in range(count):
            peer = await stack.enter_async_context(raw_peer(shard, first=first))
            await eventually(lambda peer=peer: bool(peer.of(Joined)))
            raw = peer.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        (runtime,) = shard.parts.host
        counters, meter, most = shard.parts.edge.counters, TickMeter(shard, runtime.room.tick_rate_hz), 0
        async with asyncio.timeout(60):
            while counters.closed["slow_consumer"] < count:
                most = max(most, waiting_bytes(shard))
                await asyncio.sleep(0.05)
        assert most < 8192 + FRAME_BYTES_MAX, "no more than one frame above the mark, for each of them"
        meter.check()
        await eventually(lambda: shard.parts.edge.registry.disconnected_count == count, 20, "they can resume")


async def test_client_that_stops_reading_is_closed_and_can_resume(
    shard_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_rate, "SLOW_S_MAX", 1.0)
    async with (
        running(msgspec.structs.replace(shard_settings, edge=SMALL)) as shard,
        crowd(shard.parts.edge.port, 5),
    ):
        client = await slow_client(shard)
        transport_of(client).pause_reading()
        await eventually(lambda: shard.parts.edge.counters.closed["slow_consumer"] == 1)
        assert shard.parts.host.counters.slow_clients["closed"] == 1
        transport_of(client).resume_reading()
        await client.wait_for(lambda: client.resumes == 1 and client.is_connected)
        before = client.ticks_received
        await client.wait_for(lambda: client.ticks_received > before + 10)
        assert client.core.mismatches == client.core.resyncs == client.core.events_missed == 0
        await client.close()
