"""Names the rooms whose code holds the event loop for too long: everybody on the shard waits for it.

A tick or another hook that takes more than SLOW_SHARE of the room's tick interval, or more than SLOW_S_MAX, is
counted by room type. The log has one line a room and hook in LOG_INTERVAL_S, with the number of slow calls since the
line before. Pure: the time is a parameter.
"""

from __future__ import annotations

import structlog

from tickwire.server.rooms.containment import RoomIdentity
from tickwire.server.rooms.counters import RoomCounters

log = structlog.get_logger(__name__)

SLOW_SHARE = 0.5
SLOW_S_MAX = 0.05
"""A room that ticks once a second shares its shard with others that tick more often."""
LOG_INTERVAL_S = 10.0


class SlowLog:
    """The slow calls of one room.

    Args:
        room: whose code it is.
        interval_s: between two ticks of the room.
        counters: the shard's numbers, added to.
    """

    __slots__ = ("_counters", "_limit_s", "_room", "_since")

    def __init__(self, room: RoomIdentity, interval_s: float, counters: RoomCounters) -> None:
        self._room = room
        self._counters = counters
        self._limit_s = min(SLOW_SHARE * interval_s, SLOW_S_MAX)
        self._since: dict[str, tuple[float, int]] = {}  # by hook: when it was logged last, and slow calls since then

    def note(self, hook: str, duration_s: float, now_s: float) -> None:
        """Record that a call has ended."""
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
