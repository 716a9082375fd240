"""The sample rooms, for a shard whose upkeep raises once the file that `BREAK_UPKEEP` names exists."""

from __future__ import annotations

import os
from pathlib import Path

from tests.harness.sample_rooms import ROOMS as ROOMS_OF_TESTS
from tickwire.server.tick_load import TickLoad

ROOMS = ROOMS_OF_TESTS
measure = TickLoad.measure


def _measure(self: TickLoad, elapsed_s: float) -> None:
    if Path(os.environ["BREAK_UPKEEP"]).exists():
        raise ZeroDivisionError("a fault of the shard")
    measure(self, elapsed_s)


TickLoad.measure = _measure  # type: ignore[method-assign]
