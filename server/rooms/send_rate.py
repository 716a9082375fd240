"""The ladder of a slow client: what it is sent less of, before it is closed.

    full --congested for STRAIN_S in all--> halved --the same--> keyframes --congested for SLOW_S_MAX on end--> closed
    full <--CALM_S without congestion------ halved <--the same-- keyframes

While its connection is congested a session is passed over on every rung: nothing is queued for it, and it gets one
cumulative delta (or a keyframe) when it has drained. Pure: counts ticks, reads no clock.
"""

from __future__ import annotations

import enum

STRAIN_S = 1.0
CALM_S = 3.0
SLOW_S_MAX = 10.0
KEYFRAME_S = 1.0


class SendLevel(enum.IntEnum):
    """How much a session is sent."""

    FULL = 0
    HALVED = 1
    KEYFRAMES = 2


class AdaptiveSendRate:
    """One seat's place on the ladder. A seat that has never been congested has none.

    Args:
        tick_rate_hz: of the room.
        tick: the tick at which it was first congested.

    Attributes:
        rung: where it stands.
        told: the rung that the client knows of.
        is_closed: it was congested for too long on end.
    """

    __slots__ = ("_calm", "_on_end", "_rate", "_strain", "is_closed", "rung", "told")

    def __init__(self, tick_rate_hz: float) -> None:
        self.rung = self.told = SendLevel.FULL
        self.is_closed = False
        self._rate = tick_rate_hz
        self._strain = self._calm = self._on_end = 0

    @property
    def is_over(self) -> bool:
        """Whether everything is as if it had never been slow."""
        return self.rung is SendLevel.FULL and self.told is SendLevel.FULL and not self._strain

    @property
    def ticks_per_update(self) -> int:
        """How many ticks pass from one update to the next."""
        return {SendLevel.FULL: 1, SendLevel.HALVED: 2, SendLevel.KEYFRAMES: max(1, round(KEYFRAME_S * self._rate))}[
            self.rung
        ]

    def is_due(self, tick: int) -> bool:
        """Whether this tick's state is to be sent."""
        return self.rung is SendLevel.FULL or tick % self.ticks_per_update == 0

    def was_congested(self) -> bool:
        """A tick in which it could not be written to.

        Returns:
            Whether it has moved to a lower rung, or is to be closed.
        """
        self._calm = 0
        self._strain += 1
        self._on_end += 1
        if self._on_end >= SLOW_S_MAX * self._rate:
            has_moved, self.is_closed = not self.is_closed, True
            return has_moved
        if self._strain < STRAIN_S * self._rate or self.rung is SendLevel.KEYFRAMES:
            return False
        self.rung, self._strain = SendLevel(self.rung + 1), 0
        return True

    def was_clear(self) -> bool:
        """A tick in which it could have been written to.

        Returns:
            Whether it has moved to a higher rung.
        """
        self._on_end = 0
        self._calm += 1
        if self._calm < CALM_S * self._rate:
            return False
        self._calm = self._strain = 0
        if self.rung is SendLevel.FULL:
            return False
        self.rung = SendLevel(self.rung - 1)
        return True
