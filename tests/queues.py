"""Tickets and rules for tests of the queue, in few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matchmaking.labels import to_pairs
from matchmaking.queue import Backfill, Entry, QueueTicket, Rules


def ticket(
    name: str,
    skill: float = 0.0,
    *,
    since_s: float = 0.0,
    seq: int = 0,
    size: int = 1,
    latencies: Mapping[str, int] | None = None,
    labels: Mapping[str, str] | None = None,
) -> QueueTicket:
    """A ticket; a party's members are alike."""
    about: dict[str, Any] = {
        "skill": skill,
        "latencies": list((latencies or {"": 10}).items()),
        "labels": to_pairs(labels or {}),
    }
    members = [Entry(f"{name}.{n}", f"{name}.{n}", **about) for n in range(size)]
    return QueueTicket(name, seq, int(since_s * 1000), members)


def backfill(room: str, open: Sequence[int], skill: float = 0.0, since_s: float = 0.0, **more: Any) -> Backfill:
    """A room that wants players."""
    return Backfill(room, "shard", 1, "", skill, list(open), int(since_s * 1000), **more)


def rules(**changes: Any) -> Rules:
    """Two teams of one, alike in skill."""
    return Rules(**({"room_type": "duel", "skill_window": 50} | changes))
