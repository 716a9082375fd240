"""The recorder and the replay, on rooms in memory. Without any one kind of entry, a replay diverges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.harness.recorded_rooms import Bay, RecordedRoom
from tickwire import Player, Room, TaskResult, Transaction, grant
from tickwire.schemas.messages import Input
from tickwire.server.recording.entries import (
    CallEntry,
    CommandEntry,
    CommitEntry,
    DisconnectEntry,
    Entry,
    InputEntry,
    JoinEntry,
    LeaveEntry,
    MoveEntry,
    RecordsEntry,
    ResumeEntry,
    SettlementEntry,
    TaskEntry,
    TuningEntry,
)
from tickwire.server.recording.keyframe import RoomKeyframe, create_keyframe
from tickwire.server.recording.recorder import RoomRecorder
from tickwire.server.rooms.seat import Seat
from tickwire.server.rooms.transactions import Decision, RecordVersion


def payload_of(room: RecordedRoom, fill: int) -> bytes:
    return bytes([fill] * room.runtime.input_size)


def lives(room: RecordedRoom) -> None:
    """Let three players live in the room for a while; the recording begins and has a keyframe within."""
    for name in ("ann", "bob", "cy"):
        room.join(name, name=f"the {name}")
    room.step(5)
    for fill in range(4):
        room.push("ann", payload_of(room, fill))
        room.step()


# -- one scenario for each kind of entry ----------------------------------------------------------------------------


def joins(room: RecordedRoom) -> None:
    room.join("dan", name="captain")


def leaves(room: RecordedRoom) -> None:
    room.seats["bob"].leave("bye")


def disconnects(room: RecordedRoom) -> None:
    room.seats["bob"].disconnected()


def resumes(room: RecordedRoom) -> None:
    room.seats["cy"].resumed("r", 0)


def inputs(room: RecordedRoom) -> None:
    room.push("bob", payload_of(room, 9))


def commands(room: RecordedRoom) -> None:
    room.call("ann", "say", text="ahoy")


def commits(room: RecordedRoom) -> None:
    decision = room.call("ann", "buy")
    assert isinstance(decision, Decision)
    records = {"ann": RecordVersion(2, {"gold": 4})}
    room.runtime.apply_transaction(room.seats["ann"], "buy", decision.transaction, records)


def records(room: RecordedRoom) -> None:
    room.runtime.update_records(room.seats["ann"], {"ann": RecordVersion(2, {"gold": 9})})
    room.runtime.apply_transaction(room.seats["ann"], "buy", Transaction(grant("ann", "gold")), {})


def settlements(room: RecordedRoom) -> None:
    pending = room.runtime.room.transactions.first
    assert pending is not None
    room.runtime.settle_transaction(pending, "too late", {})


def tasks(room: RecordedRoom) -> None:
    room.tasks.end(TaskResult({"pay": (1, 2)}))


def moves(room: RecordedRoom) -> None:
    room.seats["ann"].move_refused("the room is full")


def completed_moves(room: RecordedRoom) -> None:
    room.seats["ann"].give_up_for_move()


def tuning(room: RecordedRoom) -> None:
    room.tune(speed=3.0)


def freezes(room: RecordedRoom) -> None:
    """The tasks and moves that wait are cancelled, and the game receives the reasons."""
    room.runtime.freeze()
    room.runtime.seal()
    room.seats["bob"].leave("bye")  # waits until the room is unfrozen
    room.runtime.start(lambda runtime: None, room.tasks)
    room.runtime.unfreeze()


def saves(room: RecordedRoom) -> None:
    room.runtime.metadata()


def migration_checks(room: RecordedRoom) -> None:
    room.runtime.can_migrate()


def early_kicks(room: RecordedRoom) -> None:
    room.call("bob", "kick")
    room.runtime.unseat_kicked()  # a checkpoint between two ticks
    room.join("dan")


SCENARIOS: list[tuple[type[Any], Callable[[RecordedRoom], None]]] = [
    (JoinEntry, joins),
    (LeaveEntry, leaves),
    (DisconnectEntry, disconnects),
    (ResumeEntry, resumes),
    (InputEntry, inputs),
    (CommandEntry, commands),
    (CommitEntry, commits),
    (RecordsEntry, records),
    (SettlementEntry, settlements),
    (TaskEntry, tasks),
    (MoveEntry, moves),
    (MoveEntry, completed_moves),
    (TuningEntry, tuning),
    (CallEntry, freezes),
    (CallEntry, saves),
    (CallEntry, migration_checks),
    (CallEntry, early_kicks),
]


def record(
    scenario: Callable[[RecordedRoom], None],
    recorder_class: type[RoomRecorder],
    earlier: Callable[[RecordedRoom], None] = lambda room: None,
) -> RecordedRoom:
    """Record a room whose players have left commands, tasks, a move and a transaction waiting at the keyframe."""
    room = RecordedRoom(recorder_class=recorder_class)
    lives(room)
    earlier(room)
    room.seats["cy"].disconnected()
    room.call("ann", "work")
    room.call("ann", "pay")
    room.call("ann", "go")
    room.step()
    room.start()
    room.step(2)
    scenario(room)
    room.step()
    for fill in range(3):
        for name, seat in room.seats.items():
            if seat.is_open:
                room.push(name, payload_of(room, fill))
        room.step()
    room.recorder.write_keyframe()
    room.step(20)
    return room


@pytest.mark.parametrize(("kind", "scenario"), SCENARIOS, ids=[scenario.__name__ for _, scenario in SCENARIOS])
def test_each_kind_of_entry_is_replayed(kind: type[Any], scenario: Callable[[RecordedRoom], None]) -> None:
    report = record(scenario, RoomRecorder).replay().verify()
    assert report.divergence is None
    assert report.ticks == 26


@pytest.mark.parametrize(("kind", "scenario"), SCENARIOS, ids=[scenario.__name__ for _, scenario in SCENARIOS])
def test_replay_diverges_without_an_entry(kind: type[Any], scenario: Callable[[RecordedRoom], None]) -> None:
    class ForgetfulRecorder(RoomRecorder):
        def _add(self, entry: Entry) -> None:
            if not isinstance(entry, kind):
                super()._add(entry)

        def record_input(self, seat: Seat, message: Input, /) -> None:
            if kind is not InputEntry:
                super().record_input(seat, message)

    report = record(scenario, ForgetfulRecorder).replay().verify()
    assert report.divergence is not None


FIELDS: dict[str, Any] = {
    "closed_channels": (),
    "history": {},
    "moves": (),
    "tasks": (),
    "tuning": b"",
    "last_timer": 0,
    "random": "{}",
    "attributes": {},
    "raw_columns": {},
    "quarantined": b"",
}


@pytest.mark.parametrize("field", FIELDS)
def test_replay_from_a_keyframe_without_a_part_of_the_state_diverges(
    field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def everything(room: RecordedRoom) -> None:
        room.push("bob", payload_of(room, 9))
        tasks(room)
        moves(room)
        joins(room)

    def without(*arguments: Any) -> RoomKeyframe:
        return msgspec.structs.replace(create_keyframe(*arguments), **{field: FIELDS[field]})

    def earlier(room: RecordedRoom) -> None:
        room.tune(speed=2.5)
        room.runtime.room.clock.after(0.01, room.runtime.room.mark, 5)
        for fill in range(3):
            room.push("cy", payload_of(room, fill))
            room.step()
        room.join("eve").leave("bye")  # its private channel is closed, its entity's id in quarantine

    assert record(everything, RoomRecorder, earlier).replay().verify().divergence is None
    monkeypatch.setattr("tickwire.server.recording.recorder.create_keyframe", without)
    assert record(everything, RoomRecorder, earlier).replay().verify().divergence is not None


def test_replay_of_a_room_has_equal_checksums_from_each_keyframe() -> None:
    room = RecordedRoom()
    lives(room)
    room.start()
    for tick in range(1, 60):
        for name in ("ann", "bob"):
            room.push(name, payload_of(room, tick))
        if tick % 20 == 0:
            room.recorder.write_keyframe()
        room.step()
    room.runtime.close("over")
    replay = room.replay()
    assert [place.tick for place in replay.recording.keyframes] == [9, 28, 48]
    report = replay.verify()
    assert report.divergence is None
    assert (report.first_tick, report.last_tick, report.ticks, report.reason) == (9, 68, 59, "over")
    for tick in (50, 12, 30, 68, 9):
        replay.seek(tick)
        assert replay.tick == tick
        while (step := replay.step()) is not None:
            assert step.divergence is None


def test_restore_of_the_game_leaves_no_trace_in_a_replay() -> None:
    room = RecordedRoom()
    lives(room)
    room.start()
    room.step()
    replay = room.replay()
    assert 999 not in replay.room.marks.code.tolist()
    assert isinstance(replay.room, Bay)
    assert replay.room.saves == room.runtime.room.saves


class RoundRoom(Room):
    """Locks and unlocks, and changes its players in `restore`."""

    room_type = "round"

    def on_join(self, player: Player, options: Any) -> None:
        player.data["rounds"] = [1]
        player.watch(7)

    def on_tick(self, dt: float) -> None:
        if self.tick % 4 == 0:
            self.lock()
        elif self.tick % 4 == 2:
            self.unlock()

    def restore(self, saved: Any) -> None:
        for player in self.players.values():
            player.data["rounds"].append(2)
            player.unwatch(7)
            player.watch(player.private)
            player.send("note", "restored")


@pytest.mark.parametrize("code", ["", "abcd"])
def test_private_room_is_unlocked_in_a_replay(code: str) -> None:
    room = RecordedRoom(RoundRoom)
    room.runtime.room.code = code
    room.join("ann")
    room.start()
    room.step(8)
    report = room.replay().verify()
    assert report.divergence is None
    assert report.ticks == 8


def test_restore_of_the_game_does_not_change_the_players_of_a_replay() -> None:
    room = RecordedRoom(RoundRoom)
    room.join("ann")
    room.start()
    room.step()
    replay = room.replay()
    ann = replay.room.players["ann"]
    assert (ann.data, ann.watched, ann.opened) == ({"rounds": [1]}, {0, 7}, None)
    step = replay.step()
    assert step is not None
    assert step.events == ()
