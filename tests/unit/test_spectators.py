"""One rule for players without an entity on a map: they see the same before and after a resume, a save and a move."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.unit.test_dead_entities import Reviving
from tests.unit.test_simulation import Listening
from tickwire.server.migration.room_codec import decode_room, encode_room
from tickwire.server.rooms import Grid, Player, Room, Table, real
from tickwire.server.rooms.checkpoint import RoomCheckpoint
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.factory import create
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat


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
    return create(
        Meadow,
        room_id="r",
        name="n",
        epoch=1,
        seed=1,
        counters=RoomCounters(),
        options={},
        saved=saved,
        reviver=reviver,
    )


def marks_seen(subscriber: Listening) -> set[int]:
    assert subscriber.core.world is not None
    return set(subscriber.core.world.table("marks").ids.tolist())


def dies(simulation: RoomRuntime, seat: Seat) -> None:
    marks = simulation.room.marks  # type: ignore[attr-defined]
    seat.player.entity.y = 50.0  # type: ignore[union-attr]
    simulation.step()
    marks.despawn(seat.player.entity)


def loses_its_entity(simulation: RoomRuntime, seat: Seat) -> None:
    dies(simulation, seat)
    seat.player.entity = None


def looks_elsewhere_and_loses_that(simulation: RoomRuntime, seat: Seat) -> None:
    marks = simulation.room.marks  # type: ignore[attr-defined]
    seat.player.focus = marks.spawn(x=120.0, y=50.0)
    simulation.step()
    marks.despawn(seat.player.focus)


def resumed(simulation: RoomRuntime, seat: Seat, subscriber: Listening) -> tuple[RoomRuntime, Listening]:
    assert subscriber.core.world is not None
    subscriber.wire = None
    seat.disconnected()
    simulation.step()
    subscriber.wire = subscriber
    subscriber.core.world.clear_history()
    seat.resumed("r", subscriber.core.world.tick)
    return simulation, subscriber


def restored(state: RoomCheckpoint) -> tuple[RoomRuntime, Listening]:
    reviving = Reviving()
    simulation = room_of(state, reviving)
    subscriber = reviving.subscribers["p"]
    subscriber.wire = subscriber
    simulation.seats[0].resumed("", 0)
    return simulation, subscriber


WAYS: dict[str, Callable[[RoomRuntime, Seat, Listening], tuple[RoomRuntime, Listening]]] = {
    "a resume": resumed,
    "a save": lambda simulation, seat, subscriber: restored(simulation.state()),
    "a move": lambda simulation, seat, subscriber: restored(decode_room(encode_room(simulation))[1]),
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
    simulation = room_of()
    subscriber = Listening("p")
    seat = simulation.seat(subscriber, "p", {"plays": True}, lambda seat: None)
    simulation.step()
    what(simulation, seat)
    simulation.step()
    simulation.step()
    assert marks_seen(subscriber) & set(range(1, 11)) == expected
    simulation, subscriber = WAYS[way](simulation, seat, subscriber)
    simulation.step()
    simulation.step()
    assert marks_seen(subscriber) & set(range(1, 11)) == expected


@pytest.mark.parametrize("way", WAYS)
def test_a_player_that_never_had_an_entity_sees_no_cell_before_and_after(way: str) -> None:
    simulation = room_of()
    subscriber = Listening("p")
    seat = simulation.seat(subscriber, "p", {}, lambda seat: None)
    for _ in range(2):
        simulation.step()
        assert marks_seen(subscriber) == set()
        simulation, subscriber = WAYS[way](simulation, seat, subscriber)
        seat = simulation.seats[0]
        simulation.step()


def test_a_player_that_died_sees_again_where_its_next_entity_is() -> None:
    simulation = room_of()
    subscriber = Listening("p")
    seat = simulation.seat(subscriber, "p", {"plays": True}, lambda seat: None)
    simulation.step()
    dies(simulation, seat)
    simulation.step()
    seat.player.entity = simulation.room.marks.spawn(x=950.0, y=50.0)  # type: ignore[attr-defined]
    simulation.step()
    simulation.step()
    assert marks_seen(subscriber) & set(range(1, 11)) == {9, 10}
