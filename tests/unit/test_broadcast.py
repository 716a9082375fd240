"""An event reaches the players that `to` and `except_` select, and no others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire import EVERYONE, NOBODY, Grid, NoEntity, Player, Room, Table, real
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
    runtime: RoomRuntime = create_runtime(Court)
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

    return room, seats, take


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


def test_a_cell_or_an_unknown_channel_is_refused_and_nothing_is_sent(court: Any) -> None:
    room, _, take = court
    for number in (1, room.blue - 1, -1, NOBODY + 1):
        with pytest.raises(ValueError, match=rf"broadcast: {number} is not a channel that this room has opened; for"):
            room.broadcast("said", to=number)
    assert take() == []


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
