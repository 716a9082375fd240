"""The files of schemas/scenarios."""

from __future__ import annotations

from pathlib import Path

from tests.scenarios import connection, rooms

FOLDER = Path(__file__).parents[2] / "schemas" / "scenarios"


def created_files() -> dict[str, bytes]:
    """Return each file by name."""
    files = {}
    for play in (*connection.SCENARIOS, *rooms.SCENARIOS):
        about = " ".join((play.__doc__ or "").split())
        files[f"{play.__name__}.json"] = play().to_bytes(play.__name__, about)
    return files
