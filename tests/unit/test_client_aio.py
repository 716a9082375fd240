"""The asyncio client against servers that follow a script over a real WebSocket, good ones and bad ones."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from client import aio
from client.aio import Client, ClientError, CommandFailed, Disconnected, RefusedError, connect
from schemas import SUBPROTOCOL, fields
from schemas.codec import decode_client, encode_server, encode_state
from schemas.messages import (
    Command,
    Error,
    ErrorCode,
    Event,
    Goodbye,
    Hello,
    Input,
    Join,
    Joined,
    Leave,
    Left,
    Message,
    Ping,
    Pong,
    Redirect,
    Reply,
    StateDescription,
    Welcome,
)
from tests.waiting import eventually

JOINED = Joined("r", entity=1, description=StateDescription(inputs=(fields.real("dx", -1, 1, 0.1).describe(),)))


class Peer:
    """The server's end of one connection. Pings are answered unless it is `deaf`."""

    def __init__(self, socket: ServerConnection, *, deaf: bool) -> None:
        self.socket = socket
        self.pings = 0
        self._deaf = deaf

    async def say(self, *messages: Message | bytes) -> None:
        for message in messages:
            await self.socket.send(message if isinstance(message, bytes) else encode_server(message))

    async def hear(self) -> Any:
        """The next message that is not a Ping."""
        while True:
            data = await self.socket.recv()
            assert isinstance(data, bytes)
            message = decode_client(data)
            if not isinstance(message, Ping):
                return message
            self.pings += 1
            if not self._deaf:
                await self.say(Pong(message.client_time_us, 7_000_000, 1))

    async def want(self, kind: type[Message]) -> Any:
        message = await self.hear()
        assert isinstance(message, kind), message
        return message

    async def welcome(self, heartbeat_interval_ms: int = 5000) -> None:
        await self.want(Hello)
        await self.say(Welcome("s", heartbeat_interval_ms=heartbeat_interval_ms))

    async def seat(self) -> None:
        await self.welcome()
        await self.want(Join)
        await self.say(JOINED)


@asynccontextmanager
async def server(script: Callable[[Peer], Awaitable[None]], *, deaf: bool = False) -> AsyncIterator[str]:
    """A server whose every connection follows the script, then listens until the client goes."""
    wrong: list[BaseException] = []

    async def handle(socket: ServerConnection) -> None:
        peer = Peer(socket, deaf=deaf)
        with suppress(ConnectionClosed):
            try:
                await script(peer)
                while True:
                    await peer.hear()
            except AssertionError as error:
                wrong.append(error)

    async with serve(handle, "127.0.0.1", 0, subprotocols=[Subprotocol(SUBPROTOCOL)], ping_interval=None) as running:
        port = next(iter(running.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}"
    assert not wrong, wrong[0]


async def test_a_whole_visit() -> None:
    async def script(peer: Peer) -> None:
        await peer.seat()
        assert (await peer.want(Input)).seq == 1
        command = await peer.want(Command)
        await peer.say(Event(1, "hit"), Reply(command.id, ok=True, payload=msgspec.msgpack.encode([1, 2])))
        command = await peer.want(Command)
        await peer.say(Reply(command.id, error=ErrorCode.COMMAND_FAILED, message="no"))
        await peer.want(Leave)
        await peer.say(Left("left"))

    async with server(script) as url, connect(url) as client:
        assert await client.join("arena") == JOINED
        assert await client.send_input({"dx": 1.0}) == 1
        assert await client.command("scores") == [1, 2]
        with pytest.raises(CommandFailed, match="no"):
            await client.command("dance")
        await client.leave()
        assert [event.name for event in client.events] == ["hit"]
        await client.wait_for(lambda: client.rtt_s is not None)
        assert client.clock_offset_s is not None
    assert not client.is_connected


async def test_a_server_that_is_not_there_is_disconnected() -> None:
    async with server(lambda peer: peer.welcome()) as url:
        pass
    with pytest.raises(Disconnected, match="cannot connect"):
        async with connect(url):
            pass


async def test_a_session_that_is_refused_says_why() -> None:
    async def script(peer: Peer) -> None:
        await peer.want(Hello)
        await peer.say(Error(ErrorCode.UPGRADE_REQUIRED, "too old", upgrade_to=9))
        await peer.socket.close(4500)

    async with server(script) as url:
        with pytest.raises(RefusedError, match="too old") as refused:
            async with connect(url):
                pass
    assert refused.value.error.upgrade_to == 9


async def test_a_server_that_falls_silent_is_left() -> None:
    async with (
        server(lambda peer: peer.welcome(heartbeat_interval_ms=100), deaf=True) as url,
        connect(url) as client,
    ):
        await eventually(lambda: not client.is_connected, 5)
        with pytest.raises(Disconnected, match=r"silent for 0\.3 s"):
            await client.wait_for(lambda: False)


async def test_a_server_that_answers_heartbeats_is_not_left() -> None:
    peers: list[Peer] = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await peer.welcome(heartbeat_interval_ms=100)

    async with server(script) as url, connect(url) as client:
        await eventually(lambda: peers[0].pings >= 6, 5)
        assert client.is_connected


async def test_a_heartbeat_interval_of_zero_does_not_make_a_flood() -> None:
    peers: list[Peer] = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await peer.welcome(heartbeat_interval_ms=0)

    loop = asyncio.get_running_loop()
    started = loop.time()
    async with server(script) as url, connect(url):
        await eventually(lambda: peers[0].pings >= 4, 5)
        assert loop.time() - started >= 3 * aio.HEARTBEAT_S_MIN - 0.01


async def test_what_is_no_message_ends_the_connection_with_the_right_code_and_reason() -> None:
    codes: list[int | None] = []

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.say(b"rubbish")
        try:
            await peer.hear()
        except ConnectionClosed as closed:
            codes.append(closed.rcvd.code if closed.rcvd else None)

    async with server(script) as url, connect(url) as client:
        with pytest.raises(Disconnected, match="what is no message"):
            await client.wait_for(lambda: False)
    await eventually(lambda: codes == [1002])


async def test_an_impossible_description_ends_the_connection_and_not_the_program() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(Join)
        bad = msgspec.structs.replace(JOINED.description.inputs[0], step=0.0)
        await peer.say(Joined("r", description=StateDescription(inputs=(bad,))))

    async with server(script) as url, connect(url) as client:
        with pytest.raises(Disconnected, match="what is no message"):
            await client.join("arena")


async def test_closing_is_quiet_when_the_connection_went_while_a_resync_was_due() -> None:
    async def script(peer: Peer) -> None:
        await peer.seat()
        await peer.say(encode_state(9, 0, 3, 0, b"\0"))
        await peer.socket.close()

    async with server(script) as url:
        for _ in range(5):
            async with connect(url) as client:
                await client.join("arena")
                await eventually(lambda client=client: not client.is_connected)  # type: ignore[misc]


async def test_a_cancelled_close_stays_cancelled() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.3)
            raise

    async with server(lambda peer: peer.welcome()) as url:
        client = Client(url, token="", build="")
        await client.open()
        slow = asyncio.create_task(stubborn())
        client._tasks.append(slow)
        await asyncio.sleep(0)
        closing = asyncio.create_task(client.close())
        await eventually(lambda: not client.is_connected)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        with suppress(asyncio.CancelledError):
            await slow
        await client.close()


async def test_a_refusal_that_nobody_asked_for_is_no_answer_to_the_next_question() -> None:
    async def script(peer: Peer) -> None:
        await peer.seat()
        await peer.say(Error(ErrorCode.RATE_LIMITED, "slow down", retryable=True))
        await peer.want(Leave)
        await peer.say(Left("left"))

    async with server(script) as url, connect(url) as client:
        await client.join("arena")
        await client.wait_for(lambda: client.last_error is not None)
        await client.leave()
        assert client.last_error is not None
        assert client.last_error.code is ErrorCode.RATE_LIMITED


async def test_a_room_that_closes_is_told_to_whoever_plays_or_waits_in_it() -> None:
    async def script(peer: Peer) -> None:
        await peer.seat()
        await peer.want(Command)
        await peer.say(Left("the room has ended"))
        await peer.want(Join)
        await peer.say(JOINED)

    async with server(script) as url, connect(url) as client:
        await client.join("arena")
        with pytest.raises(ClientError, match="closed before it answered 'scores'"):
            await client.command("scores")
        for call in (client.send_input({"dx": 1.0}), client.command("scores")):
            with pytest.raises(ClientError, match="join first"):
                await call
        with pytest.raises(ClientError, match="join first"):
            _ = client.world
        await client.join("arena")


async def test_replies_that_nobody_waits_for_are_not_kept() -> None:
    asked = asyncio.Event()
    late = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.seat()
        command = await peer.want(Command)
        asked.set()
        await late.wait()
        await peer.say(*(Reply(command.id + n, ok=True) for n in range(50)), Event(1, "done"))

    async with server(script) as url, connect(url) as client:
        await client.join("arena")
        waiting = asyncio.create_task(client.command("slow"))
        await asked.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        late.set()
        await client.wait_for(lambda: bool(client.events))
        assert client._replies == {}


async def test_events_above_the_limit_push_out_the_oldest_and_are_counted() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.say(*(Event(number, "noise") for number in range(1, aio.EVENTS_MAX + 4)))

    async with server(script) as url, connect(url) as client:
        await client.wait_for(lambda: client.events_dropped == 3)
        assert (len(client.events), client.events[0].number) == (aio.EVENTS_MAX, 4)


async def test_goodbye_is_kept_for_whoever_wants_to_come_back() -> None:
    goodbye = Goodbye(ErrorCode.UNAVAILABLE, "stopping", come_back=True, retry_after_ms=500)

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.say(goodbye)
        await peer.socket.close(1001)

    async with server(script) as url, connect(url) as client:
        await eventually(lambda: client.close_code == 1001)
        assert client.goodbye == goodbye


async def test_a_redirect_is_followed_with_its_ticket() -> None:
    async def there(peer: Peer) -> None:
        await peer.welcome()
        assert (await peer.want(Join)).ticket == "right of way"
        await peer.say(JOINED)

    async with server(there) as target:

        async def here(peer: Peer) -> None:
            await peer.welcome()
            await peer.want(Join)
            await peer.say(Redirect(target, "right of way"))

        async with server(here) as url, connect(url) as client:
            assert await client.join("arena") == JOINED
            assert client.url == target


async def test_redirects_in_a_circle_come_to_an_end() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(Join)
        host, port = peer.socket.local_address[:2]
        await peer.say(Redirect(f"ws://{host}:{port}", "round and round"))

    async with server(script) as url, connect(url) as client:
        with pytest.raises(ClientError, match="redirected more than"):
            await client.join("arena")


async def test_a_redirect_from_an_encrypted_connection_to_a_plain_one_is_not_followed() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(Join)
        await peer.say(Redirect("ws://elsewhere.example", "t"))

    async with server(script) as url:
        client = Client(url, token="secret", build="", tls=None)
        await client.open()
        client.url = url.replace("ws://", "wss://")  # as if it had been opened with TLS
        with pytest.raises(ClientError, match="not sent over a plain connection"):
            await client.join("arena")
        assert client.is_connected
        await client.close()


async def test_a_certificate_that_is_not_trusted_is_disconnected() -> None:
    async with server(lambda peer: peer.welcome()) as url:
        with pytest.raises(Disconnected, match="cannot connect"):
            async with connect(url.replace("ws://", "wss://"), tls=ssl.create_default_context()):
                pass


async def test_waiting_has_a_deadline() -> None:
    async with server(lambda peer: peer.welcome()) as url, connect(url) as client:
        with pytest.raises(TimeoutError):
            await client.wait_for(lambda: False, timeout_s=0.05)
        assert client.is_connected
