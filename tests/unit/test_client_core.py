"""The client's core, message by message: its updates, the messages that it sends itself, and its recovery."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from tickwire.client.core import ClientCore
from tickwire.client.state_receiver import RESYNC_AGAIN_TICKS
from tickwire.client.updates import (
    Ended,
    ErrorReceived,
    EventReceived,
    EventsLost,
    InputAcknowledged,
    PongReceived,
    RateChanged,
    Redirected,
    ReplyReceived,
    SeatLost,
    SeatTaken,
    StateApplied,
    Welcomed,
)
from tickwire.schemas import SCHEMA_VERSION, fields
from tickwire.schemas.codec import decode_client, encode_server
from tickwire.schemas.columns import checksum, empty_columns
from tickwire.schemas.delta import TableCodec, encode_channel
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.inputs import InputReader
from tickwire.schemas.messages import (
    SERVER_BODY,
    Error,
    ErrorCode,
    Event,
    FieldDescription,
    FieldKind,
    Goodbye,
    Hello,
    Input,
    Joined,
    Leave,
    Left,
    Message,
    Ping,
    Pong,
    Rate,
    Redirect,
    Reply,
    Resync,
    StateDescription,
    TableDescription,
    Welcome,
)
from tickwire.schemas.parts import HAS_PARTS, IS_COMPLETE, encode_part
from tickwire.schemas.state_messages import encode_ack, encode_state

pytestmark = pytest.mark.usefixtures("each_kernel")

X = fields.uint("x", 8)
INPUTS = (fields.real("thrust", -1, 1, 1 / 64), fields.boolean("fire"))
CODECS = (TableCodec((X,)),)
NOTHING = (empty_columns(1),)
JOINED = Joined(
    "room",
    tick=5,
    entity=1,
    description=StateDescription(
        (TableDescription("ships", (X.describe(),)),), tuple(field.describe() for field in INPUTS)
    ),
)


def told(core: ClientCore, message: Message | bytes) -> Any:
    data = message if isinstance(message, bytes) else encode_server(message)
    return core.receive(data, now_us=1_000)


def seated() -> ClientCore:
    core = ClientCore()
    core.hello()
    told(core, JOINED)
    return core


def world(x: int) -> tuple[Any, ...]:
    return (CODECS[0].successor(NOTHING[0], np.array([1], np.uint32), np.array([[x]])),)


def keyframe(tick: int, x: int, *, flags: int = 0, end: bytes = b"") -> bytes:
    return encode_state(tick, 0, 0, flags, encode_channel(CODECS, NOTHING, world(x)) + end)


def delta(tick: int, age: int, x_before: int, x: int, *, flags: int = 0, end: bytes = b"") -> bytes:
    return encode_state(tick, 0, age, flags, encode_channel(CODECS, world(x_before), world(x)) + end)


def x_of(core: ClientCore) -> int:
    assert core.world is not None
    return int(core.world.table("ships").entity(1)["x"])


@pytest.mark.parametrize(
    ("message", "update"),
    [
        (Welcome("s"), Welcomed(Welcome("s"))),
        (JOINED, SeatTaken(JOINED)),
        (Left("bye"), SeatLost("bye")),
        (Event(1, "hit"), EventReceived(Event(1, "hit"), 0)),
        (Reply(3, ok=True), ReplyReceived(Reply(3, ok=True))),
        (Redirect("ws://x", "t"), Redirected(Redirect("ws://x", "t"))),
        (Error(ErrorCode.ROOM_FULL, "no"), ErrorReceived(Error(ErrorCode.ROOM_FULL, "no"))),
        (Goodbye(message="over"), Ended(Goodbye(message="over"))),
        (encode_ack(7, 3), InputAcknowledged(7, 3)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_message_returns_its_update(message: Message | bytes, update: object) -> None:
    assert told(ClientCore(), message) == update


def test_short_numbers_are_restored_from_the_last_input_and_the_last_frame() -> None:
    core = seated()
    for _ in range(70_000):
        core.input_from_payload(b"")
    assert told(core, encode_ack(200_000, 69_990)) == InputAcknowledged(200_000, 69_990)
    assert core.acknowledged_seq == 69_990
    told(core, keyframe(200_000, 5))
    update = told(core, delta(200_003, 3, 5, 6))
    assert (update.tick, x_of(core), core.resyncs) == (200_003, 6, 0)
    told(core, delta(200_010, 2, 5, 6))
    assert core.resyncs == 1, "a frame is missing"


def test_world_of_a_moved_room_is_the_same_object_and_begins_empty() -> None:
    core = seated()
    told(core, keyframe(7, 5))
    before = core.world
    assert before is not None
    told(core, JOINED)
    assert core.world is before
    assert (before.tick, len(before.table("ships"))) == (0, 0)
    told(core, keyframe(9, 6))
    assert x_of(core) == 6
    told(core, msgspec.structs.replace(JOINED, room_id="another"))
    assert core.world is not before


def test_every_message_of_the_contract_is_accepted() -> None:
    for kind in SERVER_BODY:
        told(ClientCore(), kind())


def test_message_of_a_newer_server_is_counted_and_ignored() -> None:
    data = bytearray(encode_server(Left("x" * 20)))
    place = next(i for i, byte in enumerate(data) if byte == 3 and _is_unknown_with(data, i, 99))
    data[place] = 99
    core = ClientCore()
    assert told(core, bytes(data)) is None
    assert core.unknown_messages == 1


def _is_unknown_with(data: bytearray, place: int, tag: int) -> bool:
    core = ClientCore()
    try:
        told(core, bytes(data[:place]) + bytes((tag,)) + bytes(data[place + 1 :]))
    except MalformedMessage:
        return False
    return core.unknown_messages == 1


def test_state_before_a_seat_is_ignored() -> None:
    core = ClientCore()
    assert told(core, keyframe(6, 3)) is None
    assert core.resyncs == 0


def test_keyframe_and_deltas_advance_the_world() -> None:
    core = seated()
    assert told(core, keyframe(6, 3)) == StateApplied(6, (0,), True, True)
    assert told(core, delta(9, 3, 3, 4)) == StateApplied(9, (0,), False, True)
    assert (x_of(core), core.world and core.world.tick, core.resyncs, len(core.outgoing)) == (4, 9, 0, 0)


@pytest.mark.parametrize("bad", [delta(9, 2, 3, 4), encode_state(9, 0, 3, 0, b"\x09"), encode_state(9, 0, 3, 0, b"")])
def test_frame_that_does_not_fit_requests_one_keyframe_which_repairs_the_world(bad: bytes) -> None:
    core = seated()
    told(core, keyframe(6, 3))
    assert told(core, bad) is None
    for tick in range(10, 20):
        assert told(core, delta(tick, 1, 3, 4)) is None
    assert [decode_client(data) for data in core.outgoing] == [Resync(0, 9)]
    assert x_of(core) == 3, "nothing is applied to a world that is known to be wrong"
    told(core, keyframe(20, 7))
    told(core, delta(21, 1, 7, 8))
    assert (x_of(core), core.resyncs, core.mismatches) == (8, 1, 0)


def test_missing_keyframe_is_requested_again() -> None:
    core = seated()
    told(core, delta(10, 1, 3, 4))
    for tick in range(11, 11 + 2 * RESYNC_AGAIN_TICKS):
        told(core, delta(tick, 1, 3, 4))
    asked = [decode_client(data) for data in core.outgoing]
    assert asked == [Resync(0, 10 + n * RESYNC_AGAIN_TICKS) for n in range(3)]


def test_wrong_checksum_is_counted_and_requests_a_keyframe() -> None:
    core = seated()
    told(core, keyframe(6, 3, flags=1, end=checksum(world(3))))
    assert core.mismatches == 0
    assert told(core, delta(7, 1, 3, 4, flags=1, end=checksum(world(5)))) == StateApplied(7, (0,), False, False)
    assert (core.mismatches, core.resyncs) == (1, 1)
    assert decode_client(core.outgoing.popleft()) == Resync(0, 7)


def parts(tick: int, age: int, *said: bytes, flags: int = 0) -> bytes:
    return encode_state(tick, 0, age, HAS_PARTS | flags, b"".join(said))


def test_part_that_does_not_fit_does_not_affect_other_parts() -> None:
    core = seated()
    told(core, keyframe(6, 3))
    bad = encode_part(1, b"\x09", is_keyframe=False, has_checksum=False)
    good = encode_part(0, encode_channel(CODECS, world(3), world(4)), is_keyframe=False, has_checksum=False)
    assert told(core, parts(7, 1, bad, good)) == StateApplied(7, (1, 0), False, True)
    assert [decode_client(data) for data in core.outgoing] == [Resync(1, 7)]
    assert x_of(core) == 4


def test_missing_frame_requests_keyframes_of_all_channels() -> None:
    core = seated()
    told(core, keyframe(6, 3))
    told(core, encode_state(6, 1, 0, 0, b"\0"))
    assert told(core, delta(9, 2, 3, 4)) is None
    assert {decode_client(data) for data in core.outgoing} == {Resync(0, 9), Resync(1, 9)}


def test_complete_frame_removes_other_channels() -> None:
    core = seated()
    told(core, keyframe(6, 3))
    assert told(core, parts(7, 1, flags=IS_COMPLETE)) == StateApplied(7, (), True, True)
    assert core.world is not None
    assert len(core.world.table("ships")) == 0


def test_inputs_are_numbered_within_a_session_and_carry_the_worlds_tick() -> None:
    core = seated()
    told(core, keyframe(6, 3))
    first, second = (decode_client(core.input({"thrust": 0.5})) for _ in range(2))
    assert isinstance(first, Input)
    assert isinstance(second, Input)
    assert (first.seq, first.tick, second.seq, core.input_seq) == (1, 6, 2, 2)
    assert InputReader(INPUTS).read(first.payload) == [0.5, False]
    told(core, JOINED)
    third = decode_client(core.input({"thrust": 0.5}))
    assert isinstance(third, Input)
    assert third.seq == core.input_seq == 3, "an input may have been sent between Welcome and Joined"
    core.discard_session()
    assert core.input_seq == core.acknowledged_seq == 0


def test_invalid_input_is_refused_and_uses_no_number() -> None:
    with pytest.raises(ValueError, match="join first"):
        ClientCore().input({})
    core = seated()
    with pytest.raises(ValueError, match="unknown input thurst; the inputs of this room are: fire, thrust"):
        core.input({"thurst": 1.0})
    for name in ("thrust", "fire"):
        with pytest.raises(ValueError, match=f"'{name}' of row 0 is not a finite number"):
            core.input({name: float("nan")})
    assert core.input_seq == 0


def test_command_ids_are_never_reused_by_a_core() -> None:
    core = seated()
    ids = [core.command("plant", {"x": 1})[0]]
    core.hello()
    told(core, JOINED)
    ids.append(core.command("plant")[0])
    assert ids == [1, 2]


def test_missing_and_repeated_events_are_counted() -> None:
    core = seated()
    assert told(core, Event(1, "a")) == EventReceived(Event(1, "a"), 0)
    assert told(core, Event(4, "b")) == EventReceived(Event(4, "b"), 2)
    assert told(core, Event(1, "a")) is None
    assert told(core, Event(5, "c")) == EventReceived(Event(5, "c"), 0)
    assert (core.events_missed, core.events_repeated) == (2, 1)


def test_new_session_resets_the_core_and_keeps_the_counters() -> None:
    core = seated()
    told(core, delta(9, 1, 3, 4))
    told(core, Event(3, "a"))
    core.command("do")
    assert isinstance(decode_client(core.hello(build="b")), Hello)
    assert told(core, Welcome("s", generation=1)) == Welcomed(Welcome("s", generation=1), lost_room_id="room")
    assert (core.world, core.joined, len(core.outgoing)) == (None, None, 0)
    assert told(core, Event(1, "first of the new session")).missed == 0
    assert (core.resyncs, core.events_missed) == (1, 2)
    told(core, JOINED)
    assert told(core, keyframe(6, 3)) is not None


def resumable() -> ClientCore:
    core = ClientCore()
    told(core, Welcome("s", resume_token="s.secret", generation=1))
    told(core, JOINED)
    told(core, keyframe(6, 3))
    told(core, delta(7, 1, 3, 4))
    told(core, Event(1, "a"))
    return core


def test_hello_asks_for_the_previous_session_with_its_last_tick_and_event() -> None:
    core = resumable()
    assert decode_client(core.hello(token="t")) == Hello(
        SCHEMA_VERSION, token="t", resume_token="s.secret", last_tick=7, last_event=1, room_id="room", attempt=1
    )
    told(core, delta(9, 1, 3, 4))
    assert core.resyncs == 1
    assert decode_client(core.hello()).last_tick == 0, "an incorrect world cannot be a baseline"  # type: ignore[union-attr]


def test_reply_with_an_unknown_outcome_leaves_the_command_open() -> None:
    core = resumable()
    command_id, data = core.command("buy")
    told(core, Reply(command_id, ok=False, error=ErrorCode.UNAVAILABLE))
    core.hello()
    told(core, Welcome("s", resume_token="s.next", generation=2, room_id="room"))
    assert core.commands_due(1_000) == [data]
    core.abandon_command(command_id)
    core.hello()
    told(core, Welcome("s", resume_token="s.third", generation=3, room_id="room"))
    assert list(core.outgoing) == []
    core.abandon_command(command_id)


def test_resume_keeps_the_world_and_sends_unanswered_commands_again() -> None:
    core = resumable()
    (answered, _), (_, unanswered) = core.command("one"), core.command("two")
    told(core, Reply(answered, ok=True))
    core.hello()
    welcome = Welcome("s", resume_token="s.next", generation=2, room_id="room")
    assert told(core, welcome) == Welcomed(welcome, has_resumed=True)
    assert core.commands_due(1_000) == [unanswered]
    assert core.resume_token == "s.next"
    assert decode_client(core.ping(5)) == Ping(5, last_event=1, generation=2)
    assert core.world is not None
    assert core.world.tick == 7
    ahead = encode_channel(CODECS, world(4), world(5))  # from a motionless 4; the world came from 3
    told(core, encode_state(8, 0, 1, 0, ahead))
    assert x_of(core) == 5, "both ends forget where they came from"


def test_resume_without_a_room_reports_the_lost_seat() -> None:
    core = resumable()
    welcome = Welcome("s", resume_token="s.next", generation=2)
    assert told(core, welcome) == Welcomed(welcome, has_resumed=True, lost_room_id="room")
    assert core.world is None


def test_lost_events_and_a_changed_rate_are_reported() -> None:
    core = resumable()
    error = Error(ErrorCode.RESYNC, "gone")
    assert told(core, error) == EventsLost(error)
    assert told(core, Rate(2)) == RateChanged(Rate(2))
    assert core.rate == Rate(2)
    told(core, Left("over"))
    assert core.rate == Rate(1)


def test_pong_returns_round_trip_and_clock_offset() -> None:
    core = ClientCore()
    pong = encode_server(Pong(client_time_us=1_000, server_time_us=500_100))
    assert core.receive(pong, now_us=1_200) == PongReceived(200, 500_100 + 100 - 1_200)
    assert core.receive(pong, now_us=900) == PongReceived(0, 500_100 - 900), "a clock never runs backwards"


REAL = FieldDescription("a", FieldKind.REAL, 8, 0.0, 1.0, 0.1)
IMPOSSIBLE = [
    FieldDescription("a", FieldKind.UINT, 0),
    FieldDescription("a", FieldKind.INT, 54),
    FieldDescription("a", FieldKind.ANGLE, 255),
    FieldDescription("a", FieldKind.ENUM, 1),
    *(
        msgspec.structs.replace(REAL, **change)
        for change in (
            {"step": 0.0},
            {"step": -0.1},
            {"step": 2.0},
            {"step": 1e-300},
            {"low": 1.0},
            {"low": float("nan")},
            {"high": float("inf")},
            {"low": -1e308, "high": 1e308},
        )
    ),
]


@pytest.mark.parametrize("field", IMPOSSIBLE, ids=lambda field: f"{field.kind.name}-{field.bits}-{field.step}")
def test_invalid_description_is_malformed(field: FieldDescription) -> None:
    for description in (
        StateDescription(tables=(TableDescription("t", (field,)),)),
        StateDescription(inputs=(field,)),
    ):
        core = ClientCore()
        with pytest.raises(MalformedMessage, match="'a'"):
            told(core, Joined(description=description))
        assert core.world is core.joined is None


# -- an abandoned join --------------------------------------------------------------------------------------


def resumed(room_id: str = "", *, is_joining: bool = False) -> Welcome:
    return Welcome("s", resume_token="s.2", generation=2, room_id=room_id, is_joining=is_joining)


def abandoned_join(*before: Message) -> ClientCore:
    """Return a core that has received these messages, and whose caller then stopped waiting for a Join."""
    core = ClientCore()
    for message in (Welcome("s", resume_token="s.1", generation=1), *before):
        told(core, message)
    core.join("arena")
    core.abandon_join()
    core.hello()
    return core


def test_seat_that_a_client_had_before_an_abandoned_join_is_kept_when_its_room_moves() -> None:
    core = abandoned_join(JOINED)
    told(core, resumed("room"))
    assert not core.is_abandoning_join, "the server processes no Join"
    told(core, JOINED)
    assert (core.joined, list(core.outgoing)) == (JOINED, [])


def test_joined_of_the_room_that_the_client_is_in_does_not_answer_an_abandoned_join() -> None:
    core = abandoned_join(JOINED)
    assert told(core, JOINED) == SeatTaken(JOINED, is_same_room=True)
    assert core.is_abandoning_join
    assert not core.outgoing


@pytest.mark.parametrize("welcome", [resumed("room"), resumed(is_joining=True)], ids=["seated", "joining"])
def test_seat_of_an_abandoned_join_that_the_server_still_answers_is_released(welcome: Welcome) -> None:
    core = abandoned_join()
    told(core, welcome)
    assert core.is_abandoning_join
    assert told(core, JOINED) is None
    assert [decode_client(data) for data in core.outgoing] == [Leave()]
