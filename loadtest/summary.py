"""The summary of a run: one JSON object for CI, and the text that is printed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from tickwire.loadtest.load_plan import Plan, Step
from tickwire.loadtest.metrics import TIMES, Histogram, Measures, PlayerCounts
from tickwire.loadtest.results import Point, Results
from tickwire.loadtest.slo import CORRECT, KEPT_IN_ROLLING, ServiceLevel, Verdict, evaluate
from tickwire.schemas.terminal_text import escape_controls

Outcome = Literal["held", "broken", "load was late", "nothing was measured"]
EXIT_CODES: dict[Outcome, int] = {"held": 0, "broken": 1, "load was late": 3, "nothing was measured": 3}


class Times(msgspec.Struct, frozen=True):
    """One row of times, in milliseconds."""

    count: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The summary of a run.

    Args:
        outcome, exit_code: whether every level held, or why the run is not valid.
        verdicts: the result of each level, and of each row of failures that fails every run.
        load_lateness_p99_ms: the lateness of the load itself.
        seated, expected: the numbers of players at the end, before they were stopped.
        recovered_after_s: for `storm`, the time until the last player had resumed; None if not all resumed.
        steps, last_good: the results of `steps`.
        bytes_per_player: bytes per second and player.
    """

    outcome: Outcome
    exit_code: int
    verdicts: list[Verdict]
    url: str
    plan: Plan
    load_lateness_p99_ms: float
    load_lateness_ms_max: float
    seated: int
    expected: int
    players_most: int
    times: dict[str, Times]
    counts: dict[str, float]
    failures: dict[str, dict[str, int]]
    bytes_per_player: float
    recovered_after_s: float | None = None
    steps: list[Step] = []
    last_good: int = 0
    command_failed: str = ""


def final_player_counts(results: Results) -> PlayerCounts:
    """Return the numbers of players in the last second before players were stopped."""
    seconds = results.seconds
    most = max((second_of_swarm.player_counts.players for second_of_swarm in seconds.values()), default=0)
    full = [at for at, second_of_swarm in seconds.items() if second_of_swarm.player_counts.players == most]
    return seconds[max(full)].player_counts if full else PlayerCounts()


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The plan and the outcome of a run, without its measurements.

    Args:
        url: the address of the server.
        plan: the plan of the run.
        levels: the service levels of the run.
        event_at: the UTC time of the plan's event, in seconds; None if it did not happen.
        steps, last_good: the results of `steps`, and the players of the last step that held.
        command_failed: why the command of `--during` failed; empty: it did not.
        workers, workers_lost: the number of workers, and of those that were lost with their last measurements.
    """

    url: str
    plan: Plan
    levels: Sequence[ServiceLevel]
    event_at: float | None = None
    steps: Sequence[Step] = ()
    last_good: int = 0
    command_failed: str = ""
    workers: int = 0
    workers_lost: int = 0


def summarise(results: Results, run: RunRecord) -> Summary:
    """Return the summary of a run. Lost workers and seats are added to the failures of the results."""
    player_counts, total = final_player_counts(results), results.total
    _add_failures(total, run, player_counts)
    recovered_after_s = _recovered_after_s(results, run)
    verdicts = _judge(total, run, recovered_after_s)
    outcome = _decide_outcome(results, run, verdicts)
    player_seconds = total.get_count("player_seconds")
    return Summary(
        outcome=outcome,
        exit_code=EXIT_CODES[outcome],
        verdicts=verdicts,
        url=run.url,
        plan=run.plan,
        load_lateness_p99_ms=round(results.load_lateness_s * 1e3, 3),
        load_lateness_ms_max=results.lateness_s_max * 1e3,
        seated=player_counts.seated,
        expected=player_counts.expected,
        players_most=player_counts.players,
        times={name: times_from_histogram(histogram) for name, histogram in total.times.items() if histogram.counts},
        counts={name: round(count, 1) for name, count in sorted(total.counts.items())},
        failures=total.failures,
        bytes_per_player=round(total.get_count("bytes") / player_seconds, 1) if player_seconds else 0.0,
        recovered_after_s=recovered_after_s,
        steps=list(run.steps),
        last_good=run.last_good,
        command_failed=run.command_failed,
    )


def _add_failures(total: Measures, run: RunRecord, player_counts: PlayerCounts) -> None:
    """Add the failures that only the end of a run shows."""
    if run.workers_lost:
        total.fail("workers", f"{run.workers_lost} of {run.workers} workers were lost, with their last measurements")
    seated, expected = player_counts.seated, player_counts.expected
    if seated < expected and run.plan.shape != "steps":
        total.fail("seats", f"{expected - seated} of {expected} had no seat at the end")


def _judge(total: Measures, run: RunRecord, recovered_after_s: float | None) -> list[Verdict]:
    """Return the verdicts on the levels, on failures, and on the goal of the shape."""
    shape = run.plan.shape
    rows = (*CORRECT, *KEPT_IN_ROLLING) if shape == "rolling" else CORRECT
    verdicts = evaluate([] if shape == "steps" else run.levels, total, rows=rows)
    if shape == "steps":
        verdicts.append(_steps_verdict(run.steps, run.last_good))
    if run.command_failed:
        verdicts.append(Verdict("--during", "exit code 0", run.command_failed, False))
    if shape == "storm" and recovered_after_s is None:
        verdicts.append(Verdict("storm", "all players resume", "not all resumed", False))
    return verdicts


def _decide_outcome(results: Results, run: RunRecord, verdicts: Sequence[Verdict]) -> Outcome:
    """Return whether all levels held, or why the run is not valid."""
    if not results.total.get_count("states") and not results.total.failures:
        return "nothing was measured"
    if run.plan.shape == "steps":
        is_late = bool(not run.last_good and run.steps and run.steps[-1].is_load)
    else:
        is_late = results.is_load_late
    if is_late:
        return "load was late"
    return "held" if all(verdict.holds for verdict in verdicts) else "broken"


def times_from_histogram(histogram: Histogram) -> Times:
    """Return the figures of a histogram."""

    def ms(share: float) -> float:
        return round(histogram.percentile(share) * 1e3, 3)

    mean_ms, max_ms = round(histogram.mean_s * 1e3, 3), round(histogram.max_s * 1e3, 3)
    return Times(histogram.count, mean_ms, ms(0.5), ms(0.95), ms(0.99), ms(0.999), max_ms)


def _recovered_after_s(results: Results, run: RunRecord) -> float | None:
    """Return the longest time from a storm to a player's resume; None unless all players resumed."""
    if run.plan.shape != "storm" or run.event_at is None or results.recovery_s(int(run.event_at)) is None:
        return None
    resumed = results.between(int(run.event_at), float("inf")).times["resume"]
    return round(resumed.max_s, 3) if resumed.counts else None


def _steps_verdict(steps: Sequence[Step], last_good: int) -> Verdict:
    held = f"{last_good} players" if last_good else "not even the first step"
    ending = f"; then {steps[-1].reason}" if steps and not steps[-1].holds else "; every step held, there is more"
    return Verdict("steps", "the last step that held", held + ending, bool(last_good))


def format_summary(summary: Summary, *, is_colour: bool) -> str:
    """Return the summary as text for a terminal."""
    red, green, plain = ("\x1b[31m", "\x1b[32m", "\x1b[0m") if is_colour else ("", "", "")
    lines = [f"{'':10} {'count':>9} {'p50':>9} {'p95':>9} {'p99':>9} {'p99.9':>9} {'max':>9}  ms"]
    for name, one in summary.times.items():
        figures = f"{one.count:9} {one.p50_ms:9.1f} {one.p95_ms:9.1f} {one.p99_ms:9.1f} {one.p999_ms:9.1f}"
        lines.append(f"{name:10} {figures} {one.max_ms:9.1f}  {TIMES[name]}")
    lines.append("")
    lines += [f"{what:32} {count:12.0f}" for what, count in summary.counts.items()]
    lines.append(f"{'bytes a second and player':32} {summary.bytes_per_player:12.0f}")
    for row, reasons in summary.failures.items():
        for reason, times in reasons.items():
            lines.append(f"{red}failed: {row}: {escape_controls(reason)} ({times} times){plain}")
    for step in summary.steps:
        lines.append(f"step of {step.players} players: {'held' if step.holds else step.reason}")
    if summary.recovered_after_s is not None:
        lines.append(f"all players had resumed {summary.recovered_after_s:.2f} s after the drop")
    lines.append(f"seated at the end: {summary.seated} of {summary.expected}")
    for verdict in summary.verdicts:
        colour, says = (green, "held  ") if verdict.holds else (red, "BROKEN")
        lines.append(f"{colour}{says} {verdict.level}: {verdict.value} (at most {verdict.limit}){plain}")
    if summary.outcome == "load was late":
        lines.append(
            f"{red}THE LOAD ITSELF WAS LATE: {summary.load_lateness_p99_ms:.0f} ms at the 99th percentile (at most "
            f"{summary.load_lateness_ms_max:.0f}). These figures are the load's, not the server's: use more "
            f"workers or fewer players.{plain}"
        )
    if summary.outcome == "nothing was measured":
        lines.append(f"{red}NOTHING WAS MEASURED: no player received a state{plain}")
    return "\n".join(lines)


def series(points: list[Point]) -> dict[str, list[float | None]]:
    """Return the charts' series by name, one value per second; None without data."""
    found: dict[str, list[float | None]] = {
        "second": [point.at_s for point in points],
        "players": [float(point.players) for point in points],
        "expected": [float(point.expected) for point in points],
        "seated": [float(point.seated) for point in points],
        "resumes": [float(point.resumes) for point in points],
        "drops": [point.drops for point in points],
        "failures": [float(point.failures) for point in points],
        "bytes": [point.bytes_per_second / point.seated if point.seated else None for point in points],
        "late": [100 * point.late_states / point.states if point.states else None for point in points],
        "missed": [
            100 * point.missed_ticks / (point.states + point.missed_ticks) if point.states else None
            for point in points
        ],
    }
    for name in ("input", "jitter", "resume", "blackout", "lateness"):
        found[f"{name}_p50"] = [point.p50_ms.get(name) for point in points]
        found[f"{name}_p99"] = [point.p99_ms.get(name) for point in points]
    return found
