"""A join that a room refuses, or fails, leaves nothing behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.unit.test_simulation import Listening
from tickwire.server.errors import JoinRefused, RoomFailed, TickwireError
from tickwire.server.rooms import CommandRefused, Grid, Player, Room, Table, real
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.factory import create
from tickwire.server.rooms.runtime import RoomRuntime


class Guests(Table):
    x = real(-100, 100, step=1 / 16)
    y = real(-100, 100, step=1 / 16)


class Club(Room):
    """Spawns what a member needs, then looks at the list."""

    room_type = "club"
    seats = 2
    grid = Grid("guests", cell=50, view=50)
    guests: Guests

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.guests.spawn(x=1.0)

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        player.entity = self.guests.spawn(x=2.0)
        player.focus = self.guests.spawn(x=3.0)
        self.guests.spawn(x=4.0, channel=player.private)
        player.send("welcome")
        match options.get("as"):
            case "stranger":
                raise CommandRefused("members only")
            case "mistake":
                raise RuntimeError("told to fail")
            case "entity":
                player.entity = 7  # type: ignore[assignment]


def club() -> RoomRuntime:
    return create(Club, room_id="r", name="", epoch=1, seed=1, counters=RoomCounters(), options={}, saved=None)


@pytest.mark.parametrize(
    ("way", "error", "words"),
    [
        ("stranger", JoinRefused, "members only"),
        ("mistake", RoomFailed, "the room could not take the player in"),
        ("entity", RoomFailed, "the room could not take the player in"),
    ],
)
def test_a_join_that_fails_leaves_no_player_entity_channel_or_event(
    way: str, error: type[TickwireError], words: str
) -> None:
    simulation = club()
    simulation.step()
    before = simulation.room.open_channel()
    simulation.room.close_channel(before)
    for _ in range(3):  # more often than there are seats
        subscriber = Listening("p")
        with pytest.raises(error, match=words):
            simulation.seat(subscriber, "p", {"as": way}, lambda seat: None)
        assert simulation.room.players == {}
        assert simulation.seats == []
        assert (subscriber.outbox.last_number, subscriber.outbox.unsent, len(subscriber.outbox)) == (0, 0, 0)
        assert simulation.room.open_channel() == before
        simulation.room.close_channel(before)
        simulation.step()
        assert [row.x for row in simulation.room.guests] == [1.0]  # type: ignore[attr-defined]
    for player_id in ("p", "q"):
        simulation.seat(Listening(player_id), player_id, {}, lambda seat: None)
    simulation.step()
    assert len(simulation.seats) == 2


def test_a_player_that_was_refused_reaches_nobody_any_more() -> None:
    simulation = club()
    kept: list[Player] = []
    room = simulation.room
    original = room.on_join

    def on_join(player: Player, options: Mapping[str, Any]) -> None:
        kept.append(player)
        original(player, options)

    room.on_join = on_join  # type: ignore[method-assign]
    subscriber = Listening("p")
    with pytest.raises(JoinRefused):
        simulation.seat(subscriber, "p", {"as": "stranger"}, lambda seat: None)
    kept[0].send("late")
    kept[0].watch(5)
    simulation.step()
    assert subscriber.outbox.last_number == 0


def test_an_entity_of_a_player_is_a_row() -> None:
    simulation = club()
    seat = simulation.seat(Listening("p"), "p", {}, lambda seat: None)
    for name in ("entity", "focus"):
        with pytest.raises(TypeError, match=f"player.{name}: a Row or None, not int"):
            setattr(seat.player, name, 7)


def test_a_leave_that_fails_leaves_no_entity_behind() -> None:
    simulation = club()
    seat = simulation.seat(Listening("p"), "p", {}, lambda seat: None)
    simulation.step()

    def on_leave(player: Player) -> None:
        raise RuntimeError("told to fail")

    simulation.room.on_leave = on_leave  # type: ignore[method-assign]
    row = seat.player.entity
    assert row is not None
    seat.leave("left")
    simulation.step()
    assert not row.exists
    assert simulation.room.players == {}


def test_labels_may_be_numbers() -> None:
    room = club().room
    room.label(level=np.int64(3), map=np.str_("cave"), round=2)
    assert room.labels == {"level": "3", "map": "cave", "round": "2"}
    assert {type(word) for word in room.labels.values()} == {str}
    with pytest.raises(ValueError, match="a label must have 1 to 64"):
        room.label(level="a b")
