"""Describes the last state of a room, for the report of a failed test. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

PLAYERS_SHOWN = 10


def describe_state(harness: Any) -> list[str]:
    """Return lines about the last state of a harness; nothing without one.

    The room may be in any state, also one that the test has damaged. An exception becomes a line of the text.
    """
    if harness is None:
        return []
    try:
        return list(_lines_of(harness))
    except Exception as error:  # noqa: BLE001 a report about a failure must not replace the failure
        return [f"  the state of the room is not readable: {type(error).__name__}"]


def _lines_of(harness: Any) -> Sequence[str]:
    room = harness.runtime.room
    lines = [f"  room {room.room_type!r} at tick {room.tick}, seed {harness.seed}"]
    players = list(islice(room.players.values(), PLAYERS_SHOWN))
    if players:
        names = [player.id if player.is_connected else f"{player.id} (disconnected)" for player in players]
        more = ", ..." if len(room.players) > len(players) else ""
        lines.append(f"  players: {', '.join(names)}{more}")
    if room.tables:
        counts = [f"{name} has {len(getattr(room, name))} entities" for name in room.tables]
        lines.append(f"  tables: {', '.join(counts)}")
    return lines
