"""When things are due: one greenlet that does what thousands of players do again and again, and knows how late it is.

What is due is done with the time at which it was due, and not skipped when it is late: whoever measures from there
measures what a player would have felt, however long anybody stalls.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable

import gevent
import msgspec

OWED_S_MAX = 5.0
"""Beats that are later than this are given up, and counted: a load that has stalled must not flood the server."""
TURN_S = 0.005
"""Others get their turn at least so often while there is much to do."""


class Recurring(msgspec.Struct):
    """Something that is done again and again.

    Attributes:
        is_over: no more.
    """

    period_s: float
    work: Callable[[float], None]
    is_over: bool = False

    def stop(self) -> None:
        """No more. Idempotent."""
        self.is_over = True


class OpenLoopScheduler:
    """Runs beats.

    Args:
        on_late: told by how many seconds each beat was late.
        on_skipped: told how many beats were given up.
    """

    def __init__(self, on_late: Callable[[float], None], on_skipped: Callable[[int], None]) -> None:
        self._on_late = on_late
        self._on_skipped = on_skipped
        self._due: list[tuple[float, int, Recurring]] = []
        self._order = itertools.count()
        self._greenlet: gevent.Greenlet | None = None

    def start(self, on_died: Callable[[BaseException], None]) -> None:
        """Starts the greenlet. Idempotent.

        Args:
            on_died: told if it ends by an error, which no beat may raise.
        """
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._run)
            self._greenlet.link_exception(lambda greenlet: on_died(greenlet.exception))

    def stop(self) -> None:
        """Ends the greenlet and forgets all beats. Idempotent."""
        greenlet, self._greenlet = self._greenlet, None
        self._due.clear()
        if greenlet is not None:
            greenlet.kill()

    def every(self, period_s: float, work: Callable[[float], None], *, first_s: float) -> Recurring:
        """Does something every `period_s`, for the first time `first_s` from now, until the beat is stopped.

        Args:
            work: given the time at which it was due, on the monotonic clock; it must not wait.
        """
        beat = Recurring(period_s, work)
        heapq.heappush(self._due, (time.monotonic() + first_s, next(self._order), beat))
        return beat

    def _run(self) -> None:
        while True:
            now = time.monotonic()
            self.run_due(now)
            next_s = self._due[0][0] - time.monotonic() if self._due else 0.01
            # Never longer than what is added meanwhile may wait.
            gevent.sleep(min(max(next_s, 0.0), 0.01))

    def run_due(self, now: float) -> None:
        """Does what is due at a moment, for at most TURN_S."""
        until = now + TURN_S
        while self._due and self._due[0][0] <= now < until:
            due, _, beat = heapq.heappop(self._due)
            if beat.is_over:
                continue
            self._on_late(now - due)
            beat.work(due)
            next_due = due + beat.period_s
            if now - next_due > OWED_S_MAX:
                skipped = int((now - next_due) / beat.period_s)
                self._on_skipped(skipped)
                next_due += skipped * beat.period_s
            if not beat.is_over:
                heapq.heappush(self._due, (next_due, next(self._order), beat))
            now = time.monotonic()
