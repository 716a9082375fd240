"""Scenarios of the connection: opening, loss, back-off, redirects, heartbeat, final closes and restarts."""

from __future__ import annotations

import msgspec

from tests.golden import GoldenShips, Stage
from tests.scenarios.recorder import ScenarioRecorder, scenario
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


def answer(error: Error, kind: type[Message]) -> Error:
    """Return an Error as the answer to a request."""
    return msgspec.structs.replace(error, request_type=to_request_type(kind))


def connect(
    play: ScenarioRecorder, *, generation: int = 1, room_id: str = "", token: str = "", step_ms: int = 20
) -> None:
    """Connect after RequestToken. The WebSocket and Welcome take `step_ms` each."""
    play.token(token)
    play.wait(step_ms)
    play.connected()
    play.wait(step_ms)
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


@scenario()
def open_and_join(play: ScenarioRecorder) -> None:
    """A client connects, joins a room, receives states and events, sends inputs, and leaves."""
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


@scenario()
def refused_join(play: ScenarioRecorder) -> None:
    """A refused join ends only the call; the next join succeeds. An Error of another type ends no call."""
    opened(play)
    play.join()
    play.receive(answer(Error(ErrorCode.ROOM_FULL, "full", retryable=True), Join))
    play.join(code="ABCD")
    play.receive(answer(Error(ErrorCode.RATE_LIMITED, "too many inputs", retryable=True), Input))
    play.receive(joined())


@scenario()
def refused_hello(play: ScenarioRecorder) -> None:
    """The first attempt is not repeated: the call `open` fails."""
    play.open()
    play.token()
    play.connected()
    play.receive(Error(ErrorCode.UNAUTHORIZED, "no token"))


@scenario()
def first_connection_fails(play: ScenarioRecorder) -> None:
    """The WebSocket cannot be opened for the first time: the call `open` fails, and later calls fail at once."""
    play.open()
    play.token()
    play.connect_failed(retry_after_ms=2000)
    play.join()


@scenario(random=[0.5, 1.0, 0.25, 0.75])
def loss_and_resume(play: ScenarioRecorder) -> None:
    """A lost connection is replaced after pauses that grow; unanswered commands are sent again, with their ids."""
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
    connect(play, generation=2, room_id="r1", step_ms=0)
    play.receive(Event(1, "hit"))
    play.receive(Event(2, "hit"))
    play.receive(Reply(1, ok=True, payload=b"\x02"))
    play.receive(Reply(3, ok=False, error=ErrorCode.COMMAND_FAILED, message="not now"))
    play.send_input(dx=1.0)


@scenario()
def session_lost(play: ScenarioRecorder) -> None:
    """The server did not keep the session: commands fail, the seat is lost, and waiting requests are sent again."""
    seated(play)
    play.command("buy")
    play.list_rooms()
    play.lost(1006)
    play.timer()
    connect(play, generation=1)
    play.join()


@scenario()
def seat_lost_while_disconnected(play: ScenarioRecorder) -> None:
    """The session is resumed without its seat."""
    seated(play)
    play.lost(4000)
    play.timer()
    play.token()
    play.connected()
    play.receive(welcome(2, "", left_reason="the room closed"))


@scenario(random=[0.0, 0.5])
def initial_url(play: ScenarioRecorder) -> None:
    """Attempts go to the session's shard; the fourth and every second one after it goes to the initial URL."""
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
    connect(play, generation=3, step_ms=0)


@scenario(random=[1.0])
def initial_url_that_refuses(play: ScenarioRecorder) -> None:
    """The initial URL answers with a retryable error: it is asked again, and not the shard that does not answer."""
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
    connect(play, generation=3, step_ms=0)


@scenario()
def redirect_circle(play: ScenarioRecorder) -> None:
    """Five Redirects of a session are followed without a pause, and the sixth after one."""
    opened(play)
    for number in range(6):
        play.receive(Redirect(f"ws://shard-{number}/", is_resume=True))
        play.lost(4003)
        if number == 5:
            play.timer()
        play.token()
        play.connected()
    play.receive(welcome(2))


@scenario(reconnect_ms=2000, random=[1.0])
def connection_lost_at_once(play: ScenarioRecorder) -> None:
    """A connection that is lost within 5 s of its Welcome continues the series of attempts, its pauses and limit."""
    opened(play)
    play.timer()
    play.wait(2500)
    play.lost()
    generation = 1
    while play.timer_ms is not None:
        play.timer()
        generation += 1
        connect(play, generation=generation, step_ms=0)
        play.wait(100)
        play.lost()


@scenario(reconnect_ms=1000, random=[1.0])
def time_over(play: ScenarioRecorder) -> None:
    """No attempt succeeds within the limit: all calls fail, and the client is closed."""
    seated(play)
    play.list_rooms()
    play.lost()
    while play.timer_ms is not None and play.machine.connection.phase.value != "closed":
        play.timer()
        play.token()
        play.connect_failed()
    play.leave()


@scenario(random=[0.5])
def drain(play: ScenarioRecorder) -> None:
    """Goodbye with come_back: the client returns after the advised time, whatever the close code is."""
    seated(play)
    play.receive(Goodbye(ErrorCode.UNAVAILABLE, "the shard is stopping", come_back=True, retry_after_ms=800))
    play.lost(1008)
    play.timer()
    connect(play, generation=2, room_id="r1")


@scenario()
def moved_shard(play: ScenarioRecorder) -> None:
    """The room moves to another shard: the session is resumed there at once, and Joined does not answer a Join."""
    seated(play)
    play.receive(Redirect(SHARD, is_resume=True))
    play.lost(4003)
    connect(play, generation=2, room_id="r1")
    play.receive(joined())
    play.wait(100)
    play.lost()
    play.timer()


@scenario(random=[0.5])
def advice_after_error(play: ScenarioRecorder) -> None:
    """A close with 4004 after an Error with a retry time: the next attempt waits for it."""
    opened(play)
    play.receive(Error(ErrorCode.RATE_LIMITED, "too many messages", retry_after_ms=2000, retryable=True))
    play.lost(4004)


def closed_for_good(play: ScenarioRecorder, code: int, *, goodbye: Goodbye | None = None) -> None:
    seated(play)
    if goodbye is not None:
        play.receive(goodbye)
    play.command("buy")
    play.lost(code)
    play.join()


@scenario()
def final_close_1009(play: ScenarioRecorder) -> None:
    """The client's message was too large: the next connection would end as well."""
    closed_for_good(play, 1009)


@scenario()
def final_close_kicked(play: ScenarioRecorder) -> None:
    """Goodbye without come_back is final, whatever the close code is."""
    closed_for_good(play, 1001, goodbye=Goodbye(ErrorCode.KICKED, "kicked"))


@scenario()
def final_close_4501(play: ScenarioRecorder) -> None:
    """Close codes from 4500 to 4999 are final."""
    closed_for_good(play, 4501)


@scenario(random=[0.0])
def every_close_code(play: ScenarioRecorder) -> None:
    """Codes that are not final: the client reconnects after each of them."""
    opened(play)
    generation = 1
    for code in (None, 1001, 1005, 1006, 1011, 1012, 4000, 4001, 4002, 4003, 4004, 4499):
        play.wait(1)
        play.lost(code)
        generation += 1
        connect(play, generation=generation, step_ms=0)


@scenario()
def heartbeat(play: ScenarioRecorder) -> None:
    """A Ping every interval. After two Pings without any message the connection is lost instead of a third one."""
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


@scenario()
def late_timer(play: ScenarioRecorder) -> None:
    """A timer that was late by an interval proves nothing: the client sends a Ping and waits one interval."""
    opened(play)
    play.timer()
    play.timer(late_ms=60_000)
    play.timer()


@scenario(random=[1.0])
def network_changed(play: ScenarioRecorder) -> None:
    """A hint that the network changed: a Ping, and one interval for an answer; or the next attempt at once."""
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


@scenario(random=[1.0])
def token_failure(play: ScenarioRecorder) -> None:
    """A token function that fails, or takes too long, counts as a failed attempt; at first it ends `open`."""
    opened(play)
    play.lost()
    play.timer()
    play.token_failed()
    play.timer()
    play.timer()
    play.timer()
    connect(play, generation=2)


@scenario(random=[1.0])
def token_too_large(play: ScenarioRecorder) -> None:
    """A token that the server would not accept is not sent: the attempt has failed, as without a token."""
    opened(play)
    play.lost()
    play.timer()
    play.token("x" * 4097)
    play.connected()
    play.timer()
    connect(play, generation=2)


@scenario()
def first_token_failure(play: ScenarioRecorder) -> None:
    """The first token function fails."""
    play.open()
    play.token_failed()


@scenario(random=[1.0])
def silent_server(play: ScenarioRecorder) -> None:
    """A connection that does not open within 5 s, and a Hello without an answer for 10 s, are failed attempts."""
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


@scenario()
def malformed_message(play: ScenarioRecorder) -> None:
    """A message that cannot be decoded ends the client: the server would send it again."""
    seated(play)
    play.receive(b"\x10\x00\x00\x00\x00\x00")


@scenario()
def close(play: ScenarioRecorder) -> None:
    """`close` ends the session at the server, and all calls."""
    seated(play)
    play.command("buy")
    play.close()
    play.close()


@scenario()
def drop(play: ScenarioRecorder) -> None:
    """`drop` breaks the connection; the session is resumed."""
    seated(play)
    play.drop()
    play.timer()
    connect(play, generation=2, room_id="r1")


@scenario(random=[1.0])
def drop_during_hello(play: ScenarioRecorder) -> None:
    """`drop` breaks an attempt, and does nothing between two attempts."""
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


@scenario(has_storage=True)
def storage(play: ScenarioRecorder) -> None:
    """The session is saved after each Welcome and seat, and with a Ping after an event; `close` clears it."""
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


@scenario(has_storage=True, random=[0.0])
def storage_ahead(play: ScenarioRecorder) -> None:
    """The number of the last attempt is saved ahead; it is saved again when it is reached, before the Hello."""
    play.open()
    connect(play)
    for generation in range(2, 19):
        play.lost()
        play.token()
        play.connected()
        if generation < 18:
            play.receive(welcome(generation))


@scenario()
def late_timer_with_message(play: ScenarioRecorder) -> None:
    """A message that arrives before a late timer also runs the deadlines that are due."""
    opened(play)
    play.now_ms = 3500
    play.receive(Event(1, "hit"))


@scenario()
def close_while_connecting(play: ScenarioRecorder) -> None:
    """`close` during the first attempt: `open` fails."""
    play.open()
    play.token()
    play.close()


@scenario()
def close_while_reconnecting(play: ScenarioRecorder) -> None:
    """`close` between two attempts."""
    seated(play)
    play.list_rooms()
    play.lost()
    play.close()


@scenario(random=[0.0])
def close_during_hello(play: ScenarioRecorder) -> None:
    """`close` while the client waits for Welcome: the server keeps the session for its window."""
    opened(play)
    play.lost()
    play.token()
    play.connected()
    play.close()


@scenario()
def abandoned_open(play: ScenarioRecorder) -> None:
    """The caller of `open` stops waiting: the client closes."""
    call = play.open()
    play.token()
    play.abandon(call)


@scenario(random=[0.0])
def error_before_welcome(play: ScenarioRecorder) -> None:
    """An Error that answers a Hello ends no request, although it names none."""
    opened(play)
    play.join()
    play.lost()
    play.token()
    play.connected()
    play.receive(UNAVAILABLE)
    play.timer()
    connect(play, generation=2, step_ms=0)
    play.receive(joined())


@scenario(random=[0.0])
def events_lost(play: ScenarioRecorder) -> None:
    """The server has lost events while the client was disconnected: `refused` reports it, and no request ends."""
    seated(play)
    play.list_rooms()
    play.receive(Error(ErrorCode.RESYNC, "events are lost"))
    play.receive(Event(5, "hit"))


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


@scenario(has_storage=True)
def restart(play: ScenarioRecorder) -> None:
    """After a restart the saved session is resumed at its shard, and the client is in its room without a join."""
    play.open(_stored())
    connect(play, generation=3, room_id="r1", token=ALICE)
    play.wait(10)
    play.receive(joined())
    play.receive(Event(2, "hit"))
    play.command("buy")


@scenario(has_storage=True)
def restart_with_slow_room(play: ScenarioRecorder) -> None:
    """The seat of the earlier run does not arrive: `open` ends after 10 s, and a later Joined needs no call."""
    play.open(_stored())
    connect(play, generation=3, room_id="r1", token=ALICE)
    for _ in range(3):
        play.timer()
        play.receive(Pong(40_000, 5_000_000))
    play.timer()
    play.receive(joined())


@scenario(has_storage=True)
def restart_while_the_room_moves(play: ScenarioRecorder) -> None:
    """The room of the earlier run moves to another shard before its Joined: `open` waits for it there."""
    play.open(_stored())
    connect(play, generation=3, room_id="r1", token=ALICE)
    play.receive(Redirect("ws://next/", is_resume=True))
    play.lost(4003)
    connect(play, generation=4, room_id="r1", token=ALICE)
    play.receive(joined())


@scenario(has_storage=True)
def restart_in_a_room_that_closed(play: ScenarioRecorder) -> None:
    """The room of the earlier run closes before its Joined."""
    play.open(_stored())
    connect(play, generation=3, room_id="r1", token=ALICE)
    play.receive(Left("the room closed"))


@scenario(has_storage=True)
def restart_without_seat(play: ScenarioRecorder) -> None:
    """The saved session is resumed, and has no seat."""
    play.open(_stored())
    connect(play, generation=3, token=ALICE)


@scenario(has_storage=True)
def restart_too_late(play: ScenarioRecorder) -> None:
    """The saved session's shard is gone, and the initial URL does not know the session: it is lost."""
    play.open(_stored())
    play.token(ALICE)
    play.connect_failed()
    play.timer()
    connect(play, generation=1, token=ALICE)


@scenario(has_storage=True)
def restart_refused(play: ScenarioRecorder) -> None:
    """The saved session is at the initial URL, which refuses it for good: there is no other address to try."""
    play.open(_stored_at_home())
    play.token(ALICE)
    play.connected()
    play.receive(Error(ErrorCode.UPGRADE_REQUIRED, "this build is too old"))


@scenario(has_storage=True)
def restart_of_another_player(play: ScenarioRecorder) -> None:
    """A saved session of another player is cleared, and not used."""
    play.open(_stored())
    connect(play, token=BOB)


@scenario(has_storage=True)
def restart_with_invalid_text(play: ScenarioRecorder) -> None:
    """A saved text that cannot be decoded is cleared."""
    play.open('{"version": 99}')
    connect(play, token=ALICE)
