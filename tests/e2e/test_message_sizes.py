"""Messages that are too large, in both directions: refused with words, by the same limits at both ends."""

from __future__ import annotations

import asyncio

import pytest
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.harness.polling import eventually
from tickwire.client.client import CommandFailed, connect
from tickwire.client.core import MESSAGE_BYTES_MAX
from tickwire.client.errors import Refused
from tickwire.schemas import SCHEMA_VERSION, SERVER_MESSAGE_BYTES_MAX, SUBPROTOCOL
from tickwire.schemas.codec import encode_client
from tickwire.schemas.event_frames import PAYLOAD_BYTES_MAX
from tickwire.schemas.messages import ErrorCode, Hello
from tickwire.server.shard import Shard


def test_server_and_client_agree_on_the_largest_message() -> None:
    assert MESSAGE_BYTES_MAX == SERVER_MESSAGE_BYTES_MAX


@pytest.mark.parametrize("size", [16 * 1024 + 1, 1 << 20, 1 << 24])
async def test_a_message_above_the_limit_is_closed_with_1009_and_the_session_stays(shard: Shard, size: int) -> None:
    for number in range(1, 6):
        async with open_websocket(shard.url, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None) as socket:
            await socket.send(encode_client(Hello(SCHEMA_VERSION)))
            await socket.recv()
            # The whole message is on its way when the server refuses it.
            socket.transport.write(b"\x82\xff" + size.to_bytes(8, "big") + bytes(4 + size))
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(socket.recv(), 20)
            assert socket.close_code == 1009, "and not a reset, of which a client can make nothing"
            assert socket.close_reason
        assert shard.parts.edge.counters.closed["message_too_big"] == number
        await eventually(lambda number=number: shard.parts.edge.registry.disconnected_count == number)
    assert all("1009" in str(session.history.entries) for session in shard.parts.edge.registry)


async def test_a_close_by_the_client_is_no_failure_of_ours_whatever_its_code(shard: Shard) -> None:
    async with open_websocket(shard.url, subprotocols=[Subprotocol(SUBPROTOCOL)]) as socket:
        await socket.send(encode_client(Hello(SCHEMA_VERSION)))
        await socket.recv()
        await socket.close(1009, "your message is too big for me")
    await eventually(lambda: shard.parts.edge.registry.disconnected_count == 1)
    assert not shard.parts.edge.counters.closed
    (session,) = shard.parts.edge.registry
    assert "the client closed the connection with 1009" in str(session.history.entries)


async def test_world_that_exceeds_the_message_limit_is_refused_with_a_reason(
    shard: Shard, capsys: pytest.CaptureFixture[str]
) -> None:
    async with connect(shard.url) as first:
        await first.join("warehouse", name="large")
        for count in range(1000, 6000, 1000):  # in several ticks, so that each delta fits into a message
            await first.command("fill", 1000)
            await first.wait_for(lambda count=count: len(first.world.table("crates")) == count, 20)
        async with connect(shard.url) as second:
            refused: list[Refused] = []
            left: list[str] = []
            second.on("refused", refused.append)
            second.on("left", left.append)
            await second.join("warehouse", name="large")
            await second.wait_for(lambda: bool(left), 20)
            assert second.resumes == 0
            assert refused[0].error.code is ErrorCode.STATE_TOO_LARGE
            assert str(SERVER_MESSAGE_BYTES_MAX) in refused[0].error.message
            await second.join("garden")
            assert second.is_connected
        assert first.is_connected
        assert first.core.resyncs == first.resumes == 0
    assert shard.parts.host.counters.states_refused == 1
    assert "room_state_too_large" in capsys.readouterr().err


async def test_an_answer_that_fits_into_no_message_fails_its_command_alone(shard: Shard) -> None:
    async with connect(shard.url) as client:
        await client.join("warehouse")
        assert len(await client.command("answer", SERVER_MESSAGE_BYTES_MAX - 1000)) == SERVER_MESSAGE_BYTES_MAX - 1000
        with pytest.raises(CommandFailed, match="a message has at most"):
            await client.command("answer", SERVER_MESSAGE_BYTES_MAX)
        assert await client.command("fill", 1) == "fill"
        assert client.resumes == 0


async def test_an_event_that_is_too_large_is_an_error_where_it_is_sent(shard: Shard) -> None:
    async with connect(shard.url) as client:
        await client.join("warehouse")
        await client.command("tell", PAYLOAD_BYTES_MAX - 1000)
        with pytest.raises(CommandFailed):
            await client.command("tell", PAYLOAD_BYTES_MAX)
        assert client.resumes == 0
