"""The asyncio client's connections: final errors, retries, lost connections, and messages that are not sent."""

from __future__ import annotations

import asyncio
import logging
import ssl
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from benchmarks.certificates import make_certificate
from tests.harness.polling import eventually
from tests.harness.scripted_server import JOINED, Peer, server
from tickwire.client import seat_machine
from tickwire.client.client import Client, ConnectionState, Disconnected, MessageTooLarge, NotMatched, connect
from tickwire.client.connection import is_loopback
from tickwire.client.core import MESSAGE_BYTES_MAX
from tickwire.client.events import ListenerError
from tickwire.schemas import SUBPROTOCOL
from tickwire.schemas.codec import encode_server
from tickwire.schemas.messages import (
    Command,
    EndSession,
    Event,
    Hello,
    Input,
    Join,
    MatchRequest,
    MatchStatus,
    QueueState,
    Redirect,
    Reply,
    Welcome,
)
from tickwire.schemas.state_messages import encode_state
from tickwire.server.dev.local_stores import free_port


@pytest.fixture(autouse=True)
def fast_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts to reconnect follow each other quickly; the plan itself has tests of its own."""
    monkeypatch.setattr("tickwire.client.backoff.FIRST_MS", 20)
    monkeypatch.setattr("tickwire.client.backoff.MAX_MS", 100)


# -- final errors after the first session -----------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 200, 301, 503])
async def test_front_that_answers_while_the_client_reconnects_is_tried_again(status: int) -> None:
    hellos = 0
    refusals = 3

    def refuse(socket: ServerConnection, request: Request) -> Response | None:
        nonlocal refusals
        if not hellos or not refusals:
            return None
        refusals -= 1
        return Response(status, HTTPStatus(status).phrase, Headers({"Content-Length": "0"}))

    async def play(socket: ServerConnection) -> None:
        nonlocal hellos
        hellos += 1
        await socket.recv()
        await socket.send(encode_server(Welcome("s", resume_token="s.1", generation=hellos)))
        if hellos == 1:
            socket.transport.abort()
        else:
            await socket.wait_closed()

    protocols = [Subprotocol(SUBPROTOCOL)]
    async with serve(play, "127.0.0.1", 0, subprotocols=protocols, process_request=refuse) as running:
        port = next(iter(running.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}") as client:
            await client.wait_for(lambda: client.resumes == 1)
            assert (refusals, client.sessions_lost) == (0, 0)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 10", b"no http at all\r\n\r\n"], ids=["nothing", "half", "rubbish"]
)
async def test_front_that_closes_during_the_handshake_is_tried_again(answer: bytes) -> None:
    """A front that is reloaded accepts connections, and closes them."""
    hellos, closed = 0, 3

    async def script(peer: Peer) -> None:
        nonlocal hellos
        hellos += 1
        await peer.want(Hello)
        await peer.say(Welcome("s", resume_token="s.1", generation=hellos))
        if hellos == 1:
            peer.socket.transport.abort()

    async with server(script) as url:
        port = int(url.rpartition(":")[2])

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal closed
            if hellos and closed:
                closed -= 1
                await reader.read(100)
                writer.write(answer)
                writer.close()
                return
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(carry(reader, there_writer), carry(there_reader, writer))

        front = await asyncio.start_server(forward, "127.0.0.1", 0)
        async with front, connect(f"ws://127.0.0.1:{front.sockets[0].getsockname()[1]}") as client:
            await client.wait_for(lambda: client.resumes == 1)
            assert (closed, client.sessions_lost) == (0, 0)


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except ConnectionError:
        pass
    finally:
        writer.close()


async def test_message_of_the_server_that_is_too_large_ends_the_client_with_words() -> None:
    connections = 0

    async def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.seat()
        await peer.say(encode_state(1, 0, 0, 0, bytes(MESSAGE_BYTES_MAX)))

    async with server(script) as url, connect(url) as client:
        await client.join("arena")
        with pytest.raises(Disconnected, match=f"a message above {MESSAGE_BYTES_MAX} bytes"):
            await client.wait_for(lambda: False)
        assert client.state is ConnectionState.CLOSED
    assert connections == 1


async def test_server_that_drops_every_connection_is_not_flooded() -> None:
    connections = 0

    async def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.want(Hello)
        await peer.say(Welcome("s", resume_token="s.1", generation=connections))
        peer.socket.transport.abort()

    async with server(script) as url:
        client = Client(url, reconnect_s=1.0)
        await client.open()
        with pytest.raises(Disconnected, match="could not reconnect within 1 s"):
            await client.wait_for(lambda: False)
        await client.close()
    assert 3 < connections < 60, "pauses and the deadline continue across short connections"


async def test_token_source_that_raises_is_asked_again_at_the_next_attempt() -> None:
    asked = 0

    async def source() -> str:
        nonlocal asked
        asked += 1
        if asked in (2, 3):
            raise RuntimeError("the account service is away")
        return f"token {asked}"

    tokens: list[str] = []

    async def script(peer: Peer) -> None:
        tokens.append((await peer.want(Hello)).token)
        await peer.say(Welcome("s", resume_token="s.1", generation=len(tokens)))
        if len(tokens) == 1:
            peer.socket.transport.abort()

    async with server(script) as url, connect(url, token=source) as client:
        await client.wait_for(lambda: client.resumes == 1)
    assert tokens == ["token 1", "token 4"]


async def test_token_source_that_raises_at_first_is_reported() -> None:
    async def source() -> str:
        raise RuntimeError("secret words")

    client = Client("ws://127.0.0.1:1", token=source)
    with pytest.raises(Disconnected, match="the token source raised RuntimeError"):
        await client.open()


async def test_token_source_without_a_token_is_reported() -> None:
    async def source() -> None:
        return None

    client = Client("ws://127.0.0.1:1", token=source)  # type: ignore[arg-type]
    with pytest.raises(Disconnected, match="the token source raised TypeError") as raised:
        await client.open()
    assert str(raised.value.__cause__) == "the token source returned a NoneType, not a text"


async def test_token_that_is_too_large_is_reported_with_its_size() -> None:
    async def script(peer: Peer) -> None:
        await peer.hear()

    async with server(script) as url:
        with pytest.raises(Disconnected, match="the token of a Hello has 5000 bytes"):
            await Client(url, token="x" * 5000).open()


async def test_error_of_the_client_itself_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(peer: Peer) -> None:
        await peer.hear()

    def fail(now_ms: float) -> None:
        raise RuntimeError("a mistake")

    async with server(script) as url:
        client = Client(url)
        monkeypatch.setattr(client._machine, "connected", fail)
        async with asyncio.timeout(5):
            with pytest.raises(Disconnected, match="an internal error: RuntimeError"):
                await client.open()


async def test_open_that_is_cancelled_once_the_session_is_open_ends_the_session() -> None:
    ended = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(EndSession)
        ended.set()

    async with server(script) as url:
        client = Client(url)
        opening = asyncio.create_task(client.open())
        while not client.is_connected:
            await asyncio.sleep(0)
        assert not opening.done(), "the outcome of `open` is decided, and its task has not received it"
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert client.state is ConnectionState.CLOSED
        async with asyncio.timeout(5):
            await ended.wait()
        await client.close()


# -- a redirect to a shard that has died --------------------------------------------------------------------


async def test_client_is_closed_while_its_token_source_hangs() -> None:
    client = Client("ws://127.0.0.1:1", token=asyncio.Event().wait)  # type: ignore[arg-type]
    opening = asyncio.create_task(client.open())
    await eventually(lambda: client.state is ConnectionState.CONNECTING)
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await client.close()
    with pytest.raises(Disconnected, match="closed"):
        await opening


async def test_join_that_is_redirected_to_a_dead_shard_is_asked_again_at_home() -> None:
    dead = f"ws://127.0.0.1:{free_port()}"
    joins: list[Join] = []

    async def script(peer: Peer) -> None:
        await peer.welcome()
        joins.append(await peer.want(Join))
        if len(joins) < 4:
            await peer.say(Redirect(dead, "ticket", "arena"))
        else:
            await peer.say(JOINED)

    async with server(script) as url, connect(url) as client:
        assert await client.join("arena", name="lobby", options={"colour": 7}) == JOINED
        assert client.url == url
    assert len(joins) == 4
    assert {join.room_name for join in joins} == {"lobby"}
    assert {join.options for join in joins} == {msgspec.msgpack.encode({"colour": 7})}


async def test_dead_shard_does_not_spoil_later_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seat_machine, "JOIN_MS_MAX", 300)
    dead = f"ws://127.0.0.1:{free_port()}"
    is_forgotten = False

    async def script(peer: Peer) -> None:
        await peer.welcome()
        while isinstance(await peer.hear(), Join):
            await peer.say(JOINED if is_forgotten else Redirect(dead, "ticket", "arena"))

    async with server(script) as url, connect(url) as client:
        with pytest.raises(Disconnected, match="cannot be reached"):
            await client.join("arena")
        is_forgotten = True
        assert await client.join("arena") == JOINED


async def test_match_whose_shard_has_died_is_not_matched_and_the_client_is_at_home() -> None:
    dead = f"ws://127.0.0.1:{free_port()}"
    number = 0

    async def script(peer: Peer) -> None:
        nonlocal number
        number += 1
        await peer.welcome()
        if number == 1:
            await peer.want(MatchRequest)
            await peer.say(MatchStatus(QueueState.FOUND), Redirect(dead, "ticket", "arena"))
            return
        await peer.want(Join)
        await peer.say(JOINED)

    async with server(script) as url, connect(url) as client:
        with pytest.raises(NotMatched, match="cannot be reached"):
            await client.match("duel")
        assert (client.is_connected, client.url) == (True, url)
        assert await client.join("arena") == JOINED


# -- inputs -------------------------------------------------------------------------------------------------


async def test_input_without_a_connection_is_reported_as_unsent_and_uses_no_number() -> None:
    inputs: list[Input] = []
    hellos = 0
    let_in = asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal hellos
        hellos += 1
        await peer.want(Hello)
        if hellos > 1:
            await let_in.wait()
        await peer.say(Welcome("s", resume_token="s.1", generation=hellos, room_id="r" if hellos > 1 else ""))
        if hellos == 1:
            await peer.want(Join)
            await peer.say(JOINED)
            inputs.append(await peer.want(Input))
            peer.socket.transport.abort()
        else:
            inputs.append(await peer.want(Input))

    async with server(script) as url, connect(url) as client:
        await client.join("arena")
        assert await client.send_input({"dx": 1.0}) == 1
        await client.wait_for(lambda: not client.is_connected)
        assert [await client.send_input({"dx": 1.0}) for _ in range(5)] == [0] * 5
        assert client.core.input_seq == 1
        let_in.set()
        await client.wait_for(lambda: client.is_connected)
        assert await client.send_input({"dx": 1.0}) == 2
        await eventually(lambda: [one.seq for one in inputs] == [1, 2])
    with pytest.raises(Disconnected):
        await client.send_input({"dx": 1.0})


# -- what the server would not accept -----------------------------------------------------------------------


async def test_message_above_the_servers_limit_is_not_sent_and_the_session_continues() -> None:
    async def script(peer: Peer) -> None:
        await peer.want(Hello)
        await peer.say(Welcome("s", message_bytes_max=1000))
        await peer.want(Join)
        await peer.say(JOINED)
        command = await peer.want(Command)
        assert (command.id, command.name) == (1, "fits")
        await peer.say(Reply(command.id, ok=True))

    async with server(script) as url, connect(url) as client:
        with pytest.raises(MessageTooLarge, match=r"the Join has 1\d+ bytes; the server accepts at most 1000"):
            await client.join("arena", options={"text": "x" * 1000})
        with pytest.raises(MessageTooLarge, match="the room_name of a Join has 5000 bytes"):
            await client.join("arena", name="x" * 5000)
        with pytest.raises(MessageTooLarge):
            await client.match("duel", options={"text": "x" * 1000})
        await client.join("arena")
        with pytest.raises(MessageTooLarge, match="the Command has"):
            await client.command("large", "x" * 1000)
        with pytest.raises(MessageTooLarge, match="the name of a Command has 4098 bytes"):
            await client.command("\u00e9" * 2049)
        assert await client.command("fits", "x" * 900) is None
        assert client.is_connected


# -- what a game reads --------------------------------------------------------------------------------------


async def test_events_are_decoded_and_keep_their_bytes() -> None:
    payloads: list[Any] = [None, True, -5, 1.5, "text", b"bytes", [1, [datetime.now(UTC)]], {"a": {"b": 1}}]

    async def script(peer: Peer) -> None:
        await peer.welcome()
        for number, payload in enumerate(payloads, start=1):
            await peer.say(Event(number, "said", msgspec.msgpack.encode(payload)))
        await peer.say(Event(9, "empty"), Event(10, "rubbish", b"\xc1\xff"), Event(11, "last"))

    async with server(script) as url, connect(url) as client:
        await client.wait_for(lambda: len(client.events) == 11)
        assert [event.payload for event in client.events] == [*payloads, None, None, None]
        assert client.events[7].raw == msgspec.msgpack.encode(payloads[7])
        assert client.events[9].raw == b"\xc1\xff"


async def test_listener_that_raises_does_not_stop_the_client(caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome(heartbeat_interval_ms=200)
        await peer.want(Join)
        await peer.say(JOINED)
        for number in range(1, 4):
            await peer.say(encode_state(number, 0, 0, 0, b"\0"), Event(number, "said"))
        command = await peer.want(Command)
        await peer.say(Reply(command.id, ok=True))

    seen: list[tuple[str, object]] = []

    def fail(value: object) -> None:
        raise RuntimeError("a mistake of the game's")

    names = ("state", "event", "joined", "pong")
    async with server(script) as url, connect(url) as client:
        for name in names:
            client.on(name, fail)
            client.on(name, lambda value, name=name: seen.append((name, value)))  # type: ignore[misc]
        assert await client.join("arena") == JOINED
        assert await client.command("goes on") is None
        await client.wait_for(lambda: {name for name, _ in seen} == set(names))
        assert client.is_connected
        assert client.listener_failures == len(seen)
        errors: list[ListenerError] = []
        client.on("error", errors.append)
        client.on("error", fail)
        client.on("event", fail)
        await client.wait_for(lambda: any(error.event == "pong" for error in errors))
    assert "a listener for 'event' raised" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


async def test_events_received_with_joined_reach_a_listener_added_right_after_join() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.say(Event(1, "of the room before"))
        await peer.want(Join)
        data = [encode_server(one) for one in (JOINED, Event(2, "first"), Event(3, "second"))]
        for one in data:
            await peer.socket.send(one)
        await go_on.wait()
        await peer.say(Event(4, "third"))

    go_on = asyncio.Event()
    async with server(script) as url, connect(url) as client:
        await client.join("arena")
        await client.wait_for(lambda: len(client.events) == 3)
        names: list[str] = []
        client.on("event", lambda event: names.append(event.name))
        assert names == ["first", "second"]
        late: list[str] = []
        client.on("event", lambda event: late.append(event.name))
        go_on.set()
        await client.wait_for(lambda: len(names) == 3)
        assert (names[-1], late) == ("third", ["third"])


class GoalScored(msgspec.Struct):
    by: str
    points: int = 1


class FinalWhistle(msgspec.Struct):
    event_name = "whistle"


async def test_a_listener_of_an_event_class_receives_its_instances(caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(Join)
        for one in (JOINED, goal(1, by="ann"), Event(2, "whistle", b"\x80"), Event(3, "other"), goal(4, by="bob")):
            await peer.say(one)
        await go_on.wait()
        for one in (goal(5, by=7), goal(6, by="cid", points=3, of_a_newer_server=1), Event(7, "whistle", b"\x80")):
            await peer.say(one)

    def goal(number: int, **fields: Any) -> Event:
        return Event(number, "goal_scored", msgspec.msgpack.encode(fields))

    go_on = asyncio.Event()
    async with server(script) as url, connect(url) as client:
        await client.join("arena")
        await client.wait_for(lambda: len(client.events) == 4)
        goals: list[GoalScored] = []
        whistles: list[FinalWhistle] = []
        others: list[str] = []
        remove = client.on(GoalScored, goals.append)
        assert goals == [GoalScored("ann"), GoalScored("bob")], "the events since the join, if they are of this class"
        client.on(FinalWhistle, whistles.append)
        client.on("event", lambda event: others.append(event.name))
        assert (whistles, others) == ([FinalWhistle()], ["other"])
        go_on.set()
        await client.wait_for(lambda: len(others) == 4)
        assert (goals[2:], len(whistles)) == ([GoalScored("cid", 3)], 2)
        assert client.listener_failures == 1
        assert "a listener for 'event' raised" in caplog.text
        assert "Expected `str`, got `int` - at `$.by`" in caplog.text
        remove()
        remove()

    async def coroutine(value: object) -> None:
        pass

    with pytest.raises(ValueError, match="the listener for GoalScored must be a plain function"):
        client.on(GoalScored, coroutine)


async def test_arguments_of_a_command_are_sent_by_name() -> None:
    payloads: list[Any] = []

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(Join)
        await peer.say(JOINED)
        for _ in range(3):
            command = await peer.want(Command)
            payloads.append(msgspec.msgpack.decode(command.payload))
            await peer.say(Reply(command.id, ok=True))

    async with server(script) as url, connect(url) as client:
        await client.join("arena")
        await client.command("buy", item="tea", name="ann")
        await client.command("buy", {"item": "tea"})
        await client.command("buy")
        with pytest.raises(TypeError, match="either a payload or arguments by name"):
            await client.command("buy", "tea", count=2)
    assert payloads == [{"item": "tea", "name": "ann"}, {"item": "tea"}, None]


async def test_listeners_learn_of_the_connection_and_can_be_removed() -> None:
    number = 0

    async def script(peer: Peer) -> None:
        nonlocal number
        number += 1
        await peer.want(Hello)
        await peer.say(Welcome(f"s{number}", resume_token="s.1", generation=1 if number == 3 else number))
        if number < 3:
            peer.socket.transport.abort()

    told: list[tuple[str, object]] = []
    async with server(script) as url, connect(url) as client:
        for name in ("disconnected", "reconnected", "closed"):
            client.on(name, lambda value, name=name: told.append((name, value)))  # type: ignore[misc]
        remove = client.on("reconnected", lambda value: told.append(("again", value)))
        remove()
        remove()
        await client.wait_for(lambda: number == 3 and client.is_connected)
    assert [name for name, _ in told] == ["disconnected", "reconnected"] * 2 + ["closed"]
    assert [value for name, value in told if name == "reconnected"] == [True, False]
    assert isinstance(told[-1][1], Disconnected)


async def test_listener_for_something_unknown_is_refused() -> None:
    client = Client("ws://127.0.0.1:1")

    async def coroutine(value: object) -> None:
        pass

    with pytest.raises(ValueError, match="unknown listener name 'evnet'; the names are state, event"):
        client.on("evnet", print)
    with pytest.raises(ValueError, match="must be a plain function"):
        client.on("event", coroutine)


# -- addresses and proxies ----------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["ws://[", "ws://127.0.0.1:x", "ws://127.0.0.1:99999"])
async def test_address_that_cannot_be_parsed_is_reported_with_the_address(url: str) -> None:
    with pytest.raises(Disconnected, match="the address is invalid") as refused:
        await connect(url).__aenter__()
    assert url in str(refused.value)
    assert not refused.value.may_return


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for localhost, and the TLS settings of a server that has it."""
    certificate, key = make_certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    return certificate, tls


async def test_encrypted_connection_trusts_the_systems_certificates_without_tls_settings(
    certificate: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, tls = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    async with server(lambda peer: peer.welcome(), tls=tls) as url, connect(url) as client:
        assert url.startswith("wss://")
        assert client.is_connected


async def test_untrusted_certificate_is_reported_and_not_as_an_invalid_address(
    certificate: tuple[Path, ssl.SSLContext],
) -> None:
    async with server(lambda peer: peer.welcome(), tls=certificate[1]) as url:
        with pytest.raises(Disconnected, match="certificate verify failed") as failed:
            await Client(url).open()
    assert "address is invalid" not in str(failed.value)
    assert not failed.value.may_return


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "https://game.example", "127.0.0.1:8080", "localhost"])
async def test_address_that_is_not_a_websocket_address_is_refused_with_a_message(url: str) -> None:
    with pytest.raises(Disconnected, match="must begin with ws:// or wss://") as refused:
        await Client(url).open()
    assert not refused.value.may_return


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "ws_proxy"])
async def test_proxy_of_the_environment_is_not_used_for_this_machine(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f"http://127.0.0.1:{free_port()}")
    async with server(lambda peer: peer.welcome()) as url:
        for address in (url, url.replace("127.0.0.1", "localhost")):
            async with connect(address) as client:
                assert client.is_connected


async def test_unresponsive_proxy_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Disconnected, match=r"cannot connect to ws://game\.example"):
        await Client("ws://game.example").open()


@pytest.mark.parametrize(
    ("url", "is_here"),
    [
        ("ws://localhost:1", True), ("ws://127.8.9.1", True), ("wss://[::1]:8080", True), ("ws://me.localhost", True),
        ("ws://game.example", False), ("ws://10.0.0.1", False), ("ws://localhost.example", False), ("rubbish", False),
    ],
)  # fmt: skip
def test_loopback_addresses_are_recognised(url: str, is_here: bool) -> None:
    assert is_loopback(url) is is_here


# -- a path that dies ---------------------------------------------------------------------------------------


async def test_path_that_dies_silently_is_noticed_and_the_session_resumed() -> None:
    """The proxy swallows everything of the first connection, in both directions, and closes nothing."""
    loop = asyncio.get_running_loop()
    hellos: list[Hello] = []

    async def script(peer: Peer) -> None:
        hellos.append(await peer.want(Hello))
        interval_ms = 300
        await peer.say(Welcome("s", f"s.{len(hellos)}", heartbeat_interval_ms=interval_ms, generation=len(hellos)))

    async with server(script) as url:
        is_dead = asyncio.Event()
        port = int(url.rpartition(":")[2])
        connections = 0

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            is_first = connections == 1

            async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
                while data := await source.read(65536):
                    if not (is_first and is_dead.is_set()):
                        target.write(data)

            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(pass_on(reader, there_writer), pass_on(there_reader, writer))

        front = await asyncio.start_server(forward, "127.0.0.1", 0)
        async with front, connect(f"ws://127.0.0.1:{front.sockets[0].getsockname()[1]}") as client:
            await client.wait_for(lambda: client.rtt_ms is not None)
            is_dead.set()
            started_s = loop.time()
            await client.wait_for(lambda: client.resumes == 1, 20)
            assert loop.time() - started_s < 10, "no close is waited for on a dead path"
            assert (client.sessions_lost, hellos[1].resume_token) == (0, "s.1")


async def test_stall_shorter_than_three_intervals_does_not_end_the_connection() -> None:
    peers: list[Peer] = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await peer.want(Hello)
        await peer.say(Welcome("s", heartbeat_interval_ms=2000))
        await asyncio.sleep(3.6)  # nothing is read, and nothing answered

    async with server(script) as url, connect(url) as client:
        await client.wait_for(lambda: client.rtt_ms is not None)
        assert len(peers) == 1
