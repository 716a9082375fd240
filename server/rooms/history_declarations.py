"""Checks the declarations of a room's history, when the room is defined. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from tickwire.schemas.messages import GroupKind
from tickwire.server.replication.table import Table
from tickwire.server.rooms.lag_compensation import RoomSnapshot
from tickwire.server.rooms.room_timer import round_ticks

HISTORY_S_MAX = 2.0
"""Twice the longest history of Valve's Source (`sv_maxunlag`); Overwatch compensates at most 0.25 s."""
VIEW_DELAY_TICKS_MAX = 20.0
"""A client that shows entities later than this hides no jitter, it plays another game."""


class HistoryDeclarations(Protocol):
    """The declarations of a room class about its history. `tickwire.server.rooms.room.Room` has them."""

    tick_rate_hz: ClassVar[float]
    history_s: ClassVar[float]
    history: ClassVar[Mapping[str, Sequence[str]]]
    view_delay_ticks: ClassVar[float]
    tables: ClassVar[Mapping[str, type[Table]]]


def history_ticks(cls: type[HistoryDeclarations]) -> float:
    """Return the length of a room's history in ticks."""
    return round_ticks(cls.history_s * cls.tick_rate_hz)


def check_history(cls: type[HistoryDeclarations]) -> None:
    """Check the history of a room class whose numbers are valid.

    Raises:
        TypeError: it is too short, or it names a table or a column that cannot be kept.
    """
    where = f"{cls.__name__}.history"
    if not isinstance(cls.history, Mapping):
        raise TypeError(f'{where} must be a mapping from tables to columns, such as {{"ships": ("x", "y")}}')
    if bool(cls.history) != bool(cls.history_s):
        missing, present = ("history", "history_s") if cls.history_s else ("history_s", "history")
        raise TypeError(f"{cls.__name__} has {present} without {missing}: a history requires both")
    if cls.history and history_ticks(cls) < 1:
        raise TypeError(f"{where}_s is {cls.history_s}: a history has at least one tick, {1 / cls.tick_rate_hz:g} s")
    for name, columns in cls.history.items():
        if name not in cls.tables:
            raise TypeError(f"{where} contains {name!r}, which is not a table of the room")
        if hasattr(RoomSnapshot, name):
            raise TypeError(f"{where} contains {name!r}, which the result of rewind uses itself; rename the table")
        _check_columns(f"{where}[{name!r}]", columns, cls.tables[name])


def _check_columns(where: str, names: Sequence[str], table: type[Table]) -> None:
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise TypeError(f'{where} must be a tuple of columns, such as ("x", "y")')
    rotations = [group for group in table.groups.values() if group.kind is GroupKind.QUATERNION]
    parts = {part: group.name for group in rotations for part in group.parts}
    for name in names:
        if name in parts:
            raise TypeError(f"{where} contains {name!r}, which is a part of a quaternion; write {parts[name]!r}")
        if name not in table.columns and name not in table.groups:
            raise TypeError(f"{where} contains {name!r}, which is not a column of the table")
        if name in table.columns and table.columns[name].dtype().hasobject:
            raise TypeError(f"{where} contains {name!r}: a text or a blob cannot be kept")


HISTORY_NUMBERS: tuple[tuple[str, float, float], ...] = (
    ("history_s", 0, HISTORY_S_MAX),
    ("view_delay_ticks", 0, VIEW_DELAY_TICKS_MAX),
)
"""The numbers of the declaration with their ranges."""
