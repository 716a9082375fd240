"""What a swarm measures in a second: times as histograms, counts, and failures with their reasons.

Pure: readings come in. A worker hands one `Second` after the other to the master, as msgpack.
"""

from __future__ import annotations

import msgspec

SUB_BITS = 6
"""Times are kept to one part in 64: a percentile is wrong by at most 1.6 %. Buckets as those of
HdrHistogram."""

TIMES = {
    "connect": "TCP, TLS and WebSocket handshake",
    "hello": "Hello to Welcome",
    "join": "Join to the first state, redirects and all",
    "input": "from when an input should have been sent to the first state that shows it",
    "reply": "from when a command should have been asked to its Reply",
    "resume": "from the loss of a connection to the first state after it",
    "blackout": "from the last state before a connection was lost to the first one after it",
    "match": "MatchRequest to the seat in the match",
    "tick": "from one state to the next",
    "jitter": "by how much that differs from what the ticks in between should take",
    "lateness": "by how much the load itself was late: inputs that it did not send when they were due",
}
"""The rows of a report, in milliseconds; `lateness` is of the load, not of the server."""


class Histogram(msgspec.Struct):
    """Times, in buckets of about 1.6 %.

    Attributes:
        counts: by bucket.
        sum_s, max_s: of all times.
    """

    counts: dict[int, int] = {}
    sum_s: float = 0.0
    max_s: float = 0.0

    def record(self, seconds: float) -> None:
        """One more; what is below 0 counts as 0."""
        us = int(seconds * 1e6) if seconds > 0 else 0
        shift = us.bit_length() - SUB_BITS - 1
        key = us if shift <= 0 else (shift << (SUB_BITS + 1)) + (us >> shift)
        self.counts[key] = self.counts.get(key, 0) + 1
        self.sum_s += seconds
        if seconds > self.max_s:
            self.max_s = seconds

    def add(self, other: Histogram) -> None:
        """All of another's."""
        for key, count in other.counts.items():
            self.counts[key] = self.counts.get(key, 0) + count
        self.sum_s += other.sum_s
        self.max_s = max(self.max_s, other.max_s)

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    @property
    def mean_s(self) -> float:
        """The mean; 0 of none."""
        return self.sum_s / self.count if self.counts else 0.0

    def percentile(self, share: float) -> float:
        """The least time that so large a share of all does not exceed, in seconds; 0 of none.

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
        """(milliseconds, how many), ascending."""
        return [(min(_middle_us(key) / 1e3, self.max_s * 1e3), self.counts[key]) for key in sorted(self.counts)]


def _middle_us(key: int) -> float:
    shift, rest = key >> (SUB_BITS + 1), key & ((1 << (SUB_BITS + 1)) - 1)
    return float(rest << shift) + ((1 << shift) - 1) / 2


class Measures(msgspec.Struct):
    """Some while of some players.

    Attributes:
        times: a histogram a row of TIMES.
        counts: states, late_states, missed_ticks, inputs, bytes, joins, drops, resumes, ...
        failures: by row and reason.
    """

    times: dict[str, Histogram] = msgspec.field(default_factory=lambda: {name: Histogram() for name in TIMES})
    counts: dict[str, float] = {}
    failures: dict[str, dict[str, int]] = {}

    def count(self, name: str, by: float = 1) -> None:
        """Counts something."""
        self.counts[name] = self.counts.get(name, 0) + by

    def fail(self, row: str, reason: str, times: int = 1) -> None:
        """Something has gone wrong, and why."""
        reasons = self.failures.setdefault(row, {})
        reasons[reason] = reasons.get(reason, 0) + times

    def add(self, other: Measures) -> None:
        """All of another's."""
        for name, histogram in other.times.items():
            self.times[name].add(histogram)
        for name, count in other.counts.items():
            self.count(name, count)
        for row, reasons in other.failures.items():
            for reason, times in reasons.items():
                self.fail(row, reason, times)

    def got(self, name: str) -> float:
        """What was counted; 0 if nothing was."""
        return self.counts.get(name, 0)

    def failed(self, row: str) -> int:
        """How often."""
        return sum(self.failures.get(row, {}).values())


class PlayerCounts(msgspec.Struct):
    """Who is there, at one moment.

    Attributes:
        players: that were started.
        expected: of those, who should have a seat by now.
        seated: of those, who have one and a connection.
    """

    players: int = 0
    expected: int = 0
    seated: int = 0

    def add(self, other: PlayerCounts) -> None:
        """Those of another process."""
        self.players += other.players
        self.expected += other.expected
        self.seated += other.seated


class Second(msgspec.Struct):
    """What one process has measured in one second.

    Args:
        at: UTC, whole seconds.
        crowd: at its end.
    """

    at: int
    crowd: PlayerCounts
    measures: Measures
