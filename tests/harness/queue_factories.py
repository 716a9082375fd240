"""Creates tickets, rules and leaders for tests of the queue."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tickwire.matchmaking import Matchmaker
from tickwire.matchmaking.environment import MatchmakerEnvironment
from tickwire.matchmaking.labels import to_pairs
from tickwire.matchmaking.queue import Backfill, Entry, Leader, MatchQuality, QueueTicket, Rules
from tickwire.matchmaking.queue.assignment import Assigner
from tickwire.matchmaking.queue.match_rooms import MatchRooms
from tickwire.matchmaking.queue.regional_queue import RegionalQueue


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
    """Return a ticket; all members of a party are equal."""
    about: dict[str, Any] = {
        "skill": skill,
        "latencies": list((latencies or {"": 10}).items()),
        "labels": to_pairs(labels or {}),
    }
    members = [Entry(f"{name}.{n}", f"{name}.{n}", **about) for n in range(size)]
    return QueueTicket(name, seq, int(since_s * 1000), members)


def backfill(room: str, open_slots: Sequence[int], skill: float = 0.0, since_s: float = 0.0, **more: Any) -> Backfill:
    """Return the request of a room for players."""
    return Backfill(room, "", skill, list(open_slots), int(since_s * 1000), **more)


def rules(**changes: Any) -> Rules:
    """Return rules for two teams of one player with similar skills."""
    return Rules(**({"room_type": "duel", "skill_window": 50} | changes))


def create_leader(
    queue: RegionalQueue,
    matchmaker: Matchmaker,
    *,
    shard_id: str,
    now_s: Callable[[], float],
    on_match: Callable[[str, MatchQuality], None] = lambda mode, quality: None,
) -> Leader:
    """Return a seeded leader that the test steps."""
    rooms = MatchRooms(queue, shard_id=shard_id, seats=8, placement=matchmaker.placement, leases=matchmaker.leases)
    assigner = Assigner(queue, rooms, on_match=on_match)
    name = f"{shard_id}/{secrets.token_hex(4)}"
    return Leader(queue, assigner, name=name, environment=MatchmakerEnvironment(now_s, rng=random.Random(1)))
