"""Entity interpolation: smooth motion between two snapshots, rendered slightly in the past.

A snapshot is the state at one tick. Rendered on arrival, motion jumps with every tick and stops when a tick is late.
A client therefore renders the world `delay_ticks` behind: late ticks have arrived by then, and values between two
ticks can be computed. As in Valve's "Source Multiplayer Networking", in numpy for all entities at once. Pure: the
caller passes the time.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickwire.client.world import TableView, World
from tickwire.schemas.messages import FieldKind, GroupKind
from tickwire.schemas.quaternions import slerp

SNAPSHOTS_MAX = 32
OFFSETS_MAX = 64
LATE_FRAMES = 4
"""After this number of late frames in a row, the room's ticks themselves have shifted, for example because a tick
blocked."""
_INTERPOLATED = (FieldKind.REAL, FieldKind.ANGLE, GroupKind.VECTOR, GroupKind.QUATERNION)


class TickClock:
    """Computes the tick to render now.

    A frame is never early, only late, so the least delayed of the last OFFSETS_MAX frames shows when ticks happen. If
    the last LATE_FRAMES are all later than that by more than half of the delay, earlier frames are discarded.

    Args:
        tick_rate_hz: the tick rate of the room.
        delay_ticks: the delay of rendering; two ticks hide one tick that is lost or late.
    """

    def __init__(self, tick_rate_hz: float, *, delay_ticks: float = 2.0) -> None:
        self._rate = tick_rate_hz
        self._delay_ticks = delay_ticks
        self._offsets_s: deque[float] = deque(maxlen=OFFSETS_MAX)
        self._last_tick = 0

    def observe(self, tick: int, now_s: float) -> None:
        """Record that the state of a tick arrived. A tick that went back (a restored room) restarts the clock."""
        if tick < self._last_tick:
            self._offsets_s.clear()
        self._last_tick = tick
        self._offsets_s.append(now_s - tick / self._rate)
        last = list(self._offsets_s)[-LATE_FRAMES:]
        if min(last) - min(self._offsets_s) > self._delay_ticks / 2 / self._rate:
            self._offsets_s.clear()
            self._offsets_s.extend(last)

    def render_tick(self, now_s: float) -> float:
        """Return the tick to render, with its fraction; minus infinity before the first frame."""
        if not self._offsets_s:
            return -math.inf
        return (now_s - min(self._offsets_s)) * self._rate - self._delay_ticks


class Interpolation:
    """The last snapshots of one table.

    Args:
        table: the table's name.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._ticks: deque[int] = deque(maxlen=SNAPSHOTS_MAX)
        self._views: deque[TableView] = deque(maxlen=SNAPSHOTS_MAX)
        self._world: World | None = None

    def push(self, world: World) -> None:
        """Add a snapshot of the table; call it after each frame.

        A different world discards all snapshots. If the tick went back, that tick and later ones are discarded.
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

    def sample(self, tick: float, column: str) -> tuple[NDArray[np.uint32], NDArray[Any]]:
        """Return a column at a tick, which may be between two snapshots.

        Values that cannot be interpolated (a number of lives, an enumeration) keep the older one. An entity that
        exists only in the older snapshot keeps its values; one that exists only in the newer snapshot is not returned
        yet. Before the oldest and after the newest snapshot nothing moves.

        Returns:
            (entities,) ids ascending, and (entities,) values in the game's units; of a vector or a quaternion
            (entities, components).

        Raises:
            KeyError: the table has no such column.
        """
        if not self._ticks:
            return np.empty(0, np.uint32), np.empty(0)
        after = bisect_right(self._ticks, tick)
        older = self._views[max(0, after - 1)]
        values = older.column(column)
        if after == 0 or after == len(self._ticks) or older.kind(column) not in _INTERPOLATED:
            return older.ids, values
        newer = self._views[after]
        fraction = (tick - self._ticks[after - 1]) / (self._ticks[after] - self._ticks[after - 1])
        _, in_older, in_newer = np.intersect1d(older.ids, newer.ids, assume_unique=True, return_indices=True)
        values = np.array(values, dtype=np.float64)
        there = newer.column(column)[in_newer]
        if older.kind(column) is GroupKind.QUATERNION:
            values[in_older] = slerp(values[in_older], there, fraction)
            return older.ids, values
        difference = there - values[in_older]
        if older.kind(column) is FieldKind.ANGLE:
            difference = (difference + math.pi) % math.tau - math.pi  # the shorter direction
        values[in_older] += fraction * difference
        return older.ids, values
