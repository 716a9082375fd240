"""The trace of a run: the fingerprint of each room after each tick, and the first difference of two traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

from tickwire.testing.fingerprint import take_event_fingerprint, take_fingerprint
from tickwire.testing.test_run import ObservedHarness


class TraceEntry(NamedTuple):
    """One tick of one room.

    Args:
        harness: the number of the harness in the run, from 1.
        tick: the tick.
        parts: the names of the parts of the room, ascending.
        checksums: their checksums.
    """

    harness: int
    tick: int
    parts: tuple[str, ...]
    checksums: tuple[int, ...]

    def differing_parts(self, other: TraceEntry) -> list[str]:
        """Return the names of the parts that differ, ascending."""
        mine = dict(zip(self.parts, self.checksums, strict=True))
        theirs = dict(zip(other.parts, other.checksums, strict=True))
        return sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))


class TraceDifference(NamedTuple):
    """The first difference of two traces.

    Args:
        position: the index of the entry in both traces.
        harness: the number of the harness.
        tick: the tick.
        parts: the parts that differ; empty if one run has ended before the other, or another room has ticked.
    """

    position: int
    harness: int
    tick: int
    parts: Sequence[str]


class RunTrace:
    """Records the trace of a run; pass it to `TestRun` as `on_tick`."""

    def __init__(self) -> None:
        self.entries: list[TraceEntry] = []
        self._parts: dict[tuple[str, ...], tuple[str, ...]] = {}  # one tuple for all ticks

    def __call__(self, number: int, harness: ObservedHarness, /) -> None:
        """Record a tick."""
        fingerprint = {"closed": 1}
        if harness.is_open:
            runtime = harness.runtime
            fingerprint = take_fingerprint(runtime.room) | take_event_fingerprint(runtime)
        self.add(number, harness.tick, fingerprint)

    def add(self, harness: int, tick: int, fingerprint: Mapping[str, int]) -> None:
        """Add an entry."""
        parts = tuple(sorted(fingerprint))
        parts = self._parts.setdefault(parts, parts)
        self.entries.append(TraceEntry(harness, tick, parts, tuple(fingerprint[name] for name in parts)))


def find_difference(one: Sequence[TraceEntry], other: Sequence[TraceEntry]) -> TraceDifference | None:
    """Return the first difference of two traces; None if they are equal."""
    for index, (entry, twin) in enumerate(zip_longest(one, other)):
        if entry == twin:
            continue
        seen = entry or twin
        assert seen is not None
        is_same_tick = entry is not None and twin is not None and entry[:2] == twin[:2]
        parts = entry.differing_parts(twin) if is_same_tick else []
        return TraceDifference(index, seen.harness, seen.tick, parts)
    return None
