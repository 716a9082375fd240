"""Finds a small part of a schedule with which a run still fails: delta debugging over its choices.

The algorithm is ddmin (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", 2002). Before it,
whole streams and whole effects are omitted, because most failures need none of the network's thousands of delays.
Choices that are neighbours in time are tried together. Pure: the clock and the runs are parameters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from tickwire.testing.schedule import Choice, SchedulePlan

RUNS_MAX = 500
"""A scenario of some milliseconds reaches this within the time limit; a longer one reaches the time limit first."""

Repeat = Callable[[SchedulePlan], Sequence[Choice] | None]
"""Repeats the run with a plan. Returns its choices, or None if it does not fail in the same way."""


class ShrinkBudget(NamedTuple):
    """The limits of a search.

    Args:
        seconds: the time limit.
        now_s: a monotonic clock in seconds.
        runs: the number of runs.
    """

    seconds: float
    now_s: Callable[[], float]
    runs: int = RUNS_MAX


class ShrunkSchedule(NamedTuple):
    """The result of a search.

    Args:
        choices: the choices that the failure needs, in the order of time.
        runs: the number of runs that the search has made.
        is_minimal: whether the failure disappears without any single one of them. False if the search has reached
            a limit.
    """

    choices: Sequence[Choice]
    runs: int
    is_minimal: bool


def create_plan(choices: Iterable[Choice]) -> SchedulePlan:
    """Return the plan that keeps these choices."""
    kept: defaultdict[str, set[int]] = defaultdict(set)
    for choice in choices:
        kept[choice.stream].add(choice.number)
    return SchedulePlan({stream: frozenset(numbers) for stream, numbers in kept.items()})


def shrink(choices: Sequence[Choice], repeat: Repeat, budget: ShrinkBudget) -> ShrunkSchedule:
    """Return a small part of the choices of a failed run with which it still fails.

    Args:
        choices: the choices of the failed run.
        repeat: repeats the run with a plan.
        budget: the limits of the search.
    """
    search = _Search(choices, repeat, budget)
    try:
        search.omit_groups()
        search.minimise()
    except _BudgetSpent:
        return ShrunkSchedule(search.choices, search.runs, is_minimal=False)
    return ShrunkSchedule(search.choices, search.runs, is_minimal=True)


class _BudgetSpent(Exception):
    """The search has reached a limit."""


class _Search:
    """One search; `choices` is the smallest list that has failed so far."""

    def __init__(self, choices: Sequence[Choice], repeat: Repeat, budget: ShrinkBudget) -> None:
        self.choices = list(choices)
        self.runs = 0
        self._repeat = repeat
        self._budget = budget
        self._ends_s = budget.now_s() + budget.seconds

    def omit_groups(self) -> None:
        """Omit all choices, then each stream, then each effect of each stream; the largest groups first."""
        if self._fails_with([]):
            return
        for key in (_by_stream, _by_effect):
            groups: defaultdict[object, int] = defaultdict(int)
            for choice in self.choices:
                groups[key(choice)] += 1
            for group in sorted(groups, key=groups.__getitem__, reverse=True):
                self._fails_with([choice for choice in self.choices if key(choice) != group])

    def minimise(self) -> None:
        """Omit ever smaller parts, until the failure needs every single choice."""
        parts = 2
        while self.choices:
            size = -(-len(self.choices) // parts)
            if self._omits_one_part(size):
                parts = max(parts - 1, 2)
            elif size == 1:
                return
            else:
                parts = min(parts * 2, len(self.choices))

    def _omits_one_part(self, size: int) -> bool:
        return any(
            self._fails_with(self.choices[:start] + self.choices[start + size :])
            for start in range(0, len(self.choices), size)
        )

    def _fails_with(self, kept: Sequence[Choice]) -> bool:
        """Repeat the run with some of the choices, and continue with them if it fails."""
        if len(kept) == len(self.choices):
            return False
        if self.runs >= self._budget.runs or self._budget.now_s() >= self._ends_s:
            raise _BudgetSpent
        self.runs += 1
        made = self._repeat(create_plan(kept))
        if made is None:
            return False
        self.choices = list(made)
        return True


def _by_stream(choice: Choice) -> object:
    return choice.stream


def _by_effect(choice: Choice) -> object:
    return choice.stream, choice.effect
