"""Attributes that a game sets on its room move with it, or the log names those that are lost."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_host, create_runtime
from tests.unit.test_dead_entities import Reviving
from tickwire import Player, Room, SaveData, Table, uint
from tickwire.server.migration.room_codec import decode_room, encode_room
from tickwire.server.rooms.attributes import decode_attributes, encode_attributes
from tickwire.server.rooms.checkpoint import RoomCheckpoint
from tickwire.server.rooms.factory import RoomSpec
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import SeatRequest


class Pieces(Table):
    kind = uint(bits=4)


class Board(Room):
    """Keeps all that can be copied, and neither `save` nor `restore`."""

    room_type = "board"
    rounds = 0
    pieces: Pieces

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.turn = 7
        self.title = "chess"
        self.is_over = False
        self.winner: Player | None = None
        self.history: list[tuple[int, str]] = [(1, "e4"), (2, "e5")]
        self.visited = {3, 1}
        self.frozen = frozenset(["a"])
        self.by_square: dict[tuple[int, int], Any] = {(1, 2): {"deep": [None, 1.5, b"x"]}}
        self.heights = np.arange(6, dtype=np.float32).reshape(2, 3)
        self.level = np.int16(5)
        self.king = self.pieces.spawn(kind=1)
        self.captured = self.pieces.spawn(kind=2)
        self.pieces.despawn(self.captured)
        self.rounds += 1

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        self.winner = player
        self.scores = {player: 3, self.king: 4}


class Clockwork(Room):
    """Keeps what cannot be copied, and rebuilds some of it."""

    room_type = "clockwork"

    def __init__(self, **known: Any) -> None:
        super().__init__(**known)
        self.started = threading.Event()
        self.wheel = threading.Event()
        self.size = 1

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.size = 2
        self.spring = threading.Event()
        if options.get("is_late"):
            self.late = threading.Event()

    def restore(self, saved: SaveData) -> None:
        self.size_seen = self.size
        self._wind()

    def _wind(self) -> None:
        self.spring = next(threading.Event() for _ in range(1))
        self.wheel.set()


class Hoard(Room):
    """Has an attribute that neither `__init__` nor `restore` sets."""

    room_type = "hoard"

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.loot = threading.Event()


def made(kind: type[Room], saved: RoomCheckpoint | None = None, **options: Any) -> RoomRuntime:
    return create_runtime(kind, saved, options=options, sessions=Reviving())


def moved(runtime: RoomRuntime) -> RoomRuntime:
    _, state = decode_room(encode_room(runtime))
    return made(type(runtime.room), state)


def test_copied_attributes_are_equal_after_a_move() -> None:
    runtime = made(Board)
    runtime.seat(SeatRequest(RecordingSubscriber("p"), "p"))
    runtime.step()
    before: Any = runtime.room
    after: Any = moved(runtime).room
    for name in ("turn", "title", "is_over", "history", "visited", "frozen", "by_square", "level", "rounds"):
        assert getattr(after, name) == getattr(before, name), name
        assert type(getattr(after, name)) is type(getattr(before, name)), name
    assert np.array_equal(after.heights, before.heights)
    assert after.heights.dtype == np.float32
    after.heights[0, 0] = 5  # not read-only
    assert after.winner is after.players["p"]
    assert after.king == after.pieces[before.king.id]
    assert not after.captured.exists
    assert after.scores == {after.players["p"]: 3, after.king: 4}
    assert made(Board).attributes.find_lost() == moved(runtime).attributes.find_lost()
    assert not runtime.attributes.find_lost().missing


def test_player_that_has_left_is_none_after_a_migration() -> None:
    runtime = made(Board)
    seat = runtime.seat(SeatRequest(RecordingSubscriber("p"), "p"))
    seat.leave("left")
    after: Any = moved(runtime).room
    assert after.winner is None


def test_random_numbers_continue_after_a_move() -> None:
    runtime = made(Board)
    runtime.room.random.random(100)
    after = moved(runtime)
    assert after.room.random.random(5).tolist() == runtime.room.random.random(5).tolist()


def test_restore_sees_copied_attributes_and_overrides_them() -> None:
    runtime = made(Clockwork)
    after: Any = moved(runtime).room
    assert (after.size, after.size_seen) == (2, 2)
    assert after.wheel.is_set()


def test_attributes_reset_by_init_are_reported_unless_restore_mentions_them() -> None:
    found = made(Clockwork).attributes.find_lost()
    assert (found.reset, found.missing) == (("started",), ())
    assert made(Clockwork, is_late=True).attributes.find_lost().missing == ("late",)
    assert made(Hoard).attributes.find_lost().missing == ("loot",)


def test_recursive_and_oversized_values_are_not_copied() -> None:
    runtime = made(Board)
    room: Any = runtime.room
    room.turn = [room]
    room.history.append(room.history)
    room.title = "\ud800"
    room.level = 1 << 70
    room.rounds = type("Special", (int,), {})(3)
    assert runtime.attributes.find_lost().missing == ("history", "level", "rounds", "title", "turn")


def test_undecodable_attributes_of_another_build_are_ignored() -> None:
    class NewerBoard(Board):
        """The same, with a property where there was an attribute."""

        @property
        def turn(self) -> int:  # type: ignore[override]
            return 1

    room = NewerBoard(room_id="r", name="", seed=1)
    sent = encode_attributes(made(Board).room, ["turn", "title"])
    found = decode_attributes(
        room, sent | {"bad": b"\xc1", "new": b"\xd4\x63\x00", "array": b"\xc7\x04\x04\x93\xa1?\x90"}
    )
    assert found == {"title": "chess"}


def test_an_attribute_that_this_build_declares_as_a_table_or_a_method_is_ignored() -> None:
    class BoardWithMethods(Room):
        """Declares a table and a method with the names of attributes of the former build."""

        room_type = "board"
        title: Pieces

        def level(self) -> int:
            return 1

    room = BoardWithMethods(room_id="r", name="", seed=1)
    sent = encode_attributes(made(Board).room, ["turn", "title", "level"])
    assert decode_attributes(room, sent) == {"turn": 7}


@pytest.mark.parametrize(("kind", "reset", "missing"), [(Clockwork, ("started",), ()), (Hoard, (), ("loot",))])
async def test_lost_attributes_are_logged_once_per_class(
    kind: type[Room], reset: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    host = create_host(kind)
    with capture_logs() as lines:
        for number in range(3):
            host.create(RoomSpec(f"r{number}", kind.room_type, epoch=1), {})
        host.close_all("over")
    (line,) = [line for line in lines if line["event"] == "room_attributes_lost"]
    assert (line["log_level"], line["room_type"]) == ("warning", kind.room_type)
    assert (line["reset"], line["missing"]) == (reset, missing)


async def test_attributes_set_later_are_logged_when_the_room_closes() -> None:
    host = create_host(Board)
    with capture_logs() as lines:
        room: Any = host.create(RoomSpec("r", "board", epoch=1), {}).room
        room.late = threading.Event()
        host.close_all("over")
    (line,) = [line for line in lines if line["event"] == "room_attributes_lost"]
    assert line["missing"] == ("late",)


def test_a_player_accepts_no_attributes_that_would_be_lost() -> None:
    runtime = made(Board)
    player = runtime.seat(SeatRequest(RecordingSubscriber("p"), "p")).player
    with pytest.raises(
        AttributeError, match=r"player\.score: a player has no such attribute; keep it in player\.data"
    ):
        player.score = 5  # type: ignore[attr-defined]
    player.data["score"] = 5
    assert moved(runtime).room.players["p"].data == {"score": 5}
