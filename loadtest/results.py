"""The results of a run: all seconds from all workers. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tickwire.loadtest.metrics import Measures, PlayerCounts, Second

LATENESS_S_MAX = 0.02
"""If the 99th percentile of the load's lateness is above this, the load measured itself. See `--load-lateness`."""
SERIES = ("input", "tick", "jitter", "resume", "blackout", "join", "lateness")
SECONDS_MAX = 900
"""The number of seconds that are kept completely, for steps and storms; older ones are kept as points only."""
POINTS_MAX = 24 * 3600
"""The number of points in the charts. In a longer run the oldest are dropped; the totals include them."""


class SecondOfSwarm(msgspec.Struct):
    """One second of the whole swarm."""

    player_counts: PlayerCounts = msgspec.field(default_factory=PlayerCounts)
    measures: Measures = msgspec.field(default_factory=Measures)


class Point(msgspec.Struct, frozen=True):
    """One second of the charts; times in milliseconds."""

    at_s: float
    players: int
    expected: int
    seated: int
    bytes_per_second: float
    states: float
    late_states: float
    missed_ticks: float
    resumes: int
    drops: float
    failures: int
    p50_ms: dict[str, float]
    p99_ms: dict[str, float]


class Results:
    """The results of a run so far.

    Args:
        lateness_s_max: the largest lateness of a valid load.

    Attributes:
        total: the measurements of the whole run.
        seconds: the newest seconds, by UTC time.
    """

    def __init__(self, lateness_s_max: float = LATENESS_S_MAX) -> None:
        self.lateness_s_max = lateness_s_max
        self.total = Measures()
        self.seconds: dict[int, SecondOfSwarm] = {}
        self._first = 0
        self._points: dict[int, Point] = {}  # of the seconds that are not kept completely

    def clear(self) -> None:
        """Discard all results."""
        self.total = Measures()
        self.seconds.clear()
        self._points.clear()
        self._first = 0

    def restart_totals(self) -> None:
        """Restart the totals after the ramp-up; the charts keep it."""
        self.total = Measures()

    def add(self, second: Second) -> None:
        """Add one second of one process, in any order."""
        self.total.add(second.measures)
        second_of_swarm = self.seconds.setdefault(second.at, SecondOfSwarm())
        second_of_swarm.player_counts.add(second.player_counts)
        second_of_swarm.measures.add(second.measures)
        self._first = min(self._first or second.at, second.at)
        if len(self.seconds) > SECONDS_MAX:
            oldest = min(self.seconds)
            self._points[oldest] = _point(oldest - self._first, self.seconds.pop(oldest))
            if len(self._points) > POINTS_MAX:
                del self._points[next(iter(self._points))]

    def between(self, start: float, end: float) -> Measures:
        """Return the measurements of a period: from `start` to `end`, exclusive, UTC."""
        found = Measures()
        for at, second_of_swarm in self.seconds.items():
            if start <= at < end:
                found.add(second_of_swarm.measures)
        return found

    @property
    def load_lateness_s(self) -> float:
        """The 99th percentile of the load's own lateness."""
        return self.total.times["lateness"].percentile(0.99)

    @property
    def is_load_late(self) -> bool:
        """Whether the load was so late that the figures are its own, and not the server's."""
        return self.load_lateness_s > self.lateness_s_max

    def player_counts_at(self, at: int) -> PlayerCounts:
        """Return the numbers of players in a second; zeros if it is unknown."""
        second_of_swarm = self.seconds.get(at)
        return second_of_swarm.player_counts if second_of_swarm is not None else PlayerCounts()

    def recovery_s(self, since: float) -> float | None:
        """Return the seconds from a moment until all expected players had a seat; None if they never did."""
        back = None
        for at in sorted(at for at in self.seconds if at >= since):
            player_counts = self.seconds[at].player_counts
            if player_counts.seated < player_counts.expected:
                back = None
            elif back is None:
                back = at + 1 - since
        return back

    def points(self) -> list[Point]:
        """Return the points of the charts, in order."""
        whole = [_point(at - self._first, self.seconds[at]) for at in sorted(self.seconds)]
        return [*self._points.values(), *whole]


def _point(at_s: float, second_of_swarm: SecondOfSwarm) -> Point:
    measures, player_counts = second_of_swarm.measures, second_of_swarm.player_counts
    times = {name: measures.times[name] for name in SERIES if measures.times[name].counts}
    return Point(
        at_s=at_s,
        players=player_counts.players,
        expected=player_counts.expected,
        seated=player_counts.seated,
        bytes_per_second=measures.get_count("bytes"),
        states=measures.get_count("states"),
        late_states=measures.get_count("late_states"),
        missed_ticks=measures.get_count("missed_ticks"),
        resumes=measures.times["resume"].count,
        drops=measures.get_count("drops"),
        failures=sum(measures.failed(row) for row in measures.failures),
        p50_ms={name: histogram.percentile(0.5) * 1e3 for name, histogram in times.items()},
        p99_ms={name: histogram.percentile(0.99) * 1e3 for name, histogram in times.items()},
    )


def results_from_seconds(seconds: Iterable[Second]) -> Results:
    """Return the results of the given seconds."""
    results = Results()
    for second in seconds:
        results.add(second)
    return results
