"""A join that a room refuses, or fails, leaves nothing behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire import CommandRefused, Grid, Player, Room, Table, real
from tickwire.server.errors import JoinRefused, RoomFailed, TickwireError
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import SeatRequest


class Guests(Table):
    x = real(-100, 100, step=1 / 16)
    y = real(-100, 100, step=1 / 16)


class Club(Room):
    """Spawns what a member needs, then looks at the list."""

    room_type = "club"
    max_players = 2
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
    return create_runtime(Club)


@pytest.mark.parametrize(
    ("way", "error", "words"),
    [
        ("stranger", JoinRefused, "members only"),
        ("mistake", RoomFailed, "the room failed to run the join"),
        ("entity", RoomFailed, "the room failed to run the join"),
    ],
)
def test_a_join_that_fails_leaves_no_player_entity_channel_or_event(
    way: str, error: type[TickwireError], words: str
) -> None:
    runtime = club()
    runtime.step()
    before = runtime.room.open_channel()
    runtime.room.close_channel(before)
    for _ in range(3):  # more often than there are seats
        subscriber = RecordingSubscriber("p")
        with pytest.raises(error, match=words):
            runtime.seat(SeatRequest(subscriber, "p", {"as": way}))
        assert runtime.room.players == {}
        assert runtime.seats == []
        assert (subscriber.outbox.last_number, subscriber.outbox.unsent, len(subscriber.outbox)) == (0, 0, 0)
        assert runtime.room.open_channel() == before
        runtime.room.close_channel(before)
        runtime.step()
        assert [row.x for row in runtime.room.guests] == [1.0]  # type: ignore[attr-defined]
    for player_id in ("p", "q"):
        runtime.seat(SeatRequest(RecordingSubscriber(player_id), player_id))
    runtime.step()
    assert len(runtime.seats) == 2


def test_a_refused_player_is_detached_from_the_room() -> None:
    runtime = club()
    kept: list[Player] = []
    room = runtime.room
    original = room.on_join

    def on_join(player: Player, options: Mapping[str, Any]) -> None:
        kept.append(player)
        original(player, options)

    room.on_join = on_join  # type: ignore[method-assign]
    subscriber = RecordingSubscriber("p")
    with pytest.raises(JoinRefused):
        runtime.seat(SeatRequest(subscriber, "p", {"as": "stranger"}))
    kept[0].send("late")
    kept[0].watch(5)
    runtime.step()
    assert subscriber.outbox.last_number == 0


def test_a_players_entity_must_be_a_row() -> None:
    runtime = club()
    seat = runtime.seat(SeatRequest(RecordingSubscriber("p"), "p"))
    for name in ("entity", "focus"):
        with pytest.raises(TypeError, match=f"player.{name} must be a Row or None, not int"):
            setattr(seat.player, name, 7)


def test_a_leave_that_fails_leaves_no_entity_behind() -> None:
    runtime = club()
    seat = runtime.seat(SeatRequest(RecordingSubscriber("p"), "p"))
    runtime.step()

    def on_leave(player: Player) -> None:
        raise RuntimeError("told to fail")

    runtime.room.on_leave = on_leave  # type: ignore[method-assign]
    row = seat.player.entity
    seat.leave("left")
    runtime.step()
    assert not row.exists
    assert runtime.room.players == {}


def test_labels_may_be_numbers() -> None:
    room = club().room
    room.label(level=np.int64(3), map=np.str_("cave"), round=2)
    assert room.labels == {"level": "3", "map": "cave", "round": "2"}
    assert {type(word) for word in room.labels.values()} == {str}
    with pytest.raises(ValueError, match="a label must have 1 to 64"):
        room.label(level="a b")
