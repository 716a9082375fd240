"""Listeners of the Python client: whatever the game's code does in one, the client continues and reports it."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import msgspec
import pytest

from tests.harness.scripted_server import JOINED, Peer, server
from tickwire.client import connect
from tickwire.client.errors import ClientError
from tickwire.client.events import LISTENER_NAMES, ListenerError, RoomEvent
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import (
    Command,
    Error,
    ErrorCode,
    Event,
    Hello,
    Join,
    Left,
    MatchStatus,
    QueueState,
    Reply,
    Welcome,
)
from tickwire.schemas.state_messages import encode_ack, encode_state


class ListenedScore(msgspec.Struct):
    event_name = "scored"
    by: str


def raise_an_error(value: object) -> object:
    raise RuntimeError("a mistake of the game's")


def read_a_cancelled_future(value: object) -> object:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    return future.result()


async def wait_a_moment(seconds: float, value: object) -> None:
    await asyncio.sleep(seconds)


FAULTS = {
    "RuntimeError": raise_an_error,
    "CancelledError": read_a_cancelled_future,
    "TypeError": lambda value: wait_a_moment(0, value),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_listener_of_each_name_may_fail_and_the_client_continues(fault: str) -> None:
    connections = 0

    async def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.want(Hello)
        await peer.say(Welcome("s", resume_token="s.1", generation=connections, heartbeat_interval_ms=200))
        if connections == 1:
            peer.socket.transport.abort()
            return
        await peer.want(Join)
        await peer.say(JOINED, encode_ack(1, 1), encode_state(1, 0, 0, 0, b"\0"), MatchStatus(QueueState.WAITING, 1))
        await peer.say(Error(ErrorCode.UNSUPPORTED), Event(1, "scored", msgspec.msgpack.encode({"by": "ann"})))
        command = await peer.want(Command)
        await peer.say(Reply(command.id, ok=True), Left("the room has closed"))

    failed: list[str] = []

    def fail(name: str, value: object) -> object:
        failed.append(name)
        return FAULTS[fault](value)

    reported: list[ListenerError] = []
    async with server(script) as url, connect(url) as client:
        for name in LISTENER_NAMES:
            client.on(name, functools.partial(fail, name))
        client.on(ListenedScore, functools.partial(fail, "a class"))
        client.on("error", reported.append)
        await client.wait_for(lambda: client.resumes == 1)
        await client.join("arena")
        assert await client.command("continue") is None
        await client.wait_for(lambda: {"left", "pong"} <= {*failed})
        assert client.is_connected
    assert {*failed} == {*LISTENER_NAMES, "a class"}
    assert {report.event for report in reported} == {*LISTENER_NAMES} - {"error"}
    assert {type(report.error).__name__ for report in reported} == {fault}
    assert client.listener_failures == len(failed)


@pytest.mark.parametrize("payload", [b"\xc1\xff", msgspec.msgpack.encode([msgspec.msgpack.Ext(5, b"x")])])
async def test_a_malformed_event_is_reported_and_a_malformed_reply_is_raised(
    payload: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(Join)
        await peer.say(JOINED, Event(1, "said", payload))
        command = await peer.want(Command)
        await peer.say(Reply(command.id, ok=True, payload=payload), Event(2, "said", payload), Event(3, "said"))

    events: list[RoomEvent] = []
    errors: list[Any] = []
    async with server(script) as url, connect(url) as client:
        client.on("event", events.append)
        await client.join("arena")
        await client.wait_for(lambda: len(client.events) == 1)
        assert "the payload of event 1 'said' cannot be decoded" in caplog.text
        client.on("error", errors.append)
        with pytest.raises(ClientError, match="the reply to 'speak' cannot be decoded"):
            await client.command("speak")
        await client.wait_for(lambda: len(client.events) == 3)
        assert [event.number for event in events] == [3], "listeners receive no malformed event"
        assert [(error.event, type(error.error)) for error in errors] == [("event", MalformedMessage)]
        assert (client.is_connected, client.listener_failures) == (True, 0)
