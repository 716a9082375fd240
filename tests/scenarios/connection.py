"""Scenarios of the connection: opening, loss, back-off, redirects, heartbeat, final closes and restarts."""

from __future__ import annotations

from tests.golden import GoldenShips, Stage
from tests.scenarios.recorder import ScenarioRecorder
from tickwire.schemas import fields
from tickwire.schemas.messages import (
    Error,
    ErrorCode,
    Event,
    Goodbye,
    Input,
    Join,
    Joined,
    Left,
    Message,
    Pong,
    Redirect,
    Reply,
    StateDescription,
    Welcome,
    to_request_type,
)
from tickwire.schemas.state_messages import encode_ack

SHARD = "ws://shard/"
ALICE = "e30.eyJzdWIiOiJhbGljZSJ9.c2ln"
"""Tokens whose claim `sub` is alice, or bob. They have no valid signature."""
BOB = "e30.eyJzdWIiOiJib2IifQ.c2ln"
UNAVAILABLE = Error(ErrorCode.UNAVAILABLE, "the shard is stopping", retry_after_ms=1000, retryable=True)


def welcome(generation: int = 1, room_id: str = "", *, is_joining: bool = False, left_reason: str = "") -> Welcome:
    return Welcome(
        "s",
        f"s.{generation}",
        heartbeat_interval_ms=3000,
        message_bytes_max=4096,
        inputs_per_second_max=60,
        generation=generation,
        resume_window_ms=60_000,
        room_id=room_id,
        is_joining=is_joining,
        messages_per_second_max=120,
        bytes_per_second_max=65_536,
        left_reason=left_reason,
    )


def joined(room_id: str = "r1", entity: int = 7) -> Joined:
    return Joined(
        room_id,
        "arena",
        room_id,
        tick_rate_hz=20.0,
        entity=entity,
        description=StateDescription(
            (GoldenShips.describe("ships"),), (fields.real("dx", -1, 1, 1 / 64).describe(),)
        ),
    )


def answer(message: Message, kind: type[Message]) -> Error:
    """Return an Error as the answer to a request."""
    assert isinstance(message, Error)
    return Error(
        message.code,
        message.message,
        message.retry_after_ms,
        retryable=message.retryable,
        request_type=to_request_type(kind),
    )


def connect(play: ScenarioRecorder, *, generation: int = 1, room_id: str = "", token: str = "") -> None:
    """Connect after RequestToken."""
    play.token(token)
    play.wait(20)
    play.connected()
    play.wait(20)
    play.receive(welcome(generation, room_id))


def opened(play: ScenarioRecorder) -> None:
    play.open()
    connect(play)


def seated(play: ScenarioRecorder) -> None:
    opened(play)
    play.wait(10)
    play.join("arena", name="lobby")
    play.wait(10)
    play.receive(joined())


def open_and_join() -> ScenarioRecorder:
    """A client connects, joins a room, receives states and events, sends inputs, and leaves."""
    play = ScenarioRecorder()
    play.open()
    connect(play, token=ALICE)
    play.wait(30)
    play.receive(Pong(40_000, 1_700_000_000_000_000))
    play.join("arena", name="lobby", options={"name": "ann"})
    play.wait(30)
    play.receive(joined())
    stage = Stage()
    stage.ships.spawn(x=1.0, hp=100)
    play.receive(stage.next())
    play.send_input(dx=0.5)
    play.wait(50)
    stage.ships.x += 1
    play.receive(encode_ack(2, 1))
    play.receive(stage.next())
    play.receive(Event(1, "scored", b"\x01"))
    play.leave()
    play.wait(30)
    play.receive(Left("left"))
    return play


def refused_join() -> ScenarioRecorder:
    """A refused join ends only the call; the next join succeeds. An Error of another type ends no call."""
    play = ScenarioRecorder()
    opened(play)
    play.join()
    play.receive(answer(Error(ErrorCode.ROOM_FULL, "full", retryable=True), Join))
    play.join(code="ABCD")
    play.receive(answer(Error(ErrorCode.RATE_LIMITED, "too many inputs", retryable=True), Input))
    play.receive(joined())
    return play


def refused_hello() -> ScenarioRecorder:
    """The first attempt is not repeated: the call `open` fails."""
    play = ScenarioRecorder()
    play.open()
    play.token()
    play.connected()
    play.receive(Error(ErrorCode.UNAUTHORIZED, "no token"))
    return play


def first_connection_fails() -> ScenarioRecorder:
    """The WebSocket cannot be opened for the first time: the call `open` fails, and later calls fail at once."""
    play = ScenarioRecorder()
    play.open()
    play.token()
    play.connect_failed(retry_after_ms=2000)
    play.join()
    return play


def loss_and_resume() -> ScenarioRecorder:
    """A lost connection is replaced after pauses that grow; unanswered commands are sent again, with their ids."""
    play = ScenarioRecorder(random=[0.5, 1.0, 0.25, 0.75])
    seated(play)
    stage = Stage()
    stage.ships.spawn(x=1.0)
    play.receive(stage.next())
    play.receive(Event(1, "hit"))
    play.command("buy", {"item": "tea"})
    play.command("say", "hi")
    play.receive(Reply(2, ok=True, payload=b"\xc0"))
    play.wait(100)
    play.lost()
    play.send_input(dx=1.0)
    play.command("wave")
    play.timer()
    play.token()
    play.connect_failed()
    play.timer()
    play.token()
    play.connect_failed(retry_after_ms=1000)
    play.timer()
    play.token()
    play.connected()
    play.receive(welcome(2, "r1"))
    play.receive(Event(1, "hit"))
    play.receive(Event(2, "hit"))
    play.receive(Reply(1, ok=True, payload=b"\x02"))
    play.receive(Reply(3, ok=False, error=ErrorCode.COMMAND_FAILED, message="not now"))
    play.send_input(dx=1.0)
    return play


def session_lost() -> ScenarioRecorder:
    """The server did not keep the session: commands fail, the seat is lost, and waiting requests are sent again."""
    play = ScenarioRecorder()
    seated(play)
    play.command("buy")
    play.list_rooms()
    play.lost(1006)
    play.timer()
    connect(play, generation=1)
    play.join()
    return play


def seat_lost_while_disconnected() -> ScenarioRecorder:
    """The session is resumed without its seat."""
    play = ScenarioRecorder()
    seated(play)
    play.lost(4000)
    play.timer()
    play.token()
    play.connected()
    play.receive(welcome(2, "", left_reason="the room closed"))
    return play


def initial_url() -> ScenarioRecorder:
    """Attempts go to the session's shard; the fourth and every second one after it goes to the initial URL."""
    play = ScenarioRecorder(random=[0.0, 0.5])
    opened(play)
    play.receive(Redirect(SHARD, is_resume=True))
    play.lost(4003)
    connect(play, generation=2)
    play.timer()
    play.wait(2100)
    play.lost()
    for _ in range(6):
        play.token()
        play.connect_failed()
    play.token()
    play.connected()
    play.receive(UNAVAILABLE)
    play.timer()
    play.token()
    play.connected()
    play.receive(welcome(3))
    return play


def initial_url_that_refuses() -> ScenarioRecorder:
    """The initial URL answers with a retryable error: it is asked again, and not the shard that does not answer."""
    play = ScenarioRecorder(random=[1.0])
    opened(play)
    play.receive(Redirect(SHARD, is_resume=True))
    play.lost(4003)
    connect(play, generation=2)
    play.timer()
    play.wait(2900)
    play.lost()
    for _ in range(3):
        play.timer()
        play.token()
        play.connect_failed()
    play.timer()
    play.token()
    play.connected()
    play.receive(UNAVAILABLE)
    play.timer()
    play.token()
    play.connected()
    play.receive(UNAVAILABLE)
    play.timer()
    play.token()
    play.connected()
    play.receive(welcome(3))
    return play


def redirect_circle() -> ScenarioRecorder:
    """Five Redirects of a session are followed without a pause, and the sixth after one."""
    play = ScenarioRecorder()
    opened(play)
    for number in range(6):
        play.receive(Redirect(f"ws://shard-{number}/", is_resume=True))
        play.lost(4003)
        if number == 5:
            play.timer()
        play.token()
        play.connected()
    play.receive(welcome(2))
    return play


def connection_lost_at_once() -> ScenarioRecorder:
    """A connection that is lost within 5 s of its Welcome continues the series of attempts, its pauses and limit."""
    play = ScenarioRecorder(options={"reconnect_ms": 2000}, random=[1.0])
    opened(play)
    play.timer()
    play.wait(2500)
    play.lost()
    generation = 1
    while play.timer_ms is not None:
        play.timer()
        generation += 1
        play.token()
        play.connected()
        play.receive(welcome(generation))
        play.wait(100)
        play.lost()
    return play


def time_over() -> ScenarioRecorder:
    """No attempt succeeds within the limit: all calls fail, and the client is closed."""
    play = ScenarioRecorder(options={"reconnect_ms": 1000}, random=[1.0])
    seated(play)
    play.list_rooms()
    play.lost()
    while play.timer_ms is not None and play.machine.connection.phase.value != "closed":
        play.timer()
        play.token()
        play.connect_failed()
    play.leave()
    return play


def drain() -> ScenarioRecorder:
    """Goodbye with come_back: the client returns after the advised time, whatever the close code is."""
    play = ScenarioRecorder(random=[0.5])
    seated(play)
    play.receive(Goodbye(ErrorCode.UNAVAILABLE, "the shard is stopping", come_back=True, retry_after_ms=800))
    play.lost(1008)
    play.timer()
    connect(play, generation=2, room_id="r1")
    return play


def moved_shard() -> ScenarioRecorder:
    """The room moves to another shard: the session is resumed there at once, and Joined does not answer a Join."""
    play = ScenarioRecorder()
    seated(play)
    play.receive(Redirect(SHARD, is_resume=True))
    play.lost(4003)
    connect(play, generation=2, room_id="r1")
    play.receive(joined())
    play.wait(100)
    play.lost()
    play.timer()
    return play


def advice_after_error() -> ScenarioRecorder:
    """A close with 4004 after an Error with a retry time: the next attempt waits for it."""
    play = ScenarioRecorder(random=[0.5])
    opened(play)
    play.receive(Error(ErrorCode.RATE_LIMITED, "too many messages", retry_after_ms=2000, retryable=True))
    play.lost(4004)
    return play


def final_close(code: int, *, goodbye: Goodbye | None = None) -> ScenarioRecorder:
    play = ScenarioRecorder()
    seated(play)
    if goodbye is not None:
        play.receive(goodbye)
    play.command("buy")
    play.lost(code)
    play.join()
    return play


def final_close_1009() -> ScenarioRecorder:
    """The client's message was too large: the next connection would end as well."""
    return final_close(1009)


def final_close_kicked() -> ScenarioRecorder:
    """Goodbye without come_back is final, whatever the close code is."""
    return final_close(1001, goodbye=Goodbye(ErrorCode.KICKED, "kicked"))


def final_close_4501() -> ScenarioRecorder:
    """Close codes from 4500 to 4999 are final."""
    return final_close(4501)


def every_close_code() -> ScenarioRecorder:
    """Codes that are not final: the client reconnects after each of them."""
    play = ScenarioRecorder(random=[0.0])
    opened(play)
    generation = 1
    for code in (None, 1001, 1005, 1006, 1011, 1012, 4000, 4001, 4002, 4003, 4004, 4499):
        play.wait(1)
        play.lost(code)
        generation += 1
        play.token()
        play.connected()
        play.receive(welcome(generation))
    return play


def heartbeat() -> ScenarioRecorder:
    """A Ping every interval. After two Pings without any message the connection is lost instead of a third one."""
    play = ScenarioRecorder()
    opened(play)
    play.wait(10)
    play.receive(Pong(40_000, 5_000_000))
    play.timer()
    play.timer()
    play.receive(Event(1, "sign_of_life"))
    play.timer()
    play.timer()
    play.timer()
    play.timer()
    return play


def late_timer() -> ScenarioRecorder:
    """A timer that was late by an interval proves nothing: the client sends a Ping and waits one interval."""
    play = ScenarioRecorder()
    opened(play)
    play.timer()
    play.timer(late_ms=60_000)
    play.timer()
    return play


def network_changed() -> ScenarioRecorder:
    """A hint that the network changed: a Ping, and one interval for an answer; or the next attempt at once."""
    play = ScenarioRecorder(random=[1.0])
    opened(play)
    play.wait(100)
    play.network_changed()
    play.wait(10)
    play.receive(Pong(140_000, 5_000_000))
    play.network_changed()
    play.timer()
    play.network_changed()
    play.token()
    play.network_changed()
    connect(play, generation=2)
    return play


def token_failure() -> ScenarioRecorder:
    """A token function that fails, or takes too long, counts as a failed attempt; at first it ends `open`."""
    play = ScenarioRecorder(random=[1.0])
    opened(play)
    play.lost()
    play.timer()
    play.token_failed()
    play.timer()
    play.timer()
    play.timer()
    connect(play, generation=2)
    return play


def token_too_large() -> ScenarioRecorder:
    """A token that the server would not accept is not sent: the attempt has failed, as without a token."""
    play = ScenarioRecorder(random=[1.0])
    opened(play)
    play.lost()
    play.timer()
    play.token("x" * 4097)
    play.connected()
    play.timer()
    connect(play, generation=2)
    return play


def first_token_failure() -> ScenarioRecorder:
    """The first token function fails."""
    play = ScenarioRecorder()
    play.open()
    play.token_failed()
    return play


def silent_server() -> ScenarioRecorder:
    """A connection that does not open within 5 s, and a Hello without an answer for 10 s, are failed attempts."""
    play = ScenarioRecorder(random=[1.0])
    opened(play)
    play.lost()
    play.timer()
    play.token()
    play.timer()
    play.timer()
    play.token()
    play.connected()
    play.timer()
    play.timer()
    connect(play, generation=2)
    return play


def malformed_message() -> ScenarioRecorder:
    """A message that cannot be decoded ends the client: the server would send it again."""
    play = ScenarioRecorder()
    seated(play)
    play.receive(b"\x10\x00\x00\x00\x00\x00")
    return play


def close() -> ScenarioRecorder:
    """`close` ends the session at the server, and all calls."""
    play = ScenarioRecorder()
    seated(play)
    play.command("buy")
    play.close()
    play.close()
    return play


def drop() -> ScenarioRecorder:
    """`drop` breaks the connection; the session is resumed."""
    play = ScenarioRecorder()
    seated(play)
    play.drop()
    play.timer()
    connect(play, generation=2, room_id="r1")
    return play


def drop_during_hello() -> ScenarioRecorder:
    """`drop` breaks an attempt, and does nothing between two attempts."""
    play = ScenarioRecorder(random=[1.0])
    opened(play)
    play.drop()
    play.drop()
    play.timer()
    play.token()
    play.drop()
    play.timer()
    play.token()
    play.connected()
    play.drop()
    play.timer()
    connect(play, generation=2)
    return play


def storage() -> ScenarioRecorder:
    """The session is saved after each Welcome and seat, and with a Ping after an event; `close` clears it."""
    play = ScenarioRecorder(options={"has_storage": True})
    play.open()
    connect(play, token=ALICE)
    play.join()
    play.receive(joined())
    play.receive(Event(1, "hit"))
    play.timer()
    play.receive(Pong(40_000, 5_000_000))
    play.timer()
    play.receive(Left("the room closed"))
    play.close()
    return play


def storage_ahead() -> ScenarioRecorder:
    """The number of the last attempt is saved ahead; it is saved again when it is reached, before the Hello."""
    play = ScenarioRecorder(options={"has_storage": True}, random=[0.0])
    play.open()
    connect(play)
    for generation in range(2, 19):
        play.lost()
        play.token()
        play.connected()
        if generation < 18:
            play.receive(welcome(generation))
    return play


def late_timer_with_message() -> ScenarioRecorder:
    """A message that arrives before a late timer also runs the deadlines that are due."""
    play = ScenarioRecorder()
    opened(play)
    play.now_ms = 3500
    play.receive(Event(1, "hit"))
    return play


def close_while_connecting() -> ScenarioRecorder:
    """`close` during the first attempt: `open` fails."""
    play = ScenarioRecorder()
    play.open()
    play.token()
    play.close()
    return play


def close_while_reconnecting() -> ScenarioRecorder:
    """`close` between two attempts."""
    play = ScenarioRecorder()
    seated(play)
    play.list_rooms()
    play.lost()
    play.close()
    return play


def close_during_hello() -> ScenarioRecorder:
    """`close` while the client waits for Welcome: the server keeps the session for its window."""
    play = ScenarioRecorder(random=[0.0])
    opened(play)
    play.lost()
    play.token()
    play.connected()
    play.close()
    return play


def abandoned_open() -> ScenarioRecorder:
    """The caller of `open` stops waiting: the client closes."""
    play = ScenarioRecorder()
    call = play.open()
    play.token()
    play.abandon(call)
    return play


def error_before_welcome() -> ScenarioRecorder:
    """An Error that answers a Hello ends no request, although it names none."""
    play = ScenarioRecorder(random=[0.0])
    opened(play)
    play.join()
    play.lost()
    play.token()
    play.connected()
    play.receive(UNAVAILABLE)
    play.timer()
    play.token()
    play.connected()
    play.receive(welcome(2))
    play.receive(joined())
    return play


def events_lost() -> ScenarioRecorder:
    """The server has lost events while the client was disconnected: `refused` reports it, and no request ends."""
    play = ScenarioRecorder(random=[0.0])
    seated(play)
    play.list_rooms()
    play.receive(Error(ErrorCode.RESYNC, "events are lost"))
    play.receive(Event(5, "hit"))
    return play


def _stored_at_home() -> str:
    play = ScenarioRecorder(options={"has_storage": True})
    play.open()
    connect(play, token=ALICE)
    return play.stored


def _stored(token: str = ALICE) -> str:
    play = ScenarioRecorder(options={"has_storage": True})
    play.open()
    connect(play, token=token)
    play.receive(Redirect(SHARD, is_resume=True))
    play.lost(4003)
    connect(play, generation=2, token=token)
    play.join()
    play.receive(joined())
    play.receive(Event(1, "hit"))
    play.timer()
    return play.stored


def restart() -> ScenarioRecorder:
    """After a restart the saved session is resumed at its shard, and the client is in its room without a join."""
    play = ScenarioRecorder(options={"has_storage": True})
    play.open(_stored())
    connect(play, generation=3, room_id="r1", token=ALICE)
    play.wait(10)
    play.receive(joined())
    play.receive(Event(2, "hit"))
    play.command("buy")
    return play


def restart_with_slow_room() -> ScenarioRecorder:
    """The seat of the earlier run does not arrive: `open` ends after 10 s, and a later Joined needs no call."""
    play = ScenarioRecorder(options={"has_storage": True})
    play.open(_stored())
    connect(play, generation=3, room_id="r1", token=ALICE)
    for _ in range(3):
        play.timer()
        play.receive(Pong(40_000, 5_000_000))
    play.timer()
    play.receive(joined())
    return play


def restart_while_the_room_moves() -> ScenarioRecorder:
    """The room of the earlier run moves to another shard before its Joined: `open` waits for it there."""
    play = ScenarioRecorder(options={"has_storage": True})
    play.open(_stored())
    connect(play, generation=3, room_id="r1", token=ALICE)
    play.receive(Redirect("ws://next/", is_resume=True))
    play.lost(4003)
    connect(play, generation=4, room_id="r1", token=ALICE)
    play.receive(joined())
    return play


def restart_in_a_room_that_closed() -> ScenarioRecorder:
    """The room of the earlier run closes before its Joined."""
    play = ScenarioRecorder(options={"has_storage": True})
    play.open(_stored())
    connect(play, generation=3, room_id="r1", token=ALICE)
    play.receive(Left("the room closed"))
    return play


def restart_without_seat() -> ScenarioRecorder:
    """The saved session is resumed, and has no seat."""
    play = ScenarioRecorder(options={"has_storage": True})
    play.open(_stored())
    connect(play, generation=3, token=ALICE)
    return play


def restart_too_late() -> ScenarioRecorder:
    """The saved session's shard is gone, and the initial URL does not know the session: it is lost."""
    play = ScenarioRecorder(options={"has_storage": True})
    play.open(_stored())
    play.token(ALICE)
    play.connect_failed()
    play.timer()
    connect(play, generation=1, token=ALICE)
    return play


def restart_refused() -> ScenarioRecorder:
    """The saved session is at the initial URL, which refuses it for good: there is no other address to try."""
    play = ScenarioRecorder(options={"has_storage": True})
    play.open(_stored_at_home())
    play.token(ALICE)
    play.connected()
    play.receive(Error(ErrorCode.UPGRADE_REQUIRED, "this build is too old"))
    return play


def restart_of_another_player() -> ScenarioRecorder:
    """A saved session of another player is cleared, and not used."""
    play = ScenarioRecorder(options={"has_storage": True})
    play.open(_stored())
    connect(play, token=BOB)
    return play


def restart_with_invalid_text() -> ScenarioRecorder:
    """A saved text that cannot be decoded is cleared."""
    play = ScenarioRecorder(options={"has_storage": True})
    play.open('{"version": 99}')
    connect(play, token=ALICE)
    return play


SCENARIOS = (
    open_and_join,
    refused_join,
    refused_hello,
    first_connection_fails,
    loss_and_resume,
    session_lost,
    seat_lost_while_disconnected,
    initial_url,
    initial_url_that_refuses,
    redirect_circle,
    connection_lost_at_once,
    time_over,
    drain,
    moved_shard,
    advice_after_error,
    final_close_1009,
    final_close_kicked,
    final_close_4501,
    every_close_code,
    heartbeat,
    late_timer,
    network_changed,
    token_failure,
    token_too_large,
    first_token_failure,
    silent_server,
    malformed_message,
    close,
    drop,
    drop_during_hello,
    storage,
    storage_ahead,
    late_timer_with_message,
    close_while_connecting,
    close_while_reconnecting,
    close_during_hello,
    abandoned_open,
    error_before_welcome,
    events_lost,
    restart,
    restart_with_slow_room,
    restart_while_the_room_moves,
    restart_in_a_room_that_closed,
    restart_without_seat,
    restart_too_late,
    restart_refused,
    restart_of_another_player,
    restart_with_invalid_text,
)
