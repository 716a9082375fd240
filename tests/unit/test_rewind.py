"""`Room.rewind` returns past columns: those that a player saw, interpolated, read-only, and within the history."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire import Input, InputBatch, Player, Room, Table, angle, boolean, local, quaternion, real, text, uint, vec2
from tickwire.schemas import messages
from tickwire.server.migration.room_codec import decode_room, encode_room
from tickwire.server.replication.table_history import SnapshotExpired
from tickwire.server.rooms.checkpoint import SessionCheckpoint
from tickwire.server.rooms.player import PlayerCallbacks
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest
from tickwire.server.rooms.send_rate import AdaptiveSendRate, SendLevel

RATE = 10.0
LENGTH = 8
"""The ticks of the history of `Gallery`."""


class Ducks(Table):
    """They move by one each tick."""

    x = real(-1000, 1000, step=1 / 16)
    heading = angle(bits=8)
    hp = uint(bits=7)
    mass = local(np.float32)
    label = text()


class Trigger(Input):
    fire = boolean()


class Gallery(Room):
    """Keeps 0.8 s of ducks."""

    room_type = "gallery"
    tick_rate_hz = RATE
    ticks_when_empty = True
    history_s = LENGTH / RATE
    history = {"ducks": ("x", "heading", "hp", "mass")}
    view_delay_ticks = 0.0
    input_type = Trigger
    ducks: Ducks

    def __init__(self, **known: Any) -> None:
        super().__init__(**known)
        self.seen: list[tuple[int, float, list[float]]] = []
        self.speed = 1.0

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.ducks.spawn(x=0.0)

    def on_input(self, player: Player, input: Trigger) -> None:
        self.look(player)

    def on_command(self, player: Player, name: str, payload: Any) -> None:
        self.look(player)

    def on_tick(self, dt: float) -> None:
        self.ducks.x += self.speed

    def look(self, player: Player) -> None:
        past = self.rewind(player)
        self.seen.append((self.tick, past.tick, past.ducks.x.tolist()))


class Volley(Gallery):
    """Receives all inputs of a tick at once."""

    room_type = "volley"

    def on_inputs(self, inputs: InputBatch[Trigger]) -> None:
        for player in inputs.players:
            self.look(player)


class Tops(Table):
    place = vec2(-10, 10, step=1 / 16)
    rotation = quaternion()


class Shelf(Room):
    room_type = "shelf"
    history_s = 0.5
    history = {"tops": ("place", "place_x", "rotation")}
    tops: Tops


class Wall(Room):
    """A room without a history."""

    room_type = "wall"
    ducks: Ducks


def gallery(kind: type[Gallery] = Gallery, *, ticks: int = 20) -> tuple[RoomRuntime, Any, Seat]:
    runtime = create_runtime(kind)
    seat = runtime.seat(SeatRequest(RecordingSubscriber("ann"), "ann"))
    for _ in range(ticks):
        runtime.step()
    return runtime, runtime.room, seat


class OneSession:
    """Restores the session of one player."""

    def __init__(self, subscriber: RecordingSubscriber) -> None:
        self._subscriber = subscriber

    def restore(self, checkpoint: SessionCheckpoint) -> RecordingSubscriber:
        return self._subscriber


def send(seat: Seat, tick: int, seq: int = 1) -> None:
    seat.push_input(messages.Input(seq, tick, bytes(4)))


@pytest.mark.parametrize("kind", [Gallery, Volley])
def test_an_input_is_answered_with_the_tables_of_its_tick(kind: type[Gallery]) -> None:
    runtime, room, seat = gallery(kind)
    for seq, tick in enumerate((20, 19, 17), 1):
        send(seat, tick, seq)
        runtime.step()
    assert room.seen == [(21, 20, [20.0]), (22, 19, [19.0]), (23, 17, [17.0])]
    assert not runtime.counters.rewinds_clamped


def test_each_of_several_inputs_of_a_tick_has_its_own_view() -> None:
    runtime, room, seat = gallery()
    send(seat, 18, 1)
    send(seat, 20, 2)
    runtime.step()
    assert [past for _, past, _ in room.seen] == [18, 20]


def test_a_trigger_that_is_held_is_compensated_like_the_input_that_began_it() -> None:
    runtime, room, seat = gallery()
    send(seat, 18)
    runtime.step()
    for _ in range(50):
        runtime.step()
    assert room.rewind(seat.player).tick == room.tick + 1 - 3, "between two ticks, as in the next tick"
    seat.run_command(messages.Command(1, "look"))
    assert room.seen[-1] == (71, 69, [69.0])


def test_a_still_world_keeps_the_lag_of_earlier_inputs() -> None:
    """It sends no state: the tick of the client's newest state is old, and says nothing about the latency."""
    runtime, room, seat = gallery()
    send(seat, 18, 1)
    runtime.step()
    room.speed = 0.0
    for _ in range(40):
        runtime.step()
    send(seat, 21, 2)
    runtime.step()
    assert room.seen == [(21, 18, [18.0]), (62, 59, [21.0])]
    assert not runtime.counters.rewinds_clamped
    room.speed = 1.0
    runtime.step()
    send(seat, 21, 3)
    runtime.step()
    assert room.seen[-1][2] == [21.0], "sent before the client has received the first new state"


def test_a_slow_client_that_has_all_that_was_sent_is_compensated_for_what_was_not() -> None:
    """It receives every other tick: its newest state is old although the world moves."""
    runtime, room, seat = gallery()
    seat.send_rate = AdaptiveSendRate(RATE)
    seat.send_rate.level = SendLevel.HALVED
    runtime.step()
    runtime.step()
    runtime.step()
    assert seat.view is not None
    assert (room.tick, seat.view.last_sent_tick) == (23, 22)
    send(seat, 22)
    runtime.step()
    assert room.seen == [(24, 22, [22.0])]


def test_an_input_in_a_world_that_was_always_still_sees_the_present() -> None:
    runtime, room, seat = gallery(ticks=1)
    room.speed = 0.0
    for _ in range(40):
        runtime.step()
    send(seat, 1)
    runtime.step()
    assert room.seen == [(42, 42, [1.0])]


def test_the_view_delay_is_that_of_the_room_or_of_the_call() -> None:
    class Late(Gallery):
        room_type = "late"
        view_delay_ticks = 1.5

    runtime, room, seat = gallery(Late)
    send(seat, 20)
    runtime.step()
    assert room.seen == [(21, 18.5, [18.5])]
    assert room.rewind(seat.player, 0.25).ducks.x.tolist() == [20.75]
    assert room.rewind(seat.player, view_delay_ticks=np.float32(2)).tick == 19.0
    for wrong in (math.nan, math.inf):
        with pytest.raises(ValueError, match="rewind: view_delay_ticks must be a finite number"):
            room.rewind(seat.player, wrong)


@pytest.mark.parametrize(
    ("tick", "seen", "reason"),
    [
        (21, 20, "future"),
        (22, 20, "future"),
        (0xFFFFFFFF, 20, "future"),
        (13, 13, None),
        (12, 13, "too_old"),
        (1, 13, "too_old"),
    ],
)
def test_a_claimed_tick_outside_of_the_history_is_clamped_and_counted(tick: int, seen: int, reason: str) -> None:
    runtime, room, seat = gallery()
    send(seat, tick)
    runtime.step()
    assert room.seen == [(21, seen, [float(seen)])]
    assert runtime.counters.rewinds_clamped == ({reason: 1} if reason else {})


def test_a_negative_view_delay_ends_at_the_newest_tick() -> None:
    runtime, room, seat = gallery()
    send(seat, 20)
    runtime.step()
    assert room.rewind(seat.player, -5.0).tick == 21


def test_a_player_without_an_input_sees_the_present() -> None:
    runtime, room, seat = gallery()
    other = room.ducks.spawn(x=500.0)
    room.ducks.despawn(1)
    past = room.rewind(seat.player)
    assert (past.tick, past.ducks.ids.tolist(), past.ducks.x.tolist()) == (20, [other.id], [500.0])
    assert list(past.later()) == []
    send(seat, 0)
    runtime.step()
    assert room.seen == [(21, 21, [500.0])], "the client had no state when it sent this input"


def test_a_rewind_before_the_first_tick_is_the_present() -> None:
    runtime, room, seat = gallery(ticks=0)
    send(seat, 7)
    runtime.step()
    assert room.seen == [(1, 1, [0.0])]


def test_a_rewind_to_before_the_first_tick_is_clamped_to_it() -> None:
    runtime, room, seat = gallery(ticks=2)
    send(seat, 1)
    runtime.step()
    assert room.rewind(seat.player, 2.5).ducks.x.tolist() == [1.0]
    assert room._history.clamped == {"too_old": 1}


def test_values_between_two_ticks_are_interpolated_as_clients_do_it() -> None:
    runtime, room, _ = gallery(ticks=0)
    ducks = room.ducks
    ducks.heading[0], ducks.hp[0], ducks.mass[0] = math.pi * 15 / 8, 3, 1.0
    leaving = ducks.spawn(x=5.0)
    runtime.step()
    ducks.heading[0], ducks.hp[0], ducks.mass[0] = math.pi / 8, 2, 2.0
    leaving.despawn()
    ducks.spawn(x=7.0)
    runtime.step()
    past = room._history.rewind(2, 1, 0.5).ducks
    assert past.ids.tolist() == [1, 2], "the entity that leaves is still there, and the new one not yet"
    assert past.x.tolist() == [1.5, 6.0]
    assert math.cos(past.heading[0]) == pytest.approx(1.0), "half of the way from -pi/8 to pi/8"
    assert past.hp.tolist() == [3, 0]
    assert past.mass.tolist() == [1.0, 0.0]


def test_vectors_and_quaternions_are_kept_as_one_value() -> None:
    runtime = create_runtime(Shelf)
    tops: Any = runtime.room.all_tables()[0]
    quarter = (0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5))
    for number in range(20):
        tops.spawn(place=(number, -number))
    runtime.step()
    tops.place += 2.0
    tops.rotation[:] = quarter
    tops.rotation[0] = 0.0
    tops.rotation[1] *= 5.0
    tops.rotation[2] = 0.0, 0.0, math.inf, 1.0
    tops.rotation[4] *= 1e25
    runtime.step()
    assert runtime.room._history is not None
    past = runtime.room._history.rewind(2, 1, 0.5).tops
    assert past.place.shape == (20, 2)
    assert past.place[3].tolist() == [4.0, -2.0]
    assert past.place_x[3] == 4.0
    assert past.rotation[3] == pytest.approx((0.0, 0.0, math.sin(math.pi / 8), math.cos(math.pi / 8)), abs=1e-6)
    assert past.rotation[0].tolist() == [0.0, 0.0, 0.0, 1.0]
    assert past.rotation[1] == pytest.approx(past.rotation[3])
    assert past.rotation[2].tolist() == [0.0, 0.0, 0.0, 1.0], "as clients read it"
    assert past.rotation[4] == pytest.approx(past.rotation[3])
    assert runtime.room.rewind(Player("ann", PlayerCallbacks())).tops.place[3].tolist() == [5.0, -1.0]


def test_a_snapshot_finds_entities_as_they_were() -> None:
    runtime, room, seat = gallery()
    row = room.ducks.spawn(x=100.0)
    runtime.step()
    send(seat, 21)
    runtime.step()
    row.despawn()
    past = room.rewind(seat.player, 1.0)
    assert len(past.ducks) == 2
    assert row in past.ducks
    assert row.id in past.ducks
    assert past.ducks.x[past.ducks.row_of(row)] == 101.0
    runtime.step()
    past = room.rewind(seat.player, 1.0)
    assert row.id not in room.ducks
    assert past.ducks.x[past.ducks.row_of(2)] == 102.0, "removed since"
    assert row not in past.ducks, "the row is dead"
    past = room.rewind(seat.player, 3.0)
    assert 2 not in past.ducks
    with pytest.raises(KeyError, match="Ducks had no entity 2 then"):
        past.ducks.row_of(2)


def test_later_snapshots_lead_to_the_present() -> None:
    runtime, room, seat = gallery()
    send(seat, 20)
    runtime.step()
    past = room.rewind(seat.player, 2.5)
    assert past.tick == 18.5
    assert [(each.tick, each.ducks.x[0]) for each in past.later()] == [(19, 19.0), (20, 20.0), (21, 21.0)]
    assert [each.tick for each in room.rewind(seat.player, 2.0).later()] == [20, 21], "a whole tick is not repeated"


def test_a_snapshot_is_for_reading_only() -> None:
    runtime, room, seat = gallery()
    send(seat, 20)
    runtime.step()
    for view_delay in (0.0, 0.5):
        past = room.rewind(seat.player, view_delay)
        with pytest.raises(ValueError, match="read-only"):
            past.ducks.x += 1
        with pytest.raises(ValueError, match="read-only"):
            past.ducks.x[0] = 1
        with pytest.raises(ValueError, match="read-only"):
            past.ducks.ids[0] = 1
    with pytest.raises(AttributeError):
        past.ducks.x = np.zeros(1)
    assert room.rewind(seat.player).ducks.x.tolist() == [21.0]


def test_unknown_names_and_old_snapshots_are_errors_that_say_so() -> None:
    runtime, room, seat = gallery()
    send(seat, 20)
    runtime.step()
    past = room.rewind(seat.player)
    for player in (seat.player, Player("new", PlayerCallbacks())):
        with pytest.raises(AttributeError, match="the history of the room has no table 'geese', only ducks"):
            _ = room.rewind(player).geese
        with pytest.raises(AttributeError, match="the history has no column 'label' of Ducks, only x, heading"):
            _ = room.rewind(player).ducks.label
    for _ in range(LENGTH):
        runtime.step()
    with pytest.raises(SnapshotExpired, match="read a snapshot in the tick that made it"):
        _ = past.ducks


def test_a_room_without_history_keeps_nothing_and_refuses_to_rewind() -> None:
    runtime = create_runtime(Wall)
    assert runtime.room._history is None
    with pytest.raises(ValueError, match="rewind: Wall declares no history_s and no history"):
        runtime.room.rewind(Player("ann", PlayerCallbacks()))


def test_the_history_starts_anew_on_another_shard() -> None:
    runtime, room, seat = gallery()
    send(seat, 18)
    runtime.step()
    _, state = decode_room(encode_room(runtime))
    ann = RecordingSubscriber("ann")
    runtime = create_runtime(Gallery, state, sessions=OneSession(ann))
    room, seat = runtime.room, ann.restored
    assert isinstance(room, Gallery)
    assert seat is not None
    assert room.rewind(seat.player).ducks.x.tolist() == [21.0], "the present: the player has sent no input here"
    for _ in range(3):
        runtime.step()
    seat.connection = ann
    send(seat, 18)
    runtime.step()
    assert room.seen[-1] == (25, 22, [22.0]), "the first tick of this shard"
    assert runtime.counters.rewinds_clamped == {"too_old": 1}


def test_the_history_of_many_entities_grows_with_the_table() -> None:
    runtime, room, seat = gallery()
    size = room._history.size
    for x in range(100):
        room.ducks.spawn(x=float(x))
    runtime.step()
    send(seat, 21)
    runtime.step()
    past = room.rewind(seat.player)
    assert room._history.size == size * 101 // 16
    assert len(past.ducks) == 101
    assert len(room.rewind(seat.player, 1.0).ducks) == 101
    assert room.rewind(seat.player, 2.0).ducks.x.tolist() == [20.0], "from before the growth"
