"""The figures of one second of a swarm: times as histograms, counts, and failures with their reasons.

Pure: the caller passes the readings. Workers send each `Second` to the master as msgpack.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

SUB_BITS = 6
"""The resolution of times is one part in 64: the error of a percentile is at most 1.6 %. Buckets as in
HdrHistogram."""
PENDING_MAX = 1024
"""The number of times that wait for their buckets."""

TIMES = {
    "connect": "TCP, TLS and WebSocket handshake",
    "hello": "Hello to Welcome",
    "join": "Join to the first state, including redirects",
    "input": "due time of an input to the first state that includes it",
    "reply": "due time of a command to its Reply",
    "resume": "loss of a connection to the first state after it",
    "blackout": "last state before a lost connection to the first one after it",
    "match": "MatchRequest to the seat in the match",
    "tick": "one state to the next",
    "jitter": "deviation of that time from the duration of the ticks in between",
    "lateness": "delay of the load itself: due time of an input to its sending",
}
"""The rows of a report, in milliseconds; `lateness` is a figure of the load, not of the server."""


class Histogram(msgspec.Struct):
    """A histogram of times, with buckets of about 1.6 %.

    A swarm records some hundred thousand times a second. A recorded time is only appended; the buckets of many times
    are then computed at once.

    Attributes:
        buckets, bucketed_sum_s, bucketed_max_s: the number of times by bucket, their sum and their maximum, without
            `pending`. `counts`, `sum_s` and `max_s` include these.
        pending: times that are not in a bucket yet.
    """

    buckets: dict[int, int] = {}
    bucketed_sum_s: float = 0.0
    bucketed_max_s: float = 0.0
    pending: list[float] = []

    def record(self, seconds: float) -> None:
        """Add a time. Negative times count as 0."""
        self.pending.append(seconds)
        if len(self.pending) >= PENDING_MAX:
            self._sort_pending()

    def add(self, other: Histogram) -> None:
        """Add all times of another histogram."""
        self._sort_pending()
        for key, count in other.counts.items():
            self.buckets[key] = self.buckets.get(key, 0) + count
        self.bucketed_sum_s += other.sum_s
        self.bucketed_max_s = max(self.bucketed_max_s, other.max_s)

    def _sort_pending(self) -> None:
        """Move the pending times to their buckets."""
        if not self.pending:
            return
        seconds = np.array(self.pending)
        self.pending.clear()
        keys, counts = np.unique(_keys(seconds), return_counts=True)
        for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
            self.buckets[key] = self.buckets.get(key, 0) + count
        self.bucketed_sum_s += float(seconds.sum())
        self.bucketed_max_s = max(self.bucketed_max_s, float(seconds.max()))

    @property
    def counts(self) -> dict[int, int]:
        """The number of times by bucket."""
        self._sort_pending()
        return self.buckets

    @property
    def sum_s(self) -> float:
        """The sum of all times."""
        self._sort_pending()
        return self.bucketed_sum_s

    @property
    def max_s(self) -> float:
        """The largest time; 0 without times."""
        self._sort_pending()
        return self.bucketed_max_s

    @property
    def count(self) -> int:
        """The number of times."""
        return sum(self.counts.values())

    @property
    def mean_s(self) -> float:
        """The mean; 0 without times."""
        return self.sum_s / self.count if self.counts else 0.0

    def percentile(self, share: float) -> float:
        """Return the smallest time that is not exceeded by the given share of all times, in seconds; 0 without times.

        Args:
            share: from 0 to 1.
        """
        rank, seen = max(1, -int(-share * self.count // 1)), 0
        for key in sorted(self.counts):
            seen += self.counts[key]
            if seen >= rank:
                return min(_middle_us(key) / 1e6, self.max_s)
        return 0.0

    def items_ms(self) -> list[tuple[float, int]]:
        """Return (milliseconds, count) for each bucket, ascending."""
        return [(min(_middle_us(key) / 1e3, self.max_s * 1e3), self.counts[key]) for key in sorted(self.counts)]


def _keys(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the buckets of times: whole microseconds, without the bits after the first SUB_BITS + 1."""
    us = (np.maximum(seconds, 0.0) * 1e6).astype(np.int64)
    bit_lengths = np.frexp(us)[1].astype(np.int64)
    shift = np.maximum(bit_lengths - SUB_BITS - 1, 0)
    return (shift << (SUB_BITS + 1)) + (us >> shift)


def _middle_us(key: int) -> float:
    shift, rest = key >> (SUB_BITS + 1), key & ((1 << (SUB_BITS + 1)) - 1)
    return float(rest << shift) + ((1 << shift) - 1) / 2


class Measures(msgspec.Struct):
    """The measurements of some players over some time.

    Attributes:
        times: a histogram for each row of TIMES.
        counts: states, late_states, missed_ticks, inputs, bytes, joins, drops, resumes, ...
        failures: the number of failures by row and reason.
    """

    times: dict[str, Histogram] = msgspec.field(default_factory=lambda: {name: Histogram() for name in TIMES})
    counts: dict[str, float] = {}
    failures: dict[str, dict[str, int]] = {}

    def count(self, name: str, by: float = 1) -> None:
        """Increase a counter."""
        self.counts[name] = self.counts.get(name, 0) + by

    def fail(self, row: str, reason: str, times: int = 1) -> None:
        """Count a failure with its reason."""
        reasons = self.failures.setdefault(row, {})
        reasons[reason] = reasons.get(reason, 0) + times

    def add(self, other: Measures) -> None:
        """Add all measurements of another object."""
        for name, histogram in other.times.items():
            self.times[name].add(histogram)
        for name, count in other.counts.items():
            self.count(name, count)
        for row, reasons in other.failures.items():
            for reason, times in reasons.items():
                self.fail(row, reason, times)

    def get_count(self, name: str) -> float:
        """Return the value of a counter; 0 if it was never increased."""
        return self.counts.get(name, 0)

    def failed(self, row: str) -> int:
        """Return the number of failures of a row."""
        return sum(self.failures.get(row, {}).values())


class PlayerCounts(msgspec.Struct):
    """The numbers of players at one moment.

    Attributes:
        players: the started players.
        expected: the players that should have a seat by now.
        seated: the expected players that have a seat and a connection.
    """

    players: int = 0
    expected: int = 0
    seated: int = 0

    def add(self, other: PlayerCounts) -> None:
        """Add the numbers of another process."""
        self.players += other.players
        self.expected += other.expected
        self.seated += other.seated


class Second(msgspec.Struct):
    """The measurements of one process in one second.

    Args:
        at: the second, UTC.
        player_counts: the numbers of players at its end.
        measures: the measurements.
    """

    at: int
    player_counts: PlayerCounts
    measures: Measures
