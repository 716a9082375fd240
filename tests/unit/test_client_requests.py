"""Requests of the asyncio client: an Error ends only its request; a failed request releases queue entry and seat."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from tests.harness.polling import eventually
from tests.harness.scripted_server import JOINED, Peer, server
from tickwire.client import session_machine
from tickwire.client.client import Client, ClientError, NotMatched, Refused, connect
from tickwire.schemas.messages import (
    Command,
    EndSession,
    Error,
    ErrorCode,
    Hello,
    Input,
    Join,
    Joined,
    Leave,
    Left,
    MatchCancel,
    MatchRequest,
    MatchStatus,
    QueueState,
    Redirect,
    Reply,
    Welcome,
    to_request_type,
)

WAITING, FOUND = MatchStatus(QueueState.WAITING), MatchStatus(QueueState.FOUND)
CANCELLED = MatchStatus(QueueState.CANCELLED)
HERE = Redirect("", "ticket", "arena")


# -- an Error answers its own request -----------------------------------------------------------------------


@pytest.mark.parametrize("request_type", [to_request_type(Input), 0], ids=["named", "of an older server"])
async def test_error_about_inputs_does_not_end_a_match(request_type: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(MatchRequest)
        limited = Error(
            ErrorCode.RATE_LIMITED, "inputs", retry_after_ms=1000, retryable=True, request_type=request_type
        )
        await peer.say(WAITING, limited, FOUND, HERE)
        assert (await peer.want(Join)).ticket == "ticket"
        await peer.say(limited, JOINED)

    async with server(script) as url, connect(url) as client:
        assert await client.match("duel") == JOINED
        assert client.last_error is not None
        assert client.last_error.code is ErrorCode.RATE_LIMITED


@pytest.mark.parametrize("request_type", [to_request_type(MatchRequest), 0], ids=["named", "of an older server"])
async def test_error_about_the_match_ends_it(request_type: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(MatchRequest)
        await peer.say(Error(ErrorCode.NO_SUCH_MODE, "no duels", request_type=request_type))

    async with server(script) as url, connect(url) as client:
        with pytest.raises(Refused, match="no duels"):
            await client.match("duel")


async def test_join_while_a_match_waits_has_its_own_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(MatchRequest)
        await peer.say(WAITING)
        await peer.want(Join)
        await peer.say(Error(ErrorCode.ROOM_FULL, "full", retryable=True, request_type=to_request_type(Join)))
        await peer.want(Join)
        await peer.say(JOINED, FOUND, HERE)
        await peer.want(Leave)
        await peer.say(Left("left"))
        assert (await peer.want(Join)).ticket == "ticket"
        await peer.say(Joined("match"))

    async with server(script) as url, connect(url) as client:
        waiting = asyncio.create_task(client.match("duel"))
        await client.wait_for(lambda: client.queue_status is not None)
        with pytest.raises(Refused, match="full"):
            await client.join("arena")
        assert await client.join("arena") == JOINED
        assert (await waiting).room_id == "match"


async def test_calls_for_a_seat_wait_for_each_other() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        for number in range(3):
            await peer.want(Join)
            await peer.say(Joined(f"room {number}"))
            await peer.want(Leave)
            await peer.say(Left("left"))

    async with server(script) as url, connect(url) as client:
        calls = [call() for _ in range(3) for call in (lambda: client.join("arena"), client.leave)]
        rooms = (await asyncio.gather(*calls))[::2]
        assert [joined.room_id for joined in rooms if joined is not None] == ["room 0", "room 1", "room 2"]


async def test_second_match_is_refused_while_one_waits() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(MatchRequest)
        await peer.say(WAITING)
        await peer.want(MatchCancel)
        await peer.say(CANCELLED)

    async with server(script) as url, connect(url) as client:
        waiting = asyncio.create_task(client.match("duel"))
        await client.wait_for(lambda: client.queue_status is not None)
        with pytest.raises(ClientError, match="another match is waiting"):
            await client.match("team")
        assert client.queue_status == WAITING, "that of the match that waits"
        await client.cancel_match()
        with pytest.raises(NotMatched):
            await waiting


async def test_calls_and_reconnects_may_have_no_time_limit() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(MatchRequest)
        await peer.say(WAITING, FOUND, HERE)
        await peer.want(Join)
        await peer.say(JOINED)
        command = await peer.want(Command)
        await peer.say(Reply(command.id, ok=True))

    async with server(script) as url, connect(url, reconnect_s=math.inf) as client:
        assert await client.match("duel", timeout_s=math.inf) == JOINED
        assert await client.command("wave", timeout_s=math.inf) is None


# -- the place in the queue ---------------------------------------------------------------------------------


async def end_by_cancellation(waiting: asyncio.Task[Joined]) -> None:
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_cancelled_match_releases_the_queue_position() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(MatchRequest)
        await peer.say(WAITING)
        await peer.want(MatchCancel)
        await peer.want(MatchRequest)  # asked again before the answer to the cancel arrives
        await peer.say(WAITING, CANCELLED, WAITING, FOUND, HERE)
        await peer.want(Join)
        await peer.say(JOINED)

    async with server(script) as url, connect(url) as client:
        waiting = asyncio.create_task(client.match("duel"))
        await client.wait_for(lambda: client.queue_status is not None)
        await end_by_cancellation(waiting)
        assert await client.match("duel") == JOINED


async def test_timed_out_match_ends_when_the_queue_confirms_the_released_position() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(MatchRequest)
        await peer.say(WAITING)
        await peer.want(MatchCancel)
        await peer.say(CANCELLED)
        await peer.want(MatchRequest)
        await peer.say(WAITING, FOUND, HERE)
        await peer.want(Join)
        await peer.say(JOINED)

    async with server(script) as url, connect(url) as client:
        with pytest.raises(TimeoutError, match=r"no match was found within 0\.3 s"):
            await client.match("duel", timeout_s=0.3)
        assert await client.match("duel") == JOINED


async def cancel_match(client: Client) -> None:
    await client.cancel_match()


async def wait(client: Client) -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize(("happens", "timeout_s"), [(cancel_match, 30.0), (wait, 0.3)])
async def test_match_that_was_final_before_it_was_cancelled_is_played(
    happens: Callable[[Client], Awaitable[None]], timeout_s: float
) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(MatchRequest)
        await peer.say(WAITING)
        await peer.want(MatchCancel)
        await peer.say(FOUND, HERE)
        await peer.want(Join)
        await peer.say(JOINED)

    async with server(script) as url, connect(url) as client:
        waiting = asyncio.create_task(client.match("duel", timeout_s=timeout_s))
        await client.wait_for(lambda: client.queue_status is not None)
        await happens(client)
        assert await waiting == JOINED


async def test_queue_that_does_not_decide_is_not_waited_for_much_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_machine, "CANCEL_MS_MAX", 300)

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(MatchRequest)
        await peer.say(WAITING)
        await peer.want(MatchCancel)

    async with server(script) as url, connect(url) as client:
        with pytest.raises(TimeoutError):
            await client.match("duel", timeout_s=0.3)


@pytest.mark.parametrize("error", [ErrorCode.ROOM_FULL, ErrorCode.NO_SUCH_ROOM])
async def test_match_with_a_refused_seat_releases_the_queue_position(error: ErrorCode) -> None:
    given_back = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(MatchRequest)
        await peer.say(WAITING, FOUND, HERE)
        await peer.want(Join)
        await peer.say(Error(error, "gone", retryable=True, request_type=to_request_type(Join)))
        await peer.want(MatchCancel)
        given_back.set()

    async with server(script) as url, connect(url) as client:
        with pytest.raises(Refused, match="gone"):
            await client.match("duel")
        await eventually(given_back.is_set)


async def test_position_released_while_reconnecting_is_released_on_the_next_connection() -> None:
    given_back = asyncio.Event()
    hellos: list[Hello] = []

    async def script(peer: Peer) -> None:
        hellos.append(await peer.want(Hello))
        await peer.say(Welcome("s", resume_token="s.1", generation=len(hellos)))
        if len(hellos) == 1:
            await peer.want(MatchRequest)
            await peer.say(WAITING)
            await eventually(lambda: ended)
            peer.socket.transport.abort()
        else:
            await peer.want(MatchCancel)
            given_back.set()

    ended = False
    async with server(script) as url, connect(url) as client:
        waiting = asyncio.create_task(client.match("duel"))
        await client.wait_for(lambda: client.queue_status is not None)
        ended = True
        await client.wait_for(lambda: not client.is_connected)
        await end_by_cancellation(waiting)
        await eventually(given_back.is_set)


async def test_match_is_requested_again_by_a_new_session() -> None:
    number = 0

    async def script(peer: Peer) -> None:
        nonlocal number
        number += 1
        await peer.want(Hello)
        await peer.say(Welcome(f"s{number}", resume_token=f"s{number}.1", generation=1))
        await peer.want(MatchRequest)
        await peer.say(WAITING)
        if number == 1:
            peer.socket.transport.abort()
        else:
            await peer.say(FOUND, HERE)
            await peer.want(Join)
            await peer.say(JOINED)

    async with server(script) as url, connect(url) as client:
        assert await client.match("duel") == JOINED


# -- the seat -----------------------------------------------------------------------------------------------


async def test_seat_assigned_after_a_cancelled_join_is_released() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(Join)
        asked.set()
        await go_on.wait()
        await peer.say(JOINED)
        await peer.want(Leave)
        await peer.say(Left("left"))
        await peer.want(Join)
        await peer.say(Joined("second"))

    asked, go_on = asyncio.Event(), asyncio.Event()
    async with server(script) as url, connect(url) as client:
        joining = asyncio.create_task(client.join("arena"))
        await asked.wait()
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        second = asyncio.create_task(client.join("arena"))
        await asyncio.sleep(0)
        go_on.set()
        assert (await second).room_id == "second", "and the next join waits until that is settled"


async def test_cancelled_join_that_is_refused_leaves_no_seat_to_release() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(Join)
        asked.set()
        await go_on.wait()
        await peer.say(Error(ErrorCode.ROOM_FULL, "full", request_type=to_request_type(Join)))
        await peer.want(Join)
        await peer.say(JOINED)

    asked, go_on = asyncio.Event(), asyncio.Event()
    async with server(script) as url, connect(url) as client:
        joining = asyncio.create_task(client.join("arena"))
        await asked.wait()
        joining.cancel()
        await asyncio.wait([joining])
        go_on.set()
        assert await client.join("arena") == JOINED


REFUSED_JOIN = Error(ErrorCode.OUT_OF_ORDER, "seated", request_type=to_request_type(Join))


@pytest.mark.parametrize("has_moved", [False, True], ids=["the same shard", "another shard"])
async def test_join_of_a_seated_client_that_reconnects_is_sent_again_and_refused(has_moved: bool) -> None:
    number = 0

    async def script(peer: Peer) -> None:
        nonlocal number
        number += 1
        if number == 1:
            await peer.want(Hello)
            await peer.say(Welcome("s", resume_token="s.1", generation=1))
            await peer.want(Join)
            await peer.say(JOINED)
            await peer.want(Join)
            peer.socket.transport.abort()
        else:
            await peer.want(Hello)
            await peer.say(Welcome("s", resume_token="s.2", generation=2, room_id=JOINED.room_id))
            if has_moved:
                await peer.say(JOINED)
            await peer.want(Join)
            await peer.say(REFUSED_JOIN)

    async with server(script) as url, connect(url) as client:
        await client.join("arena")
        with pytest.raises(Refused, match="seated"):
            await client.join("meadow")
        assert client.core.joined == JOINED


async def test_join_in_flight_is_not_sent_again_to_a_server_that_has_the_seat() -> None:
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
            await peer.say(Welcome("s", resume_token="s.2", generation=2, room_id=JOINED.room_id), JOINED)
            await peer.want(Leave)
            await peer.say(Left("left"))

    async with server(script) as url, connect(url) as client:
        assert await client.join("arena") == JOINED
        await client.leave()


# -- the end of a session -----------------------------------------------------------------------------------


async def ends_session(body: Callable[[str], Awaitable[None]]) -> None:
    """Asserts that a client that does this ends its session with a message, and closes with 1000."""
    codes: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(MatchRequest)
        await peer.say(WAITING)
        await peer.want(EndSession)
        await peer.socket.wait_closed()
        codes.append(peer.socket.close_code or 0)

    async with server(script) as url:
        await body(url)
        await eventually(lambda: codes == [1000])


async def test_close_ends_the_session_while_a_match_waits() -> None:
    async def body(url: str) -> None:
        async with connect(url) as client:
            waiting = asyncio.create_task(client.match("duel"))
            await client.wait_for(lambda: client.queue_status is not None)
            await client.close()
            with pytest.raises(ClientError):
                await waiting

    await ends_session(body)


async def test_block_that_raises_ends_the_session() -> None:
    waiting: list[asyncio.Task[Joined]] = []

    async def play(url: str) -> None:
        async with connect(url) as client:
            waiting.append(asyncio.create_task(client.match("duel")))
            await client.wait_for(lambda: client.queue_status is not None)
            raise ZeroDivisionError

    async def body(url: str) -> None:
        with pytest.raises(ZeroDivisionError):
            await play(url)
        await asyncio.wait(waiting)
        assert isinstance(waiting[0].exception(), ClientError)

    await ends_session(body)


async def test_task_that_is_cancelled_ends_the_session() -> None:
    async def play(url: str) -> None:
        async with connect(url) as client:
            await client.match("duel")

    async def cancelled(url: str) -> None:
        playing = asyncio.create_task(play(url))
        await eventually(lambda: bool(waits))
        playing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await playing

    waits: list[bool] = []
    messages: list[object] = []

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.want(MatchRequest)
        waits.append(True)
        messages.append(await peer.hear())
        if not isinstance(messages[-1], EndSession):
            messages.append(await peer.hear())

    async with server(script) as url:
        await cancelled(url)
        await eventually(lambda: bool(messages) and isinstance(messages[-1], EndSession))


async def test_session_that_a_redirect_leaves_behind_is_ended() -> None:
    left_behind: list[object] = []

    async def there(peer: Peer) -> None:
        await peer.welcome()
        assert (await peer.want(Join)).ticket == "right of way"
        await peer.say(JOINED)

    async with server(there) as target:

        async def here(peer: Peer) -> None:
            await peer.welcome()
            await peer.want(Join)
            await peer.say(Redirect(target, "right of way"))
            left_behind.append(await peer.hear())

        async with server(here) as url, connect(url) as client:
            assert await client.join("arena") == JOINED
            await eventually(lambda: left_behind == [EndSession()])


# -- commands -----------------------------------------------------------------------------------------------


async def test_three_hundred_commands_at_once_are_all_answered_and_never_too_many_are_in_flight() -> None:
    rng = random.Random(1)
    in_flight: set[int] = set()
    most = 0

    async def answer(peer: Peer) -> None:
        while True:
            await asyncio.sleep(0.002)
            for command_id in rng.sample(sorted(in_flight), len(in_flight) // 2) or list(in_flight):
                in_flight.discard(command_id)
                undecided = Reply(command_id, error=ErrorCode.UNAVAILABLE, retry_after_ms=20)
                reply = Reply(command_id, ok=True, payload=msgspec.msgpack.encode(command_id))
                await peer.say(undecided if rng.random() < 0.2 else reply)

    async def script(peer: Peer) -> None:
        nonlocal most
        await peer.want(Hello)
        await peer.say(Welcome("s", messages_per_second_max=2000, inputs_per_second_max=500))
        await peer.want(Join)
        await peer.say(JOINED)
        answering = asyncio.create_task(answer(peer))
        try:
            while isinstance(command := await peer.hear(), Command):
                in_flight.add(command.id)
                most = max(most, len(in_flight))
        finally:
            answering.cancel()

    async with server(script) as url, connect(url) as client:
        await client.join("arena")
        replies = await asyncio.gather(*(client.command("work", number) for number in range(300)))
        assert replies == list(range(1, 301))
    assert 8 <= most <= 16


async def test_command_above_the_bound_fails_at_once_and_the_others_are_answered() -> None:
    async def script(peer: Peer) -> None:
        await peer.seat()
        while isinstance(command := await peer.hear(), Command):
            await peer.say(Reply(command.id, ok=True))

    async with server(script) as url, connect(url) as client:
        await client.join("arena")
        calls = [asyncio.create_task(client.command("work")) for _ in range(1030)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results[1024:]] == [ClientError] * 6
        assert results[:1024] == [None] * 1024
