"""Admission control: connections start their handshake at a bounded rate, first come, first served.

A thousand clients that reconnect at once would otherwise cost a second of handshakes, and every tick of that second
would be late. Connections that must wait are held before their request is read. Connections that would exceed the
limit are rejected with Retry-After. Pure: the caller passes the time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from tickwire.server.edge.token_bucket import TokenBucket

SLOT_S = 0.02
"""How often the caller releases waiting items."""
BURST_SLOTS = 2
"""The most that is released at one time, in slots, so that a late release can catch up."""

Item = TypeVar("Item")


class AdmissionQueue(Generic[Item]):
    """A queue with a bounded waiting time, in front of a rate limit.

    Args:
        per_second: the rate at which items are released.
        wait_s_max: the longest waiting time; it bounds the length of the queue.
        now_s: the time.
    """

    def __init__(self, *, per_second: float, wait_s_max: float, now_s: float) -> None:
        self._per_second = per_second
        self._waiting_max = int(per_second * wait_s_max)
        self._bucket = TokenBucket(per_second, max(1.0, per_second * SLOT_S * BURST_SLOTS), now_s)
        self._waiting: deque[Item] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether another item would wait for longer than `wait_s_max`."""
        return len(self._waiting) >= self._waiting_max

    @property
    def wait_s(self) -> float:
        """The time for which another item would wait."""
        return len(self._waiting) / self._per_second

    def offer(self, item: Item, now_s: float) -> bool:
        """Admit an item, or enqueue it. The caller checks `is_full` before.

        Returns:
            Whether it is admitted at once.
        """
        if not self._waiting and self._bucket.try_take(now_s):
            return True
        self._waiting.append(item)
        return False

    def release_due(self, now_s: float) -> Iterator[Item]:
        """Yield the waiting items that are admitted now, in order."""
        while self._waiting and self._bucket.try_take(now_s):
            yield self._waiting.popleft()

    def clear(self) -> list[Item]:
        """Remove and return all waiting items."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting
