"""Shapes of load: how many players there are at a moment, and what happens to them. Pure; the clock comes in.

ramp      up at a rate, and stay
spike     a few, then all at once: a login storm
soak      up slowly, and stay for long
steps     more and more, until a service level breaks: the last step before was the capacity
storm     all connections drop at one moment, and come back
rolling   a command runs (it replaces the shards) while players stay
"""

from __future__ import annotations

import enum
from typing import Literal

import msgspec

Shape = Literal["ramp", "spike", "soak", "steps", "storm", "rolling"]

AT_ONCE = 1e6
"""Players a second: as fast as can be."""
SOAK_RAMP_S = 60.0


class LoadEvent(enum.StrEnum):
    """What is done to a swarm once."""

    DROP = "drop"
    COMMAND = "command"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is to be.

    Args:
        players: in the end; of `steps`: at most.
        rate: players a second.
        seconds: of the whole run, from the first player; of `steps`: not looked at.
        settle_s: from when all are there until what happens happens; of a step, what is not looked at.
        base: of `spike`: those who are there before.
        step_players, step_s: how many more a step brings, and how long it is looked at.
    """

    shape: Shape = "ramp"
    players: int = 1
    rate: float = 10.0
    seconds: float = 60.0
    settle_s: float = 10.0
    base: int = 0
    step_players: int = 100
    step_s: float = 30.0


class Target(msgspec.Struct, frozen=True):
    """What there should be now."""

    players: int
    rate: float
    happening: LoadEvent | None = None


def target(plan: Plan, elapsed_s: float) -> Target | None:
    """What there should be at a moment of every shape but `steps`; None when the run is over."""
    if elapsed_s >= plan.seconds:
        return None
    happening = None
    match plan.shape:
        case "spike":
            is_before = elapsed_s < plan.settle_s and plan.base > 0
            return Target(plan.base, plan.rate) if is_before else Target(plan.players, AT_ONCE)
        case "soak":
            return Target(plan.players, max(plan.rate, plan.players / SOAK_RAMP_S))
        case "storm":
            happening = LoadEvent.DROP
        case "rolling":
            happening = LoadEvent.COMMAND
    is_settled = elapsed_s >= ready_s(plan)
    return Target(plan.players, plan.rate, happening if is_settled else None)


def ready_s(plan: Plan) -> float:
    """When all should be there and have settled."""
    return plan.players / plan.rate + plan.settle_s


class Step(msgspec.Struct, frozen=True):
    """One step of `steps`, as it was found.

    Args:
        players: that were there.
        holds: whether every level held.
        because: the first that did not, or what made the step worthless.
        is_load: it was the load that was late, and not the server.
        start, end: what of the run was looked at, UTC.
    """

    players: int
    holds: bool
    because: str = ""
    is_load: bool = False
    start: float = 0.0
    end: float = 0.0


class Steps:
    """The staircase of `steps`: goes up as long as each step holds.

    Attributes:
        found: all steps so far.
    """

    def __init__(self, plan: Plan) -> None:
        self.found: list[Step] = []
        self._plan = plan
        self._players = plan.step_players
        self._since_s = 0.0

    @property
    def players(self) -> int:
        """Of the step that stands."""
        return self._players

    @property
    def rate(self) -> float:
        """Players a second, on the way up."""
        return self._plan.rate

    def window(self, elapsed_s: float) -> tuple[float, float] | None:
        """What of the run is to be looked at, when the step that stands is over; None before."""
        climb_s = min(self._players, self._plan.step_players) / self._plan.rate
        start_s = self._since_s + climb_s + self._plan.settle_s
        return (start_s, elapsed_s) if elapsed_s >= start_s + self._plan.step_s else None

    def judged(self, step: Step, elapsed_s: float) -> bool:
        """Takes what was found of the step that stands; whether there is another."""
        self.found.append(step)
        if not step.holds or self._players >= self._plan.players:
            return False
        self._players = min(self._plan.players, self._players + self._plan.step_players)
        self._since_s = elapsed_s
        return True

    @property
    def last_good(self) -> int:
        """The most players that held; 0: not even the first step did."""
        return max((step.players for step in self.found if step.holds), default=0)
