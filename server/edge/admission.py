"""The gate of a shard: handshakes pass at a bounded rate, first come, first served.

A thousand clients that return at once would otherwise be a second of handshakes in one go, and everybody's ticks
would wait for them. Who has to wait is held with its request unread; who would wait too long is told when to come
again instead. Pure; the time comes in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from tickwire.server.edge.token_bucket import TokenBucket

SLOT_S = 0.02
"""The gate opens so often while somebody waits."""
BURST_SLOTS = 2
"""What passes at one time, at most, in slots: a gate that opens late must be able to make up for it."""

Arrival = TypeVar("Arrival")


class AdmissionQueue(Generic[Arrival]):
    """Who waits, and for how long.

    Args:
        per_second: how many pass.
        wait_s_max: nobody waits longer.
        now_s: the time.
    """

    def __init__(self, *, per_second: float, wait_s_max: float, now_s: float) -> None:
        self._per_second = per_second
        self._waiting_max = int(per_second * wait_s_max)
        self._bucket = TokenBucket(per_second, max(1.0, per_second * SLOT_S * BURST_SLOTS), now_s)
        self._waiting: deque[Arrival] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether whoever comes now would wait too long."""
        return len(self._waiting) >= self._waiting_max

    @property
    def wait_s(self) -> float:
        """How long whoever comes now would wait."""
        return len(self._waiting) / self._per_second

    def ask(self, arrival: Arrival, now_s: float) -> bool:
        """Whether it may pass at once; if not, it waits."""
        if not self._waiting and self._bucket.take(now_s):
            return True
        self._waiting.append(arrival)
        return False

    def open(self, now_s: float) -> Iterator[Arrival]:
        """Those whose turn has come, in order."""
        while self._waiting and self._bucket.take(now_s):
            yield self._waiting.popleft()

    def clear(self) -> list[Arrival]:
        """Everybody who waits; nobody does after this."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting
