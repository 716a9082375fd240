"""A game moves a player: one move at a time, started after the tick, with one outcome for each."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.moving_rooms import Hub, PlayingField
from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_host, create_runtime
from tests.harness.tick_simulation import SimulatedClock
from tickwire import CommandRefused, MoveOutcome, MoveRefused, Player, Room
from tickwire.server.errors import JoinRefused
from tickwire.server.rooms.factory import RoomSpec
from tickwire.server.rooms.move_request import LEFT_REASON, OPTIONS_BYTES_MAX
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest


def hub_with(name: str) -> tuple[RoomRuntime, Hub, Seat, RecordingSubscriber]:
    runtime = create_runtime(Hub, name="home")
    room = runtime.room
    assert isinstance(room, Hub)
    subscriber = RecordingSubscriber(name)
    return runtime, room, runtime.seat(SeatRequest(subscriber, name)), subscriber


def moving(name: str) -> tuple[RoomRuntime, Hub, Seat, RecordingSubscriber]:
    """Return a hub with a player whose move has started."""
    runtime, room, seat, subscriber = hub_with(name)
    seat.player.move_to("field", then=room.moved)
    runtime.step()
    assert len(subscriber.moves) == 1
    return runtime, room, seat, subscriber


def test_a_move_starts_after_the_tick_with_its_arguments() -> None:
    runtime, room, seat, subscriber = hub_with("ann")
    seat.player.move_to("field", name="north", options={"team": 3}, reason="the match begins", then=room.moved)
    assert subscriber.moves == []
    runtime.step()
    [request] = subscriber.moves
    assert (request.room_type, request.name, request.reason) == ("field", "north", "the match begins")
    assert request.options == b"\x81\xa4team\x03"
    runtime.step()
    assert len(subscriber.moves) == 1


def test_a_player_that_has_moved_leaves_before_the_game_receives_the_outcome() -> None:
    runtime, room, seat, subscriber = moving("ann")
    assert subscriber.moves[0].reason == LEFT_REASON
    seat.give_up_for_move()
    assert room.outcomes == [MoveOutcome("ann", "field")]
    assert room.outcomes[0].has_moved
    assert (room.players, len(runtime.moves)) == ({}, 0)
    assert subscriber.notices == [], "nothing is cancelled"


def test_a_player_that_was_refused_stays_and_may_move_again() -> None:
    runtime, room, seat, subscriber = moving("ann")
    with pytest.raises(MoveRefused, match="'ann' is moving already"):
        seat.player.move_to("field")
    seat.move_refused("all 2 seats are taken")
    assert room.outcomes == [MoveOutcome("ann", "field", refused="all 2 seats are taken")]
    assert not room.outcomes[0].has_moved
    assert list(room.players) == ["ann"]
    seat.player.move_to("field")
    runtime.step()
    assert len(subscriber.moves) == 2


@pytest.mark.parametrize("way", ["leave", "kick"])
def test_a_player_that_leaves_meanwhile_is_not_moved(way: str) -> None:
    runtime, room, seat, subscriber = moving("ann")
    if way == "leave":
        seat.leave("left")
    else:
        seat.player.kick("you were idle")
        runtime.step()
    assert subscriber.notices[0] == "move cancelled"
    assert room.outcomes == [MoveOutcome("ann", "field", refused="the player has left the room")]
    seat.move_refused("too late")
    assert len(room.outcomes) == 1


def test_a_disconnected_player_is_not_moved() -> None:
    runtime, room, seat, subscriber = hub_with("ann")
    seat.player.move_to("field", then=room.moved)
    seat.disconnected()
    runtime.step()
    assert subscriber.moves == []
    assert room.outcomes == [MoveOutcome("ann", "field", refused="the player is disconnected")]
    assert list(room.players) == ["ann"]


def test_moves_are_cancelled_before_the_room_moves_to_another_shard() -> None:
    runtime, room, seat, subscriber = moving("ann")
    runtime.freeze()
    assert subscriber.notices == ["move cancelled"]
    assert room.outcomes == [MoveOutcome("ann", "field", refused="the room moves to another shard")]
    with pytest.raises(MoveRefused, match="moves to another shard"):
        seat.player.move_to("field")
    assert list(room.players) == ["ann"]


def test_moves_are_cancelled_before_a_reload() -> None:
    host = create_host(Hub, clock=SimulatedClock())
    runtime = host.create(RoomSpec("r", "hub", "home", epoch=1), {})
    subscriber = RecordingSubscriber("ann")
    seat = host.seat("r", SeatRequest(subscriber, "ann"), lambda seat: None)
    room = runtime.room
    assert isinstance(room, Hub)
    seat.player.move_to("field", then=room.moved)
    runtime.step()
    assert len(subscriber.moves) == 1
    assert host.reload({"hub": Hub}) == (1, 0)
    assert subscriber.notices == ["move cancelled"]
    assert room.outcomes == [MoveOutcome("ann", "field", refused="the room restarts with new code")]


def test_moves_end_without_a_call_when_the_room_closes() -> None:
    runtime, room, _seat, subscriber = moving("ann")
    runtime.close("the end")
    assert subscriber.notices == ["move cancelled", "the end"]
    assert room.outcomes == []


def test_a_failing_callback_is_contained() -> None:
    class Brittle(Hub):
        room_type = "brittle"

        def moved(self, outcome: MoveOutcome) -> None:
            raise ValueError(outcome.refused)

    runtime = create_runtime(Brittle)
    seat = runtime.seat(SeatRequest(RecordingSubscriber("ann"), "ann"))
    seat.player.move_to("field", then=runtime.room.moved)  # type: ignore[attr-defined]
    runtime.step()
    seat.move_refused("full")
    assert runtime.counters.room_errors.total() == 1


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"room_type": ""}, ValueError, "needs the type"),
        ({"room_type": PlayingField}, TypeError, "must be strings"),
        ({"room_type": "field", "options": [1]}, TypeError, "options must be a dict"),
        ({"room_type": "field", "options": {"text": "x" * OPTIONS_BYTES_MAX}}, ValueError, "at most 1024 bytes"),
        ({"room_type": "field", "reason": " "}, ValueError, "must not be empty"),
        ({"room_type": "field", "then": print}, TypeError, "not a method of this room"),
        ({"room_type": "hub"}, ValueError, "name another 'hub' room"),
        ({"room_type": "hub", "name": "home"}, ValueError, "name another 'hub' room"),
    ],
)
def test_a_move_that_cannot_work_is_refused_at_the_call(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    runtime, _room, seat, _ = hub_with("ann")
    with pytest.raises(error, match=text):
        seat.player.move_to(**arguments)
    assert len(runtime.moves) == 0


def test_a_player_without_a_room_is_not_moved() -> None:
    _runtime, room, seat, _ = hub_with("ann")
    player = seat.player
    seat.leave("left")
    player.move_to("field", then=room.moved)
    assert isinstance(room, Room)
    assert room.outcomes == []


class Antechamber(Hub):
    """Moves each player on, and refuses it."""

    room_type = "antechamber"

    def on_join(self, player: Player, options: Any) -> None:
        player.move_to("field", then=self.moved)
        raise CommandRefused("go elsewhere")


def test_a_join_that_fails_undoes_its_move() -> None:
    runtime = create_runtime(Antechamber)
    subscriber = RecordingSubscriber("ann")
    with pytest.raises(JoinRefused):
        runtime.seat(SeatRequest(subscriber, "ann"))
    runtime.step()
    assert (subscriber.moves, len(runtime.moves)) == ([], 0), "the session may have another seat meanwhile"
    room = runtime.room
    assert isinstance(room, Antechamber)
    assert room.outcomes == []
