"""Which clients are considered lost: a silent path is; a hidden tab is not, and a stopped shard blames no client."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.typing import Subprotocol

from tests.harness.polling import eventually
from tests.harness.shard_process import ShardProcess, running
from tickwire.schemas import SCHEMA_VERSION, SUBPROTOCOL
from tickwire.schemas.codec import decode_server, encode_client
from tickwire.schemas.messages import Hello, Ping, Pong, Welcome
from tickwire.server.config import Settings
from tickwire.server.edge.settings import SILENT_INTERVALS_MAX, EdgeSettings

QUICK = EdgeSettings(heartbeat_interval_s=0.3)


@asynccontextmanager
async def welcomed(url: str) -> AsyncIterator[ClientConnection]:
    """A WebSocket that sends a Hello and nothing else; like a browser, it answers WebSocket pings by itself."""
    protocols = [Subprotocol(SUBPROTOCOL)]
    async with open_websocket(url, subprotocols=protocols, ping_interval=None, close_timeout=1) as ws:
        await ws.send(encode_client(Hello(SCHEMA_VERSION, "test")))
        data = await asyncio.wait_for(ws.recv(), 20)
        assert isinstance(data, bytes)
        assert isinstance(decode_server(data), Welcome)
        yield ws


def test_a_lost_path_is_noticed_within_ten_seconds_and_below_the_idle_limits_of_proxies() -> None:
    interval_s = EdgeSettings().heartbeat_interval_s
    assert SILENT_INTERVALS_MAX * interval_s + 1.0 <= 10.0
    assert SILENT_INTERVALS_MAX * interval_s > interval_s + 5.0, "a network that holds all back for 5 s is not lost"


async def test_a_client_that_only_answers_pings_stays_connected(shard_settings: Settings) -> None:
    async with running(msgspec.structs.replace(shard_settings, edge=QUICK)) as shard:
        async with welcomed(shard.url) as hidden_tab:
            await asyncio.sleep(QUICK.heartbeat_interval_s * SILENT_INTERVALS_MAX * 3)
            await hidden_tab.send(encode_client(Ping(7)))
            data = await asyncio.wait_for(hidden_tab.recv(), 20)
            assert isinstance(data, bytes)
            assert isinstance(decode_server(data), Pong)
        assert not shard.parts.edge.counters.closed["silent"]


async def test_silent_path_loss_is_detected_and_the_session_is_kept(shard_settings: Settings) -> None:
    async with running(msgspec.structs.replace(shard_settings, edge=QUICK)) as shard, welcomed(shard.url) as lost:
        lost.transport.pause_reading()  # pings are not read, and no pong is sent
        await eventually(lambda: shard.parts.edge.counters.closed["silent"] == 1)
        await eventually(lambda: shard.parts.edge.registry.disconnected_count == 1)
        lost.transport.abort()


async def test_shard_that_was_paused_closes_no_connection_as_silent(shard_settings: Settings, tmp_path: Path) -> None:
    environ = {"TICKWIRE__EDGE__HEARTBEAT_INTERVAL_S": "2"}
    shard = ShardProcess(shard_settings, tmp_path, environ=environ)
    try:
        await shard.ready()
        async with welcomed(shard.url) as held:
            held.transport.pause_reading()  # what it sends by itself, the pongs, does not arrive in time either
            await asyncio.sleep(0.5)  # the shard has noted that the Hello arrived
            shard.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(2 * SILENT_INTERVALS_MAX + 1)
            shard.process.send_signal(signal.SIGCONT)
            await asyncio.sleep(1)  # the shard looks after its time limits before anything arrives
            held.transport.resume_reading()
            await held.send(encode_client(Ping(7)))
            data = await asyncio.wait_for(held.recv(), 20)
            assert isinstance(data, bytes)
            assert isinstance(decode_server(data), Pong)
    finally:
        shard.stop()
