"""Timers of a room run in a fixed order, in room time, and move with the room; others are refused with a reason."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from structlog.testing import capture_logs

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire import Input, Player, Room, RoomTimer, Row, Table, TooManyTimers, real
from tickwire.schemas.messages import Input as InputMessage
from tickwire.server.migration.room_codec import decode_room, encode_room
from tickwire.server.persistence.world_codec import decode_world, encode_world
from tickwire.server.rooms.checkpoint import ClockCheckpoint, RoomCheckpoint, TimerCheckpoint
from tickwire.server.rooms.clock import ARGUMENT_BYTES_MAX, TIMERS_MAX
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import SeatRequest


class Marbles(Table):
    x = real(-10, 10, step=0.5)


class BellInput(Input):
    x = real(-1, 1, step=0.5)


class Belfry(Room):
    """Notes each call with the tick in which it ran."""

    room_type = "belfry"
    durable = True
    tick_rate_hz = 10.0
    ticks_when_empty = True
    input_type = BellInput
    marbles: Marbles

    def __init__(self, **known: Any) -> None:
        super().__init__(**known)
        self.calls: list[Any] = []

    def on_input(self, player: Player, input: BellInput) -> None:
        self.note("input")

    def on_tick(self, dt: float) -> None:
        self.note("tick")

    def note(self, *words: Any) -> None:
        self.calls.append((self.tick, *words))

    def ring(self, *words: Any) -> None:
        self.note("ring", *words)

    def note_entity(self, row: Row, by: Player) -> None:
        self.note(row.id, by.id)

    def ring_again(self) -> None:
        self.ring()
        self.clock.after(0, self.ring, "again")

    def stop(self) -> None:
        self.ring("stop")
        timer = self.clock.find(self.stop)
        assert timer is not None
        timer.cancel()

    def fail(self) -> None:
        raise RuntimeError("requested failure in a timer")

    async def wait(self) -> None: ...

    @staticmethod
    def static() -> None: ...


def belfry_of(runtime: RoomRuntime) -> Belfry:
    assert isinstance(runtime.room, Belfry)
    return runtime.room


def steps(runtime: RoomRuntime, count: int) -> list[Any]:
    """Run some ticks and return the calls of timers in them."""
    room = belfry_of(runtime)
    room.calls.clear()
    for _ in range(count):
        runtime.step()
    return [call for call in room.calls if call[1:] != ("tick",)]


def test_time_is_the_number_of_ticks_divided_by_their_rate() -> None:
    runtime = create_runtime(Belfry)
    assert runtime.room.clock.now_s == 0
    steps(runtime, 3)
    assert runtime.room.clock.now_s == 0.3


@pytest.mark.parametrize(
    ("delay_s", "tick"), [(0, 1), (0.01, 1), (0.1, 1), (0.11, 2), (0.3, 3), (1.1, 11), (1.101, 12)]
)
def test_a_call_runs_once_in_the_first_tick_after_its_delay(delay_s: float, tick: int) -> None:
    runtime = create_runtime(Belfry)
    timer = runtime.room.clock.after(delay_s, belfry_of(runtime).ring, "x")
    assert timer.is_pending
    assert steps(runtime, 30) == [(tick, "ring", "x")]
    assert not timer.is_pending
    assert runtime.room.clock.timers == ()


def test_calls_run_after_the_inputs_and_before_the_tick_in_the_order_of_scheduling() -> None:
    runtime = create_runtime(Belfry)
    seat = runtime.seat(SeatRequest(RecordingSubscriber("ann"), "ann"))
    room = belfry_of(runtime)
    room.clock.every(0.1, room.ring, 1)
    room.clock.after(0.2, room.ring, 2)
    room.clock.after(0.15, room.ring, 3)
    runtime.step()
    seat.push_input(InputMessage(1, runtime.tick, bytes(runtime.input_size)))
    room.calls.clear()
    runtime.step()
    assert [call[1:] for call in room.calls] == [("input",), ("ring", 1), ("ring", 2), ("ring", 3), ("tick",)]


def test_a_repeated_call_that_lies_between_ticks_does_not_drift() -> None:
    runtime = create_runtime(Belfry)
    timer = runtime.room.clock.every(0.25, belfry_of(runtime).ring)
    assert timer.interval_s == 0.25
    ticks = [call[0] for call in steps(runtime, 1000)]
    assert ticks[:4] == [3, 5, 8, 10]
    assert len(ticks) == 400
    assert timer.due_s == 100.25


def test_a_call_that_schedules_another_leaves_it_to_the_next_tick() -> None:
    runtime = create_runtime(Belfry)
    runtime.room.clock.after(0.1, belfry_of(runtime).ring_again)
    assert steps(runtime, 4) == [(1, "ring"), (2, "ring", "again")]


def test_cancelled_calls_do_not_run_again() -> None:
    runtime = create_runtime(Belfry)
    room = belfry_of(runtime)
    timer = room.clock.every(0.1, room.ring)
    room.clock.every(0.2, room.stop)
    assert steps(runtime, 1) == [(1, "ring")]
    timer.cancel()
    timer.cancel()
    assert steps(runtime, 5) == [(2, "ring", "stop")]
    assert room.clock.next_tick == float("inf")
    assert room.clock.find(room.stop) is None


def test_a_call_ends_with_its_player() -> None:
    runtime = create_runtime(Belfry)
    room = belfry_of(runtime)
    ann = runtime.seat(SeatRequest(RecordingSubscriber("ann"), "ann"))
    bob = runtime.seat(SeatRequest(RecordingSubscriber("bob"), "bob"))
    marble = room.marbles.spawn()
    id = marble.id
    room.clock.every(0.1, room.note_entity, marble, ann.player)
    room.clock.every(0.1, room.note_entity, marble, bob.player)
    assert steps(runtime, 1) == [(1, id, "ann"), (1, id, "bob")]
    ann.leave("wants to")
    runtime.seat(SeatRequest(RecordingSubscriber("ann"), "ann"))
    assert steps(runtime, 1) == [(2, id, "bob")], "also if a player of this id is back"
    marble.despawn()
    assert steps(runtime, 2) == [(3, id, "bob")], "a row exists until the end of the tick"
    assert room.clock.timers == ()


def test_an_exception_of_a_call_ends_the_room_as_one_of_on_tick_does() -> None:
    runtime = create_runtime(Belfry)
    runtime.room.clock.after(0.2, belfry_of(runtime).fail)
    runtime.step()
    with pytest.raises(RoomCodeRaised):
        runtime.step()
    assert runtime.counters.room_errors["belfry"] == 1


def test_an_empty_room_that_does_not_tick_keeps_its_timers() -> None:
    class Asleep(Belfry):
        ticks_when_empty = False

    runtime = create_runtime(Asleep)
    runtime.room.clock.after(5, belfry_of(runtime).ring)
    runtime.step()
    assert runtime.is_idle
    assert len(runtime.room.clock.timers) == 1


# -- refusals ----------------------------------------------------------------------------------------------------


def test_only_a_plain_method_of_the_room_is_accepted() -> None:
    room = belfry_of(create_runtime(Belfry))
    other = belfry_of(create_runtime(Belfry))
    words = "is not a method of this room; the call moves with the room"
    for method in (
        lambda: None,
        print,
        other.ring,
        room.static,
        room.marbles.spawn,
        "ring",
        None,
        super(Belfry, room).on_tick,
    ):
        with pytest.raises(TypeError, match=words):
            room.clock.after(1, method)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="wait must be a plain method, not async"):
        room.clock.after(1, room.wait)
    with pytest.raises(TypeError, match="fail does not accept these 1 arguments: too many positional"):
        room.clock.every(1, room.fail, 5)
    room.ring = print  # type: ignore[method-assign,assignment]
    with pytest.raises(TypeError, match=words):
        room.clock.after(1, room.ring)
    assert room.clock.timers == ()


def test_arguments_must_be_values_that_can_be_saved() -> None:
    runtime = create_runtime(Belfry)
    room = belfry_of(runtime)
    ann = runtime.seat(SeatRequest(RecordingSubscriber("ann"), "ann")).player
    timer = room.clock.after(1, room.ring)
    for argument in (object(), print, 1 << 70, "\ud800", [ann], {"who": ann}, (room.marbles.spawn(),), timer, room):
        with pytest.raises(TypeError, match=r"clock: an argument of ring, a \w+, cannot be saved; pass players and"):
            room.clock.after(1, room.ring, argument)
    with pytest.raises(ValueError, match=f"the arguments of ring have 1027 bytes; the limit is {ARGUMENT_BYTES_MAX}"):
        room.clock.after(1, room.ring, "x" * ARGUMENT_BYTES_MAX)
    assert room.clock.timers == (timer,)


@pytest.mark.parametrize("delay_s", [-0.1, float("nan"), float("inf")])
def test_a_delay_must_be_a_time(delay_s: float) -> None:
    room = belfry_of(create_runtime(Belfry))
    with pytest.raises(ValueError, match=r"clock.after: the delay must be 0 s or more, not"):
        room.clock.after(delay_s, room.ring)
    with pytest.raises(ValueError, match=r"clock.every: the interval must be at least a tick \(0.1 s\), not"):
        room.clock.every(delay_s, room.ring)


def test_an_interval_is_at_least_a_tick() -> None:
    room = belfry_of(create_runtime(Belfry))
    with pytest.raises(ValueError, match=r"at least a tick \(0.1 s\), not 0.09; for shorter intervals use on_tick"):
        room.clock.every(0.09, room.ring)
    room.clock.every(0.1, room.ring)


def test_the_number_of_timers_is_bounded_and_ended_ones_do_not_count() -> None:
    room = belfry_of(create_runtime(Belfry))
    timers = [room.clock.after(60, room.ring) for _ in range(TIMERS_MAX)]
    with pytest.raises(TooManyTimers, match=f"the room has {TIMERS_MAX} timers; cancel those"):
        room.clock.after(60, room.ring)
    timers[3].cancel()
    room.clock.after(60, room.ring)
    for _ in range(3 * TIMERS_MAX):
        timers[4].cancel()
        timers[4] = room.clock.after(60, room.ring)
    assert len(room.clock.timers) == TIMERS_MAX


def test_arguments_are_copied_when_the_timer_is_set() -> None:
    runtime = create_runtime(Belfry)
    room = belfry_of(runtime)
    words, heights = [1], np.zeros(2, np.float32)
    room.clock.every(0.1, room.ring, words, heights)
    words.append(2)
    heights += 1
    (tick, _, got, array), *_ = steps(runtime, 1)
    assert (tick, got, array.tolist()) == (1, [1], [0.0, 0.0])
    got.append(3)
    assert steps(runtime, 1)[0][2] == [1], "each call has a copy of its own"


# -- moves and saves ---------------------------------------------------------------------------------------------


class Sessions(dict[str, RecordingSubscriber]):
    """Restores the sessions of these players."""

    def restore(self, session: Any) -> RecordingSubscriber | None:
        return self.get(session.player_id)


def move(runtime: RoomRuntime, kind: type[Room] = Belfry) -> RoomRuntime:
    """Return the room as another shard restores it after a move."""
    _, state = decode_room(encode_room(runtime))
    return create_runtime(kind, state, sessions=Sessions(ann=RecordingSubscriber("ann")))


def save(runtime: RoomRuntime, kind: type[Room] = Belfry) -> RoomRuntime:
    """Return the room as it is restored from a save."""
    state: RoomCheckpoint = decode_world(encode_world("belfry", "", "r", runtime.checkpoint()))
    return create_runtime(kind, state, sessions=Sessions(ann=RecordingSubscriber("ann")))


@pytest.mark.parametrize("restored", [move, save])
def test_timers_survive_a_move_and_a_save(restored: Any) -> None:
    runtime = create_runtime(Belfry, options={})
    room = belfry_of(runtime)
    ann = runtime.seat(SeatRequest(RecordingSubscriber("ann"), "ann"))
    bob = runtime.seat(SeatRequest(RecordingSubscriber("bob"), "bob"))
    marble, gone = room.marbles.spawn(), room.marbles.spawn()
    room.clock.every(0.25, room.ring, {"deep": (1, b"x")})
    room.clock.after(0.5, room.note_entity, marble, ann.player)
    room.clock.after(0.5, room.note_entity, marble, bob.player)
    room.clock.after(0.5, room.note_entity, gone, ann.player)
    room.clock.after(0.6, room.ring, "cancelled").cancel()
    gone.despawn()
    steps(runtime, 2)
    bob.leave("wants to")
    other = restored(runtime)
    expected = [
        (3, "ring", {"deep": (1, b"x")}),
        (5, "ring", {"deep": (1, b"x")}),
        (5, marble.id, "ann"),
        (8, "ring", {"deep": (1, b"x")}),
    ]
    assert steps(other, 6) == expected
    assert steps(runtime, 6) == expected, "as in a room that was not restored"


def test_a_timer_in_an_attribute_is_the_same_timer_after_a_move() -> None:
    runtime = create_runtime(Belfry)
    room = belfry_of(runtime)
    room.round_timer = room.clock.every(0.1, room.ring)  # type: ignore[attr-defined]
    room.ended = [room.clock.after(0.1, room.ring, "early")]  # type: ignore[attr-defined]
    steps(runtime, 1)
    moved: Any = belfry_of(move(runtime))
    (timer,) = moved.clock.timers
    assert moved.round_timer is timer
    (ended,) = moved.ended
    assert isinstance(ended, RoomTimer)
    assert not ended.is_pending
    moved.round_timer.cancel()
    assert moved.clock.timers == ()
    moved.clock.after(1, moved.ring)
    assert moved.round_timer.number != moved.clock.timers[0].number


class Restrung(Belfry):
    """A later build: other methods, another tick rate, and a timer that `__init__` sets."""

    tick_rate_hz = 20.0
    ring_again = None  # type: ignore[assignment]

    def __init__(self, **known: Any) -> None:
        super().__init__(**known)
        self.clock.after(0.2, self.ring, "init")

    def ring(self, word: Any) -> None:  # type: ignore[override]
        self.note("ring", word)


def test_a_build_leaves_out_calls_that_it_cannot_run_and_keeps_the_remaining_time() -> None:
    runtime = create_runtime(Belfry)
    room = belfry_of(runtime)
    room.clock.after(0.5, room.ring_again)
    room.clock.after(0.5, room.ring, 1, 2)
    room.clock.every(0.3, room.ring, "kept")
    steps(runtime, 2)
    with capture_logs() as logs:
        other = save(runtime, Restrung)
    assert [(entry["event"], entry["method"]) for entry in logs if entry["event"].startswith("room_timer")] == [
        ("room_timer_dropped", "ring_again"),
        ("room_timer_dropped", "ring"),
    ]
    assert steps(other, 10) == [(4, "ring", "kept"), (10, "ring", "kept")], "in 0.1 s, then every 0.3 s"


def test_a_timer_of_a_player_without_a_restored_seat_is_left_out() -> None:
    runtime = create_runtime(Belfry)
    ann = runtime.seat(SeatRequest(RecordingSubscriber("ann"), "ann"))
    runtime.room.clock.after(1, belfry_of(runtime).ring, ann.player)
    state = msgspec.structs.replace(runtime.checkpoint(), seats=())
    with capture_logs() as logs:
        restored = create_runtime(Belfry, state)
    assert restored.room.clock.timers == ()
    assert logs[-1]["error"] == "a player among its arguments has left the room"


def test_a_world_of_a_build_without_timers_keeps_those_of_init() -> None:
    state = create_runtime(Belfry).checkpoint()
    restored = create_runtime(Restrung, msgspec.structs.replace(state, clock=None))
    assert [timer.method for timer in restored.room.clock.timers] == ["ring"]


@pytest.mark.parametrize(
    "timer",
    [
        TimerCheckpoint(1, "ring", due=float("nan")),
        TimerCheckpoint(1, "ring", due=float("inf")),
        TimerCheckpoint(1, "ring", (b"\xc1",)),
        TimerCheckpoint(1, "calls"),
        TimerCheckpoint(1, "static"),
        TimerCheckpoint(1, "note_entity", (b"\xc0",)),
    ],
)
def test_a_damaged_timer_is_left_out(timer: TimerCheckpoint) -> None:
    state = create_runtime(Belfry).checkpoint()
    good = TimerCheckpoint(2, "ring", due=3.0)
    for rate in (10.0, 0.0) if timer.method == "ring" else (10.0,):
        clock = ClockCheckpoint(rate, (timer, good) if rate else (good,))
        restored = create_runtime(Belfry, msgspec.structs.replace(state, clock=clock))
        assert [timer.number for timer in restored.room.clock.timers] == ([2] if rate else [])


def test_an_invalid_clock_of_a_world_is_set_aside() -> None:
    world = encode_world("belfry", "", "r", create_runtime(Belfry).checkpoint())
    state = decode_world(msgspec.structs.replace(world, clock={"tick_rate_hz": "fast"}))
    assert state.clock is None
    assert [part.path for part in state.rejected] == ["clock"]
