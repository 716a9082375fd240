"""A client ends its session: seat and place in the queue are free at once, and the session cannot be resumed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect as open_websocket
from websockets.frames import Close, Frame, Opcode
from websockets.typing import Subprotocol

from tests.harness.polling import eventually
from tests.harness.raw_client import RawClient
from tests.harness.shard_process import admin
from tickwire.schemas import SCHEMA_VERSION, SUBPROTOCOL
from tickwire.schemas.messages import EndSession, Error, Hello, Join, Joined, MatchRequest, MatchStatus, Welcome
from tickwire.server.shard import Shard


async def opened(shard: Shard, *, version: int = SCHEMA_VERSION, **resume: Any) -> tuple[RawClient, Welcome]:
    socket = await open_websocket(shard.url, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None)
    client = RawClient(socket)
    await client.say(Hello(version, "test", **resume))
    return client, await client.next(Welcome)


async def generation_of_the_next(shard: Shard, welcome: Welcome, attempt: int = 2) -> int:
    """Resume, and return the generation of the Welcome: 1 is a new session."""
    client, again = await opened(shard, resume_token=welcome.resume_token, attempt=attempt)
    client.cut()
    return again.generation


async def by_message(client: RawClient) -> None:
    await client.say(EndSession())


async def by_close(client: RawClient) -> None:
    await client.socket.close(1000)


ENDS = pytest.mark.parametrize("end", [by_message, by_close])


@ENDS
async def test_ended_session_releases_its_seat_at_once(
    shard: Shard, end: Callable[[RawClient], Awaitable[None]]
) -> None:
    client, welcome = await opened(shard)
    await client.say(Join("diary"))
    await client.next(Joined)
    (simulation,) = shard.parts.host
    await end(client)
    assert await client.close_code() == 1000
    await eventually(lambda: not len(shard.parts.edge.registry), what="the session has ended")
    assert not simulation.room.players, "the seat is free"
    assert "disconnect" not in simulation.room.noted, "the player has left and is not away"  # type: ignore[attr-defined]
    assert shard.parts.edge.counters.ended == {"ended_by_client": 1}
    assert await generation_of_the_next(shard, welcome) == 1


@ENDS
async def test_ended_session_releases_its_queue_position(
    shard: Shard, end: Callable[[RawClient], Awaitable[None]]
) -> None:
    client, _ = await opened(shard)
    await client.say(MatchRequest("versus"))
    await client.next(MatchStatus)

    async def has_waiting(count: int) -> bool:
        queue = await admin(shard.parts.operations.port, "GET", "/queues/versus")
        return bool(queue["waiting"] == count)

    await eventually(lambda: has_waiting(1), what="the player waits")
    await end(client)
    await eventually(lambda: has_waiting(0), what="the queue is empty")


async def test_a_session_that_ends_while_it_joins_holds_no_seat(shard: Shard) -> None:
    client, _ = await opened(shard)
    await client.say(Join("diary"), EndSession())
    assert await client.close_code() == 1000
    await eventually(lambda: all(not simulation.seats for simulation in shard.parts.host), what="no seat is held")
    assert not len(shard.parts.edge.registry)


@pytest.mark.parametrize(
    "code",
    [1001, 4000, None],
    ids=["a page that is reloaded", "a client that reconnects", "a connection that breaks"],
)
async def test_other_closes_leave_the_session_to_be_resumed(shard: Shard, code: int | None) -> None:
    client, welcome = await opened(shard)
    if code is None:
        client.cut()
    else:
        await client.socket.close(code)
    await eventually(lambda: shard.parts.edge.registry.disconnected_count == 1, what="the session is away")
    assert await generation_of_the_next(shard, welcome) == 2


async def test_a_library_that_answers_every_close_with_1000_ends_no_session(shard: Shard) -> None:
    client, welcome = await opened(shard)
    protocol = client.socket.protocol
    send_frame = protocol.send_frame

    def send_1000(frame: Frame) -> None:
        send_frame(Frame(Opcode.CLOSE, Close(1000, "").serialize()) if frame.opcode is Opcode.CLOSE else frame)

    protocol.send_frame = send_1000  # type: ignore[method-assign]
    (session,) = shard.parts.edge.registry
    session.slow_consumer("the test")
    assert await client.close_code() == 4001
    await eventually(lambda: shard.parts.edge.registry.disconnected_count == 1, what="the session is away")
    assert await generation_of_the_next(shard, welcome) == 2


async def test_a_session_that_has_not_begun_cannot_be_ended(shard: Shard) -> None:
    socket = await open_websocket(shard.url, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None)
    client = RawClient(socket)
    await client.say(EndSession())
    assert (await client.next(Error)).code.name == "OUT_OF_ORDER"
    assert await client.close_code() == 1008
