"""Checks that a scenario is deterministic: runs it twice, compares the rooms after each tick, and names the cause.

first run ---equal?--- second run, in this process
    |            no: both again, with details -> report
    yes
first run ---equal?--- run in another process, in which strings have other hashes
                 no: again with details, and in one more process with the same hashes -> report
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from tickwire.testing.chance_report import Setting, describe, find_cause
from tickwire.testing.run_trace import TraceDifference, find_difference
from tickwire.testing.scenario_process import ScenarioId, record_in_process
from tickwire.testing.scenario_record import ScenarioRecord, record_run

HASH_SEEDS = (1, 2)
"""Two values of PYTHONHASHSEED: one of them differs from that of this process."""

ATTEMPTS_MAX = 3

Record = Callable[[int | None], ScenarioRecord]
"""Records a run, with the details of the tick at a position; None for no details."""


class RecordElsewhere(Protocol):
    """Records a run in another process."""

    def __call__(self, position: int | None, /, *, hash_seed: int) -> ScenarioRecord:
        """Record a run.

        Args:
            position: the index of the tick whose details are recorded; None to record no details.
            hash_seed: the value of PYTHONHASHSEED.
        """


class NotDeterministic(AssertionError):
    """Two runs of a scenario with the same seed differ."""


def check_determinism(scenario: Callable[[int], object], seed: int = 1, *, other_process: bool = True) -> None:
    """Run a scenario twice and compare its rooms after each tick; then once in a process with other hashes.

        def duel(seed):
            with RoomHarness(Arena, seed=seed) as room:
                ...

        def test_a_duel_is_deterministic():
            check_determinism(duel, seed=7)

    Args:
        scenario: a function with the parameter `seed`, which creates its harnesses. With `other_process` it is a
            function of a module, so that the other process can import it.
        seed: the seed of all runs.
        other_process: whether to run the scenario in other processes, too. It takes about a second, and finds the
            order of a set of strings.

    Raises:
        NotDeterministic: two runs differ; the message names the tick, the hook and the source of chance.
        ValueError: the scenario has run no harness, or the other process cannot import it.
    """
    elsewhere = partial(record_in_process, ScenarioId.of(scenario, seed)) if other_process else None
    compare_runs(partial(scenario, seed), elsewhere)


def compare_runs(call: Callable[[], object], elsewhere: RecordElsewhere | None) -> None:
    """Compare runs of a scenario; see `check_determinism`.

    Args:
        call: runs the scenario in this process.
        elsewhere: runs it in another process; None to compare in this process only.

    Raises:
        NotDeterministic, ValueError: see `check_determinism`.
    """
    first = record_run(call)
    if not first.entries:
        raise ValueError("the scenario has run no tick of a RoomHarness, so there is nothing to compare")
    difference = find_difference(first.entries, _record_again(call).entries)
    if difference is not None:
        _raise(difference, "one process", partial(record_run, call), partial(_record_again, call))
    if elsewhere is not None:
        for hash_seed in HASH_SEEDS:
            there = partial(elsewhere, hash_seed=hash_seed)
            other = there(None)
            difference = find_difference(first.entries, other.entries)
            if difference is not None:
                is_by_hashes = find_difference(other.entries, there(None).entries) is None
                here = partial(record_run, call) if is_by_hashes else there
                _raise(difference, "other hash seed" if is_by_hashes else "other process", here, there)


def _record_again(call: Callable[[], object], position: int | None = None) -> ScenarioRecord:
    """Record another run, in which objects have other addresses."""
    moved: list[Any] = [bytearray(size) for size in range(0, 512, 3)] + [object() for _ in range(1000)]
    record = record_run(call, position)
    del moved
    return record


def _raise(difference: TraceDifference, setting: Setting, here: Record, there: Record) -> None:
    """Record two runs with the details of the first difference, and raise the report.

    The details may show another first difference, because chance decides where it is; then they are recorded again.
    """
    for _ in range(ATTEMPTS_MAX):
        one, other = here(difference.position), there(difference.position)
        repeated = find_difference(one.entries, other.entries)
        if repeated is not None and repeated.position == difference.position:
            break
        difference = repeated or difference
    raise NotDeterministic("\n".join(describe(difference, find_cause(one, other), setting)))
