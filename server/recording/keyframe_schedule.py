"""Decides when the rooms of a shard write their keyframes, so that these delay no tick.

A keyframe costs as much as a checkpoint of the room. Three rules bound what players notice:

    seldom  a room writes one each half of the seconds that it keeps, and less often if the keyframes of all rooms
            would take more than SHARE_MAX of the time
    apart   after a keyframe, none follows for PAUSE_FACTOR times its duration
    free    a room writes one only if it is done before the next tick of any room is due

A room whose keyframe is overdue by DELAY_S_MAX does not wait for a free time: on a busy shard it would otherwise keep
an ever longer segment. Rooms that are overdue together, such as all rooms of a shard that has just started, write
theirs in turns: BURST_S without a pause, and then the pauses of all of these. Pure: clocks are parameters.
"""

from __future__ import annotations

from collections.abc import Callable

SHARE_MAX = 0.01
INTERVAL_S_MAX = 60.0
PAUSE_FACTOR = 4
DELAY_S_MAX = 2.0
BURST_S = 2e-3
"""How long rooms that are overdue may write keyframes without a pause: less than the work of a full tick group."""
FIRST_S = 0.5e-3
"""The expected duration of the first keyframe of a room: that of an arena with 50 players."""
NEWEST_WEIGHT = 0.25


class RoomKeyframes:
    """The keyframes of one room.

    Args:
        kept_s: the seconds that the room keeps.
        tick_rate_hz: the tick rate of the room.
        due_tick: the tick after which the next keyframe is due.

    Attributes:
        duration_s: a moving average of the duration of a keyframe.
    """

    __slots__ = ("due_tick", "duration_s", "kept_s", "tick_rate_hz")

    def __init__(self, kept_s: float, tick_rate_hz: float, due_tick: int) -> None:
        self.kept_s = kept_s
        self.tick_rate_hz = tick_rate_hz
        self.duration_s = FIRST_S
        self.due_tick = due_tick

    def is_overdue(self, tick: int) -> bool:
        """Return whether the keyframe must be written now."""
        return tick >= self.due_tick + DELAY_S_MAX * self.tick_rate_hz


class KeyframeSchedule:
    """The keyframes of all rooms of a shard.

    Args:
        now_s: a monotonic clock in seconds.
        until_due_s: returns the time until the next tick of any room is due, in seconds; negative if one is overdue.
    """

    def __init__(self, now_s: Callable[[], float], until_due_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._until_due_s = until_due_s
        self._free_s = 0.0
        self._durations_s = 0.0  # the sum over all rooms

    def add(self, room: RoomKeyframes) -> None:
        """Add a room."""
        self._durations_s += room.duration_s

    def remove(self, room: RoomKeyframes) -> None:
        """Remove a room."""
        self._durations_s -= room.duration_s

    def is_due(self, room: RoomKeyframes, tick: int) -> bool:
        """Return whether to write a keyframe of the room after this tick."""
        if tick < room.due_tick:
            return False
        pause_s = self._free_s - self._now_s()
        if room.is_overdue(tick):
            return pause_s < PAUSE_FACTOR * BURST_S
        return pause_s <= 0 and self._until_due_s() >= room.duration_s

    def written(self, room: RoomKeyframes, tick: int, duration_s: float) -> None:
        """Record a keyframe that was written after this tick."""
        # From its beginning on, so that the keyframes of a burst add up.
        self._free_s = max(self._free_s, self._now_s() - duration_s) + (1 + PAUSE_FACTOR) * duration_s
        self._durations_s -= room.duration_s
        room.duration_s += NEWEST_WEIGHT * (duration_s - room.duration_s)
        self._durations_s += room.duration_s
        room.due_tick = tick + max(1, round(self.interval_s(room) * room.tick_rate_hz))

    def interval_s(self, room: RoomKeyframes) -> float:
        """Return the time between two keyframes of a room, in seconds."""
        return min(INTERVAL_S_MAX, max(room.kept_s / 2, self._durations_s / SHARE_MAX))
