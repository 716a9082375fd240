"""The timeline of a recording: actions of players, outcomes, events and errors, in the order of the ticks. Pure.

It is filled while the recording is replayed once, in another thread than that of the readers: it only grows.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from tickwire.server.viewer.views import TimelineEntry, TimelineOverview, TimelinePage

ENTRIES_MAX = 200_000
"""About 100 MB of memory. Later entries are left out and counted."""
GAPS_SHOWN = 3


class Timeline:
    """The entries of a recording.

    Args:
        first_tick, last_tick: the ticks of the recording.

    Attributes:
        left_out: the number of entries that are left out because of ENTRIES_MAX.
        replayed_to: the tick up to which the recording was replayed.
        has_ended: whether the replay has reached the end of the recording; entries can follow the last tick.
        gaps: the ranges of ticks that are missing because the file is damaged there.
        problem: why the replay has ended early; empty if it has not.
    """

    def __init__(self, first_tick: int, last_tick: int) -> None:
        self.first_tick = first_tick
        self.last_tick = last_tick
        self.left_out = 0
        self.replayed_to = first_tick
        self.has_ended = False
        self.gaps: list[tuple[int, int]] = []
        self.problem = ""
        self._divergence: TimelineEntry | None = None
        self._entries: list[TimelineEntry] = []
        self._ticks: list[int] = []

    @property
    def is_complete(self) -> bool:
        """Whether the whole recording was replayed, or its replay has ended early."""
        return self.has_ended or bool(self.problem)

    def add(self, tick: int, entries: Iterable[TimelineEntry]) -> None:
        """Add the entries of the next tick; the replay has reached it."""
        for entry in entries:
            if entry.kind == "divergence" and self._divergence is None:
                self._divergence = entry
            if len(self._entries) < ENTRIES_MAX:
                self._entries.append(entry)
                self._ticks.append(entry.tick)
            else:
                self.left_out += 1
        self.replayed_to = tick

    def find(self, from_tick: int, to_tick: int, limit: int) -> TimelinePage:
        """Return the entries of a range of ticks: at most `limit`, those nearest to its middle."""
        low, high = bisect_left(self._ticks, from_tick), bisect_right(self._ticks, to_tick)
        middle = bisect_left(self._ticks, (from_tick + to_tick) // 2, low, high)
        start = max(low, min(middle - limit // 2, high - limit))
        end = min(high, start + limit)
        return TimelinePage(self._entries[start:end], high - low - (end - start))

    def count(self, buckets: int) -> TimelineOverview:
        """Return the numbers of entries in equal parts of the recording."""
        ticks = max(1, self.last_tick - self.first_tick + 1)
        counts: list[dict[str, int]] = [{} for _ in range(buckets)]
        for entry in self._entries:
            place = (entry.tick - self.first_tick) * buckets // ticks
            bucket = counts[min(buckets - 1, max(0, place))]
            bucket[entry.kind] = bucket.get(entry.kind, 0) + 1
        problem = self._describe_problem()
        return TimelineOverview(self.replayed_to, self.is_complete, self._divergence, counts, problem)

    def _describe_problem(self) -> str:
        problems = [f"the file is damaged: ticks {low} to {high} are missing" for low, high in self.gaps[:GAPS_SHOWN]]
        if len(self.gaps) > GAPS_SHOWN:
            problems.append(f"{len(self.gaps) - GAPS_SHOWN} more places are damaged")
        if self.problem:
            problems.append(self.problem)
        if self.left_out:
            problems.append(f"{self.left_out} entries are left out")
        return "; ".join(problems)
