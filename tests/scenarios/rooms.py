"""Scenarios of rooms: redirects of joins, moves, matches, lists of rooms, commands and abandoned calls."""

from __future__ import annotations

import msgspec

from tests.scenarios.connection import SHARD, answer, connect, joined, opened, seated, welcome
from tests.scenarios.recorder import ScenarioRecorder, scenario
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


@scenario()
def redirect(play: ScenarioRecorder) -> None:
    """A join is redirected to another shard: the client ends its session, and joins there with the ticket."""
    opened(play)
    play.join("arena", name="lobby", options={"name": "ann"})
    play.receive(TICKET)
    connect(play)
    play.receive(joined())


@scenario()
def all_options(play: ScenarioRecorder) -> None:
    """Every option of a join, of a match, and of a list."""
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


@scenario()
def join_before_welcome(play: ScenarioRecorder) -> None:
    """Calls before Welcome wait for it. Inputs do not."""
    play.open()
    play.join("arena")
    play.match()
    play.list_rooms()
    play.cancel_match()
    connect(play)
    play.receive(joined())
    play.receive(WAITING)
    play.receive(CANCELLED)


@scenario()
def redirect_on_same_shard(play: ScenarioRecorder) -> None:
    """A Redirect without an address: the client joins with the ticket on the same connection."""
    opened(play)
    play.join("arena")
    play.receive(Redirect("", "ticket-1", "arena", "lobby"))
    play.receive(joined())


@scenario(random=[0.4])
def redirect_to_dead_shard(play: ScenarioRecorder) -> None:
    """The shard of a Redirect does not answer: the client repeats the join at its initial URL after a pause."""
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


@scenario(random=[0.4])
def redirect_to_shard_that_refuses(play: ScenarioRecorder) -> None:
    """The shard of a Redirect refuses the session for good: that is no reason to give up the initial URL."""
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


@scenario()
def redirects_without_end(play: ScenarioRecorder) -> None:
    """More than five Redirects in a row end the join."""
    opened(play)
    play.join("arena")
    for number in range(6):
        play.receive(Redirect("", f"ticket-{number}", "arena"))


@scenario(url="wss://home/")
def redirect_to_plain_connection(play: ScenarioRecorder) -> None:
    """A Redirect from wss to ws is not followed: the token is not sent over a plain connection."""
    opened(play)
    play.join("arena")
    play.receive(TICKET)
    play.receive(Redirect(SHARD, is_resume=True))


@scenario()
def join_timeout(play: ScenarioRecorder) -> None:
    """A join without an answer fails after 10 s. Its seat is released when it arrives; the next join waits for it."""
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


@scenario()
def abandoned_join(play: ScenarioRecorder) -> None:
    """The caller stops waiting for a join: the seat that arrives is released."""
    opened(play)
    call = play.join("arena")
    play.abandon(call)
    play.receive(joined())


@scenario()
def abandoned_join_refused(play: ScenarioRecorder) -> None:
    """The Error that answers an abandoned join does not end the next one, which is sent afterwards."""
    opened(play)
    call = play.join("arena")
    play.abandon(call)
    play.join("arena", name="other")
    play.receive(answer(Error(ErrorCode.ROOM_FULL, "full", retryable=True), Join))
    play.receive(joined())


@scenario()
def abandoned_join_redirected(play: ScenarioRecorder) -> None:
    """The Redirect that answers an abandoned join is not followed; the next join is sent afterwards."""
    opened(play)
    call = play.join("arena")
    play.abandon(call)
    play.join("arena", name="other")
    play.receive(TICKET)
    play.receive(joined())


@scenario()
def move_of_the_session_during_a_join(play: ScenarioRecorder) -> None:
    """A Redirect with is_resume answers no join: the session moves, and the join is sent again there."""
    opened(play)
    play.join("arena")
    play.receive(Redirect(SHARD, is_resume=True))
    play.lost(4003)
    connect(play, generation=2)
    play.receive(joined())


@scenario(random=[0.0])
def join_in_flight(play: ScenarioRecorder) -> None:
    """After a reconnect a join is sent again, unless the server still processes it."""
    opened(play)
    play.join("arena")
    play.lost()
    play.token()
    play.connected()
    play.receive(welcome(2, is_joining=True))
    play.lost()
    connect(play, generation=3, step_ms=0)
    play.lost()
    connect(play, generation=4, room_id="r1", step_ms=0)
    play.receive(joined())


@scenario()
def calls_in_order(play: ScenarioRecorder) -> None:
    """Joins and leaves wait for each other."""
    opened(play)
    play.join("arena")
    play.leave()
    play.join("arena", name="next")
    play.receive(joined())
    play.receive(Left("left"))
    play.receive(joined("r2"))


@scenario()
def move_on_same_shard(play: ScenarioRecorder) -> None:
    """The room moves its player to another room of the shard: Left, and Joined without a Join."""
    seated(play)
    play.command("go")
    play.receive(Left("the next map"))
    play.receive(joined("r2"))


@scenario()
def move_to_another_shard(play: ScenarioRecorder) -> None:
    """A Redirect in a room, then Left: the client follows without a call."""
    seated(play)
    play.receive(TICKET)
    play.receive(Left("the next map"))
    connect(play)
    play.receive(joined("r2"))


@scenario()
def move_that_fails(play: ScenarioRecorder) -> None:
    """The other shard refuses the player: `error` reports it, and the client is in no room."""
    seated(play)
    play.receive(TICKET)
    play.receive(Left("the next map"))
    connect(play)
    play.receive(answer(Error(ErrorCode.ROOM_FULL, "full", retryable=True), Join))


@scenario()
def match_found(play: ScenarioRecorder) -> None:
    """A match is found on this shard: the client leaves its room, and joins that of the match."""
    seated(play)
    play.match("duel", options={"skin": "red"})
    play.receive(WAITING)
    play.receive(FOUND)
    play.receive(Redirect("", "ticket-1", "arena"))
    play.receive(Left("left"))
    play.receive(joined("r2"))


@scenario()
def match_on_another_shard(play: ScenarioRecorder) -> None:
    """A match is found on another shard, for a client in no room."""
    opened(play)
    play.match()
    play.receive(WAITING)
    play.receive(FOUND)
    play.receive(TICKET)
    connect(play)
    play.receive(joined())


@scenario(random=[0.0])
def match_on_dead_shard(play: ScenarioRecorder) -> None:
    """The shard of the match cannot be reached: the call fails, and the client is at its initial URL."""
    opened(play)
    play.match()
    play.receive(WAITING)
    play.receive(FOUND)
    play.receive(TICKET)
    play.token()
    play.connect_failed()
    connect(play)


@scenario()
def match_cancelled(play: ScenarioRecorder) -> None:
    """A cancelled match fails when the queue confirms it. A second `match` meanwhile is refused."""
    opened(play)
    play.match()
    play.match("other")
    play.receive(WAITING)
    play.cancel_match()
    play.receive(CANCELLED)


@scenario()
def match_timeout(play: ScenarioRecorder) -> None:
    """After the time limit the queue decides. The call fails when it confirms the cancellation."""
    opened(play)
    play.match(timeout_ms=2000)
    play.receive(WAITING)
    play.timer()
    play.receive(CANCELLED)


@scenario()
def match_timeout_without_answer(play: ScenarioRecorder) -> None:
    """The queue does not decide within 5 s: the call fails, and the entry is abandoned."""
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


@scenario()
def match_final_before_cancellation(play: ScenarioRecorder) -> None:
    """FOUND wins against a cancellation that came too late: the client joins the match."""
    opened(play)
    play.match()
    play.receive(WAITING)
    play.cancel_match()
    play.receive(FOUND)
    play.receive(Redirect("", "ticket-1", "arena"))
    play.receive(MatchStatus(QueueState.FOUND, mode="duel", reason="the match was final"))
    play.receive(joined())


@scenario()
def match_refused(play: ScenarioRecorder) -> None:
    """An Error for the MatchRequest ends the call."""
    opened(play)
    play.match("unknown")
    play.receive(answer(Error(ErrorCode.NO_SUCH_MODE, "no such mode"), MatchRequest))


@scenario(random=[0.0])
def match_over_a_reconnect(play: ScenarioRecorder) -> None:
    """A waiting match is requested again after a reconnect, and so is a cancellation that was not answered."""
    opened(play)
    play.match()
    play.receive(WAITING)
    play.lost()
    play.cancel_match()
    connect(play, generation=2)
    play.receive(WAITING)
    play.receive(CANCELLED)


@scenario(random=[0.0])
def abandoned_match(play: ScenarioRecorder) -> None:
    """The caller stops waiting: the client leaves the queue, and later messages about the entry are ignored."""
    opened(play)
    call = play.match()
    play.receive(WAITING)
    play.abandon(call)
    play.lost()
    connect(play, generation=2)
    play.receive(WAITING)
    play.receive(CANCELLED)


@scenario()
def match_and_join_on_another_shard(play: ScenarioRecorder) -> None:
    """A join that leads to another shard leaves the queue: the match is requested again there."""
    opened(play)
    play.match()
    play.receive(WAITING)
    play.join("arena")
    play.receive(TICKET)
    connect(play)
    play.receive(joined())
    play.receive(WAITING)


@scenario()
def list_rooms_refused(play: ScenarioRecorder) -> None:
    """An Error ends the oldest ListRooms; the next one is sent, and fails after 10 s."""
    opened(play)
    play.list_rooms("maze")
    play.list_rooms("arena")
    play.receive(answer(Error(ErrorCode.NO_SUCH_ROOM_TYPE, "no maze"), ListRooms))
    while play.now_ms < 10_040:
        play.timer()
        play.receive(WAITING)
    play.receive(RoomList(2))


@scenario()
def list_rooms(play: ScenarioRecorder) -> None:
    """One ListRooms waits at a time."""
    opened(play)
    play.list_rooms(limit=2)
    play.list_rooms("maze")
    play.receive(RoomList(1, (ListedRoom("r1", 3, 8), ListedRoom("r2", 1, 8))))
    play.receive(RoomList(2))


@scenario(random=[0.5])
def undecided_reply(play: ScenarioRecorder) -> None:
    """A Reply that decides nothing: the same id is sent again after the advised time. Without a Reply, after 10 s."""
    seated(play)
    play.command("buy", {"item": "tea"}, timeout_ms=60_000)
    play.receive(Reply(1, error=ErrorCode.RATE_LIMITED, retry_after_ms=500))
    play.timer()
    play.receive(Reply(1, error=ErrorCode.UNAVAILABLE, retry_after_ms=200))
    while play.now_ms < 12_000:
        play.timer()
        play.receive(WAITING)
    play.receive(Reply(1, ok=True))


@scenario()
def command_window(play: ScenarioRecorder) -> None:
    """At most 16 ids from the oldest unanswered one on are in flight, with at most half of the message rate."""
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


@scenario()
def limits_after_a_server_without_limits(play: ScenarioRecorder) -> None:
    """Commands that were sent while no rates were known do not count against the rates of a later Welcome."""
    play.open()
    play.token()
    play.connected()
    play.receive(msgspec.structs.replace(welcome(), messages_per_second_max=0, bytes_per_second_max=0))
    play.join()
    play.receive(joined())
    for number in range(1, 13):
        play.command("work")
        play.receive(Reply(number, ok=True))
    play.lost()
    play.timer()
    play.token()
    play.connected()
    play.receive(msgspec.structs.replace(welcome(2, "r1"), messages_per_second_max=20))
    play.command("buy")
    play.receive(Reply(13, ok=True))


@scenario(random=[0.0])
def command_timeout(play: ScenarioRecorder) -> None:
    """A command without a reply fails, and is not sent again. Its late reply is ignored."""
    seated(play)
    play.command("buy", timeout_ms=1000)
    play.timer()
    play.lost()
    connect(play, generation=2, room_id="r1")
    play.receive(Reply(1, ok=True))


@scenario()
def command_without_room(play: ScenarioRecorder) -> None:
    """A command needs a room, and a message must not be larger than the server accepts."""
    opened(play)
    play.command("buy")
    play.join()
    play.receive(joined())
    play.command("say", "x" * 5000)


@scenario()
def room_closed(play: ScenarioRecorder) -> None:
    """The room closes: commands in flight fail."""
    seated(play)
    play.command("buy")
    play.receive(Left("the room closed"))
