"""Keeps a fault in one item away from the other items of a shared background task.

One task saves all rooms, one renews all leases, one sweeps all connections. An exception that a single room or
connection causes is logged and counted, and the task continues with the next item. A fault of the task itself is not
caught here: it fails the shard's liveness check.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger(__name__)

ITEMS_MAX = 1000
"""The failing items that are remembered, so that a fault that recurs every second is logged once."""


class FaultIsolation:
    """Guards the items of background tasks.

    Attributes:
        faults: the number of faults by task.
    """

    def __init__(self) -> None:
        self.faults: Counter[str] = Counter()
        self._failing: set[tuple[str, str]] = set()

    @contextmanager
    def guard(self, task: str, item: str, *, passes: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Guard the work on one item: an exception is counted, and logged with its traceback the first time.

        Args:
            task: the name of the task, for the log and the metric.
            item: the name of the item, for the log.
            passes: exceptions that concern the whole task, such as a store that does not answer.
        """
        try:
            yield
        except passes:
            raise
        except Exception as error:
            self.faults[task] += 1
            if (task, item) in self._failing:
                return
            if len(self._failing) >= ITEMS_MAX:
                self._failing.clear()
            self._failing.add((task, item))
            log.exception("background_item_failed", task=task, item=item, error=repr(error)[:500])
        else:
            self._failing.discard((task, item))
