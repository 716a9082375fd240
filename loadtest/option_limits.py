"""The limits of a swarm's options. They are checked before a run, so that a typing error does not end it later."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

NUMBERS: dict[str, tuple[float, float]] = {
    "--users": (0, 1_000_000),
    "--spawn-rate": (0.001, 100_000),
    "--warmup": (0, 86_400),
    "--base": (0, 1_000_000),
    "--step-players": (1, 1_000_000),
    "--step-seconds": (0.1, 86_400),
    "--load-lateness": (0.1, 60_000),
    "--room-players": (0, 1_000_000),
    "--input-hz": (0.01, 1_000),
    "--party-size": (1, 255),
    "--match-seconds": (0.1, 86_400),
}
"""The minimum and maximum of each number."""
FILES = ("--report", "--summary")
"""Written at the end of a run."""
_NAMES = {"--users": "num_users"}


def problems(options: argparse.Namespace) -> Iterator[str]:
    """Yield a message for each option that is out of its range or names a file that cannot be written."""
    for option, (low, high) in NUMBERS.items():
        value = getattr(options, _NAMES.get(option, option[2:].replace("-", "_")), None)
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            yield f"{option} must be from {low:g} to {high:g}; got {value:g}"
    for option in FILES:
        file = getattr(options, option[2:], "")
        if file:
            try:
                Path(file).parent.mkdir(parents=True, exist_ok=True)
                with Path(file).open("ab"):
                    pass
            except OSError as error:
                yield f"{option} {file}: cannot be written: {error.strerror}"
