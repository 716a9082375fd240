"""The Python client on networks that die or stall, against a real shard; released seats and unsent messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
import pytest

from tests.harness.shard_process import running
from tests.harness.tcp_proxy import TcpProxy
from tickwire.client.client import Client, MessageTooLarge, NotMatched, connect
from tickwire.client.heartbeat import UNANSWERED_PINGS_MAX, Heartbeat, ping_interval_ms
from tickwire.client.updates import ReplyReceived, Update
from tickwire.schemas.messages import Reply
from tickwire.server.config import Settings
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.shard import Shard


@pytest.fixture
async def shard(shard_settings: Settings) -> AsyncIterator[Shard]:
    """A shard with the server's own settings for connections: heartbeats are those of production."""
    async with running(
        msgspec.structs.replace(shard_settings, rooms=["tests.harness.sample_rooms", "tickwire.examples.market"])
    ) as made:
        yield made


def url_of(proxy: TcpProxy) -> str:
    return f"ws://127.0.0.1:{proxy.port}"


async def plays_on(client: Client) -> None:
    """Return once an input of now is part of the world."""
    seq = await client.send_input({"dx": 0.1})
    assert seq
    await client.wait_for(lambda: client.acknowledged_seq >= seq)


def test_client_notices_a_lost_path_within_ten_seconds() -> None:
    interval_ms = ping_interval_ms(int(EdgeSettings().heartbeat_interval_s * 1000))
    assert (UNANSWERED_PINGS_MAX + 1) * interval_ms <= 10_000


async def test_path_that_dies_silently_is_noticed_after_two_pings_and_the_session_is_the_same(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TcpProxy(shard.parts.edge.port) as proxy, connect(url_of(proxy)) as client:
        joined = await client.join("garden", name="home")
        await plays_on(client)
        proxy.drop_silently()
        pings = 0
        record_ping = Heartbeat.record_ping

        def counted(heartbeat: Heartbeat) -> bool:
            nonlocal pings
            pings += not client.resumes
            return record_ping(heartbeat)

        monkeypatch.setattr(Heartbeat, "record_ping", counted)
        await client.wait_for(lambda: client.resumes == 1, 40)
        assert UNANSWERED_PINGS_MAX + 1 <= pings <= UNANSWERED_PINGS_MAX + 2, "the last one is not sent"
        assert client.core.joined is not None
        assert (client.core.joined.room_id, client.sessions_lost, proxy.connections) == (joined.room_id, 0, 2)
        await plays_on(client)
        assert client.core.mismatches == client.core.events_missed == 0


async def test_queued_player_keeps_its_position_after_a_silent_path_loss(shard: Shard) -> None:
    async with (
        TcpProxy(shard.parts.edge.port) as proxy,
        connect(url_of(proxy)) as client,
        connect(shard.url) as other,
    ):
        waiting = asyncio.create_task(client.match("versus"))
        await client.wait_for(lambda: client.queue_status is not None)
        proxy.drop_silently()
        await client.wait_for(lambda: client.resumes == 1, 20)
        joined = await asyncio.gather(waiting, other.match("versus"))
        assert joined[0].room_id == joined[1].room_id


async def test_network_stall_of_five_seconds_keeps_session_and_world(shard: Shard) -> None:
    """And then delivers it at once, inputs at the rate that Welcome names among it."""
    async with TcpProxy(shard.parts.edge.port) as proxy, connect(url_of(proxy)) as client:
        await client.join("garden")
        await plays_on(client)
        proxy.stall()
        until_s = time.monotonic() + 5.0
        while time.monotonic() < until_s:
            assert await client.send_input({"dx": 0.01})
            await asyncio.sleep(1 / 60)
        proxy.deliver()
        await plays_on(client)
        assert (client.resumes, client.sessions_lost, proxy.connections) == (0, 0, 1)


async def test_client_that_closes_releases_its_seat_and_queue_position_at_once(shard: Shard) -> None:
    async with connect(shard.url) as other:
        client = Client(shard.url)
        await client.open()
        await client.join("garden", name="home")
        waiting = asyncio.create_task(client.match("versus"))
        await client.wait_for(lambda: client.queue_status is not None)
        await client.close()
        await asyncio.wait([waiting])
        assert len(shard.parts.edge.registry) == 1
        assert not any(simulation.seats for simulation in shard.parts.host)
        with pytest.raises((TimeoutError, NotMatched)):
            await other.match("versus", timeout_s=2.0)


async def test_three_hundred_commands_at_once_are_all_answered_once(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(shard.url) as client:
        await client.join("market", name="home", options={"name": "ann"})
        replies: list[Reply] = []
        receive = client.core.receive

        def note(data: bytes, *, now_us: int) -> Update | None:
            update = receive(data, now_us=now_us)
            if isinstance(update, ReplyReceived):
                replies.append(update.reply)
            return update

        monkeypatch.setattr(client.core, "receive", note)
        earned = await asyncio.gather(*(client.command("work", timeout_s=60) for _ in range(300)))
        assert earned == [10] * 300
        assert await client.command("purse") == {"gold": 3000}
        assert (client.resumes, client.is_connected) == (0, True)
        assert [reply.error for reply in replies if not reply.ok] == [], "the client stays below the limits"
        assert len(replies) == 301


async def test_command_above_the_servers_limit_is_refused_locally_and_the_session_continues(shard: Shard) -> None:
    limit = shard.settings.edge.message_bytes_max
    async with connect(shard.url) as client:
        await client.join("garden")
        for size in (limit, 2 * limit, 100 * limit):
            with pytest.raises(MessageTooLarge, match=f"the server accepts at most {limit}"):
                await client.command("plant", {"x": 1.0, "text": "x" * size})
        with pytest.raises(MessageTooLarge, match="the name of a Command"):
            await client.command("x" * 5000)
        assert await client.command("plant", {"x": 1.0}) > 0
        assert (client.resumes, client.is_connected) == (0, True)
