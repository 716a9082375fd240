"""The contents of a queue: an entry for each player, a ticket for each party, and backfills of rooms. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tickwire.matchmaking.labels import from_pairs

_set = msgspec.structs.force_setattr


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One queued player. The scripts depend on the order of the fields (lua/queue/_prelude.lua).

    Args:
        entry_id: unique for each request; contains no space.
        agent_id: the queue agent that represents the player.
        party, size: the code and the size of the party; empty and 1 for a single player.
        since_ms: when the player was enqueued (UTC), if Redis has lost the entry; otherwise 0.
        skill: in a unit that the game defines.
        latencies: (region, round trip in ms).
        labels: KEY=VALUE; labels that the match must have.
    """

    entry_id: str
    player_id: str
    agent_id: str = ""
    party: str = ""
    size: int = 1
    since_ms: int = 0
    skill: float = 0.0
    latencies: Sequence[tuple[str, int]] = ()
    labels: Sequence[str] = ()


class QueueTicket(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A party or a single player that is matched as a unit.

    Args:
        seq: the order in the queue, ascending.
        since_ms: when the ticket was enqueued, UTC.
        size, skill, latencies: computed from the members: their number; their mean skill; for each region to which
            all members have a latency, the highest one, in ms.
        nearest_ms: the lowest of these latencies.
        labels: computed from the members: labels that the match must have. If members disagree, the first one
            decides.
    """

    ticket_id: str
    seq: int
    since_ms: int
    members: Sequence[Entry]
    size: int = 0
    skill: float = 0.0
    latencies: Mapping[str, int] = {}
    nearest_ms: int = 0
    labels: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        members = self.members
        _set(self, "size", len(members))
        if len(members) == 1:  # most tickets have one member, and a leader reads thousands a second
            _set(self, "skill", members[0].skill)
            _set(self, "latencies", dict(members[0].latencies))
        elif members:
            _set(self, "skill", sum(member.skill for member in members) / len(members))
            _set(self, "latencies", _highest_latencies([dict(member.latencies) for member in members]))
        _set(self, "nearest_ms", min(self.latencies.values(), default=0))
        if any(member.labels for member in members):
            labels: dict[str, str] = {}
            for member in reversed(members):
                labels |= from_pairs(member.labels)
            _set(self, "labels", labels)

    def waited_s(self, now_ms: int) -> float:
        """Return the waiting time; never negative, even if clocks differ."""
        return max(0.0, (now_ms - self.since_ms) / 1000)


class Backfill(msgspec.Struct, frozen=True):
    """A running room that requests players.

    Args:
        skill: the mean skill of its players.
        open_slots: the number of free seats of each team.
        since_ms: when the room requested them, UTC.
        agent_id: the queue agent of the room's shard; set by the script.
    """

    room_id: str
    region: str
    skill: float
    open_slots: Sequence[int]
    since_ms: int
    labels: Sequence[str] = ()
    agent_id: str = ""


class Match(msgspec.Struct, frozen=True):
    """Tickets that will play together.

    Args:
        tickets, teams: the tickets, and the team of each, from 1.
        labels: the labels of the room: all labels of any of the tickets.
        backfill: the room that they join; empty for a new room.
    """

    tickets: Sequence[str]
    teams: Sequence[int]
    labels: Mapping[str, str] = {}
    backfill: str = ""


def _highest_latencies(each: Sequence[Mapping[str, int]]) -> dict[str, int]:
    shared = set.intersection(*(set(one) for one in each))
    return {region: max(one[region] for one in each) for region in sorted(shared)}
