"""What a run has come to: one JSON object for CI, and the words that are printed. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from tickwire.loadtest.load_plan import Plan, Step
from tickwire.loadtest.metrics import TIMES, Histogram, PlayerCounts
from tickwire.loadtest.results import Point, Results
from tickwire.loadtest.slo import CORRECT, KEPT_IN_ROLLING, ServiceLevel, Verdict, judge
from tickwire.schemas.terminal_text import escape_controls

Outcome = Literal["held", "broken", "load was late", "nothing was measured"]
EXIT_CODES: dict[Outcome, int] = {"held": 0, "broken": 1, "load was late": 3, "nothing was measured": 3}


class Times(msgspec.Struct, frozen=True):
    """One row, in milliseconds."""

    count: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A run.

    Args:
        outcome, exit_code: whether every level held, or why nobody can say.
        verdicts: each level; and what must never be, where it was.
        load_lateness_p99_ms: by how much the load itself was late.
        seated, expected: at the end, before all were sent home.
        back_after_s: of `storm`: until the last was back; None: not all came back.
        steps, last_good: of `steps`.
        bytes_per_player: a second.
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
    back_after_s: float | None = None
    steps: list[Step] = []
    last_good: int = 0
    command_failed: str = ""


def crowd_at_end(findings: Results) -> PlayerCounts:
    """Who was there in the last second in which nobody had been sent home."""
    moments = findings.moments
    most = max((moment.crowd.players for moment in moments.values()), default=0)
    full = [at for at, moment in moments.items() if moment.crowd.players == most]
    return moments[max(full)].crowd if full else PlayerCounts()


def summarise(
    findings: Results,
    plan: Plan,
    levels: list[ServiceLevel],
    *,
    url: str,
    happened_at: float | None = None,
    steps: list[Step] | None = None,
    last_good: int = 0,
    command_failed: str = "",
    workers_lost: int = 0,
    workers: int = 0,
) -> Summary:
    """What the findings come to."""
    steps, crowd, total = steps or [], crowd_at_end(findings), findings.total
    if workers_lost:
        total.fail("workers", f"{workers_lost} of {workers} workers were lost, with what they had measured last")
    if crowd.seated < crowd.expected and plan.shape != "steps":
        total.fail("seats", f"{crowd.expected - crowd.seated} of {crowd.expected} had no seat at the end")
    rows = (*CORRECT, *KEPT_IN_ROLLING) if plan.shape == "rolling" else CORRECT
    verdicts = judge([] if plan.shape == "steps" else levels, total, rows=rows)
    if plan.shape == "steps":
        verdicts.append(_of_steps(steps, last_good))
    if command_failed:
        verdicts.append(Verdict("--during", "exit code 0", command_failed, False))
    back_after_s = _back_after_s(findings, happened_at) if plan.shape == "storm" and happened_at is not None else None
    if plan.shape == "storm" and back_after_s is None:
        verdicts.append(Verdict("storm", "all come back", "not all did", False))
    outcome: Outcome = "held" if all(verdict.holds for verdict in verdicts) else "broken"
    if not total.got("states") and not total.failures:
        outcome = "nothing was measured"
    elif plan.shape == "steps":
        if not last_good and steps and steps[-1].is_load:
            outcome = "load was late"
    elif findings.is_load_late:
        outcome = "load was late"
    player_seconds = total.got("player_seconds")
    return Summary(
        outcome=outcome,
        exit_code=EXIT_CODES[outcome],
        verdicts=verdicts,
        url=url,
        plan=plan,
        load_lateness_p99_ms=round(findings.load_lateness_s * 1e3, 3),
        load_lateness_ms_max=findings.lateness_s_max * 1e3,
        seated=crowd.seated,
        expected=crowd.expected,
        players_most=crowd.players,
        times={name: times_of(histogram) for name, histogram in total.times.items() if histogram.counts},
        counts={name: round(count, 1) for name, count in sorted(total.counts.items())},
        failures=total.failures,
        bytes_per_player=round(total.got("bytes") / player_seconds, 1) if player_seconds else 0.0,
        back_after_s=back_after_s,
        steps=steps,
        last_good=last_good,
        command_failed=command_failed,
    )


def times_of(histogram: Histogram) -> Times:
    """A histogram's figures."""

    def ms(share: float) -> float:
        return round(histogram.percentile(share) * 1e3, 3)

    mean_ms, max_ms = round(histogram.mean_s * 1e3, 3), round(histogram.max_s * 1e3, 3)
    return Times(histogram.count, mean_ms, ms(0.5), ms(0.95), ms(0.99), ms(0.999), max_ms)


def _back_after_s(findings: Results, happened_at: float) -> float | None:
    """Until the last was back, from its own loss; None while the crowd's count does not say that all are."""
    if findings.all_back_s(int(happened_at)) is None:
        return None
    resumed = findings.between(int(happened_at), float("inf")).times["resume"]
    return round(resumed.max_s, 3) if resumed.counts else None


def _of_steps(steps: list[Step], last_good: int) -> Verdict:
    held = f"{last_good} players" if last_good else "not even the first step"
    because = f"; then {steps[-1].because}" if steps and not steps[-1].holds else "; every step held: there is more"
    return Verdict("steps", "the last step that held", held + because, bool(last_good))


def words(summary: Summary, *, is_colour: bool) -> str:
    """The summary for a terminal."""
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
        lines.append(f"step of {step.players} players: {'held' if step.holds else step.because}")
    if summary.back_after_s is not None:
        lines.append(f"all were back {summary.back_after_s:.2f} s after the drop")
    lines.append(f"seated at the end: {summary.seated} of {summary.expected}")
    for verdict in summary.verdicts:
        colour, says = (green, "held  ") if verdict.holds else (red, "BROKEN")
        lines.append(f"{colour}{says} {verdict.level}: {verdict.value} (at most {verdict.limit}){plain}")
    if summary.outcome == "load was late":
        lines.append(
            f"{red}THE LOAD ITSELF WAS LATE: {summary.load_lateness_p99_ms:.0f} ms at the 99th percentile (at most "
            f"{summary.load_lateness_ms_max:.0f}). These figures are the load's, not the server's: use more "
            f"workers, or fewer players.{plain}"
        )
    if summary.outcome == "nothing was measured":
        lines.append(f"{red}NOTHING WAS MEASURED: nobody was ever sent a state{plain}")
    return "\n".join(lines)


def series(points: list[Point]) -> dict[str, list[float | None]]:
    """The charts' series by name, one value a second; None where there was nothing."""
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
