"""A player's view: late and missed states, acknowledged inputs, blackouts. Time is a number here."""

from __future__ import annotations

import pytest

from tickwire.client.core import ClientCore
from tickwire.loadtest.metrics import Measures
from tickwire.loadtest.observer import BASE_WINDOW_S, PlayerObserver, TrafficTally


def observe(ticks: dict[int, float], *, rate_hz: float = 20.0, **attributes: bool) -> Measures:
    """Return the measurements of a player that receives the state of each tick at a given time."""
    observer, measures = PlayerObserver(), Measures()
    observer.joined(rate_hz)
    for name, value in attributes.items():
        setattr(observer, name, value)
    for tick, at_s in ticks.items():
        observer.state_received(tick, at_s, measures)
    return measures


def on_time(first: int, last: int, late_s: float = 0.0) -> dict[int, float]:
    return {tick: 100 + tick * 0.05 + late_s for tick in range(first, last)}


def test_states_on_time_are_neither_late_nor_missed() -> None:
    found = observe(on_time(1, 400))
    assert (found.get_count("states"), found.get_count("late_states"), found.get_count("missed_ticks")) == (399, 0, 0)
    assert found.times["tick"].count == 398
    assert found.times["tick"].percentile(0.5) == pytest.approx(0.05, rel=0.02)
    assert found.times["jitter"].max_s == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("late_s", "count"), [(0.024, 0), (0.026, 1)])
def test_state_is_late_after_half_an_interval(late_s: float, count: int) -> None:
    found = observe(on_time(1, 50) | on_time(50, 51, late_s) | on_time(51, 60))
    assert found.get_count("late_states") == count


def test_states_after_a_stall_are_late_until_the_server_has_caught_up() -> None:
    stalled = {tick: max(at_s, 105.0) for tick, at_s in on_time(50, 100).items()}
    found = observe(on_time(1, 50) | stalled | on_time(100, 120))
    assert found.get_count("late_states") == pytest.approx(50, abs=2)
    assert found.times["tick"].max_s == pytest.approx(105.0 - 102.45)


def test_server_that_skipped_ticks_is_late_for_some_seconds_only() -> None:
    """The server stays two ticks behind, so the observer's reference is updated."""
    seconds = 4 * BASE_WINDOW_S
    found = observe(on_time(1, 50) | on_time(50, 50 + int(seconds * 20), 0.1))
    assert 0 < found.get_count("late_states") <= 2.1 * BASE_WINDOW_S * 20


def test_tick_without_a_state_is_missed_unless_ticks_may_be_quiet() -> None:
    ticks = on_time(1, 20) | on_time(23, 30)
    assert observe(ticks).get_count("missed_ticks") == 3
    assert observe(ticks, has_quiet_ticks=True).get_count("missed_ticks") == 0
    assert observe(ticks).times["jitter"].max_s == pytest.approx(0, abs=1e-9), "it came when it was due"


def test_slow_reader_is_not_measured() -> None:
    found = observe(on_time(1, 20) | on_time(40, 50), is_slow_reader=True)
    assert found == Measures()


def test_blackout_is_from_the_last_state_to_the_first_one_after() -> None:
    observer, measures = PlayerObserver(), Measures()
    observer.joined(20)
    observer.state_received(1, 10.0, measures)
    observer.lost(has_seat=True)
    observer.connection_started()
    assert not observer.has_state
    observer.state_received(40, 12.5, measures)
    assert measures.times["blackout"].max_s == 2.5
    assert measures.times["tick"].count == 0, "the hitch is no tick"
    observer.lost(has_seat=False)
    observer.connection_started()
    observer.state_received(60, 20.0, measures)
    observer.lost(has_seat=True)
    observer.left()
    observer.connection_started()
    observer.state_received(1, 30.0, measures)
    assert measures.times["blackout"].count == 1


def test_inputs_count_from_due_time_to_acknowledgement() -> None:
    observer, measures = PlayerObserver(), Measures()
    observer.joined(20)
    for seq, due_s in ((1, 1.0), (2, 1.1), (3, 1.2)):
        observer.input_sent(seq, due_s)
    observer.inputs_acknowledged(2, 1.15, measures)
    assert measures.times["input"].count == 2
    assert measures.times["input"].max_s == pytest.approx(0.15)
    observer.inputs_acknowledged(2, 1.2, measures)
    assert measures.times["input"].count == 2


def test_unacknowledged_inputs_count_with_their_age() -> None:
    observer, measures = PlayerObserver(), Measures()
    observer.joined(20)
    observer.input_sent(1, 1.0)
    observer.input_sent(2, 9.5)
    observer.record_unacknowledged_inputs(10.0, measures)
    assert measures.times["input"].count == 1, "the other is on its way"
    assert measures.times["input"].max_s == 9.0
    observer.input_sent(3, 1.0)
    observer.discard_inputs()
    observer.record_unacknowledged_inputs(20.0, measures)
    assert measures.times["input"].count == 1


def playing(seconds: float, *, acknowledged_until_s: float, held_back: tuple[float, float] = (0.0, 0.0)) -> Measures:
    """Return the measurements of a player that sends ten inputs a second into a room of 20 Hz.

    Args:
        acknowledged_until_s: inputs sent later are never acknowledged.
        held_back: between these seconds nothing arrives on either side; then all of it does at once.
    """
    observer, measures, acknowledged = PlayerObserver(), Measures(), 0
    observer.joined(20)
    for tick in range(1, int(seconds * 20)):
        now_s = tick / 20
        if tick % 2:
            observer.input_sent(tick, now_s)
        is_held = held_back[0] <= now_s < held_back[1]
        arrives_s = held_back[1] if is_held else now_s
        if now_s < acknowledged_until_s and not is_held:
            acknowledged = tick
        observer.state_received(tick, 100 + arrives_s, measures)
        observer.inputs_acknowledged(acknowledged, 100 + arrives_s, measures)
    return measures


def test_player_whose_inputs_are_no_longer_acknowledged_fails_the_run() -> None:
    """As after a move in which client and seat did not agree on the numbers."""
    found = playing(12.0, acknowledged_until_s=3.0)
    assert found.failures["inputs"] == {"not acknowledged": 1}


@pytest.mark.parametrize("held_back", [(0.0, 0.0), (3.0, 8.0), (1.0, 11.0)])
def test_player_on_a_stalled_network_does_not_fail_the_run(held_back: tuple[float, float]) -> None:
    assert "inputs" not in playing(14.0, acknowledged_until_s=99.0, held_back=held_back).failures


def test_inputs_of_a_lost_seat_are_discarded() -> None:
    observer, measures = PlayerObserver(), Measures()
    observer.joined(20)
    for seq in range(1, 50):
        observer.input_sent(seq, 1.0)
    observer.joined(20)
    for tick in range(1, 400):
        observer.state_received(tick, tick / 20, measures)
    assert "inputs" not in measures.failures


def test_client_errors_are_counted_once() -> None:
    core, tally, measures = ClientCore(), TrafficTally(0.0), Measures()
    core.state.mismatches, core.events_missed, core.events_repeated = 2, 3, 1
    tally.collect(core, 1000, 2.0, measures, is_seated=True)
    tally.collect(core, 1500, 3.0, measures, is_seated=False)
    tally.connected()
    tally.collect(core, 100, 4.0, measures, is_seated=True)
    assert measures.failures == {"world": {"checksum mismatch": 2}, "events": {"lost": 3, "doubled": 1}}
    assert measures.get_count("bytes") == 1600
    assert measures.get_count("player_seconds") == 3.0
