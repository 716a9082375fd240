"""The summary of a run: one JSON object for CI, and the text that is printed. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from tickwire.loadtest.load_plan import Plan, Step
from tickwire.loadtest.metrics import TIMES, Histogram, PlayerCounts
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


def summarise(
    results: Results,
    plan: Plan,
    levels: list[ServiceLevel],
    *,
    url: str,
    event_at: float | None = None,
    steps: list[Step] | None = None,
    last_good: int = 0,
    command_failed: str = "",
    workers_lost: int = 0,
    workers: int = 0,
) -> Summary:
    """Return the summary of the results."""
    steps, player_counts, total = steps or [], final_player_counts(results), results.total
    if workers_lost:
        total.fail("workers", f"{workers_lost} of {workers} workers were lost, with their last measurements")
    if player_counts.seated < player_counts.expected and plan.shape != "steps":
        total.fail(
            "seats",
            f"{player_counts.expected - player_counts.seated} of {player_counts.expected} had no seat at the end",
        )
    rows = (*CORRECT, *KEPT_IN_ROLLING) if plan.shape == "rolling" else CORRECT
    verdicts = evaluate([] if plan.shape == "steps" else levels, total, rows=rows)
    if plan.shape == "steps":
        verdicts.append(_steps_verdict(steps, last_good))
    if command_failed:
        verdicts.append(Verdict("--during", "exit code 0", command_failed, False))
    recovered_after_s = (
        _recovered_after_s(results, event_at) if plan.shape == "storm" and event_at is not None else None
    )
    if plan.shape == "storm" and recovered_after_s is None:
        verdicts.append(Verdict("storm", "all players resume", "not all resumed", False))
    outcome: Outcome = "held" if all(verdict.holds for verdict in verdicts) else "broken"
    if not total.get_count("states") and not total.failures:
        outcome = "nothing was measured"
    elif plan.shape == "steps":
        if not last_good and steps and steps[-1].is_load:
            outcome = "load was late"
    elif results.is_load_late:
        outcome = "load was late"
    player_seconds = total.get_count("player_seconds")
    return Summary(
        outcome=outcome,
        exit_code=EXIT_CODES[outcome],
        verdicts=verdicts,
        url=url,
        plan=plan,
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
        steps=steps,
        last_good=last_good,
        command_failed=command_failed,
    )


def times_from_histogram(histogram: Histogram) -> Times:
    """Return the figures of a histogram."""

    def ms(share: float) -> float:
        return round(histogram.percentile(share) * 1e3, 3)

    mean_ms, max_ms = round(histogram.mean_s * 1e3, 3), round(histogram.max_s * 1e3, 3)
    return Times(histogram.count, mean_ms, ms(0.5), ms(0.95), ms(0.99), ms(0.999), max_ms)


def _recovered_after_s(results: Results, event_at: float) -> float | None:
    """Return the longest time from a player's loss to its resume; None unless all players resumed."""
    if results.recovery_s(int(event_at)) is None:
        return None
    resumed = results.between(int(event_at), float("inf")).times["resume"]
    return round(resumed.max_s, 3) if resumed.counts else None


def _steps_verdict(steps: list[Step], last_good: int) -> Verdict:
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
