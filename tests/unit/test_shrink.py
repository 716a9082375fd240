"""Schedules of chance, and the search for the choices that a failure needs."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tickwire.testing.schedule import Choice, Schedule, SchedulePlan
from tickwire.testing.shrink import ShrinkBudget, ShrunkSchedule, create_plan, shrink


def choices_of(plan: SchedulePlan) -> list[tuple[str, int]]:
    return [(stream, number) for stream, numbers in plan.kept.items() for number in sorted(numbers)]


class Failure:
    """A run that fails if it keeps certain choices."""

    def __init__(self, count: int, needed: set[tuple[str, int]]) -> None:
        streams = ["play"] * 20 + [f"client {number} to server" for number in range(10)]
        rng = random.Random(count)
        numbers = dict.fromkeys(streams, 0)
        self.choices = []
        for tick in range(count):
            stream = rng.choice(streams)
            numbers[stream] += 1
            self.choices.append(Choice(stream, numbers[stream], rng.choice(["delay", "loss"]), 0.0, tick))
        self.needed = needed

    def repeat(self, plan: SchedulePlan) -> Sequence[Choice] | None:
        kept = set(choices_of(plan))
        if not self.needed <= kept:
            return None
        return [choice for choice in self.choices if (choice.stream, choice.number) in kept]


def search(failure: Failure, *, runs: int = 500, seconds: float = 1.0) -> ShrunkSchedule:
    return shrink(failure.choices, failure.repeat, ShrinkBudget(seconds, lambda: 0.0, runs))


@pytest.mark.parametrize(
    "needed", [{("play", 7)}, {("play", 3), ("play", 100)}, {("play", 9), ("client 3 to server", 2)}]
)
def test_the_needed_choices_are_found_among_many(needed: set[tuple[str, int]]) -> None:
    found = search(Failure(400, needed))
    assert {(choice.stream, choice.number) for choice in found.choices} == needed
    assert found.is_minimal
    assert found.runs <= 120


def test_a_failure_that_needs_no_chance_takes_one_run() -> None:
    assert search(Failure(400, set())) == ShrunkSchedule([], 1, is_minimal=True)


def test_a_failure_that_needs_all_choices_keeps_them() -> None:
    failure = Failure(12, set())
    failure.needed = {(choice.stream, choice.number) for choice in failure.choices}
    found = search(failure)
    assert found.choices == failure.choices
    assert found.is_minimal


def test_a_search_ends_at_the_number_of_runs_with_the_best_so_far() -> None:
    failure = Failure(400, {("play", 3), ("play", 100)})
    found = search(failure, runs=6)
    assert found.runs == 6
    assert not found.is_minimal
    assert failure.repeat(create_plan(found.choices)) is not None
    assert len(found.choices) < len(failure.choices)


def test_a_search_ends_at_its_time_limit() -> None:
    times = iter([0.0, 0.5, 0.9, 1.0])
    failure = Failure(400, {("play", 3), ("play", 100)})
    found = shrink(failure.choices, failure.repeat, ShrinkBudget(1.0, lambda: next(times)))
    assert found.runs == 2
    assert not found.is_minimal


def draws(schedule: Schedule, name: str) -> list[tuple[float, bool]]:
    stream = schedule.stream(name)
    return [(stream.rng.random(), stream.keeps("loss")) for _ in range(20)]


def test_an_omitted_choice_changes_no_other_choice() -> None:
    everything = draws(Schedule(7), "ann to server")
    plan = SchedulePlan({"ann to server": frozenset({2, 5})})
    some = draws(Schedule(7, plan), "ann to server")
    assert [value for value, _ in some] == [value for value, _ in everything]
    assert [number for number, (_, is_kept) in enumerate(some, 1) if is_kept] == [2, 5]
    assert all(is_kept for _, is_kept in everything)
    assert not any(is_kept for _, is_kept in draws(Schedule(7, plan), "bob to server"))


def test_streams_and_seeds_have_chance_of_their_own() -> None:
    first = [value for value, _ in draws(Schedule(7), "ann to server")]
    assert first != [value for value, _ in draws(Schedule(8), "ann to server")]
    assert first != [value for value, _ in draws(Schedule(7), "bob to server")]
    schedule = Schedule(7)
    draws(schedule, "bob to server")
    assert [value for value, _ in draws(schedule, "ann to server")] == first
