"""`RoomHarness.record` and `tickwire.testing.replay`: a file of a failed room is a test of its bug."""

from __future__ import annotations

from pathlib import Path

import pytest

from tickwire import Input, Player, Room, Table, real, uint
from tickwire.testing import ReplayDiverged, RoomHarness, replay


class DiceInput(Input):
    push = real(-1, 1, step=1 / 64)


class Dice(Table):
    eyes = uint(bits=8)
    moved = real(-500, 500, step=1 / 32)


class DiceTable(Room):
    """A player who pushes a die of three eyes makes the room fail."""

    room_type = "dice"
    input_type = DiceInput
    dice: Dice

    def on_join(self, player: Player, options: object) -> None:
        player.entity = self.dice.spawn(eyes=1)

    def on_input(self, player: Player, input: DiceInput) -> None:
        player.entity.moved += input.push
        player.entity.eyes = int(self.random.integers(1, 7))
        self.react(player)

    def react(self, player: Player) -> None:
        if player.entity.eyes == 3:
            raise ZeroDivisionError("three eyes")


class FixedDiceTable(DiceTable):
    def react(self, player: Player) -> None:
        pass


class OtherDiceTable(FixedDiceTable):
    def on_join(self, player: Player, options: object) -> None:
        player.entity = self.dice.spawn(eyes=2)


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    """The recording of a room that has failed."""
    path = tmp_path / "dice.tickrec"
    with RoomHarness(DiceTable, seed=3, raise_errors=False) as room:
        room.record(path)
        ann = room.join("ann")
        room.run(ticks=3)
        while room.is_open:
            ann.input(push=0.5)
            room.run(ticks=1)
    return path


def test_replay_raises_the_exception_of_the_recording_until_it_is_fixed(failed: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="three eyes") as raised:
        replay(failed, DiceTable)
    assert raised.value.__notes__[-1].endswith("dice.tickrec, in on_input")
    fixed = replay(failed, [FixedDiceTable])
    assert fixed.room.dice.eyes.tolist() == [3]


def test_replay_of_a_changed_game_names_the_difference(failed: Path) -> None:
    with pytest.raises(ReplayDiverged, match=r"the replay diverges at tick [0-9]+: dice differs"):
        replay(failed, {"dice": OtherDiceTable})
    seen = []
    replay(failed, OtherDiceTable, compare=False, on_tick=lambda replayed, step: seen.append(step.tick))
    assert seen == sorted(seen)


def test_recording_ends_with_the_harness(tmp_path: Path) -> None:
    path = tmp_path / "dice.tickrec"
    with RoomHarness(FixedDiceTable, seed=4) as room:
        ann = room.join("ann")
        room.run(ticks=5)
        room.record(path)
        with pytest.raises(ValueError, match="recorded already"):
            room.record(path)
        for _ in range(50):
            ann.input(push=0.25)
            room.run(ticks=1)
        ann.disconnect()
        room.run(ticks=5)
        ann.reconnect()
        room.run(seconds=2)
        last = room.room.dice.eyes.tolist()
    replayed = replay(path, FixedDiceTable)
    assert replayed.recording.is_complete
    assert replayed.room.dice.eyes.tolist() == last


def test_class_of_the_recording_must_be_known(failed: Path) -> None:
    class OtherGame(Room):
        room_type = "other game"

    with pytest.raises(LookupError, match="no room has the type 'dice' of the recording; known are: other game"):
        replay(failed, [OtherGame])
