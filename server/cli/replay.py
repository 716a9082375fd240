"""The command `tickwire replay`: describes a recording, verifies it, shows the state at a tick, or serves a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np

from tickwire.server.errors import ConfigError
from tickwire.server.recording.expression import ExpressionError, StateCondition
from tickwire.server.recording.reader import Recording
from tickwire.server.recording.replay import Replay, ReplayReport
from tickwire.server.recording.search import find_tick
from tickwire.server.rooms.hook_call import describe_value
from tickwire.server.rooms.room import Room
from tickwire.server.viewer.player import RecordingPlayer
from tickwire.server.viewer.run import run_viewer

ROWS_SHOWN_MAX = 1000


class ReplayOptions(msgspec.Struct, frozen=True):
    """The options of `tickwire replay`.

    Args:
        verify: whether to replay all ticks and compare the checksums.
        at: the tick to show.
        show: the table to show; empty for a summary.
        bisect: a condition; the first tick at which it is true is found and shown.
        scan: whether `bisect` looks at every tick.
    """

    verify: bool = False
    at: int | None = None
    show: str = ""
    bisect: str = ""
    scan: bool = False


def replay_file(path: Path, room_types: Mapping[str, type[Room]], options: ReplayOptions) -> tuple[list[str], bool]:
    """Run `tickwire replay`.

    Returns:
        The lines to print, and whether the replay is equal to the recording as far as it was compared.

    Raises:
        ConfigError: an option does not fit the room, or the room's class is not among the types.
        RecordingDamaged, ReplayFailed: the file cannot be replayed.
    """
    recording = Recording.open(path)
    room_class = find_room_class(recording, room_types)
    if options.show and options.show not in room_class.tables:
        known = ", ".join(room_class.tables) or "none"
        raise ConfigError(f"--show: the room has no table {options.show!r}; its tables: {known}")
    replay = Replay(recording, room_class)
    lines, is_equal = list(_describe(recording)), True
    if options.verify:
        report = replay.verify()
        lines += _describe_report(report)
        is_equal = report.is_equal
    if options.bisect:
        lines.append(_bisect(replay, room_class, options))
    elif options.at is not None:
        replay.seek(options.at)
    if options.bisect or options.at is not None:
        lines += _show(replay.room, options.show)
    return lines, is_equal


def find_room_class(recording: Recording, room_types: Mapping[str, type[Room]]) -> type[Room]:
    """Return the class of the room of a recording.

    Raises:
        ConfigError: it is not among the types.
    """
    kind = recording.header.room_type
    room_class = room_types.get(kind)
    if room_class is None:
        known = ", ".join(sorted(room_types)) or "none"
        raise ConfigError(f"--rooms: no room has the type {kind!r} of the recording; known are: {known}")
    return room_class


def serve_replay(
    path: Path, room_types: Mapping[str, type[Room]], port: int, report: Callable[[str], object]
) -> None:
    """Run `tickwire replay --serve`: serve the page of a recording until Ctrl-C.

    Args:
        path: the file.
        room_types: the rooms of the game.
        port: the port on the loopback interface; 0 chooses a free one.
        report: receives a description of the recording, and then the URL of the page.

    Raises:
        ConfigError: the room's class is not among the types, the port is in use, or the page is not built.
        RecordingDamaged, ReplayFailed: the file cannot be replayed.
    """
    recording = Recording.open(path)
    player = RecordingPlayer(recording, find_room_class(recording, room_types), path.name)
    report("\n".join(_describe(recording)))
    run_viewer(player, port, report)


def _printable(text: str) -> str:
    """Return a text of players or of a file without control characters, which a terminal would obey."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _describe(recording: Recording) -> Iterator[str]:
    header = recording.header
    name = f" {header.name!r}" if header.name else ""
    yield _printable(f"room {header.room_type}{name}, id {header.room_id}, recorded by build {header.build}")
    seconds, keyframes = (recording.last_tick - recording.first_tick) / header.tick_rate_hz, len(recording.keyframes)
    yield (
        f"ticks {recording.first_tick} to {recording.last_tick} ({seconds:.1f} s), "
        f"{keyframes} keyframe{'s' * (keyframes != 1)}, {recording.size:,} bytes"
    )
    reason = recording.reason
    yield "its end is missing: the file was cut off" if reason is None else f"ended: {_printable(reason)}"


def _describe_report(report: ReplayReport) -> Iterator[str]:
    if report.changed_tables:
        yield f"not compared, because their declarations have changed: {', '.join(report.changed_tables)}"
    if report.divergence is not None:
        yield str(report.divergence)
        if report.lost:
            names = ", ".join(report.lost)
            yield f"attributes that a keyframe cannot hold, and that `restore` must set: {names}"
        return
    if report.damaged_after is not None:
        yield f"the file is damaged after tick {report.damaged_after}; --at can show ticks after a later keyframe"
    yield f"verified: {report.ticks} ticks have equal checksums"
    if report.failure is not None:
        yield f"the last tick fails as recorded: {report.failure.describe()}"


def _bisect(replay: Replay, room_class: type[Room], options: ReplayOptions) -> str:
    try:
        condition = StateCondition(options.bisect, room_class)
    except ExpressionError as error:
        raise ConfigError(f"--bisect: {error}") from error
    found = find_tick(replay, condition, looks_at_all=options.scan)
    if found.tick is None:
        return f"{options.bisect}: at no tick"
    first = replay.recording.first_tick
    is_certain = found.scanned_from == first
    text = f"{options.bisect}: first at tick {found.tick}"
    if is_certain:
        return f"{text}; every tick from {first} on was looked at"
    return f"{text}; it is false at the keyframes up to tick {found.scanned_from}; --scan looks at every tick before"


def _show(room: Room, table: str) -> Iterator[str]:
    yield f"tick {room.tick}, {room.clock.now_s:.2f} s"
    if not table:
        yield f"players: {_printable(', '.join(room.players)) or 'none'}"
        for name in room.tables:
            yield f"{name}: {len(getattr(room, name))} entities"
        return
    rows = getattr(room, table)
    yield f"{table}: {len(rows)} entities"
    for row, id in list(enumerate(rows.ids.tolist()))[:ROWS_SHOWN_MAX]:
        values = ((name, rows.view(name)[row]) for name in rows.columns)
        shown = (f"{name}={v.item() if isinstance(v, np.generic) else describe_value(v)}" for name, v in values)
        yield f"  {id}: {' '.join(shown)}"
