"""A simulated network: connections like those over TCP, with latency, jitter, loss and breaks, from seeded chance.

Messages of a direction arrive in order. A lost packet delays the message and all later ones of its direction by a
retransmission. A connection that breaks loses what is in flight to the client; messages to the server arrive before
the server notices the break. Times are those of the harness's loop.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Protocol

import msgspec

from tickwire.testing.schedule import ChoiceStream
from tickwire.testing.virtual_loop import ROUNDING_S, VirtualLoop


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """The network between a client and the shard.

    Args:
        latency_ms: the delay of each message in one direction, in milliseconds; a pair is the least and the most, and
            each message has a delay between them.
        loss: the probability that a message is lost and sent again, 0 to 1.
        retransmission_ms: the delay of a message that was lost, in addition. TCP takes one round trip if later
            packets arrive, and at least 200 ms otherwise.
        breaks_per_minute: the average number of times that the connection breaks. The client reconnects by itself.
    """

    latency_ms: float | tuple[float, float] = 0.0
    loss: float = 0.0
    retransmission_ms: float = 200.0
    breaks_per_minute: float = 0.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: a value is out of its range.
        """
        least, most = self.latency_range_ms
        if not 0 <= least <= most:
            raise ValueError(f"latency_ms must be a number of at least 0, or (least, most); got {self.latency_ms}")
        if not 0 <= self.loss < 1:
            raise ValueError(f"loss must be at least 0 and less than 1; got {self.loss}")
        if self.retransmission_ms < 0:
            raise ValueError(f"retransmission_ms must be at least 0; got {self.retransmission_ms}")
        if self.breaks_per_minute < 0:
            raise ValueError(f"breaks_per_minute must be at least 0; got {self.breaks_per_minute}")

    @property
    def latency_range_ms(self) -> tuple[float, float]:
        """The least and the most latency of a message."""
        latency = self.latency_ms
        return latency if isinstance(latency, tuple) else (latency, latency)


PERFECT = Network()
"""A network that delivers every message at once."""


class _Deliverable(Protocol):
    """A direction of a connection with messages in flight."""

    def deliver_first(self) -> float | None:
        """Deliver the oldest message. Return when the next one is due; None without one."""


class Deliveries:
    """Delivers the messages of all connections of a harness at their times, with one timer of the loop.

    Args:
        loop: the loop.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._heap: list[tuple[float, int, _Deliverable]] = []
        self._numbers = count()
        self._timer: asyncio.Handle | None = None
        self._timer_due_s = 0.0

    def add(self, due_s: float, link: _Deliverable) -> None:
        """Add a direction whose oldest message is due at this time."""
        heapq.heappush(self._heap, (due_s, next(self._numbers), link))
        if self._timer is None or due_s < self._timer_due_s:
            self._arm(due_s)

    def _arm(self, due_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due_s = due_s
        if due_s <= self._loop.time():
            self._timer = self._loop.call_soon(self._run)
        else:
            self._timer = self._loop.call_at(due_s, self._run)

    def _run(self) -> None:
        self._timer = None
        self._deliver(self._loop.time() + ROUNDING_S)
        if self._heap and self._timer is None:
            self._arm(self._heap[0][0])

    def _deliver(self, until_s: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= until_s:
            _, _, link = heapq.heappop(heap)
            next_s = link.deliver_first()
            if next_s is not None:
                heapq.heappush(heap, (next_s, next(self._numbers), link))

    def flush(self) -> None:
        """Deliver all messages in flight now, in the order of their times."""
        self._deliver(float("inf"))


class NetworkLink:
    """One direction of a connection.

    Args:
        deliveries: delivers the messages of the harness.
        loop: the clock.
        network: the properties of the network.
        stream: the chance of this direction.
        receive: receives each message; None is the end of the connection.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        loop: VirtualLoop,
        network: Network,
        stream: ChoiceStream,
        receive: Callable[[bytes | None], None],
    ) -> None:
        least_ms, most_ms = network.latency_range_ms
        self._deliveries = deliveries
        self._loop = loop
        self._stream = stream
        self._receive = receive
        self._latency_s = least_ms / 1000
        self._jitter_s = (most_ms - least_ms) / 1000
        self._loss, self._retransmission_s = network.loss, network.retransmission_ms / 1000
        self._is_random = bool(self._jitter_s or self._loss)
        self._queue: deque[tuple[float, bytes | None]] = deque()
        self._is_scheduled = False
        self._last_due_s = 0.0

    def send(self, data: bytes | None) -> None:
        """Send a message; None ends the connection."""
        delay_s = self._latency_s + (self._draw_s() if self._is_random else 0.0)
        due_s = self._last_due_s = max(self._last_due_s, self._loop.time() + delay_s)
        self._queue.append((due_s, data))
        if not self._is_scheduled:
            self._is_scheduled = True
            self._deliveries.add(due_s, self)

    def _draw_s(self) -> float:
        """Return the delay of a message above the latency. Always draws two numbers."""
        stream = self._stream
        jitter_s, is_lost = stream.rng.random() * self._jitter_s, stream.rng.random() < self._loss
        if jitter_s and not stream.keeps("delay", jitter_s * 1000):
            jitter_s = 0.0
        if is_lost and stream.keeps("loss", self._retransmission_s * 1000):
            jitter_s += self._retransmission_s
        return jitter_s

    def deliver_first(self) -> float | None:
        """Deliver the oldest message. Return when the next one is due; None without one."""
        queue = self._queue
        if queue:
            self._receive(queue.popleft()[1])
        self._is_scheduled = bool(queue)
        return queue[0][0] if queue else None

    def drop(self) -> None:
        """Lose all messages in flight."""
        self._queue.clear()
