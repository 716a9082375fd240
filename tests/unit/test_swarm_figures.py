"""The figures of a swarm: histograms, service levels, shapes, results, and the outcome. No process, no socket."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.loadtest.load_plan import AT_ONCE, LoadEvent, Plan, Step, Steps, Target, target
from tickwire.loadtest.metrics import TIMES, Histogram, Measures, PlayerCounts, Second
from tickwire.loadtest.results import Results, results_from_seconds
from tickwire.loadtest.slo import COUNTS, SHARES, evaluate, parse_level
from tickwire.loadtest.summary import EXIT_CODES, RunRecord, format_summary, series, summarise


def histogram_of(*seconds: float) -> Histogram:
    made = Histogram()
    for one in seconds:
        made.record(one)
    return made


def measures_of(**times: list[float]) -> Measures:
    made = Measures()
    for name, seconds in times.items():
        made.times[name] = histogram_of(*seconds)
    return made


def second(
    at: int, *, players: int = 0, expected: int = 0, seated: int = 0, measures: Measures | None = None
) -> Second:
    return Second(at, PlayerCounts(players, expected, seated), measures or Measures())


# -- histograms ---------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=200), st.floats(0.001, 1))
def test_percentiles_are_those_of_the_sorted_times_to_a_sixty_fourth(times: list[float], share: float) -> None:
    histogram = histogram_of(*times)
    exact = sorted(times)[max(1, math.ceil(share * len(times) - 1e-9)) - 1]
    assert histogram.percentile(share) == pytest.approx(exact, rel=1 / 64, abs=2e-6)
    assert histogram.count == len(times)
    assert histogram.max_s == max(times)
    assert histogram.mean_s == pytest.approx(sum(times) / len(times))


@given(st.lists(st.floats(0, 10)), st.lists(st.floats(0, 10)))
def test_merged_histograms_equal_one_of_all_values(some: list[float], others: list[float]) -> None:
    one, other, both = histogram_of(*some), histogram_of(*others), histogram_of(*some, *others)
    one.add(other)
    assert one.counts == both.counts
    assert one.max_s == both.max_s


def test_empty_measurements_have_no_percentiles() -> None:
    assert (Histogram().percentile(0.99), Histogram().mean_s, Histogram().items_ms()) == (0.0, 0.0, [])


def test_negative_times_count_as_zero() -> None:
    assert histogram_of(-0.001).counts == {0: 1}


def test_seconds_round_trip_through_msgpack() -> None:
    sent = second(7, players=3, measures=measures_of(input=[0.1, 0.2]))
    sent.measures.fail("join", "ROOM_FULL", 2)
    sent.measures.count("bytes", 10.5)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode([sent]), type=list[Second]) == [sent]


def test_measures_do_not_share_their_defaults() -> None:
    one, other = Measures(), Measures()
    one.count("states")
    one.fail("world", "checksum mismatch")
    one.times["tick"].record(1)
    assert other == Measures()


# -- service levels -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "limit", "value"),
    [
        ("input_p99=75ms", 0.075, 0.2),
        ("input_p99.9=1s", 1.0, 0.2),
        ("input_max=500us", 0.0005, 0.2),
        ("input_mean=0.5s", 0.5, 0.15),
        ("late_ticks=0.1%", 0.001, 0.25),
        ("missed_ticks=0.5", 0.5, 0.2),
        ("failures=3", 3, 3),
        ("closes=0", 0, 1),
        ("failed_joins=50%", 0.5, 0.5),
        ("bytes_per_player=2000", 2000, 500),
    ],
)
def test_level_is_parsed_and_evaluated(text: str, limit: float, value: float) -> None:
    measures = measures_of(input=[0.1, 0.2], join=[1.0, 1.0])
    for name, count in {"states": 4, "late_states": 1, "missed_ticks": 1, "bytes": 1000, "player_seconds": 2}.items():
        measures.count(name, count)
    measures.fail("join", "ROOM_FULL", 2)
    measures.fail("close", "gone")
    level = parse_level(text)
    assert level.limit == pytest.approx(limit)
    assert level.value(measures) == pytest.approx(value, rel=0.02)
    assert [verdict.holds for verdict in evaluate([level], measures)] == [value <= limit]


@pytest.mark.parametrize(
    "text",
    ["", "input_p99", "input_p99=", "input_p99=75", "input_p99=75%", "nonsense_p99=1s", "input_p=1s", "input_p100=1s",
     "late_ticks=5ms", "late_ticks=101%", "failures=1%", "failures=-1", "nonsense=1", "input_p99=x"],
)  # fmt: skip
def test_invalid_level_raises_a_message(text: str) -> None:
    with pytest.raises(ValueError, match=r"level|unit|share|%"):
        parse_level(text)


def test_unknown_level_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="unknown service level") as caught:
        parse_level("latency=1")
    for name in (*TIMES, *SHARES, *COUNTS):
        assert name in str(caught.value)


def test_level_without_measurements_does_not_hold() -> None:
    (verdict,) = evaluate([parse_level("match_p99=1s")], Measures())
    assert (verdict.holds, verdict.value) == (False, "nothing was measured")


@pytest.mark.parametrize("row", ["world", "events", "replies", "seats"])
def test_rows_of_wrong_results_fail_every_run(row: str) -> None:
    measures = Measures()
    measures.fail(row, "something is wrong", 2)
    (verdict,) = evaluate([], measures)
    assert (verdict.level, verdict.holds) == (row, False)
    assert "something is wrong (2)" in verdict.value


def test_refusals_fail_a_run_only_with_a_level() -> None:
    measures = Measures()
    measures.fail("join", "ROOM_FULL")
    assert evaluate([], measures) == []
    assert [verdict.holds for verdict in evaluate([parse_level("failures=0")], measures)] == [False]


# -- shapes -------------------------------------------------------------------------------------------------


def test_ramp_rises_and_stays_until_the_end() -> None:
    plan = Plan(players=100, rate=10, seconds=60)
    assert target(plan, 0) == target(plan, 59.9) == Target(100, 10)
    assert target(plan, 60) is None


def test_spike_starts_all_at_once_after_the_base() -> None:
    plan = Plan(shape="spike", players=100, base=10, rate=5, warmup_s=10)
    assert target(plan, 9) == Target(10, 5)
    assert target(plan, 10) == Target(100, AT_ONCE)
    assert target(Plan(shape="spike", players=100), 0) == Target(100, AT_ONCE)


def test_soak_ramps_up_within_a_minute() -> None:
    wanted = target(Plan(shape="soak", players=6000, rate=1, seconds=900), 0)
    assert wanted == Target(6000, 100)


@pytest.mark.parametrize(("shape", "event"), [("storm", LoadEvent.DROP), ("rolling", LoadEvent.COMMAND)])
def test_event_follows_the_ramp_up_and_the_warmup(shape: str, event: LoadEvent) -> None:
    plan = msgspec.convert({"shape": shape, "players": 100, "rate": 10.0, "warmup_s": 5.0}, Plan)
    before, after = target(plan, 14.9), target(plan, 15.0)
    assert before is not None
    assert before.event is None
    assert after is not None
    assert after.event is event


@given(st.integers(1, 20), st.integers(1, 200), st.integers(0, 40))
def test_steps_rise_until_one_breaks_and_the_last_good_one_is_the_capacity(
    step: int, most: int, breaks_at: int
) -> None:
    plan = Plan(shape="steps", players=max(step, most), step_players=step, rate=10, warmup_s=1, step_s=2)
    steps, elapsed_s = Steps(plan), 0.0
    for number in range(1, 1000):
        while steps.window(elapsed_s) is None:
            elapsed_s += 0.5
        start_s, end_s = steps.window(elapsed_s) or (0.0, 0.0)
        assert end_s - start_s >= plan.step_s
        was = steps.players
        if not steps.record(Step(was, number != breaks_at), elapsed_s):
            break
        assert was < steps.players <= plan.players
    assert len(steps.results) == number
    if 0 < breaks_at <= math.ceil(plan.players / step):
        assert (number, steps.last_good) == (breaks_at, min(plan.players, step * (breaks_at - 1)))
    else:
        assert steps.last_good == plan.players


def test_step_is_measured_only_after_its_players_have_started() -> None:
    plan = Plan(shape="steps", players=100, step_players=50, rate=10, warmup_s=3, step_s=10)
    steps = Steps(plan)
    assert steps.window(17.9) is None
    assert steps.window(18.0) == (8.0, 18.0)
    assert steps.record(Step(50, True), 18.0)
    assert steps.window(18.0 + 17.9) is None
    assert steps.window(18.0 + 18.0) == (26.0, 36.0)


# -- results -----------------------------------------------------------------------------------------------


def test_workers_seconds_add_up_in_any_order() -> None:
    a, b = measures_of(input=[0.1]), measures_of(input=[0.3])
    a.count("bytes", 5)
    results = results_from_seconds(
        [second(11, players=2, expected=2, seated=1, measures=a), second(10), second(11, players=3)]
    )
    results.add(second(11, expected=3, seated=3, measures=b))
    assert results.player_counts_at(11) == PlayerCounts(5, 5, 4)
    assert results.between(11, 12).times["input"].count == 2
    assert results.between(10, 11).times["input"].count == 0
    assert results.total.get_count("bytes") == 5
    assert [point.at_s for point in results.points()] == [0, 1]
    assert series(results.points())["seated"] == [0.0, 4.0]


def test_recovery_ends_when_all_expected_players_are_seated() -> None:
    seats = {10: 5, 11: 2, 12: 5, 13: 4, 14: 5, 15: 5}
    results = results_from_seconds(second(at, players=5, expected=5, seated=seated) for at, seated in seats.items())
    assert results.recovery_s(11) == 4
    assert results_from_seconds([second(11, expected=5, seated=4)]).recovery_s(11) is None


# -- the outcome --------------------------------------------------------------------------------------------


def run(
    *seconds: Second, plan: Plan | None = None, levels: tuple[str, ...] = (), **more: object
) -> tuple[str, int, str]:
    found: Results = results_from_seconds(seconds)
    limits = [parse_level(one) for one in levels]
    record = RunRecord(url="ws://x", plan=plan or Plan(), levels=limits, **more)  # type: ignore[arg-type]
    summary = summarise(found, record)
    return summary.outcome, summary.exit_code, format_summary(summary, is_colour=False)


def played(at: int = 1, *, seated: int = 10, lateness_s: float = 0.001, players: int = 10) -> Second:
    measures = measures_of(input=[0.03] * 100, lateness=[lateness_s] * 100)
    measures.count("states", 100)
    return second(at, players=players, expected=10, seated=seated, measures=measures)


def test_run_that_keeps_its_levels_exits_with_0() -> None:
    outcome, code, said = run(played(), levels=("input_p99=75ms",))
    assert (outcome, code) == ("held", 0)
    assert "held   input_p99: 30 ms (at most 75 ms)" in said


def test_run_that_breaks_levels_exits_with_1_and_names_them() -> None:
    outcome, code, said = run(played(), levels=("input_p99=20ms", "late_ticks=1%"))
    assert (outcome, code) == ("broken", 1)
    assert "BROKEN input_p99" in said
    assert "held   late_ticks" in said


def test_wrong_world_fails_a_run_without_levels() -> None:
    wrong = played()
    wrong.measures.fail("world", "checksum mismatch")
    assert run(wrong)[:2] == ("broken", 1)


def test_missing_seat_at_the_end_fails_a_run() -> None:
    outcome, _, said = run(played(1), played(2, seated=7), second(3, players=2))
    assert outcome == "broken"
    assert "3 of 10 had no seat at the end" in said
    assert run(played(1, seated=7), played(2))[0] == "held", "only the end counts"


def test_late_load_is_reported_instead_of_the_server() -> None:
    outcome, code, said = run(played(lateness_s=0.05), levels=("input_p99=1ms",))
    assert (outcome, code) == ("load was late", 3)
    assert "THE LOAD ITSELF WAS LATE: 50 ms" in said


def test_run_without_states_is_not_valid() -> None:
    assert run(second(1, players=3))[:2] == ("nothing was measured", 3)


def test_storm_without_full_recovery_fails() -> None:
    plan = Plan(shape="storm", players=10)
    back = measures_of(resume=[0.4, 1.234])
    last = second(3, players=10, expected=10, seated=10, measures=back)
    text = run(played(1), played(2, seated=0), last, plan=plan, event_at=2.0)[2]
    assert "all players had resumed 1.2" in text
    assert run(played(1), played(2, seated=9), plan=plan, event_at=2.0)[0] == "broken"


def test_failed_command_fails_a_rolling_run() -> None:
    plan = Plan(shape="rolling", players=10)
    assert run(played(), plan=plan, command_failed="exit code 1")[:2] == ("broken", 1)


@pytest.mark.parametrize("row", ["resume", "seat", "gave up"])
def test_lost_session_or_seat_fails_a_rolling_run(row: str) -> None:
    measures = Measures()
    measures.fail(row, "the session was not kept")
    lost = (played(1), second(2, measures=measures))
    assert run(*lost, plan=Plan(shape="rolling", players=10))[:2] == ("broken", 1)
    assert run(*lost, plan=Plan(players=10))[:2] == ("held", 0), "elsewhere a level decides"


def test_steps_end_with_the_capacity() -> None:
    plan, steps = Plan(shape="steps", players=300), [Step(100, True), Step(200, False, "input_p99 was 80 ms")]
    outcome, _, said = run(played(), plan=plan, steps=steps, last_good=100)
    assert outcome == "held"
    assert "100 players; then input_p99 was 80 ms" in said
    assert run(played(), plan=plan, steps=[Step(100, False, "x")], last_good=0)[:2] == ("broken", 1)
    late = [Step(100, False, "the load was late", is_load=True)]
    assert run(played(), plan=plan, steps=late, last_good=0)[:2] == ("load was late", 3)


def test_every_outcome_has_an_exit_code() -> None:
    assert EXIT_CODES["held"] == 0
    assert all(code for outcome, code in EXIT_CODES.items() if outcome != "held")
