"""Lag compensation: the tables of a room as a player saw them when it acted.

A client shows other entities in the past: a state takes time to arrive, and the client interpolates between two that
it has. The player then acts, and the input takes time to arrive, too. The tick that the player saw is

    tick of the room - lag of the input - view delay of the client

An input carries the tick of the newest state that the client had. The lag is the number of ticks from that one to the
tick that applied the input, so it contains both ways of the network. It is kept with the player: a shot of a trigger
that is held is compensated like one of a new input. Valve's "Source Multiplayer Networking" estimates the same time:
server time - latency - view interpolation.

Only ticks are counted, so a room that runs again with the same inputs compensates alike. A client can claim any tick;
the claimed tick is clamped to the history. Pure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from tickwire.schemas.columns import Ids
from tickwire.server.replication.table import Table
from tickwire.server.replication.table_history import Arrays, TableHistory, TableSnapshot, snapshot_table

LAG_TICKS_MIN = 1
"""The newest state that a client can have is that of the tick before the one that applies its input."""


class RoomSnapshot:
    """The tables of a room at a tick, for reading only. Tables are attributes, as in the room.

    Read it in the tick in which it was made.

    Args:
        tick: the tick.
        newest: the newest tick that `later` reaches.
        read: returns a table, by name, at a tick.

    Attributes:
        tick: the tick of the snapshot; it may lie between two ticks.
    """

    __slots__ = ("_newest", "_read", "_tables", "tick")

    def __init__(self, tick: float, newest: int, read: Callable[[str, float], TableSnapshot]) -> None:
        self.tick = tick
        self._newest = newest
        self._read = read
        self._tables: dict[str, TableSnapshot] = {}

    def __getattr__(self, name: str) -> TableSnapshot:
        if name in RoomSnapshot.__slots__:
            raise AttributeError(name)  # of an object that `copy` has just created
        table = self._tables.get(name)
        if table is None:
            table = self._tables[name] = self._read(name, self.tick)
        return table

    def later(self) -> Iterator[RoomSnapshot]:
        """Yield the tables at each whole tick after this one, up to the newest finished tick.

        A projectile moves in these steps from the time that its player saw to the present.
        """
        for tick in range(math.floor(self.tick) + 1, self._newest + 1):
            yield RoomSnapshot(tick, self._newest, self._read)


class RoomHistory:
    """The past columns of some tables of a room.

    Args:
        tables: the tables, by name.
        columns: the names of the columns that are kept, by table.
        length: the length of the history in ticks; not always a whole number.

    Attributes:
        newest: the newest tick that was captured; 0 without one.
        clamped: the numbers of rewinds so far that were limited, by reason: `future`, the input carried a tick that
            the room had not finished; `too_old`, the player saw a tick that the history does not have.
    """

    __slots__ = ("_columns", "_histories", "_length", "_oldest", "_tables", "clamped", "newest")

    def __init__(self, tables: Mapping[str, Table], columns: Mapping[str, Sequence[str]], length: float) -> None:
        self._tables = tables
        self._columns = columns
        self._length = length
        ticks = math.ceil(length)
        self._histories = {name: TableHistory(tables[name], names, ticks) for name, names in columns.items()}
        self._oldest = self.newest = 0
        self.clamped: Counter[str] = Counter()

    @property
    def size(self) -> int:
        """The allocated memory in bytes."""
        return sum(history.size for history in self._histories.values())

    def capture(self, tick: int) -> None:
        """Record the tables as those of a tick. Call it at the end of each tick."""
        if not self.newest:
            self._oldest = tick  # above 1 in a restored room
        self.newest = tick
        for history in self._histories.values():
            history.capture(tick)

    def ticks(self) -> dict[str, list[tuple[int, Ids, Arrays]]]:
        """Return the ticks that the history has, the oldest first, by table: views of the ids and columns."""
        return {name: history.ticks() for name, history in self._histories.items()}

    def restore(self, name: str, ticks: Sequence[tuple[int, Ids, Arrays]]) -> None:
        """Fill in the earlier ticks of a table; a table that the history does not keep is ignored.

        Args:
            name: the table.
            ticks: each tick, the oldest first, with the ids of the rows and the columns.
        """
        history = self._histories.get(name)
        if history is None or not ticks:
            return
        for tick, ids, columns in ticks:
            history.restore(tick, ids, columns)
        self._oldest, self.newest = ticks[0][0], ticks[-1][0]

    def rewind(self, tick: int, lag: int | None, view_delay: float) -> RoomSnapshot:
        """Return the tables as a player saw them; as they are now for a player without an input.

        Args:
            tick: the tick of the room.
            lag: the lag of the player's input in ticks; None if the player has sent none since it had a state.
            view_delay: the ticks from the state that the client showed to the newest state that it had.
        """
        if lag is None or not self.newest:
            return RoomSnapshot(tick, self.newest, self._read_present)
        if lag < LAG_TICKS_MIN:
            self.clamped["future"] += 1
            lag = LAG_TICKS_MIN
        now = self.newest + 1  # also between two ticks: an input that arrives there is applied in the next one
        seen, oldest = now - lag - view_delay, max(float(self._oldest), now - self._length)
        if seen < oldest:
            self.clamped["too_old"] += 1
        return RoomSnapshot(min(max(seen, oldest), self.newest), self.newest, self._read_past)

    def _read_past(self, name: str, tick: float) -> TableSnapshot:
        return self._history_of(name).sample(tick)

    def _read_present(self, name: str, tick: float) -> TableSnapshot:
        self._history_of(name)
        return snapshot_table(self._tables[name], self._columns[name])

    def _history_of(self, name: str) -> TableHistory:
        try:
            return self._histories[name]
        except KeyError:
            known = ", ".join(self._histories)
            raise AttributeError(f"the history of the room has no table {name!r}, only {known}") from None
