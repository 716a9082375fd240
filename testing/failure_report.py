"""Text about a failed run: the seed, the needed choices, and the commands that repeat it. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from tickwire.testing.schedule import Choice
from tickwire.testing.shrink import ShrunkSchedule

CHOICES_SHOWN = 20


class FailedSeed(NamedTuple):
    """A seed whose run has failed.

    Args:
        seed: the seed.
        passed: the number of seeds that have passed before.
        test: the id of the test, for a command line; empty without pytest.
    """

    seed: int
    passed: int
    test: str

    def describe(self, state: Sequence[str]) -> list[str]:
        """Return lines about the seed.

        Args:
            state: lines about the last state of the room.
        """
        passed = f"; {self.passed} seed{_plural(self.passed)} passed before" if self.passed else ""
        return [f"seed {self.seed} failed{passed}", *state, f"repeat it: {self.command}"]

    @property
    def command(self) -> str:
        """The command that repeats the seed."""
        return (
            self._to_command(f"--tickwire-seed {self.seed}") if self.test else f"call the test with seed={self.seed}"
        )

    def command_of(self, path: str) -> str:
        """Return the command that repeats a schedule."""
        return self._to_command(f"--tickwire-schedule {shlex.quote(path)}")

    def _to_command(self, option: str) -> str:
        return f"pytest {shlex.quote(self.test)} {option}"


def describe_shrunk(total: int, shrunk: ShrunkSchedule) -> list[str]:
    """Return lines about the choices that a failure needs.

    Args:
        total: the number of choices of the failed run.
        shrunk: the result of the search.
    """
    runs = f"{shrunk.runs} run{_plural(shrunk.runs)}"
    if not shrunk.choices:
        return [f"the failure needs none of the {total} choices of chance ({runs})"]
    needs = "needs" if shrunk.is_minimal else "may need fewer than"
    lines = [f"the failure {needs} {len(shrunk.choices)} of {total} choices of chance ({runs}):"]
    lines += [f"  {choice}" for choice in islice(shrunk.choices, CHOICES_SHOWN)]
    if len(shrunk.choices) > CHOICES_SHOWN:
        lines.append(f"  ... and {len(shrunk.choices) - CHOICES_SHOWN} more, in the file")
    return lines


def describe_choices(choices: Sequence[Choice]) -> str:
    """Return a short text about the number of choices."""
    return f"{len(choices)} choice{_plural(len(choices))} of chance"


def _plural(count: int) -> str:
    return "" if count == 1 else "s"
