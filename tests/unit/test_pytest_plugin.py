"""The pytest plugin in real runs of pytest: seeds, reports, commands that repeat a failure, and determinism."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tickwire.testing import RoomHarness, pytest_determinism, pytest_plugin, seeds

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[2]
LOADED = (RoomHarness, pytest_determinism, pytest_plugin)
"""Imported here, because pytester forgets modules that its runs have imported."""

ROOMS = """
import random
from tickwire import Input, Player, Room, Table, boolean, uint
from tickwire.testing import *
from tickwire.testing.convergence import Difference, NotConverged


class LiftInput(Input):
    up = boolean()


class Cars(Table):
    level = uint(bits=8)


class Lift(Room):
    room_type = "lift"
    input_type = LiftInput
    cars: Cars

    def on_join(self, player, options):
        player.entity = self.cars.spawn()

    def on_input(self, player, input):
        player.entity.level += int(input.up)


def up(client, rng):
    client.input(up=True)


def idle(client, rng):
    pass
"""
TALL = """
@seeds(50)
def test_no_car_is_high(seed):
    with RoomHarness(Lift, seed=seed) as room:
        room.join("ann", network=Network(latency_ms=(5, 60)))
        room.join("bob", network=Network(loss=0.1))
        room.random_play({up: 1, idle: 9}, steps=30)
        room.run(seconds=1)
        assert room.room.cars.level.max() < 4
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project in an empty folder, with this plugin alone."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("PYTEST_CURRENT_TEST", "CI", "BUILD_NUMBER"):  # in CI the summary repeats each report
        monkeypatch.delenv(name, raising=False)
    return pytester


def run(project: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    project.makepyfile(ROOMS + source)
    return repeat(project, *options)


def repeat(project: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run pytest. The search for choices has more time than it needs on a busy machine, unless `options` say so."""
    plugin = ("-p", "tickwire.testing.pytest_plugin", "--tickwire-shrink-s", "200")
    return project.runpytest_inprocess(*plugin, *options)


def commands_of(result: pytest.RunResult) -> list[list[str]]:
    """Return the options of the commands in a report."""
    lines = [line.partition(": pytest ")[2] for line in result.outlines if ": pytest " in line]
    return [shlex.split(line) for line in lines]


def test_a_test_with_seeds_is_one_test_that_runs_all_of_them(project: pytest.Pytester) -> None:
    source = """
SEEDS = []

@seeds(300)
def test_each(seed, tmp_path):
    SEEDS.append(seed)

def test_all():
    assert SEEDS == list(range(300))
"""
    run(project, source).assert_outcomes(passed=2)


def test_the_command_line_chooses_the_seeds(project: pytest.Pytester) -> None:
    source = """
@seeds(3)
def test_each(seed):
    print(f"ran <{seed}>")
"""
    run(project, source, "-s", "--tickwire-seed", "17").stdout.fnmatch_lines(["*ran <17>*"])
    result = repeat(project, "-s", "--tickwire-seeds", "7")
    assert result.stdout.str().count("ran <") == 7
    assert repeat(project, "--tickwire-seeds", "0").ret == pytest.ExitCode.USAGE_ERROR


def test_the_report_has_seed_tick_state_and_the_needed_choices(project: pytest.Pytester) -> None:
    result = run(project, TALL)
    result.assert_outcomes(failed=1)
    assert result.stdout.str().count("room 'lift' at tick") == 1
    result.stdout.fnmatch_lines(
        [
            "*assert * < 4",
            "E * seed * failed; * seed* passed before",
            "E * room 'lift' at tick *, seed *",
            "E * players: ann, bob",
            "E * tables: cars has 2 entities",
            "E * repeat it: pytest *::test_no_car_is_high --tickwire-seed *",
            "E * the failure needs 4 of * choices of chance (* runs):",
            "E * tick * play: ??? up (number *)",
            "E * tick * play: ??? up (number *)",
            "E * tick * play: ??? up (number *)",
            "E * tick * play: ??? up (number *)",
            "E * repeat these only: pytest *::test_no_car_is_high --tickwire-schedule *.json",
        ]
    )


def test_both_commands_of_the_report_repeat_the_failure(project: pytest.Pytester) -> None:
    by_seed, by_schedule = commands_of(run(project, TALL))
    again = repeat(project, *by_seed, "--tickwire-shrink-s", "0")
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines([f"E * seed {by_seed[-1]} failed"])
    assert "choices of chance" not in again.stdout.str()
    stored = json.loads(Path(by_schedule[-1]).read_text())
    assert [choice["stream"] for choice in stored["choices"]] == ["play"] * 4
    shrunk = repeat(project, *by_schedule)
    shrunk.assert_outcomes(failed=1)
    shrunk.stdout.fnmatch_lines([f"E * seed {by_seed[-1]} failed with 4 choices of chance of *"])
    del stored["choices"][0]
    Path(by_schedule[-1]).write_text(json.dumps(stored))
    repeat(project, *by_schedule).assert_outcomes(passed=1)


def test_a_schedule_of_another_test_is_refused(project: pytest.Pytester) -> None:
    by_schedule = commands_of(run(project, TALL + TALL.replace("test_no_car", "test_other")))[1]
    other = [by_schedule[0].replace("test_no_car", "test_other"), *by_schedule[1:]]
    repeat(project, *other).stdout.fnmatch_lines(
        ["*ValueError: *the schedule belongs to *::test_no_car_is_high, not*"]
    )


def test_the_report_names_the_entity_and_field_that_differ(project: pytest.Pytester) -> None:
    source = """
@seeds(5)
def test_worlds(seed):
    with RoomHarness(Lift, seed=seed) as room:
        ann = room.join("ann")
        ann.input(up=True)
        room.run(ticks=2)
        room.check_convergence()
        ann.core.world.table("cars").quantised("level")[:] = 9
        room.check_convergence()
"""
    result = run(project, source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*NotConverged: tick *client 'ann': cars[[]1[]].level is 1 * and 9 *", "E * seed 0 failed"]
    )


def test_a_failure_that_does_not_repeat_proposes_the_check_of_determinism(project: pytest.Pytester) -> None:
    source = """
RUNS = []

@seeds(5)
def test_first_run_only(seed):
    with RoomHarness(Lift, seed=seed) as room:
        room.join("ann")
        RUNS.append(seed)
        assert len(RUNS) > 1
"""
    run(project, source).stdout.fnmatch_lines(["E * the same seed did not fail again: *--tickwire-determinism*"])


def test_another_failure_is_not_mistaken_for_the_same(project: pytest.Pytester) -> None:
    """Without the choices that lift a car three times, the test fails in another line."""
    source = """
@seeds(20)
def test_levels(seed):
    with RoomHarness(Lift, seed=seed) as room:
        room.join("ann")
        room.random_play([up, idle], steps=20)
        assert room.room.cars.level.max() != 0, "too low"
        assert room.room.cars.level.max() < 3, "too high"
"""
    result = run(project, source)
    result.stdout.fnmatch_lines(["*AssertionError: too high", "E * the failure needs 3 of *"])


def test_a_skip_and_an_expected_failure_remain(project: pytest.Pytester) -> None:
    source = """
import pytest

@seeds(3)
def test_skipped(seed):
    pytest.skip("not today")

@pytest.mark.xfail(strict=True)
@seeds(3)
def test_known(seed):
    assert seed < 2

@seeds(3)
def test_failed(seed):
    pytest.fail("no")

@pytest.mark.parametrize("letter", ["a", "b"])
@seeds(3)
def test_parameters(seed, letter):
    assert letter in "ab"
"""
    result = run(project, source)
    result.assert_outcomes(skipped=1, xfailed=1, failed=1, passed=2)
    result.stdout.fnmatch_lines(["*Failed: no", "*seed 0 failed"])


def test_the_fixture_closes_its_harnesses_after_each_seed(project: pytest.Pytester) -> None:
    source = """
HARNESSES = []

@seeds(3)
def test_seeds(seed, room_harness):
    assert all(room._is_closed for room in HARNESSES)
    HARNESSES.append(room_harness(Lift, seed=seed))
    HARNESSES[-1].run(ticks=1)

def test_plain(room_harness):
    assert len(HARNESSES) == 3
    assert all(room._is_closed for room in HARNESSES)
    HARNESSES.append(room_harness(Lift))

def test_after():
    assert HARNESSES[-1]._is_closed
"""
    run(project, source).assert_outcomes(passed=3)


def test_a_failed_test_without_seeds_shows_the_state_of_its_room(project: pytest.Pytester) -> None:
    source = """
def test_level(room_harness):
    room = room_harness(Lift, seed=5)
    room.join("ann").disconnect()
    room.run(ticks=7)
    assert room.room.cars.level[0] == 1

def test_without_rooms():
    assert False
"""
    result = run(project, source)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["E * room 'lift' at tick *, seed 5", "E * players: ann (disconnected)"])
    assert result.stdout.str().count("room 'lift' at tick") == 1


CHANCE = """
class Guess(Lift):
    def on_tick(self, dt):
        if self.tick == 3:
            self.cars.level[:] = random.randint(0, 255)

@seeds(2)
def test_guess(seed, room_harness):
    room = room_harness(Guess, seed=seed)
    room.join("ann")
    room.run(ticks=5)
"""
ORDER = """
class Order(Lift):
    def on_tick(self, dt):
        for index, name in enumerate({"ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal"}):
            self.cars.level[:] = (self.cars.level * 7 + index * ord(name[0])) % 251

def test_order(room_harness):
    room = room_harness(Order)
    room.join("ann")
    room.run(ticks=5)
"""


def test_the_option_finds_chance_in_tests(project: pytest.Pytester) -> None:
    run(project, CHANCE).assert_outcomes(passed=1)
    result = repeat(project, "--tickwire-determinism")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*NotDeterministic: two runs differ first at tick 3, in cars.level",
            "*hook: on_tick",
            "*random.randint, called by*",
        ]
    )


def test_the_option_finds_the_order_of_strings_in_tests(project: pytest.Pytester) -> None:
    run(project, ORDER).assert_outcomes(passed=1)
    result = repeat(project, "--tickwire-determinism")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*different hashes of strings differ first at tick *", "*the order of a set of strings*"]
    )


def test_the_plugin_imports_neither_the_server_nor_numpy() -> None:
    program = (
        "import sys, pytest; before = set(sys.modules); import tickwire.testing.pytest_plugin; "
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before}), "
        "[name for name in sys.modules if name.startswith('tickwire.server.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    packages, of_server = done.stdout.rstrip().rpartition("] [")[::2]
    assert of_server == "]"
    assert "'numpy'" not in packages
    assert "'msgspec'" not in packages


def test_the_plugin_is_an_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"tickwire": pytest_plugin.__name__}


def test_mistakes_in_the_decorator_are_refused() -> None:
    async def is_async(seed: int) -> None: ...

    with pytest.raises(TypeError, match="must have a parameter named seed"):
        seeds(3)(lambda: None)
    with pytest.raises(TypeError, match="must be a plain function, not async"):
        seeds(3)(is_async)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the number of seeds must be from 1 to"):
        seeds(0)


def test_a_skipped_seed_does_not_end_the_others(project: pytest.Pytester) -> None:
    source = """
import pytest, unittest

@seeds(6)
def test_failed(seed):
    if seed < 2:
        pytest.skip("no players")
    if seed == 2:
        raise unittest.SkipTest("no players")
    assert seed < 4

@seeds(3)
def test_passed(seed):
    if seed == 1:
        pytest.skip("no players")

@seeds(3)
def test_known(seed):
    if seed == 1:
        pytest.xfail("known")
"""
    result = run(project, source)
    result.assert_outcomes(failed=1, passed=1, xfailed=1)
    result.stdout.fnmatch_lines(["*seed 4 failed; 1 seed passed before"])


def test_a_skip_in_a_smaller_run_does_not_hide_the_failure(project: pytest.Pytester) -> None:
    """Without the choices that lift a car, the test skips."""
    source = """
import pytest

@seeds(3)
def test_levels(seed):
    with RoomHarness(Lift, seed=seed) as room:
        room.join("ann")
        room.random_play([up], steps=20)
        if room.room.cars.level.max() == 0:
            pytest.skip("no car has moved")
        assert False
"""
    result = run(project, source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E * the failure needs 1 of 20 choices of chance *"])


def test_the_end_of_the_session_is_not_a_failure_to_repeat(project: pytest.Pytester) -> None:
    source = """
import pytest

@seeds(3)
def test_debugged(seed):
    print("ran")
    pytest.exit("enough")
"""
    result = run(project, source, "-s")
    assert result.stdout.str().count("ran\n") == 1
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_a_run_that_has_reached_its_time_limit_is_not_repeated(project: pytest.Pytester) -> None:
    """The time limit of pytest-timeout applies once to a test: a repeated run would not end."""
    source = """
import pytest

@seeds(3)
def test_slow(seed):
    print("ran")
    pytest.fail("Timeout (>1.0s) from pytest-timeout.")
"""
    result = run(project, source, "-s")
    result.assert_outcomes(failed=1)
    assert result.stdout.str().count("ran\n") == 1
    result.stdout.fnmatch_lines(["E * the time limit of the test has ended, so the run is not repeated"])


def test_a_schedule_that_cannot_be_written_does_not_hide_the_failure(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(folder: Path, schedule: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tickwire.testing.schedule_file.write_schedule", write)
    result = run(project, TALL)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*assert * < 4", "E * the choices cannot be written to a file: *No space left on device"]
    )


def test_a_missing_schedule_is_refused_before_the_tests(project: pytest.Pytester) -> None:
    result = run(project, TALL, "--tickwire-schedule", "missing.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--tickwire-schedule: the file missing.json does not exist"])


def test_a_room_of_a_fixture_is_not_compared_and_a_warning_says_so(project: pytest.Pytester) -> None:
    source = """
import pytest

@pytest.fixture
def room(room_harness):
    return room_harness(Lift)

def test_tick(room):
    room.run(ticks=5)
    assert room.tick < 8
"""
    result = run(project, source, "--tickwire-determinism")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*the test is not checked, because it uses a harness that a fixture has created*"])


def test_options_of_other_plugins_do_not_prevent_the_check(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\naddopts = --failed-first")
    run(project, CHANCE, "--tickwire-seed", "1").assert_outcomes(passed=1)
    result = repeat(project, "--tickwire-determinism")
    result.stdout.fnmatch_lines(["*NotDeterministic: two runs differ first at tick 3, in cars.level"])
    project.makepyfile(ROOMS + ORDER)
    result = repeat(project, "--tickwire-determinism")
    result.stdout.fnmatch_lines(["*the order of a set of strings*"])


def test_the_state_of_the_harness_that_ticked_last_is_reported(project: pytest.Pytester) -> None:
    source = """
def test_two_rooms():
    with RoomHarness(Lift, seed=4) as first, RoomHarness(Lift, seed=5) as second:
        first.run(ticks=1)
        second.run(ticks=1)
        assert False

def test_after_an_expected_error(room_harness):
    import pytest
    with pytest.raises(KeyError), RoomHarness(Lift, seed=6) as room:
        room.run(ticks=1)
        raise KeyError
    room_harness(Lift, seed=7).run(ticks=1)
    assert False
"""
    result = run(project, source)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["E * tick *, seed 5", "E * tick *, seed 7"])
    assert "seed 4" not in result.stdout.str()
    assert "seed 6\n" not in result.stdout.str().replace("seed=6", "")
