"""The timeline of a replayed recording: entries near a tick, counts, and its limits."""

from __future__ import annotations

import pytest

from tickwire.server.viewer import timeline as module
from tickwire.server.viewer.timeline import Timeline
from tickwire.server.viewer.views import EntryKind, TimelineEntry


def entry(tick: int, kind: EntryKind = "command") -> TimelineEntry:
    return TimelineEntry(tick, kind, f"{kind} {tick}")


def filled(first: int, last: int) -> Timeline:
    """A timeline with one command a tick."""
    timeline = Timeline(first, last)
    for tick in range(first, last + 1):
        timeline.add(tick, [entry(tick)])
    return timeline


def test_entries_of_a_range_include_both_ends() -> None:
    found = filled(10, 30).find(12, 14, 100)
    assert ([one.tick for one in found.entries], found.more) == ([12, 13, 14], 0)


def test_too_many_entries_are_limited_to_those_nearest_to_the_middle() -> None:
    found = filled(0, 1000).find(400, 600, 10)
    assert [one.tick for one in found.entries] == list(range(495, 505))
    assert found.more == 191


@pytest.mark.parametrize("middle", [0, 1000])
def test_the_limit_is_used_up_at_the_ends_of_a_recording(middle: int) -> None:
    found = filled(0, 1000).find(max(0, middle - 100), middle + 100, 10)
    assert len(found.entries) == 10
    assert found.more == 91


def test_all_entries_of_one_tick_are_found_in_their_order() -> None:
    timeline = Timeline(0, 9)
    timeline.add(5, [entry(5, "join"), entry(5, "command"), entry(5, "event")])
    assert [one.kind for one in timeline.find(5, 5, 10).entries] == ["join", "command", "event"]


def test_counts_cover_each_tick_once() -> None:
    overview = filled(100, 199).count(7)
    assert sum(bucket["command"] for bucket in overview.buckets) == 100
    assert {bucket["command"] for bucket in overview.buckets} == {14, 15}


def test_more_buckets_than_ticks_leave_buckets_empty() -> None:
    overview = filled(3, 4).count(10)
    assert [bucket.get("command", 0) for bucket in overview.buckets] == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_progress_and_the_first_divergence_are_reported() -> None:
    timeline = Timeline(0, 3)
    assert not timeline.count(1).is_complete
    timeline.add(1, [entry(1, "divergence")])
    timeline.add(2, [entry(2, "divergence")])
    overview = timeline.count(1)
    assert (overview.replayed_to, overview.is_complete) == (2, False)
    assert overview.divergence == entry(1, "divergence")
    timeline.add(3, [])
    assert not timeline.count(1).is_complete, "entries can follow the last tick"
    timeline.has_ended = True
    assert timeline.count(1).is_complete


def test_damaged_places_are_reported_up_to_a_limit() -> None:
    timeline = Timeline(0, 100)
    timeline.gaps += [(3, 9), (12, 12), (20, 29), (40, 49), (60, 69)]
    problem = timeline.count(1).problem
    assert problem.startswith("the file is damaged: ticks 3 to 9 are missing; ")
    assert problem.endswith("ticks 20 to 29 are missing; 2 more places are damaged")


def test_entries_above_the_limit_are_counted_and_the_divergence_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENTRIES_MAX", 2)
    timeline = filled(0, 4)
    timeline.add(5, [entry(5, "divergence")])
    overview = timeline.count(1)
    assert overview.problem == "4 entries are left out"
    assert overview.divergence == entry(5, "divergence")
    assert len(timeline.find(0, 9, 100).entries) == 2


def test_a_replay_that_ends_early_is_complete_and_names_the_problem() -> None:
    timeline = Timeline(0, 100)
    timeline.problem = "the replay ends after tick 7"
    assert timeline.count(1).is_complete
    assert timeline.count(1).problem == "the replay ends after tick 7"
