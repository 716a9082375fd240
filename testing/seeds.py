"""`@seeds(n)`: a test that runs with n seeds, as one test.

    @seeds(200)
    def test_worlds_converge(seed):
        with RoomHarness(Arena, seed=seed) as room:
            ...

The first seed that fails ends the test. Its run is repeated to find the choices of chance that the failure needs
(testing/shrink.py), and the report becomes a note of the exception. The decorator works without the pytest plugin,
which adds the options of the command line.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any

from tickwire.testing import failure_report, schedule_file, seed_settings, shrink, test_run
from tickwire.testing.failure_report import FailedSeed
from tickwire.testing.schedule import Choice, SchedulePlan
from tickwire.testing.schedule_file import StoredSchedule
from tickwire.testing.seed_run import RunOutcome, run_once
from tickwire.testing.shrink import ShrinkBudget

SEEDS_MAX = 1_000_000


def seeds(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test with the seeds 0 to `count` - 1, which it receives as its argument `seed`.

    Args:
        count: the number of seeds. `--tickwire-seeds 1000` replaces it, `--tickwire-seed 17` runs one seed.

    Raises:
        TypeError: the test has no parameter `seed`, or it is async.
        ValueError: the number is not between 1 and SEEDS_MAX.
    """
    if not (type(count) is int and 1 <= count <= SEEDS_MAX):
        raise ValueError(f"write @seeds(200): the number of seeds must be from 1 to {SEEDS_MAX}; got {count!r}")

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function)
        _check(function, signature)

        @wraps(function)
        def run_seeds(*args: Any, **kwargs: Any) -> None:
            __tracebackhide__ = True
            failure = _find_failure(partial(function, *args, **kwargs), count)
            if failure is not None:
                raise failure

        # pytest must not look for a fixture with the name `seed`
        others = [parameter for name, parameter in signature.parameters.items() if name != "seed"]
        run_seeds.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
        return run_seeds

    return decorate


def _check(function: Callable[..., None], signature: inspect.Signature) -> None:
    name = getattr(function, "__name__", "the test")
    if "seed" not in signature.parameters:
        raise TypeError(f"seeds: {name} must have a parameter named seed, which receives the seed of each run")
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"seeds: {name} must be a plain function, not async; a RoomHarness needs no event loop")


def _find_failure(call: Callable[..., None], count: int) -> BaseException | None:
    """Run a test with all seeds, and return the exception of the first that fails, with the report as a note.

    A skip ends the run of its seed. The test is skipped if all seeds are.
    """
    __tracebackhide__ = True
    settings = seed_settings.get()
    test = seed_settings.current_test()
    if settings.schedule is not None:
        return _repeat_schedule(call, settings.schedule, test)
    passed, skips = 0, list[RunOutcome]()
    for seed in settings.choose_seeds(count):
        outcome = run_once(call, seed)
        if outcome.error is not None:
            failed = FailedSeed(seed, passed, settings.to_node_id(test) if test else "")
            return _report(call, failed, outcome, test)
        if outcome.skip is None:
            passed += 1
        else:
            skips.append(outcome)
    return _choose_skip(skips, passed)


def _choose_skip(skips: Sequence[RunOutcome], passed: int) -> BaseException | None:
    """Return the exception of a test without a failure: an expected failure of a seed, or the skip of all seeds."""
    expected = next((outcome.skip for outcome in skips if outcome.is_expected_failure), None)
    return expected or (skips[0].skip if skips and not passed else None)


def _repeat_schedule(call: Callable[..., None], path: Path, test: str) -> BaseException | None:
    """Run a test with the seed and the choices of a file."""
    stored = schedule_file.read_schedule(path)
    if test and stored.test != test:
        raise ValueError(f"--tickwire-schedule {path}: the schedule belongs to {stored.test}, not to {test}")
    outcome = run_once(call, stored.seed, shrink.create_plan(stored.choices))
    if outcome.error is not None:
        text = failure_report.describe_choices(stored.choices)
        lines = [f"seed {stored.seed} failed with {text} of {path}", *outcome.state]
        outcome.error.add_note("\n".join(lines))
        test_run.mark_reported()
    return outcome.error or outcome.skip


def _report(call: Callable[..., None], failed: FailedSeed, outcome: RunOutcome, test: str) -> BaseException:
    """Return the exception to raise: that of the smallest failing run, with the report as a note."""
    assert outcome.error is not None
    error, state = outcome.error, outcome.state
    lines: Sequence[str] = ()
    if outcome.is_timeout:
        lines = ["the time limit of the test has ended, so the run is not repeated"]
    elif seed_settings.get().shrink_s > 0:
        recorded = _run_recorded(call, failed.seed)
        if recorded is None:
            lines = ["its schedule has too many choices of chance to be shrunk"]
        elif recorded.kind != outcome.kind:
            lines = ["the same seed did not fail again: run the test with --tickwire-determinism to find the cause"]
        elif recorded.run.choices:
            smallest, lines = _shrink(call, failed, recorded, test)
            if smallest.error is not None:
                error, state = smallest.error, smallest.state
    error.add_note("\n".join([*failed.describe(state), *lines]))
    test_run.mark_reported()
    return error


def _run_recorded(call: Callable[..., None], seed: int) -> RunOutcome | None:
    outcome = run_once(call, seed, is_recording=True)
    return None if outcome.run.is_truncated else outcome


def _shrink(
    call: Callable[..., None], failed: FailedSeed, recorded: RunOutcome, test: str
) -> tuple[RunOutcome, Sequence[str]]:
    """Search for a smaller schedule, write it to a file, and return its run and lines about it."""
    smallest = recorded

    def repeat(plan: SchedulePlan) -> Sequence[Choice] | None:
        nonlocal smallest
        outcome = run_once(call, failed.seed, plan, is_recording=True)
        if outcome.kind != recorded.kind:
            return None
        smallest = outcome
        return outcome.run.choices

    choices = recorded.run.choices
    shrunk = shrink.shrink(choices, repeat, ShrinkBudget(seed_settings.get().shrink_s, time.monotonic))
    lines = failure_report.describe_shrunk(len(choices), shrunk)
    if failed.test:
        lines.append(_write_schedule(failed, StoredSchedule(test, failed.seed, shrunk.choices)))
    return smallest, lines


def _write_schedule(failed: FailedSeed, stored: StoredSchedule) -> str:
    """Write the choices to a file, and return a line with the command that repeats them."""
    try:
        path = schedule_file.write_schedule(seed_settings.get().get_folder(), stored)
    except OSError as error:  # the failure of the test must be reported
        return f"the choices cannot be written to a file: {error}"
    return f"repeat these only: {failed.command_of(str(path))}"
