"""An event reaches the players that `to` and `except_` select, and no others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire import EVERYONE, NOBODY, Grid, NoEntity, Player, Room, Table, real
from tickwire.server.migration.room_codec import decode_room, encode_room
from tickwire.server.rooms.checkpoint import SessionCheckpoint
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest


class Pawns(Table):
    x = real(-100, 100, step=0.5)
    y = real(-100, 100, step=0.5)


class Court(Room):
    """Two teams: the first two players are red."""

    room_type = "court"
    grid = Grid("pawns", cell=50, view=50)
    pawns: Pawns

    def on_create(self, options: Any) -> None:
        self.red, self.blue = self.open_channel(), self.open_channel()

    def on_join(self, player: Player, options: Any) -> None:
        player.watch(self.red if len(self.players) <= 2 else self.blue)


NAMES = ("ann", "bob", "cid", "dan")


@pytest.fixture
def court() -> tuple[Court, dict[str, Seat], Callable[[], list[str]]]:
    room, _, seats, take = create_court(Court)
    return room, seats, take


def create_court(kind: type[Room]) -> tuple[Court, RoomRuntime, dict[str, Seat], Callable[[], list[str]]]:
    """Create a court with four players, and a function that returns the receivers of events since its last call."""
    runtime: RoomRuntime = create_runtime(kind)
    room = runtime.room
    assert isinstance(room, Court)
    received: list[str] = []
    seats = {}
    for name in NAMES:
        seats[name] = runtime.seat(SeatRequest(RecordingSubscriber(name), name))
        seats[name].player._send = lambda frame, name=name: received.append(name)  # type: ignore[misc]

    def take() -> list[str]:
        found = sorted(received)
        received.clear()
        return found

    return room, runtime, seats, take


def test_a_broadcast_reaches_all_players_except_those_left_out(court: Any) -> None:
    room, seats, take = court
    ann, bob = seats["ann"].player, seats["bob"].player
    cases: list[tuple[Player | Iterable[Player] | None, list[str]]] = [
        (None, ["ann", "bob", "cid", "dan"]),
        (ann, ["bob", "cid", "dan"]),
        ([ann, bob], ["cid", "dan"]),
        ((player for player in (ann, bob)), ["cid", "dan"]),
        ([], ["ann", "bob", "cid", "dan"]),
    ]
    for except_, names in cases:
        room.broadcast("said", except_=except_)
        assert take() == names


def test_a_broadcast_to_a_channel_reaches_its_subscribers(court: Any) -> None:
    room, seats, take = court
    for channel, names in (
        (room.red, ["ann", "bob"]),
        (room.blue, ["cid", "dan"]),
        (EVERYONE, list(NAMES)),
        (NOBODY, []),
    ):
        for number in (channel, np.uint16(channel)):
            room.broadcast("said", to=number)
            assert take() == names
    room.broadcast("said", to=room.red, except_=seats["ann"].player)
    assert take() == ["bob"]
    room.broadcast("said", to=seats["ann"].player.private)
    assert take() == ["ann"]
    seats["ann"].player.unwatch(room.red)
    room.broadcast("said", to=room.red)
    assert take() == ["bob"]
    room.broadcast("said", to=[seats["dan"].player, seats["ann"].player], except_=seats["ann"].player)
    assert take() == ["dan"]


def test_an_unknown_channel_is_refused_and_nothing_is_sent(court: Any) -> None:
    room, _, take = court
    for number in (17, room.blue - 1, -1, NOBODY + 1):
        with pytest.raises(
            ValueError, match=rf"broadcast: {number} is neither a channel that this room has opened nor"
        ):
            room.broadcast("said", to=number)
    assert take() == []


PLACES = st.tuples(st.floats(-100, 100, width=32), st.floats(-100, 100, width=32))


@settings(deadline=None, max_examples=40)
@given(st.lists(PLACES, min_size=4, max_size=4), st.lists(PLACES, min_size=4, max_size=4), st.floats(5, 120))
def test_an_event_about_an_entity_reaches_exactly_the_players_that_see_it(
    first: list[tuple[float, float]], second: list[tuple[float, float]], view: float
) -> None:
    kind = type(Court)("Yard", (Court,), {"grid": Grid("pawns", cell=20, view=view)})
    room, runtime, seats, take = create_court(kind)
    pawns = [room.pawns.spawn(x=x, y=y) for x, y in first]
    for seat, pawn in zip(seats.values(), pawns, strict=True):
        seat.player.entity = pawn
    stranger = room.pawns.spawn(x=first[0][0], y=first[0][1])
    for places in (first, second, first):
        for pawn, (x, y) in zip(pawns, places, strict=True):
            pawn.x, pawn.y = x, y
        stranger.x, stranger.y = places[0]
        before = [(seat.player, seat.interest.numbers) for seat in seats.values()]
        room.broadcast("moved", to=stranger)
        receivers = take()
        runtime.step()
        take()
        assert receivers == sorted(player.id for player, numbers in before if stranger.channel in numbers)
        for channel in (stranger.channel, room.cell_at(*places[1])):
            room.broadcast("said", to=channel)
            subscribed = sorted(name for name, seat in seats.items() if channel in seat.interest.numbers)
            assert take() == subscribed
        near = [math.hypot(x - stranger.x, y - stranger.y) <= view for x, y in places]
        room.broadcast("near", to=stranger)
        assert {name for name, is_near in zip(NAMES, near, strict=True) if is_near} <= set(take())


def test_players_that_leave_or_look_elsewhere_receive_no_events_of_a_cell(court: Any) -> None:
    room, seats, take = court
    runtime = seats["ann"].runtime
    cell = room.cell_at(-100, -100)
    for seat in seats.values():
        seat.player.entity = room.pawns.spawn(x=-90.0, y=-90.0)
    room.broadcast("said", to=cell)
    assert take() == [], "before their first tick"
    runtime.step()
    room.broadcast("said", to=cell, except_=seats["ann"].player)
    assert take() == ["bob", "cid", "dan"]
    seats["ann"].leave("gone")
    seats["bob"].player.entity = seats["bob"].player.focus = None
    seats["cid"].player.entity.x = seats["cid"].player.entity.y = 90.0
    runtime.step()
    room.broadcast("said", to=cell)
    assert take() == ["dan"]
    seats["bob"].player.watch(cell)
    seats["dan"].player.watch(cell)
    runtime.step()
    room.broadcast("said", to=np.uint16(cell))
    assert take() == ["bob", "dan"], "also those that the game has subscribed to the cell, and each once"


class CourtSessions:
    """Restores the sessions of all players."""

    def __init__(self) -> None:
        self.restored: dict[str, RecordingSubscriber] = {}

    def restore(self, checkpoint: SessionCheckpoint) -> RecordingSubscriber:
        return self.restored.setdefault(checkpoint.player_id, RecordingSubscriber(checkpoint.player_id))


def test_players_of_a_room_that_has_moved_receive_events_of_a_cell_before_its_first_tick() -> None:
    """For example those of a timer, which runs before the cells of the first tick are assigned."""
    room, runtime, seats, _ = create_court(Court)
    for name, seat in seats.items():
        at = -90.0 if name in ("ann", "bob") else 90.0
        seat.player.entity = room.pawns.spawn(x=at, y=at)
    runtime.step()
    seats["bob"].player.entity.despawn()
    seats["cid"].player.watch(room.cell_at(-90, -90))
    runtime.step()
    sessions = CourtSessions()
    _, checkpoint = decode_room(encode_room(runtime))
    moved: Any = create_runtime(Court, checkpoint, sessions=sessions).room
    moved.broadcast("said", to=moved.players["ann"].entity)
    receivers = [name for name, session in sessions.restored.items() if session.outbox.last_number]
    assert receivers == ["ann", "bob", "cid"]


def test_an_event_about_an_entity_follows_its_channel(court: Any) -> None:
    room, _, take = court
    pawn = room.pawns.spawn(x=0.0, y=0.0, channel=room.red)
    room.broadcast("said", to=pawn)
    assert take() == ["ann", "bob"]
    pawn.despawn()
    room.broadcast("said", to=pawn)
    assert take() == ["ann", "bob"], "until the end of the tick"
    room.pawns.compact()
    with pytest.raises(KeyError, match="was despawned"):
        room.broadcast("said", to=pawn)


def test_a_room_without_a_grid_has_no_cells() -> None:
    room = create_runtime(type(Room)("Yard", (Room,), {"__annotations__": {"pawns": Pawns}})).room
    with pytest.raises(ValueError, match="cell_at: Yard has no grid"):
        room.cell_at(0, 0)
    with pytest.raises(ValueError, match="broadcast: 1 is neither a channel"):
        room.broadcast("said", to=1)
    room.broadcast("said", to=room.pawns.spawn())  # type: ignore[attr-defined]


def test_a_player_without_an_entity_says_why(court: Any) -> None:
    room, seats, _ = court
    player = seats["ann"].player
    assert player.find_entity() is None
    with pytest.raises(
        NoEntity, match=r"player 'ann' has no entity: the game has not set one; player.find_entity\(\)"
    ):
        _ = player.entity
    pawn = player.entity = room.pawns.spawn()
    assert player.entity is pawn
    assert player.find_entity() is pawn
    pawn.despawn()
    assert player.entity is pawn, "until the end of the tick"
    room.pawns.compact()
    assert player.find_entity() is None
    with pytest.raises(NoEntity, match="player 'ann' has no entity: it was despawned"):
        _ = player.entity
    player.entity = None
    with pytest.raises(NoEntity, match="the game has not set one"):
        _ = player.entity
