"""The asyncio client against servers that follow a script over a real WebSocket, good ones and bad ones."""

from __future__ import annotations

import asyncio
import random

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from tests.harness.polling import eventually
from tests.harness.scripted_server import JOINED, Peer, server
from tickwire.client.backoff import Backoff
from tickwire.client.client import (
    Client,
    ClientError,
    CommandFailed,
    ConnectionState,
    Disconnected,
    Refused,
    SessionLost,
    connect,
)
from tickwire.client.event_log import EVENTS_MAX
from tickwire.client.heartbeat import PING_INTERVAL_MS_MIN
from tickwire.client.reconnect import REDIRECTS_MAX
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
    Leave,
    Left,
    Redirect,
    Reply,
    StateDescription,
    Welcome,
)
from tickwire.schemas.state_messages import encode_state


async def test_client_joins_plays_and_leaves() -> None:
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
        await client.wait_for(lambda: client.rtt_ms is not None)
        assert client.clock_offset_ms is not None
    assert not client.is_connected


async def test_unreachable_server_raises_disconnected() -> None:
    async with server(lambda peer: peer.welcome()) as url:
        pass
    with pytest.raises(Disconnected, match="cannot connect"):
        async with connect(url):
            pass


async def test_refused_session_raises_the_servers_error() -> None:
    async def script(peer: Peer) -> None:
        await peer.want(Hello)
        await peer.say(Error(ErrorCode.UPGRADE_REQUIRED, "too old", upgrade_to=9))
        await peer.socket.close(4500)

    async with server(script) as url:
        with pytest.raises(Refused, match="too old") as refused:
            async with connect(url):
                pass
    assert refused.value.error.upgrade_to == 9


async def test_silent_server_ends_the_connection() -> None:
    async with (
        server(lambda peer: peer.welcome(heartbeat_interval_ms=100), deaf=True) as url,
        connect(url, reconnect_s=0) as client,
    ):
        await eventually(lambda: not client.is_connected)
        with pytest.raises(Disconnected, match="does not answer pings"):
            await client.wait_for(lambda: False)


async def test_answered_heartbeats_keep_the_connection() -> None:
    peers: list[Peer] = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await peer.welcome(heartbeat_interval_ms=100)

    async with server(script) as url, connect(url) as client:
        await eventually(lambda: peers[0].pings >= 6)
        assert client.is_connected


async def test_heartbeat_interval_of_zero_does_not_cause_a_flood() -> None:
    peers: list[Peer] = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await peer.welcome(heartbeat_interval_ms=0)

    loop = asyncio.get_running_loop()
    started = loop.time()
    async with server(script) as url, connect(url):
        await eventually(lambda: peers[0].pings >= 4)
        assert loop.time() - started >= 3 * PING_INTERVAL_MS_MIN / 1000 - 0.01


async def test_malformed_message_ends_the_connection_with_code_and_reason() -> None:
    codes: list[int | None] = []

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.say(b"rubbish")
        try:
            await peer.hear()
        except ConnectionClosed as closed:
            codes.append(closed.rcvd.code if closed.rcvd else None)

    async with server(script) as url, connect(url, reconnect_s=0) as client:
        with pytest.raises(Disconnected, match="cannot be decoded"):
            await client.wait_for(lambda: False)
    await eventually(lambda: codes == [1002])


async def test_invalid_description_ends_the_connection_and_not_the_program() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(Join)
        bad = msgspec.structs.replace(JOINED.description.inputs[0], step=0.0)
        await peer.say(Joined("r", description=StateDescription(inputs=(bad,))))

    async with server(script) as url, connect(url, reconnect_s=0) as client:
        with pytest.raises(Disconnected, match="cannot be decoded"):
            await client.join("arena")


async def test_close_is_silent_if_the_connection_broke_while_a_resync_was_due() -> None:
    async def script(peer: Peer) -> None:
        await peer.seat()
        await peer.say(encode_state(9, 0, 3, 0, b"\0"))
        await peer.socket.close()

    async with server(script) as url:
        for _ in range(5):
            async with connect(url, reconnect_s=0) as client:
                await client.join("arena")
                await eventually(lambda client=client: not client.is_connected)  # type: ignore[misc]


async def test_cancelled_close_stays_cancelled() -> None:
    async def never_answers_a_close(peer: Peer) -> None:
        await peer.welcome()
        peer.socket.transport.pause_reading()
        await asyncio.sleep(1)
        peer.socket.transport.abort()

    async with server(never_answers_a_close) as url:
        client = Client(url)
        await client.open()
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0.1)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await client.close()


async def test_error_without_a_request_does_not_answer_the_next_request() -> None:
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


async def test_closed_room_ends_the_calls_that_wait_in_it() -> None:
    async def script(peer: Peer) -> None:
        await peer.seat()
        await peer.want(Command)
        await peer.say(Left("the room has ended"))
        await peer.want(Join)
        await peer.say(JOINED)

    async with server(script) as url, connect(url) as client:
        await client.join("arena")
        with pytest.raises(ClientError, match="the seat was lost before the room answered 'scores'"):
            await client.command("scores")
        for call in (client.send_input({"dx": 1.0}), client.command("scores")):
            with pytest.raises(ClientError, match="join first"):
                await call
        with pytest.raises(ClientError, match="join first"):
            _ = client.world
        await client.join("arena")


async def test_replies_to_abandoned_commands_are_discarded() -> None:
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
        assert client.core.commands_unanswered == 0


async def test_events_above_the_limit_drop_the_oldest_and_are_counted() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.say(*(Event(number, "noise") for number in range(1, EVENTS_MAX + 4)))

    async with server(script) as url, connect(url) as client:
        await client.wait_for(lambda: client.events_dropped == 3)
        assert (len(client.events), client.events[0].number) == (EVENTS_MAX, 4)


async def test_goodbye_is_available_after_the_close() -> None:
    goodbye = Goodbye(ErrorCode.UNAVAILABLE, "stopping", come_back=True, retry_after_ms=500)

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.say(goodbye)
        await peer.socket.close(1001)

    async with server(script) as url, connect(url, reconnect_s=0) as client:
        await eventually(lambda: client.close_code == 1001)
        assert client.goodbye == goodbye


async def test_redirect_is_followed_with_its_ticket() -> None:
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


async def test_circular_redirects_end_with_an_error() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(Join)
        host, port = peer.socket.local_address[:2]
        await peer.say(Redirect(f"ws://{host}:{port}", "round and round"))

    async with server(script) as url, connect(url) as client:
        with pytest.raises(ClientError, match="redirected more than"):
            await client.join("arena")


async def test_redirect_from_an_encrypted_connection_to_a_plain_one_is_refused() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(Join)
        await peer.say(Redirect("ws://elsewhere.example", "t"))

    async with server(script) as url:
        client = Client(url, token="secret", build="", tls=None)
        await client.open()
        connection = client._machine.connection
        encrypted = url.replace("ws://", "wss://")  # as if it had been opened with TLS
        connection._options = msgspec.structs.replace(connection._options, url=encrypted)
        with pytest.raises(ClientError, match="not sent over a plain connection"):
            await client.join("arena")
        assert client.is_connected
        await client.close()


async def test_wait_for_has_a_timeout() -> None:
    async with server(lambda peer: peer.welcome()) as url, connect(url) as client:
        with pytest.raises(TimeoutError):
            await client.wait_for(lambda: False, timeout_s=0.05)
        assert client.is_connected


async def test_lost_connection_is_replaced_and_the_session_resumed() -> None:
    states: list[ConnectionState] = []
    hellos: list[Hello] = []

    async def script(peer: Peer) -> None:
        hello = await peer.want(Hello)
        hellos.append(hello)
        if len(hellos) == 1:
            await peer.say(Welcome("s", resume_token="s.1", generation=1))
            await peer.want(Join)
            await peer.say(JOINED, Event(1, "one"))
            await peer.want(Command)
            peer.socket.transport.abort()
        else:
            await peer.say(
                Welcome("s", resume_token="s.2", generation=2, room_id="r"), Event(1, "one"), Event(2, "two")
            )
            await peer.say(Reply((await peer.want(Command)).id, ok=True, payload=msgspec.msgpack.encode("once")))

    async with server(script) as url, connect(url) as client:
        await client.join("arena")
        watching = asyncio.create_task(client.wait_for(lambda: states.append(client.state) or False, 30))  # type: ignore[func-returns-value]
        assert await client.command("buy") == "once"
        watching.cancel()
        assert [event.name for event in client.events] == ["one", "two"]
        assert (client.resumes, client.sessions_lost) == (1, 0)
    assert (hellos[1].resume_token, hellos[1].last_event, hellos[1].room_id) == ("s.1", 1, "r")
    assert ConnectionState.RECONNECTING in states


async def test_moved_session_is_resumed_with_its_token_and_without_a_join() -> None:
    there_heard: list[Hello] = []
    here = 0

    async def target(peer: Peer) -> None:
        there_heard.append(await peer.want(Hello))
        await peer.say(Welcome("s", resume_token="s.2", generation=2, room_id="r"), JOINED)

    async with server(target) as moved_to:

        async def origin(peer: Peer) -> None:
            nonlocal here
            here += 1
            if here == 1:
                await peer.want(Hello)
                await peer.say(Welcome("s", resume_token="s.1"))
                await peer.want(Join)
                await peer.say(JOINED)
                peer.socket.transport.abort()
            else:
                await peer.want(Hello)
                await peer.say(Redirect(moved_to, room_type="arena", is_resume=True))
                await peer.socket.close(4003)

        async with server(origin) as url, connect(url) as client:
            await client.join("arena")
            await client.wait_for(lambda: client.resumes == 1)
            assert (client.url, client.sessions_lost) == (moved_to, 0)
    assert there_heard[0].room_id == "r"
    assert here == 2


async def test_shards_that_redirect_a_session_in_a_circle_are_retried_with_pauses() -> None:
    asked = 0

    async def script(peer: Peer) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            await peer.seat()
            peer.socket.transport.abort()
        else:
            await peer.want(Hello)
            host, port = peer.socket.local_address[:2]
            await peer.say(Redirect(f"ws://{host}:{port}", is_resume=True))
            await peer.socket.close(4003)

    async with server(script) as url:
        client = Client(url, reconnect_s=3.0)
        await client.open()
        await client.join("arena")
        with pytest.raises(Disconnected):
            await client.wait_for(lambda: client.resumes > 0, 20)
        await client.close()
    assert REDIRECTS_MAX < asked < 40


async def test_lost_session_ends_the_calls_that_wait() -> None:
    number = 0

    async def script(peer: Peer) -> None:
        nonlocal number
        number += 1
        await peer.want(Hello)
        await peer.say(Welcome(f"s{number}", resume_token=f"s{number}.x", generation=1))
        if number == 1:
            await peer.want(Join)
            await peer.say(JOINED)
            await peer.want(Command)
            peer.socket.transport.abort()
        else:
            await peer.want(Join)
            await peer.say(JOINED)

    async with server(script) as url, connect(url) as client:
        await client.join("arena")
        with pytest.raises(SessionLost, match="before the room answered 'buy'"):
            await client.command("buy")
        with pytest.raises(ClientError, match="join first"):
            await client.send_input({})
        assert (client.resumes, client.sessions_lost) == (0, 1)
        await client.join("arena")


@pytest.mark.parametrize("is_joining", [True, False])
async def test_join_is_sent_again_after_a_reconnect_unless_it_is_in_flight(is_joining: bool) -> None:
    number = 0

    async def script(peer: Peer) -> None:
        nonlocal number
        number += 1
        await peer.want(Hello)
        if number == 1:
            await peer.say(Welcome("s", resume_token="s.1", generation=1))
            await peer.want(Join)
            peer.socket.transport.abort()
        else:
            await peer.say(Welcome("s", resume_token="s.2", generation=2, is_joining=is_joining))
            if not is_joining:
                await peer.want(Join)
            await peer.say(JOINED)

    async with server(script) as url, connect(url) as client:
        assert await client.join("arena") == JOINED


async def test_client_waits_as_advised_and_stops_after_a_final_error() -> None:
    at: list[float] = []

    async def script(peer: Peer) -> None:
        at.append(asyncio.get_running_loop().time())
        await peer.want(Hello)
        if len(at) == 1:
            await peer.say(Welcome("s", generation=1), Goodbye(come_back=True, retry_after_ms=600))
            await peer.socket.close(1001)
        else:
            await peer.say(Error(ErrorCode.UNAUTHORIZED, "who are you"))
            await peer.socket.close(4502)

    async with server(script) as url, connect(url) as client:
        with pytest.raises(Disconnected, match="who are you"):
            await client.wait_for(lambda: False)
        assert client.state is ConnectionState.CLOSED
    assert at[1] - at[0] >= 0.6


async def test_client_that_cannot_reconnect_in_time_is_closed() -> None:
    async with server(lambda peer: peer.welcome()) as url, connect(url, reconnect_s=0.5) as client:
        pass
    async with server(lambda peer: peer.welcome()) as url:
        client = Client(url, reconnect_s=0.5)
        await client.open()
    with pytest.raises(Disconnected, match=r"could not reconnect within 0\.5 s"):
        await client.wait_for(lambda: False)
    await client.close()


async def test_token_source_is_called_for_every_connection() -> None:
    tokens: list[str] = []

    async def script(peer: Peer) -> None:
        tokens.append((await peer.want(Hello)).token)
        await peer.say(Welcome("s", generation=1))
        if len(tokens) == 1:
            peer.socket.transport.abort()

    async def source() -> str:
        return f"token {len(tokens)}"

    async with server(script) as url, connect(url, token=source):
        await eventually(lambda: tokens == ["token 0", "token 1"])


def test_backoff_grows_with_jitter_and_is_never_shorter_than_the_advice() -> None:
    backoffs = [Backoff(random.Random(seed).random) for seed in range(200)]
    delays = [[backoff.next_ms() for _ in range(12)] for backoff in backoffs]
    for attempt, ceiling in enumerate([250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]):
        column = sorted(row[attempt] for row in delays)
        assert column[-1] <= ceiling
        assert column[0] < 0.1 * ceiling, "the whole delay is random"
        assert column[-1] > 0.9 * ceiling
    assert all(backoff.next_ms(5_000) >= 5_000 for backoff in backoffs)
