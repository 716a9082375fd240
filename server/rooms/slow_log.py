"""Logs the rooms whose code blocks the event loop for too long, which delays all rooms and sessions of the shard.

A tick or another hook that takes more than SLOW_SHARE of the room's tick interval, or more than SLOW_S_MAX, is
counted by room type. Each room and hook is logged at most once in LOG_INTERVAL_S, with the number of slow calls since
the previous log event. Pure: the time is a parameter.
"""

from __future__ import annotations

import structlog

from tickwire.server.rooms.containment import RoomIdentity
from tickwire.server.rooms.counters import RoomCounters

log = structlog.get_logger(__name__)

SLOW_SHARE = 0.5
SLOW_S_MAX = 0.05
"""The limit for rooms that tick rarely: they share their shard with rooms that tick more often."""
LOG_INTERVAL_S = 10.0


class SlowLog:
    """The slow calls of one room.

    Args:
        room: the room whose calls these are.
        interval_s: the tick interval of the room in seconds.
        counters: the counters of the shard; slow calls are added to them.
    """

    __slots__ = ("_counters", "_limit_s", "_room", "_since")

    def __init__(self, room: RoomIdentity, interval_s: float, counters: RoomCounters) -> None:
        self._room = room
        self._counters = counters
        self._limit_s = min(SLOW_SHARE * interval_s, SLOW_S_MAX)
        self._since: dict[str, tuple[float, int]] = {}  # by hook: time of the last log event, slow calls since

    def record(self, hook: str, duration_s: float, now_s: float) -> None:
        """Record the duration of a call that ended at `now_s`; both in seconds."""
        if duration_s <= self._limit_s:
            return
        room = self._room
        self._counters.slow_room_calls[room.room_type] += 1
        logged_s, count = self._since.get(hook, (-LOG_INTERVAL_S, 0))
        if now_s - logged_s < LOG_INTERVAL_S:
            self._since[hook] = logged_s, count + 1
            return
        self._since[hook] = now_s, 0
        log.warning(
            "room_code_slow",
            hook=hook,
            room_id=room.room_id,
            room_type=room.room_type,
            tick=room.tick,
            duration_ms=round(duration_s * 1000, 1),
            limit_ms=round(self._limit_s * 1000, 1),
            slow_calls=count + 1,
        )
