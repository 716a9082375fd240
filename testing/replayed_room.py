"""Recordings in tests: `replay` runs the game's present code on a recording, of a test or of production."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tickwire.server.recording.frames import RecordingDamaged
from tickwire.server.recording.reader import Recording
from tickwire.server.recording.recorder import RoomRecorder
from tickwire.server.recording.replay import Replay, ReplayedTick
from tickwire.server.recording.sinks import FileSink
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime


class ReplayDiverged(AssertionError):
    """The state of a replayed room differs from the recording; the message names the tick and the part."""


def replay(
    path: Path | str,
    rooms: type[Room] | Iterable[type[Room]] | Mapping[str, type[Room]],
    *,
    compare: bool = True,
    on_tick: Callable[[Replay, ReplayedTick], object] | None = None,
) -> Replay:
    """Replay a recording with the game's present code.

        def test_the_round_ends_for_a_player_who_left():
            replay("tests/recordings/round-42.tickrec", ROOMS, compare=False)

    A recording of a room that has failed ends with the failed tick. The test therefore fails with that exception, and
    passes when the bug is fixed.

    Args:
        path: the file.
        rooms: the room classes of the game, or the one of the recording.
        compare: whether the state must be equal to the recorded one in each tick. Pass False if the fix of a bug
            changes the state before the end.
        on_tick: called after each tick, for checks of the test.

    Returns:
        The replay, at the end of the recording.

    Raises:
        ReplayDiverged: the state differs. A recorded exception that the present code does not raise is no difference.
        RecordingDamaged, ReplayFailed: the recording cannot be read, or the room cannot be built from it.
        LookupError: none of the classes has the room type of the recording.
        BaseException: a hook has raised it in a tick, and the room does not ignore it.
    """
    recording = Recording.open(Path(path))
    replayed = Replay(recording, _find_class(recording.header.room_type, rooms))
    while (step := replayed.step()) is not None:
        if step.failures and not step.failures[-1].is_ignored and replayed.error is not None:
            replayed.error.add_note(f"in tick {step.tick} of {path}, in {step.failures[-1].hook}")
            raise replayed.error
        if compare and step.divergence is not None and (step.divergence.parts or not step.recorded_failure):
            raise ReplayDiverged(str(Replay(recording, type(replayed.room)).verify().divergence))
        if on_tick is not None:
            on_tick(replayed, step)
    if replayed.tick < recording.last_tick:
        raise RecordingDamaged(f"{path} is damaged after tick {replayed.tick}")
    return replayed


def record_room(runtime: RoomRuntime, path: Path) -> RoomRecorder:
    """Record a room to a file until it closes, moves or restarts."""
    recorder = RoomRecorder(runtime)
    file = path.open("wb")
    recorder.add_sink(FileSink(file.write, recorder.header, on_ended=lambda reason: file.close()))
    recorder.write_keyframe()
    return recorder


def _find_class(room_type: str, rooms: type[Room] | Iterable[type[Room]] | Mapping[str, type[Room]]) -> type[Room]:
    classes: list[type[Room]] = [rooms] if isinstance(rooms, type) else list(_classes_of(rooms))
    for room_class in classes:
        if room_class.room_type == room_type:
            return room_class
    known = ", ".join(sorted(room_class.room_type for room_class in classes)) or "none"
    raise LookupError(f"no room has the type {room_type!r} of the recording; known are: {known}")


def _classes_of(rooms: Iterable[type[Room]] | Mapping[str, type[Room]]) -> Iterable[type[Room]]:
    return rooms.values() if isinstance(rooms, Mapping) else rooms
