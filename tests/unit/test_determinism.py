"""Checks of determinism: the report names the tick, the hook and the source of chance."""

from __future__ import annotations

import random
from functools import partial

import pytest

from tests.harness import chance_rooms
from tests.harness.chance_rooms import CHANCE_TICK, SOURCES, ChanceRoom, TimerRoom, play, room_with
from tickwire.testing import NotDeterministic, RoomHarness, check_determinism


def report_of(scenario: object, *, other_process: bool = False) -> str:
    with pytest.raises(NotDeterministic) as caught:
        check_determinism(scenario, seed=3, other_process=other_process)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize("source", SOURCES)
def test_the_report_names_tick_hook_and_source(source: str) -> None:
    report = report_of(partial(play, room_with(SOURCES[source])))
    assert report.startswith(f"two runs differ first at tick {CHANCE_TICK}, in marks.x")
    assert "hook: on_tick" in report
    assert "differs first after chance_rooms.py:" in report
    assert "`self.marks.x[:] = value`" in report
    named = report.partition("source of chance:\n")[2].strip()
    assert named.startswith(f"{source}, called by chance_rooms.py:")
    assert len(named.splitlines()) == 1, "and no function that the source itself calls"


def test_the_report_proposes_the_rooms_own_time_and_random_numbers() -> None:
    assert "use self.clock.now_s" in report_of(partial(play, room_with(SOURCES["time.monotonic"])))
    assert "use self.random, which is seeded" in report_of(partial(play, room_with(SOURCES["random.random"])))


def test_a_timer_is_named_as_the_hook() -> None:
    report = report_of(partial(play, TimerRoom))
    assert "hook: strike" in report
    assert "time.monotonic, called by" in report


def test_the_order_of_a_set_of_strings_is_found_in_another_process() -> None:
    report = report_of(chance_rooms.play_string_order, other_process=True)
    assert report.startswith(f"two runs with different hashes of strings differ first at tick {CHANCE_TICK}")
    assert "hook: on_tick" in report
    assert "the order of a set of strings, which depends on PYTHONHASHSEED" in report
    assert "`for index, name in enumerate(set(NAMES)):`" in report


def test_the_order_of_a_set_of_objects_is_found() -> None:
    report = report_of(chance_rooms.play_object_order, other_process=True)
    assert "hook: on_tick" in report
    assert "the order of a set of objects" in report
    assert "`for index, token in enumerate(set(tokens)):`" in report


def test_a_set_that_is_only_read_in_order_is_deterministic() -> None:
    check_determinism(chance_rooms.play_set_keeper, seed=3)


def test_chance_of_the_scenario_itself_is_named() -> None:
    def scenario(seed: int) -> None:
        with RoomHarness(ChanceRoom, seed=seed) as room:
            room.run(ticks=3)
            room.join(f"ann {random.random()}")
            room.run(ticks=3)

    report = report_of(scenario)
    assert "random.random, called" in report
    assert "test_determinism.py" in report


def test_another_process_needs_a_function_of_a_module() -> None:
    with pytest.raises(ValueError, match="must be a function of a module"):
        check_determinism(lambda seed: None)


def test_a_scenario_without_a_harness_is_refused() -> None:
    with pytest.raises(ValueError, match="the scenario has run no tick of a RoomHarness"):
        check_determinism(lambda seed: None, other_process=False)
