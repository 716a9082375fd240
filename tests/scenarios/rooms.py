"""Scenarios of rooms: redirects of joins, moves, matches, lists of rooms, commands and abandoned calls."""

from __future__ import annotations

import msgspec

from tests.scenarios.connection import SHARD, answer, connect, joined, opened, seated, welcome
from tests.scenarios.recorder import ScenarioRecorder
from tickwire.schemas.messages import (
    Error,
    ErrorCode,
    Join,
    Left,
    ListedRoom,
    ListRooms,
    MatchRequest,
    MatchStatus,
    QueueState,
    Redirect,
    Reply,
    RoomList,
)

TICKET = Redirect(SHARD, "ticket-1", "arena", "lobby")
WAITING = MatchStatus(QueueState.WAITING, 1, mode="duel")
FOUND = MatchStatus(QueueState.FOUND, mode="duel")
CANCELLED = MatchStatus(QueueState.CANCELLED, mode="duel", reason="cancelled")


def redirect() -> ScenarioRecorder:
    """A join is redirected to another shard: the client ends its session, and joins there with the ticket."""
    play = ScenarioRecorder()
    opened(play)
    play.join("arena", name="lobby", options={"name": "ann"})
    play.receive(TICKET)
    connect(play)
    play.receive(joined())
    return play


def all_options() -> ScenarioRecorder:
    """Every option of a join, of a match, and of a list."""
    play = ScenarioRecorder()
    opened(play)
    play.join(
        "arena",
        name="lobby",
        room_id="r9",
        code="ABCD",
        is_private=True,
        labels={"map": "ice"},
        party=("friends", 3),
        options={"name": "ann"},
    )
    play.receive(joined())
    play.match("duel", party=("friends", 2), latencies={"eu": 20.5}, labels={"map": "ice"}, options={"skin": "red"})
    play.list_rooms("arena", limit=7, labels={"map": "ice"})
    return play


def join_before_welcome() -> ScenarioRecorder:
    """Calls before Welcome wait for it. Inputs do not."""
    play = ScenarioRecorder()
    play.open()
    play.join("arena")
    play.match()
    play.list_rooms()
    play.cancel_match()
    connect(play)
    play.receive(joined())
    play.receive(WAITING)
    play.receive(CANCELLED)
    return play


def redirect_on_same_shard() -> ScenarioRecorder:
    """A Redirect without an address: the client joins with the ticket on the same connection."""
    play = ScenarioRecorder()
    opened(play)
    play.join("arena")
    play.receive(Redirect("", "ticket-1", "arena", "lobby"))
    play.receive(joined())
    return play


def redirect_to_dead_shard() -> ScenarioRecorder:
    """The shard of a Redirect does not answer: the client repeats the join at its initial URL after a pause."""
    play = ScenarioRecorder(random=[0.4])
    opened(play)
    play.join("arena", name="lobby")
    play.receive(TICKET)
    play.token()
    play.connect_failed()
    play.timer()
    connect(play)
    play.timer()
    play.receive(TICKET)
    connect(play)
    play.receive(joined())
    return play


def redirect_to_shard_that_refuses() -> ScenarioRecorder:
    """The shard of a Redirect refuses the session for good: that is no reason to give up the initial URL."""
    play = ScenarioRecorder(random=[0.4])
    opened(play)
    play.join("arena", name="lobby")
    play.receive(TICKET)
    play.token()
    play.connected()
    play.receive(Error(ErrorCode.UNAUTHORIZED, "no"))
    play.timer()
    connect(play)
    play.timer()
    play.receive(joined())
    return play


def redirects_without_end() -> ScenarioRecorder:
    """More than five Redirects in a row end the join."""
    play = ScenarioRecorder()
    opened(play)
    play.join("arena")
    for number in range(6):
        play.receive(Redirect("", f"ticket-{number}", "arena"))
    return play


def redirect_to_plain_connection() -> ScenarioRecorder:
    """A Redirect from wss to ws is not followed: the token is not sent over a plain connection."""
    play = ScenarioRecorder(options={"url": "wss://home/"})
    opened(play)
    play.join("arena")
    play.receive(TICKET)
    play.receive(Redirect(SHARD, is_resume=True))
    return play


def join_timeout() -> ScenarioRecorder:
    """A join without an answer fails after 10 s. Its seat is released when it arrives; the next join waits for it."""
    play = ScenarioRecorder()
    opened(play)
    play.join("arena")
    for _ in range(3):
        play.timer()
        play.receive(WAITING)
    play.timer()
    play.join("arena", name="other")
    play.wait(100)
    play.receive(joined())
    play.receive(Left("left"))
    play.receive(joined("r2"))
    return play


def abandoned_join() -> ScenarioRecorder:
    """The caller stops waiting for a join: the seat that arrives is released."""
    play = ScenarioRecorder()
    opened(play)
    call = play.join("arena")
    play.abandon(call)
    play.receive(joined())
    return play


def abandoned_join_refused() -> ScenarioRecorder:
    """The Error that answers an abandoned join does not end the next one, which is sent afterwards."""
    play = ScenarioRecorder()
    opened(play)
    call = play.join("arena")
    play.abandon(call)
    play.join("arena", name="other")
    play.receive(answer(Error(ErrorCode.ROOM_FULL, "full", retryable=True), Join))
    play.receive(joined())
    return play


def abandoned_join_redirected() -> ScenarioRecorder:
    """The Redirect that answers an abandoned join is not followed; the next join is sent afterwards."""
    play = ScenarioRecorder()
    opened(play)
    call = play.join("arena")
    play.abandon(call)
    play.join("arena", name="other")
    play.receive(TICKET)
    play.receive(joined())
    return play


def move_of_the_session_during_a_join() -> ScenarioRecorder:
    """A Redirect with is_resume answers no join: the session moves, and the join is sent again there."""
    play = ScenarioRecorder()
    opened(play)
    play.join("arena")
    play.receive(Redirect(SHARD, is_resume=True))
    play.lost(4003)
    connect(play, generation=2)
    play.receive(joined())
    return play


def join_in_flight() -> ScenarioRecorder:
    """After a reconnect a join is sent again, unless the server still processes it."""
    play = ScenarioRecorder(random=[0.0])
    opened(play)
    play.join("arena")
    play.lost()
    play.token()
    play.connected()
    play.receive(welcome(2, is_joining=True))
    play.lost()
    play.token()
    play.connected()
    play.receive(welcome(3))
    play.lost()
    play.token()
    play.connected()
    play.receive(welcome(4, "r1"))
    play.receive(joined())
    return play


def calls_in_order() -> ScenarioRecorder:
    """Joins and leaves wait for each other."""
    play = ScenarioRecorder()
    opened(play)
    play.join("arena")
    play.leave()
    play.join("arena", name="next")
    play.receive(joined())
    play.receive(Left("left"))
    play.receive(joined("r2"))
    return play


def move_on_same_shard() -> ScenarioRecorder:
    """The room moves its player to another room of the shard: Left, and Joined without a Join."""
    play = ScenarioRecorder()
    seated(play)
    play.command("go")
    play.receive(Left("the next map"))
    play.receive(joined("r2"))
    return play


def move_to_another_shard() -> ScenarioRecorder:
    """A Redirect in a room, then Left: the client follows without a call."""
    play = ScenarioRecorder()
    seated(play)
    play.receive(TICKET)
    play.receive(Left("the next map"))
    connect(play)
    play.receive(joined("r2"))
    return play


def move_that_fails() -> ScenarioRecorder:
    """The other shard refuses the player: `error` reports it, and the client is in no room."""
    play = ScenarioRecorder()
    seated(play)
    play.receive(TICKET)
    play.receive(Left("the next map"))
    connect(play)
    play.receive(answer(Error(ErrorCode.ROOM_FULL, "full", retryable=True), Join))
    return play


def match_found() -> ScenarioRecorder:
    """A match is found on this shard: the client leaves its room, and joins that of the match."""
    play = ScenarioRecorder()
    seated(play)
    play.match("duel", options={"skin": "red"})
    play.receive(WAITING)
    play.receive(FOUND)
    play.receive(Redirect("", "ticket-1", "arena"))
    play.receive(Left("left"))
    play.receive(joined("r2"))
    return play


def match_on_another_shard() -> ScenarioRecorder:
    """A match is found on another shard, for a client in no room."""
    play = ScenarioRecorder()
    opened(play)
    play.match()
    play.receive(WAITING)
    play.receive(FOUND)
    play.receive(TICKET)
    connect(play)
    play.receive(joined())
    return play


def match_on_dead_shard() -> ScenarioRecorder:
    """The shard of the match cannot be reached: the call fails, and the client is at its initial URL."""
    play = ScenarioRecorder(random=[0.0])
    opened(play)
    play.match()
    play.receive(WAITING)
    play.receive(FOUND)
    play.receive(TICKET)
    play.token()
    play.connect_failed()
    connect(play)
    return play


def match_cancelled() -> ScenarioRecorder:
    """A cancelled match fails when the queue confirms it. A second `match` meanwhile is refused."""
    play = ScenarioRecorder()
    opened(play)
    play.match()
    play.match("other")
    play.receive(WAITING)
    play.cancel_match()
    play.receive(CANCELLED)
    return play


def match_timeout() -> ScenarioRecorder:
    """After the time limit the queue decides. The call fails when it confirms the cancellation."""
    play = ScenarioRecorder()
    opened(play)
    play.match(timeout_ms=2000)
    play.receive(WAITING)
    play.timer()
    play.receive(CANCELLED)
    return play


def match_timeout_without_answer() -> ScenarioRecorder:
    """The queue does not decide within 5 s: the call fails, and the entry is abandoned."""
    play = ScenarioRecorder()
    opened(play)
    play.match(timeout_ms=1000)
    play.receive(WAITING)
    while play.now_ms < 5000:
        play.timer()
        play.receive(WAITING)
    play.timer()
    play.match(timeout_ms=60_000)
    play.receive(CANCELLED)
    play.receive(CANCELLED)
    play.receive(WAITING)
    return play


def match_final_before_cancellation() -> ScenarioRecorder:
    """FOUND wins against a cancellation that came too late: the client joins the match."""
    play = ScenarioRecorder()
    opened(play)
    play.match()
    play.receive(WAITING)
    play.cancel_match()
    play.receive(FOUND)
    play.receive(Redirect("", "ticket-1", "arena"))
    play.receive(MatchStatus(QueueState.FOUND, mode="duel", reason="the match was final"))
    play.receive(joined())
    return play


def match_refused() -> ScenarioRecorder:
    """An Error for the MatchRequest ends the call."""
    play = ScenarioRecorder()
    opened(play)
    play.match("unknown")
    play.receive(answer(Error(ErrorCode.NO_SUCH_MODE, "no such mode"), MatchRequest))
    return play


def match_over_a_reconnect() -> ScenarioRecorder:
    """A waiting match is requested again after a reconnect, and so is a cancellation that was not answered."""
    play = ScenarioRecorder(random=[0.0])
    opened(play)
    play.match()
    play.receive(WAITING)
    play.lost()
    play.cancel_match()
    connect(play, generation=2)
    play.receive(WAITING)
    play.receive(CANCELLED)
    return play


def abandoned_match() -> ScenarioRecorder:
    """The caller stops waiting: the client leaves the queue, and later messages about the entry are ignored."""
    play = ScenarioRecorder(random=[0.0])
    opened(play)
    call = play.match()
    play.receive(WAITING)
    play.abandon(call)
    play.lost()
    connect(play, generation=2)
    play.receive(WAITING)
    play.receive(CANCELLED)
    return play


def match_and_join_on_another_shard() -> ScenarioRecorder:
    """A join that leads to another shard leaves the queue: the match is requested again there."""
    play = ScenarioRecorder()
    opened(play)
    play.match()
    play.receive(WAITING)
    play.join("arena")
    play.receive(TICKET)
    connect(play)
    play.receive(joined())
    play.receive(WAITING)
    return play


def list_rooms_refused() -> ScenarioRecorder:
    """An Error ends the oldest ListRooms; the next one is sent, and fails after 10 s."""
    play = ScenarioRecorder()
    opened(play)
    play.list_rooms("maze")
    play.list_rooms("arena")
    play.receive(answer(Error(ErrorCode.NO_SUCH_ROOM_TYPE, "no maze"), ListRooms))
    while play.now_ms < 10_040:
        play.timer()
        play.receive(WAITING)
    play.receive(RoomList(2))
    return play


def list_rooms() -> ScenarioRecorder:
    """One ListRooms waits at a time."""
    play = ScenarioRecorder()
    opened(play)
    play.list_rooms(limit=2)
    play.list_rooms("maze")
    play.receive(RoomList(1, (ListedRoom("r1", 3, 8), ListedRoom("r2", 1, 8))))
    play.receive(RoomList(2))
    return play


def undecided_reply() -> ScenarioRecorder:
    """A Reply that decides nothing: the same id is sent again after the advised time. Without a Reply, after 10 s."""
    play = ScenarioRecorder(random=[0.5])
    seated(play)
    play.command("buy", {"item": "tea"}, timeout_ms=60_000)
    play.receive(Reply(1, error=ErrorCode.RATE_LIMITED, retry_after_ms=500))
    play.timer()
    play.receive(Reply(1, error=ErrorCode.UNAVAILABLE, retry_after_ms=200))
    while play.now_ms < 12_000:
        play.timer()
        play.receive(WAITING)
    play.receive(Reply(1, ok=True))
    return play


def command_window() -> ScenarioRecorder:
    """At most 16 ids from the oldest unanswered one on are in flight, with at most half of the message rate."""
    play = ScenarioRecorder()
    play.open()
    play.token()
    play.connected()
    play.receive(msgspec.structs.replace(welcome(), messages_per_second_max=20))
    play.join()
    play.receive(joined())
    for number in range(20):
        play.command("work", number, timeout_ms=60_000)
    while play.now_ms < 600:
        play.timer()
    for number in range(1, 5):
        play.receive(Reply(number, ok=True))
    return play


def command_timeout() -> ScenarioRecorder:
    """A command without a reply fails, and is not sent again. Its late reply is ignored."""
    play = ScenarioRecorder(random=[0.0])
    seated(play)
    play.command("buy", timeout_ms=1000)
    play.timer()
    play.lost()
    connect(play, generation=2, room_id="r1")
    play.receive(Reply(1, ok=True))
    return play


def command_without_room() -> ScenarioRecorder:
    """A command needs a room, and a message must not be larger than the server accepts."""
    play = ScenarioRecorder()
    opened(play)
    play.command("buy")
    play.join()
    play.receive(joined())
    play.command("say", "x" * 5000)
    return play


def room_closed() -> ScenarioRecorder:
    """The room closes: commands in flight fail."""
    play = ScenarioRecorder()
    seated(play)
    play.command("buy")
    play.receive(Left("the room closed"))
    return play


SCENARIOS = (
    redirect,
    all_options,
    join_before_welcome,
    redirect_on_same_shard,
    redirect_to_dead_shard,
    redirect_to_shard_that_refuses,
    redirects_without_end,
    redirect_to_plain_connection,
    join_timeout,
    abandoned_join,
    abandoned_join_refused,
    abandoned_join_redirected,
    move_of_the_session_during_a_join,
    join_in_flight,
    calls_in_order,
    move_on_same_shard,
    move_to_another_shard,
    move_that_fails,
    match_found,
    match_on_another_shard,
    match_on_dead_shard,
    match_cancelled,
    match_timeout,
    match_timeout_without_answer,
    match_final_before_cancellation,
    match_refused,
    match_over_a_reconnect,
    abandoned_match,
    list_rooms,
    list_rooms_refused,
    match_and_join_on_another_shard,
    undecided_reply,
    command_window,
    command_timeout,
    command_without_room,
    room_closed,
)
