"""The send rate of a slow client: the levels through which it receives less state, before it is closed.

    full --congested for CONGESTED_S in total--> halved --the same--> keyframes --SLOW_S_MAX without a break--> closed
    full <--CLEAR_S without congestion---------- halved <--the same-- keyframes

While its connection is congested a session is skipped at every level: nothing is queued for it, and it receives one
cumulative delta (or a keyframe) once the connection has drained. Pure: counts ticks, reads no clock.
"""

from __future__ import annotations

import enum

CONGESTED_S = 1.0
CLEAR_S = 3.0
SLOW_S_MAX = 10.0
KEYFRAME_S = 1.0


class SendLevel(enum.IntEnum):
    """How much state a session receives: every tick, every second tick, or a keyframe every KEYFRAME_S."""

    FULL = 0
    HALVED = 1
    KEYFRAMES = 2


class AdaptiveSendRate:
    """The send rate of one seat. A seat that has never been congested has none.

    Args:
        tick_rate_hz: the tick rate of the room.

    Attributes:
        level: the current level.
        announced: the level that the client was last sent.
        is_closed: whether the connection was congested for SLOW_S_MAX without a break.
    """

    __slots__ = (
        "_clear_ticks",
        "_congested_ticks",
        "_consecutive_ticks",
        "_tick_rate_hz",
        "announced",
        "is_closed",
        "level",
    )

    def __init__(self, tick_rate_hz: float) -> None:
        self.level = self.announced = SendLevel.FULL
        self.is_closed = False
        self._tick_rate_hz = tick_rate_hz
        self._congested_ticks = self._clear_ticks = self._consecutive_ticks = 0

    @property
    def is_recovered(self) -> bool:
        """Whether the session is at full rate again, its client knows, and no congested ticks are counted."""
        return self.level is SendLevel.FULL and self.announced is SendLevel.FULL and not self._congested_ticks

    @property
    def ticks_per_update(self) -> int:
        """The number of ticks from one update to the next."""
        keyframe_ticks = max(1, round(KEYFRAME_S * self._tick_rate_hz))
        return {SendLevel.FULL: 1, SendLevel.HALVED: 2, SendLevel.KEYFRAMES: keyframe_ticks}[self.level]

    def is_due(self, tick: int) -> bool:
        """Return whether the session receives the state of this tick."""
        return self.level is SendLevel.FULL or tick % self.ticks_per_update == 0

    def record_congested(self) -> bool:
        """Count a tick in which the connection was congested.

        Returns:
            Whether the level was lowered, or the connection must be closed.
        """
        self._clear_ticks = 0
        self._congested_ticks += 1
        self._consecutive_ticks += 1
        if self._consecutive_ticks >= SLOW_S_MAX * self._tick_rate_hz:
            has_changed, self.is_closed = not self.is_closed, True
            return has_changed
        if self._congested_ticks < CONGESTED_S * self._tick_rate_hz or self.level is SendLevel.KEYFRAMES:
            return False
        self.level, self._congested_ticks = SendLevel(self.level + 1), 0
        return True

    def record_clear(self) -> bool:
        """Count a tick in which the connection was not congested.

        Returns:
            Whether the level was raised.
        """
        self._consecutive_ticks = 0
        self._clear_ticks += 1
        if self._clear_ticks < CLEAR_S * self._tick_rate_hz:
            return False
        self._clear_ticks = self._congested_ticks = 0
        if self.level is SendLevel.FULL:
            return False
        self.level = SendLevel(self.level - 1)
        return True
