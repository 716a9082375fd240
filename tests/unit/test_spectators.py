"""One rule for players without an entity on a map: they see the same before and after a resume, a save and a move."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tests.unit.test_dead_entities import Reviving
from tickwire import Grid, Player, Room, Table, real
from tickwire.server.migration.room_codec import decode_room, encode_room
from tickwire.server.rooms.checkpoint import RoomCheckpoint
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest

pytestmark = pytest.mark.usefixtures("each_kernel")


class Marks(Table):
    x = real(0, 1000, step=1 / 16)
    y = real(0, 1000, step=1 / 16)


class Meadow(Room):
    """Fixed marks over the whole map, so that what a player sees is a set of ids."""

    room_type = "meadow"
    grid = Grid("marks", cell=100, view=70)
    marks: Marks

    def on_create(self, options: Mapping[str, Any]) -> None:
        for number in range(10):
            self.marks.spawn(x=100.0 * number + 50, y=50.0)

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        if options.get("plays"):
            player.entity = self.marks.spawn(x=520.0, y=520.0)


def room_of(saved: RoomCheckpoint | None = None, reviver: Reviving | None = None) -> RoomRuntime:
    return create_runtime(Meadow, saved, name="n", sessions=reviver)


def marks_seen(subscriber: RecordingSubscriber) -> set[int]:
    assert subscriber.core.world is not None
    return set(subscriber.core.world.table("marks").ids.tolist())


def dies(runtime: RoomRuntime, seat: Seat) -> None:
    marks = runtime.room.marks  # type: ignore[attr-defined]
    seat.player.entity.y = 50.0
    runtime.step()
    marks.despawn(seat.player.entity)


def loses_its_entity(runtime: RoomRuntime, seat: Seat) -> None:
    dies(runtime, seat)
    seat.player.entity = None


def looks_elsewhere_and_loses_that(runtime: RoomRuntime, seat: Seat) -> None:
    marks = runtime.room.marks  # type: ignore[attr-defined]
    seat.player.focus = marks.spawn(x=120.0, y=50.0)
    runtime.step()
    marks.despawn(seat.player.focus)


def resumed(
    runtime: RoomRuntime, seat: Seat, subscriber: RecordingSubscriber
) -> tuple[RoomRuntime, RecordingSubscriber]:
    assert subscriber.core.world is not None
    subscriber.connection = None
    seat.disconnected()
    runtime.step()
    subscriber.connection = subscriber
    subscriber.core.world.clear_history()
    seat.resumed("r", subscriber.core.world.tick)
    return runtime, subscriber


def restored(state: RoomCheckpoint) -> tuple[RoomRuntime, RecordingSubscriber]:
    reviving = Reviving()
    runtime = room_of(state, reviving)
    subscriber = reviving.subscribers["p"]
    subscriber.connection = subscriber
    runtime.seats[0].resumed("", 0)
    return runtime, subscriber


WAYS: dict[str, Callable[[RoomRuntime, Seat, RecordingSubscriber], tuple[RoomRuntime, RecordingSubscriber]]] = {
    "a resume": resumed,
    "a save": lambda runtime, seat, subscriber: restored(runtime.checkpoint()),
    "a move": lambda runtime, seat, subscriber: restored(decode_room(encode_room(runtime))[1]),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (dies, {5, 6, 7}),  # the marks around the place where it died
        (loses_its_entity, set()),
        (looks_elsewhere_and_loses_that, {1, 2, 3}),
    ],
)
def test_a_player_without_a_focus_sees_the_same_before_and_after(
    what: Callable[[RoomRuntime, Seat], None], expected: set[int], way: str
) -> None:
    runtime = room_of()
    subscriber = RecordingSubscriber("p")
    seat = runtime.seat(SeatRequest(subscriber, "p", {"plays": True}))
    runtime.step()
    what(runtime, seat)
    runtime.step()
    runtime.step()
    assert marks_seen(subscriber) & set(range(1, 11)) == expected
    runtime, subscriber = WAYS[way](runtime, seat, subscriber)
    runtime.step()
    runtime.step()
    assert marks_seen(subscriber) & set(range(1, 11)) == expected


@pytest.mark.parametrize("way", WAYS)
def test_a_player_that_never_had_an_entity_sees_no_cell_before_and_after(way: str) -> None:
    runtime = room_of()
    subscriber = RecordingSubscriber("p")
    seat = runtime.seat(SeatRequest(subscriber, "p"))
    for _ in range(2):
        runtime.step()
        assert marks_seen(subscriber) == set()
        runtime, subscriber = WAYS[way](runtime, seat, subscriber)
        seat = runtime.seats[0]
        runtime.step()


def test_a_player_that_died_sees_again_where_its_next_entity_is() -> None:
    runtime = room_of()
    subscriber = RecordingSubscriber("p")
    seat = runtime.seat(SeatRequest(subscriber, "p", {"plays": True}))
    runtime.step()
    dies(runtime, seat)
    runtime.step()
    seat.player.entity = runtime.room.marks.spawn(x=950.0, y=50.0)  # type: ignore[attr-defined]
    runtime.step()
    runtime.step()
    assert marks_seen(subscriber) & set(range(1, 11)) == {9, 10}
