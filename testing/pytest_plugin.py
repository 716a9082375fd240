"""The pytest plugin, the entry point `tickwire` of the group `pytest11`. `-p no:tickwire` disables it.

    room_harness          fixture: creates harnesses, and closes them at the end of the test, or of a seed
    --tickwire-seed       the only seed of all tests with `@seeds`
    --tickwire-seeds      the number of seeds of each test
    --tickwire-schedule   a file with the schedule of a failed run
    --tickwire-shrink-s   the time limit of a search for a smaller schedule
    --tickwire-determinism    run each test that uses a harness again, and compare the rooms tick by tick

The report of a failed test shows the last state of its newest harness. pytest imports this module in every project
that has Tickwire installed, so it imports neither the server nor numpy.
"""

from __future__ import annotations

import argparse
import inspect
import os
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tickwire import testing
from tickwire.testing import seed_settings, test_run
from tickwire.testing.seed_settings import SHRINK_S, SeedSettings
from tickwire.testing.test_run import TestRun

_OUTSIDE_HARNESS = (
    "--tickwire-determinism: the test is not checked, because it uses a harness that a fixture has created, and "
    "another call of the test would continue that room; create the harness in the test, or use check_determinism"
)
_PREVIOUS = pytest.StashKey[SeedSettings]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("tickwire", "Tickwire rooms")
    group.addoption("--tickwire-seed", type=int, metavar="SEED", help="run tests with @seeds with this seed only")
    group.addoption(
        "--tickwire-seeds", type=_positive, metavar="COUNT", help="run each test with @seeds with COUNT seeds"
    )
    group.addoption(
        "--tickwire-schedule", type=Path, metavar="FILE", help="repeat the schedule that a failed test has written"
    )
    group.addoption(
        "--tickwire-shrink-s",
        type=float,
        default=SHRINK_S,
        metavar="SECONDS",
        help="search at most this long for the choices that a failure needs; 0: no search (default: %(default)s)",
    )
    group.addoption(
        "--tickwire-determinism",
        action="store_true",
        help="run each test that uses a harness again, also in other processes, and compare the rooms tick by tick",
    )
    group.addoption("--tickwire-record-run", type=Path, help=argparse.SUPPRESS)


def _positive(text: str) -> int:
    if (count := int(text)) < 1:
        raise ValueError
    return count


def pytest_configure(config: pytest.Config) -> None:
    """Apply the options. With `--pdb` the debugger opens at the first failure, without a search."""
    option = config.option
    if option.tickwire_schedule is not None and not option.tickwire_schedule.is_file():
        raise pytest.UsageError(f"--tickwire-schedule: the file {option.tickwire_schedule} does not exist")
    config.stash[_PREVIOUS] = seed_settings.get()
    seed_settings.configure(
        SeedSettings(
            seed=option.tickwire_seed,
            seed_count=option.tickwire_seeds,
            schedule=option.tickwire_schedule,
            shrink_s=0.0 if config.getoption("usepdb", default=False) else option.tickwire_shrink_s,
            to_node_id=partial(_to_node_id, config),
        )
    )
    if config.pluginmanager.has_plugin("cacheprovider"):
        seed_settings.configure(seed_settings.get()._replace(get_folder=partial(_get_folder, config)))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Restore the settings: a session may run inside of another one, as in tests of plugins."""
    if _PREVIOUS in config.stash:
        seed_settings.configure(config.stash[_PREVIOUS])


def _get_folder(config: pytest.Config) -> Path:
    """Return the plugin's folder in pytest's cache; relative to the current directory, if it is inside."""
    assert config.cache is not None
    folder, here = Path(config.cache.mkdir("tickwire")), config.invocation_params.dir
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _to_node_id(config: pytest.Config, test: str) -> str:
    """Return the id of a test, which is relative to pytest's root, relative to the current directory."""
    path, separator, name = test.partition("::")
    return os.path.relpath(config.rootpath / path, config.invocation_params.dir) + separator + name


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Observe the harnesses of a test, and add the last state of its newest one to the report of a failure."""
    with test_run.running(TestRun()) as run:
        try:
            return (yield)
        except Exception as error:
            if lines := run.describe_state():
                error.add_note("\n".join(lines))
            raise


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """With `--tickwire-determinism`, run a test that has passed again, and compare its rooms."""
    option, run = pyfuncitem.config.option, test_run.current()
    result = yield
    is_wanted = option.tickwire_determinism or option.tickwire_record_run is not None
    if is_wanted and run is not None and run.last is not None and not _has_other_examples(pyfuncitem.obj):
        from tickwire.testing import pytest_determinism

        if run.has_outside_harness:
            pyfuncitem.warn(pytest.PytestWarning(_OUTSIDE_HARNESS))
        else:
            pytest_determinism.check(pyfuncitem)
    return result


def _has_other_examples(function: object) -> bool:
    """Return whether another call of a test differs by design, or cannot be made: Hypothesis, coroutines."""
    return getattr(function, "is_hypothesis_test", False) or inspect.iscoroutinefunction(function)


@pytest.fixture
def room_harness() -> Iterator[Callable[..., Any]]:
    """Create harnesses: `room_harness(Arena, seed=7)` returns a RoomHarness that the fixture closes.

    In a test with `@seeds` the harnesses of each seed are closed before the next seed.
    """
    outside_of_runs: list[Any] = []  # of other fixtures

    def create(*args: Any, **kwargs: Any) -> Any:
        harness = testing.RoomHarness(*args, **kwargs)  # imports the server
        if not test_run.close_later(harness.close):
            outside_of_runs.append(harness)
        return harness

    yield create
    for harness in reversed(outside_of_runs):
        harness.close()
