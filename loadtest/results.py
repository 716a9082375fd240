"""All that a run has found: second by second, from every worker. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tickwire.loadtest.metrics import Measures, PlayerCounts, Second

LATENESS_S_MAX = 0.02
"""A load that is later than this, at the 99th percentile, has measured itself; `--load-lateness` says otherwise."""
SERIES = ("input", "tick", "jitter", "resume", "blackout", "join", "lateness")
SECONDS_MAX = 900
"""So many seconds are kept whole, for steps and storms; of those before, what is charted."""
POINTS_MAX = 24 * 3600
"""Of a longer run the oldest seconds are left out of the charts; the totals have them."""


class SecondOfSwarm(msgspec.Struct):
    """One second of the whole swarm."""

    player_counts: PlayerCounts = msgspec.field(default_factory=PlayerCounts)
    measures: Measures = msgspec.field(default_factory=Measures)


class Point(msgspec.Struct, frozen=True):
    """One second, as it is charted: times in milliseconds."""

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
    """What was found so far.

    Args:
        lateness_s_max: a load that is later has measured itself.

    Attributes:
        total: of the whole run.
        seconds: the newest, by second, UTC.
    """

    def __init__(self, lateness_s_max: float = LATENESS_S_MAX) -> None:
        self.lateness_s_max = lateness_s_max
        self.total = Measures()
        self.seconds: dict[int, SecondOfSwarm] = {}
        self._first = 0
        self._points: dict[int, Point] = {}  # of those that are not kept whole

    def clear(self) -> None:
        """Forgets all."""
        self.total = Measures()
        self.seconds.clear()
        self._points.clear()
        self._first = 0

    def restart_totals(self) -> None:
        """What came before, the way up, counts no more; the charts keep it."""
        self.total = Measures()

    def add(self, second: Second) -> None:
        """One second of one process, whenever it arrives."""
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
        """Of some while: from `start`, up to and without `end`, UTC."""
        found = Measures()
        for at, second_of_swarm in self.seconds.items():
            if start <= at < end:
                found.add(second_of_swarm.measures)
        return found

    @property
    def load_lateness_s(self) -> float:
        """By how much the load itself was late, 99th percentile."""
        return self.total.times["lateness"].percentile(0.99)

    @property
    def is_load_late(self) -> bool:
        """Whether the figures are the load's own, rather than the server's."""
        return self.load_lateness_s > self.lateness_s_max

    def player_counts_at(self, at: int) -> PlayerCounts:
        """Who was there in a second; nobody where nothing is known."""
        second_of_swarm = self.seconds.get(at)
        return second_of_swarm.player_counts if second_of_swarm is not None else PlayerCounts()

    def recovery_s(self, since: float) -> float | None:
        """How long after a second_of_swarm everybody had a seat again, to the second; None: not until now."""
        back = None
        for at in sorted(at for at in self.seconds if at >= since):
            player_counts = self.seconds[at].player_counts
            if player_counts.seated < player_counts.expected:
                back = None
            elif back is None:
                back = at + 1 - since
        return back

    def points(self) -> list[Point]:
        """The charts' points, in order."""
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
    """The results of some seconds."""
    results = Results()
    for second in seconds:
        results.add(second)
    return results
