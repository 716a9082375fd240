"""The files of schemas/scenarios."""

from __future__ import annotations

from pathlib import Path

from tests.scenarios import authentication, connection, rooms
from tests.scenarios.recorder import Scenario

FOLDER = Path(__file__).parents[2] / "schemas" / "scenarios"


def created_files() -> dict[str, bytes]:
    """Return each file by name."""
    values = (*vars(authentication).values(), *vars(connection).values(), *vars(rooms).values())
    return {f"{value.name}.json": value.to_bytes() for value in values if isinstance(value, Scenario)}
