"""The settings of `@seeds`. The pytest plugin sets them from the command line; without it the defaults apply.

Imports nothing of the server, because the plugin imports it in every project.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

SHRINK_S = 10.0
"""The time limit of a search, about as long as a developer waits for the report of a failed test."""


def _temporary_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / "tickwire-schedules"
    folder.mkdir(exist_ok=True)
    return folder


class SeedSettings(NamedTuple):
    """The settings of one test session.

    Args:
        seed: the only seed to run; None for all seeds of a test.
        seed_count: the number of seeds of each test, instead of the number in its decorator.
        schedule: a file with a schedule to repeat; None for none.
        shrink_s: the time limit of a search for a smaller schedule; 0 for no search.
        get_folder: returns the folder for schedules, and creates it.
        to_node_id: returns the id of a test for a command line in the current directory.
    """

    seed: int | None = None
    seed_count: int | None = None
    schedule: Path | None = None
    shrink_s: float = SHRINK_S
    get_folder: Callable[[], Path] = _temporary_folder
    to_node_id: Callable[[str], str] = str

    def choose_seeds(self, count: int) -> Sequence[int]:
        """Return the seeds of a test.

        Args:
            count: the number in the decorator of the test.
        """
        if self.seed is not None:
            return [self.seed]
        return range(count if self.seed_count is None else self.seed_count)


_settings = SeedSettings()


def configure(settings: SeedSettings) -> None:
    """Replace the settings, at the begin of a test session."""
    global _settings  # noqa: PLW0603 a decorator has no other way to find the command line
    _settings = settings


def get() -> SeedSettings:
    """Return the current settings."""
    return _settings


def current_test() -> str:
    """Return the id of the test that pytest runs; empty without pytest."""
    return os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
