"""Shapes of load: the number of players over time, and the event of a run. Pure: the caller passes the time.

ramp      start players at a rate, and keep them
spike     start a few players, then all others at once: a login storm
soak      start players slowly, and keep them for a long time
steps     add players in steps until a service level breaks: the last step that held is the capacity
storm     drop all connections at the same moment, and let them reconnect
rolling   run a command that replaces the shards while players stay
"""

from __future__ import annotations

import enum
from typing import Literal

import msgspec

Shape = Literal["ramp", "spike", "soak", "steps", "storm", "rolling"]

AT_ONCE = 1e6
"""Players per second: as fast as possible."""
SOAK_RAMP_S = 60.0


class LoadEvent(enum.StrEnum):
    """The event that a shape triggers once."""

    DROP = "drop"
    COMMAND = "command"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of a run.

    Args:
        shape: the shape of the load.
        players: the final number of players; for `steps` the maximum.
        rate: players started per second.
        seconds: the duration of the run, from the first player; not used by `steps`.
        warmup_s: the time from the last player's start to the event; the part of a step that is not measured.
        base: for `spike`, the number of players before the spike.
        step_players, step_s: the number of players that a step adds, and the time in which it is measured.
    """

    shape: Shape = "ramp"
    players: int = 1
    rate: float = 10.0
    seconds: float = 60.0
    warmup_s: float = 10.0
    base: int = 0
    step_players: int = 100
    step_s: float = 30.0


class Target(msgspec.Struct, frozen=True):
    """The target at one moment."""

    players: int
    rate: float
    event: LoadEvent | None = None


def target(plan: Plan, elapsed_s: float) -> Target | None:
    """Return the target of a shape other than `steps` at a moment; None after the end of the run."""
    if elapsed_s >= plan.seconds:
        return None
    event = None
    match plan.shape:
        case "spike":
            is_before = elapsed_s < plan.warmup_s and plan.base > 0
            return Target(plan.base, plan.rate) if is_before else Target(plan.players, AT_ONCE)
        case "soak":
            return Target(plan.players, max(plan.rate, plan.players / SOAK_RAMP_S))
        case "storm":
            event = LoadEvent.DROP
        case "rolling":
            event = LoadEvent.COMMAND
    is_settled = elapsed_s >= ready_s(plan)
    return Target(plan.players, plan.rate, event if is_settled else None)


def ready_s(plan: Plan) -> float:
    """Return the time at which all players have been started and the warm-up is over."""
    return plan.players / plan.rate + plan.warmup_s


class Step(msgspec.Struct, frozen=True):
    """The result of one step of `steps`.

    Args:
        players: the number of players.
        holds: whether every level held.
        reason: the levels that broke, or why the step is not valid; empty if it held.
        is_load: whether the load was late, and not the server.
        start, end: the measured period, UTC.
    """

    players: int
    holds: bool
    reason: str = ""
    is_load: bool = False
    start: float = 0.0
    end: float = 0.0


class Steps:
    """The state of a `steps` run, which adds players as long as each step holds.

    Attributes:
        results: the results of all steps so far.
    """

    def __init__(self, plan: Plan) -> None:
        self.results: list[Step] = []
        self._plan = plan
        self._players = plan.step_players
        self._since_s = 0.0

    @property
    def players(self) -> int:
        """The number of players of the current step."""
        return self._players

    @property
    def rate(self) -> float:
        """The number of players started per second."""
        return self._plan.rate

    def window(self, elapsed_s: float) -> tuple[float, float] | None:
        """Return the period in which the current step is measured, after its end; None before."""
        climb_s = min(self._players, self._plan.step_players) / self._plan.rate
        start_s = self._since_s + climb_s + self._plan.warmup_s
        return (start_s, elapsed_s) if elapsed_s >= start_s + self._plan.step_s else None

    def record(self, step: Step, elapsed_s: float) -> bool:
        """Record the result of the current step. Return whether there is another step."""
        self.results.append(step)
        if not step.holds or self._players >= self._plan.players:
            return False
        self._players = min(self._plan.players, self._players + self._plan.step_players)
        self._since_s = elapsed_s
        return True

    @property
    def last_good(self) -> int:
        """The largest number of players that held; 0 if the first step broke."""
        return max((step.players for step in self.results if step.holds), default=0)
