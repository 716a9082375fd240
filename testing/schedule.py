"""The schedule of a run: all choices that chance makes outside of the room, in numbered streams.

A choice is an outcome that differs from the usual one: a message that the network loses or delays, a step of
`random_play`. The test kit repeats a failing run without some of its choices, to find those that the failure needs.

Each stream has random numbers of its own, seeded by the run's seed and the stream's name. A caller draws the same
number of values for each choice, kept or not. An omitted choice therefore changes no other choice of its
stream, and none of other streams. Pure.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

ChoiceObserver = Callable[[str, int, str, float], None]
"""Is called with the stream, the number, the effect and the amount of a choice."""


class Choice(NamedTuple):
    """One choice of a run.

    Args:
        stream: the name of its stream, such as `ann to server` or `play`.
        number: its number in the stream, from 1.
        effect: the outcome, such as `delay` or the name of an action.
        amount: the size of the outcome, such as milliseconds; 0 if it has none.
        tick: the tick of the room when it was made.
    """

    stream: str
    number: int
    effect: str
    amount: float = 0.0
    tick: int = 0

    def __str__(self) -> str:
        amount = f" {self.amount:.0f} ms" if self.amount else ""
        return f"tick {self.tick:>5}  {self.stream}: {self.effect}{amount} (number {self.number})"


class SchedulePlan(NamedTuple):
    """The choices that a repeated run keeps; it omits all others.

    Args:
        kept: the numbers of the kept choices, by the name of the stream.
    """

    kept: Mapping[str, frozenset[int]] = {}


class ChoiceStream:
    """The choices of one source of chance, in order. `Schedule.stream` creates it.

    Attributes:
        rng: the random numbers of the stream.
    """

    __slots__ = ("_kept", "_number", "_observe", "name", "rng")

    def __init__(
        self, name: str, rng: random.Random, kept: frozenset[int] | None, observe: ChoiceObserver | None
    ) -> None:
        self.name = name
        self.rng = rng
        self._kept = kept
        self._observe = observe
        self._number = 0

    def keeps(self, effect: str, amount: float = 0.0) -> bool:
        """Number the next choice, and return whether the run keeps it.

        Args:
            effect: the outcome, for reports.
            amount: the size of the outcome, for reports.

        Returns:
            False if the caller must use the usual outcome instead.
        """
        self._number += 1
        if self._kept is not None and self._number not in self._kept:
            return False
        if self._observe is not None:
            self._observe(self.name, self._number, effect, amount)
        return True


class Schedule:
    """The choices of one harness.

    Args:
        seed: the seed of the run.
        plan: the choices that the run keeps; None keeps all.
        prefix: precedes the names of the streams, if a run has several harnesses.
        observe: called for each kept choice, with its stream, number, effect and amount.
    """

    def __init__(
        self,
        seed: int,
        plan: SchedulePlan | None = None,
        *,
        prefix: str = "",
        observe: ChoiceObserver | None = None,
    ) -> None:
        self.seed = seed
        self._plan = plan
        self._prefix = prefix
        self._observe = observe
        self._streams: dict[str, ChoiceStream] = {}

    def stream(self, name: str) -> ChoiceStream:
        """Return the stream with this name; the first call creates it."""
        stream = self._streams.get(name)
        if stream is None:
            full = self._prefix + name
            kept = None if self._plan is None else self._plan.kept.get(full, frozenset())
            # Without the prefix: the second harness of a test has the same chance as the first one with its seed.
            rng = random.Random(f"{self.seed}/{name}")  # noqa: S311 the chance of a test
            stream = self._streams[name] = ChoiceStream(full, rng, kept, self._observe)
        return stream
