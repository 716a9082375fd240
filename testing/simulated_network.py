"""A simulated network: connections like those over TCP, with latency, jitter, loss and breaks, from seeded chance.

Messages of a direction arrive in order. A lost packet delays the message and all later ones of its direction by a
retransmission. A connection that breaks loses what is in flight to the client; messages to the server arrive before
the server notices the break. Times are those of the harness's loop.
"""

from __future__ import annotations

import asyncio
import heapq
import math
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
        try:
            least, most = self.latency_range_ms
            is_valid = 0 <= least <= most
        except (TypeError, ValueError):  # a text, or a tuple of another length
            is_valid = False
        if not is_valid:
            raise ValueError(f"latency_ms must be a number of at least 0, or (least, most); got {self.latency_ms!r}")
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
        self._due: list[_Deliverable] = []
        self._later: list[tuple[float, int, _Deliverable]] = []  # a heap
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None
        self._is_delivering = False

    def add(self, due_s: float, link: _Deliverable) -> None:
        """Add a direction whose oldest message is due at this time."""
        if due_s <= self._loop.time():
            if not self._due and not self._is_delivering:
                self._loop.call_soon(self._deliver_due)
            self._due.append(link)
            return
        heapq.heappush(self._later, (due_s, next(self._numbers), link))
        if self._timer is None or due_s < self._timer.when():
            self._start_timer()

    def _start_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._later[0][0], self._time_reached) if self._later else None

    def _time_reached(self) -> None:
        self._take_due(self._loop.time() + ROUNDING_S)
        self._deliver_due()

    def _take_due(self, until_s: float) -> None:
        """Move the directions that are due by a time from the heap to `_due`, and set the timer to the next one."""
        while self._later and self._later[0][0] <= until_s:
            self._due.append(heapq.heappop(self._later)[2])
        self._start_timer()

    def _deliver_due(self) -> None:
        """Deliver the oldest message of each due direction, and those that they cause at this time."""
        self._is_delivering, at = True, 0
        try:
            while at < len(self._due):
                at += 1
                link = self._due[at - 1]
                next_s = link.deliver_first()
                if next_s is not None:
                    self.add(next_s, link)
        finally:
            self._is_delivering = False
            del self._due[:at]
            if self._due:  # an exception has left them
                self._loop.call_soon(self._deliver_due)

    def flush(self) -> None:
        """Deliver all messages in flight now, in the order of their times, and those that they cause."""
        while self._due or self._later:
            self._take_due(math.inf)
            self._deliver_due()


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

    def send(self, data: bytes | None) -> None:
        """Send a message; None ends the connection."""
        delay_s = self._latency_s + (self._draw_s() if self._is_random else 0.0)
        due_s = self._loop.time() + delay_s
        self._queue.append((due_s, data))  # delivered after all earlier ones, even if it is due before them
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
