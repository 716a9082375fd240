"""Where a replay differs from its recording. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickwire.server.recording.keyframe import RoomKeyframe
from tickwire.server.recording.keyframe_decoder import to_checkpoint
from tickwire.server.replication.table_state import TableState
from tickwire.server.rooms.hook_call import describe_value
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.value_codec import to_comparable


class StateDifference(msgspec.Struct, frozen=True):
    """The first value that differs.

    Args:
        where: the table, entity and field, as `ships[7].x`; or another part of the state.
        recorded, replayed: the values, as text.
        tick: the tick at which the values were compared, that of a keyframe.
    """

    where: str
    recorded: str
    replayed: str
    tick: int

    def __str__(self) -> str:
        return f"{self.where} is {self.replayed} at tick {self.tick}, recorded is {self.recorded}"


class Divergence(msgspec.Struct, frozen=True):
    """The first tick whose state differs from the recording.

    Args:
        tick: the tick.
        parts: the tables and other parts that differ.
        reason: another reason, such as an exception that the recording does not have.
        difference: the first value that differs at the next keyframe; None if that is unknown.
    """

    tick: int
    parts: tuple[str, ...] = ()
    reason: str = ""
    difference: StateDifference | None = None

    def __str__(self) -> str:
        cause = self.reason or f"{', '.join(self.parts)} differ{'s' if len(self.parts) == 1 else ''}"
        return f"the replay diverges at tick {self.tick}: {cause}{f'; {self.difference}' if self.difference else ''}"


def find_difference(runtime: RoomRuntime, keyframe: RoomKeyframe) -> StateDifference | None:
    """Return the first value in which a room differs from a keyframe: of the tables, then of the attributes."""
    room, recorded = runtime.room, to_checkpoint(keyframe)
    columns = runtime.raw_columns()
    for name in room.tables:
        if name in recorded.tables:
            found = _compare_tables(room, name, recorded.tables[name], columns[name])
            if found is not None:
                return StateDifference(*found, keyframe.tick)
    attributes = runtime.attributes.encode()
    for name in sorted(keyframe.attributes.keys() & attributes.keys()):
        was, now = to_comparable(keyframe.attributes[name]), to_comparable(attributes[name])
        if was != now:
            return StateDifference(f"self.{name}", describe_value(was), describe_value(now), keyframe.tick)
    return None


def _compare_tables(
    room: Room, name: str, recorded: TableState, columns: dict[str, NDArray[Any]]
) -> tuple[str, str, str] | None:
    table = getattr(room, name)
    known = np.intersect1d(recorded.ids, table.ids)
    candidates: list[tuple[int, int, tuple[str, str, str]]] = []
    for id in np.setxor1d(recorded.ids, table.ids)[:1].tolist():
        is_recorded = bool(np.isin(id, recorded.ids))
        states = ("exists", "does not exist")
        candidates.append((id, -1, (f"{name}[{id}]", states[not is_recorded], states[is_recorded])))
    theirs, ours = np.searchsorted(recorded.ids, known), table.rows_of(known.tolist())
    for number, (column, values) in enumerate(columns.items()):
        other = (recorded.raw_columns or {}).get(column)
        if other is None or other.shape[1:] != values.shape[1:] or other.dtype != values.dtype:
            continue
        one, two = other[theirs], values[ours]
        same = (one.view(_bits(one)) == two.view(_bits(two))).all(axis=tuple(range(1, one.ndim)))
        if not same.all():
            row = int(np.flatnonzero(~same)[0])
            where = f"{name}[{known[row]}].{column}"
            candidates.append((int(known[row]), number, (where, str(one[row]), str(two[row]))))
    return min(candidates)[2] if candidates else None


def _bits(array: NDArray[Any]) -> np.dtype[Any]:
    """Return the integer type of the same size: a NaN then equals itself."""
    return np.dtype(f"u{array.dtype.itemsize}")
