"""Smooth motion out of ticks: where things are between two snapshots, shown a little in the past.

A snapshot says where everything was at a tick. Shown as it comes, motion jumps with every tick and stands still when
one is late. So a client shows the world `delay_ticks` behind: late ticks have arrived by then, and what lies between
two of them is known. Entity interpolation as in Valve's "Source Multiplayer Networking"; numpy, all entities at once.
Pure: the time comes in.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickwire.client.world import TableView, World
from tickwire.schemas.messages import FieldKind

SNAPSHOTS_MAX = 32
OFFSETS_MAX = 64
LATE_FRAMES = 4
"""After so many late frames in a row the ticks themselves have shifted, as when one of them has blocked."""
_SMOOTH = frozenset((FieldKind.REAL, FieldKind.ANGLE))


class TickClock:
    """Which tick is to be shown now.

    A frame is never early, only late; so the least late of the last OFFSETS_MAX frames says when ticks happen. When
    the last LATE_FRAMES are all later than that by more than half of the delay, those before them are forgotten.

    Args:
        tick_rate_hz: of the room.
        delay_ticks: how far in the past the world is shown; two ticks ride out one that is lost or late.
    """

    def __init__(self, tick_rate_hz: float, *, delay_ticks: float = 2.0) -> None:
        self._rate = tick_rate_hz
        self._delay_ticks = delay_ticks
        self._offsets_s: deque[float] = deque(maxlen=OFFSETS_MAX)
        self._last_tick = 0

    def heard(self, tick: int, now_s: float) -> None:
        """Record that the state of a tick has arrived. A tick that goes back begins anew: the room was restored."""
        if tick < self._last_tick:
            self._offsets_s.clear()
        self._last_tick = tick
        self._offsets_s.append(now_s - tick / self._rate)
        last = list(self._offsets_s)[-LATE_FRAMES:]
        if min(last) - min(self._offsets_s) > self._delay_ticks / 2 / self._rate:
            self._offsets_s.clear()
            self._offsets_s.extend(last)

    def shown(self, now_s: float) -> float:
        """The tick to show, with its fraction; minus infinity before the first was heard."""
        if not self._offsets_s:
            return -math.inf
        return (now_s - min(self._offsets_s)) * self._rate - self._delay_ticks


class Interpolation:
    """One table's last snapshots, of the world that it is given.

    Args:
        table: its name.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._ticks: deque[int] = deque(maxlen=SNAPSHOTS_MAX)
        self._views: deque[TableView] = deque(maxlen=SNAPSHOTS_MAX)
        self._world: World | None = None

    def heard(self, world: World) -> None:
        """Take the table as it is now; call it after each frame.

        Another world replaces all that is known. When the tick has gone back, that tick and later ones are forgotten.
        """
        if world is not self._world:
            self._world = world
            self._ticks.clear()
            self._views.clear()
        if self._table not in world.table_names:
            return
        while self._ticks and self._ticks[-1] >= world.tick:
            self._ticks.pop()
            self._views.pop()
        self._ticks.append(world.tick)
        self._views.append(world.table(self._table))

    def at(self, tick: float, column: str) -> tuple[NDArray[np.uint32], NDArray[Any]]:
        """Where a column stood at a tick that may lie between two snapshots.

        What cannot lie between two values (a number of lives, an enumeration) keeps the older one. An entity that is
        in the older snapshot alone stays where it was until the newer; one that is in the newer alone is not there
        yet. Before the oldest and after the newest snapshot nothing moves.

        Returns:
            (entities,) ids ascending, and (entities,) values in the game's units.

        Raises:
            KeyError: no such column.
        """
        if not self._ticks:
            return np.empty(0, np.uint32), np.empty(0)
        after = bisect_right(self._ticks, tick)
        older = self._views[max(0, after - 1)]
        values = older.column(column)
        if after == 0 or after == len(self._ticks) or older.kind(column) not in _SMOOTH:
            return older.ids, values
        newer = self._views[after]
        share = (tick - self._ticks[after - 1]) / (self._ticks[after] - self._ticks[after - 1])
        _, here, there = np.intersect1d(older.ids, newer.ids, assume_unique=True, return_indices=True)
        values = np.array(values, dtype=np.float64)
        way = newer.column(column)[there] - values[here]
        if older.kind(column) is FieldKind.ANGLE:
            way = (way + math.pi) % math.tau - math.pi  # the short way round
        values[here] += share * way
        return older.ids, values
