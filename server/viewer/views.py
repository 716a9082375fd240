"""The responses of the viewer's API, which the page reads (web/replay/src/api.ts)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

EntryKind = Literal["join", "leave", "connection", "command", "event", "error", "outcome", "tuning", "divergence"]


class ColumnLayout(msgspec.Struct, frozen=True):
    """A column of a table.

    Args:
        kind: the kind of the field; "local" for a column that is not replicated, "quaternion" for a rotation.
        low, high: the declared range of a real number.
        labels: the labels of an enumeration.
    """

    name: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    labels: Sequence[str] = ()


class TableLayout(msgspec.Struct, frozen=True):
    """A table of the room.

    Args:
        position: the two or three columns that are the position of an entity; empty without one.
        heading: the column that is the direction of an entity; empty without one.
    """

    name: str
    columns: Sequence[ColumnLayout]
    position: Sequence[str] = ()
    heading: str = ""


class RecordingSummary(msgspec.Struct, frozen=True):
    """The recording: its room, its ticks, and the tables of the room.

    Args:
        ended: why the recording has ended.
        not_compared: the tables whose declaration has changed since; a divergence of their values is not noticed.
    """

    file: str
    room_id: str
    room_type: str
    room_name: str
    build: str
    tick_rate_hz: float
    first_tick: int
    last_tick: int
    keyframes: Sequence[int]
    tables: Sequence[TableLayout]
    ended: str = ""
    not_compared: Sequence[str] = ()


class TimelineEntry(msgspec.Struct, frozen=True):
    """What entered or left the room in a tick, as a line of text."""

    tick: int
    kind: EntryKind
    text: str


class TimelinePage(msgspec.Struct, frozen=True):
    """The entries of a range of ticks that are nearest to its middle, and the number of those left out."""

    entries: Sequence[TimelineEntry]
    more: int


class TimelineOverview(msgspec.Struct, frozen=True):
    """The numbers of entries by kind in equal parts of the recording.

    Args:
        replayed_to: events, errors and the divergence are known up to this tick.
        is_complete: whether the whole recording has been replayed.
        problem: why the replay has ended early; empty if it has not.
    """

    replayed_to: int
    is_complete: bool
    divergence: TimelineEntry | None
    buckets: Sequence[dict[str, int]]
    problem: str = ""


class TableRows(msgspec.Struct, frozen=True):
    """The first rows of a table: one list for each column, in the game's units.

    Args:
        entities: the number of all rows.
    """

    name: str
    entities: int
    ids: Sequence[int]
    columns: dict[str, list[Any]]


class TickState(msgspec.Struct, frozen=True):
    """The tables of the room after a tick."""

    tick: int
    tables: Sequence[TableRows]
