"""An open-loop scheduler: one greenlet runs the recurring actions of thousands of players, and measures its lateness.

Each action receives the time at which it was due, and is not skipped when it is late. Measured from its due time, a
latency includes all stalls of the server, the network and the swarm.
"""

from __future__ import annotations

import heapq
import math
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
        next_s: the next due time.
        is_over: whether the action was stopped.
    """

    period_s: float
    work: Callable[[float], None]
    next_s: float
    is_over: bool = False

    def stop(self) -> None:
        """Stop the action. Idempotent."""
        self.is_over = True


class OpenLoopScheduler:
    """Runs recurring actions.

    Actions of the same millisecond are due together, at its end. A heap of thousands of actions would touch a dozen
    of them for each that is due, and few of these are in the processor's cache.

    Args:
        on_late: called with the lateness of each action, in seconds.
        on_skipped: called with the number of skipped actions.
    """

    def __init__(self, on_late: Callable[[float], None], on_skipped: Callable[[int], None]) -> None:
        self._on_late = on_late
        self._on_skipped = on_skipped
        self._due: list[int] = []  # a heap of milliseconds on the monotonic clock
        self._actions: dict[int, list[Recurring]] = {}
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
        self._actions.clear()
        if greenlet is not None:
            greenlet.kill()

    def every(self, period_s: float, work: Callable[[float], None], *, first_s: float) -> Recurring:
        """Run an action every `period_s`, for the first time in `first_s`, until it is stopped.

        Args:
            period_s: the period.
            work: called with the due time, on the monotonic clock; it must not block.
            first_s: the delay of the first run.
        """
        action = Recurring(period_s, work, time.monotonic() + first_s)
        self._add(action, math.ceil(action.next_s * 1e3))
        return action

    def _add(self, action: Recurring, due_ms: int) -> None:
        actions = self._actions.get(due_ms)
        if actions is None:
            self._actions[due_ms] = [action]
            heapq.heappush(self._due, due_ms)
        else:
            actions.append(action)

    def _run(self) -> None:
        while True:
            now = time.monotonic()
            self.run_due(now)
            next_s = self._due[0] / 1e3 - time.monotonic() if self._due else 0.01
            # At most 10 ms, because an action may be added meanwhile.
            gevent.sleep(min(max(next_s, 0.0), 0.01))

    def run_due(self, now: float) -> None:
        """Run the actions that are due, for at most BATCH_S_MAX."""
        until = now + BATCH_S_MAX
        while self._due and self._due[0] / 1e3 <= now < until:
            due_ms = heapq.heappop(self._due)
            actions = self._actions.pop(due_ms)
            while actions and now < until:
                action = actions.pop()
                if not action.is_over:
                    self._run_action(action, due_ms / 1e3, now)
                    now = time.monotonic()
            for action in actions:
                self._add(action, due_ms)

    def _run_action(self, action: Recurring, due_s: float, now_s: float) -> None:
        """Add the next run of an action, and run it."""
        action.next_s += action.period_s
        behind_s = now_s - action.next_s
        if behind_s > LATENESS_S_MAX:
            skipped = int(behind_s / action.period_s)
            self._on_skipped(skipped)
            action.next_s += skipped * action.period_s
        self._add(action, math.ceil(action.next_s * 1e3))
        self._on_late(now_s - due_s)
        action.work(due_s)
