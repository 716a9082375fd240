"""An open-loop scheduler: one greenlet runs the recurring actions of thousands of players, and measures its lateness.

Each action receives the time at which it was due, and is not skipped when it is late. Measured from its due time, a
latency includes all stalls of the server, the network and the swarm.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable

import gevent
import msgspec

LATENESS_S_MAX = 5.0
"""Actions that are later than this are skipped and counted: a load that stalled must not flood the server."""
BATCH_S_MAX = 0.005
"""The time after which other greenlets run while many actions are due."""


class Recurring(msgspec.Struct):
    """A recurring action.

    Attributes:
        period_s: the period.
        work: called with the due time.
        is_over: whether the action was stopped.
    """

    period_s: float
    work: Callable[[float], None]
    is_over: bool = False

    def stop(self) -> None:
        """Stop the action. Idempotent."""
        self.is_over = True


class OpenLoopScheduler:
    """Runs recurring actions.

    Args:
        on_late: called with the lateness of each action, in seconds.
        on_skipped: called with the number of skipped actions.
    """

    def __init__(self, on_late: Callable[[float], None], on_skipped: Callable[[int], None]) -> None:
        self._on_late = on_late
        self._on_skipped = on_skipped
        self._due: list[tuple[float, int, Recurring]] = []
        self._order = itertools.count()
        self._greenlet: gevent.Greenlet | None = None

    def start(self, on_died: Callable[[BaseException], None]) -> None:
        """Start the greenlet. Idempotent.

        Args:
            on_died: called with the exception if the greenlet fails. Actions must not raise.
        """
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._run)
            self._greenlet.link_exception(lambda greenlet: on_died(greenlet.exception))

    def stop(self) -> None:
        """Stop the greenlet and discard all actions. Idempotent."""
        greenlet, self._greenlet = self._greenlet, None
        self._due.clear()
        if greenlet is not None:
            greenlet.kill()

    def every(self, period_s: float, work: Callable[[float], None], *, first_s: float) -> Recurring:
        """Run an action every `period_s`, for the first time in `first_s`, until it is stopped.

        Args:
            period_s: the period.
            work: called with the due time, on the monotonic clock; it must not block.
            first_s: the delay of the first run.
        """
        action = Recurring(period_s, work)
        heapq.heappush(self._due, (time.monotonic() + first_s, next(self._order), action))
        return action

    def _run(self) -> None:
        while True:
            now = time.monotonic()
            self.run_due(now)
            next_s = self._due[0][0] - time.monotonic() if self._due else 0.01
            # At most 10 ms, because an action may be added meanwhile.
            gevent.sleep(min(max(next_s, 0.0), 0.01))

    def run_due(self, now: float) -> None:
        """Run the actions that are due, for at most BATCH_S_MAX."""
        until, heap = now + BATCH_S_MAX, self._due
        while heap and heap[0][0] <= now < until:
            due, _, action = heap[0]
            if action.is_over:
                heapq.heappop(heap)
                continue
            next_due = due + action.period_s
            if now - next_due > LATENESS_S_MAX:
                skipped = int((now - next_due) / action.period_s)
                self._on_skipped(skipped)
                next_due += skipped * action.period_s
            # Replaced before the work runs, which may add actions. A stopped action is removed when it is due.
            heapq.heapreplace(heap, (next_due, next(self._order), action))
            self._on_late(now - due)
            action.work(due)
            now = time.monotonic()
