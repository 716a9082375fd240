"""What waits in a queue: an entry a player, a ticket a party; and what a room in play wants. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import msgspec

from matchmaking.labels import from_pairs


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One player who waits. The order of the fields is known to lua/queue.lua.

    Args:
        entry_id: unguessable, another each time that somebody asks; holds no space.
        desk: the shard's run that speaks for the player.
        party, size: the code that friends share, and how many they are; empty and 1 for one who is alone.
        since_ms: 0, or since when it waits, where Redis has forgotten it. UTC.
        skill: in the game's own measure.
        latencies: (region, round trip in ms).
        labels: KEY=VALUE: what the match must be like.
    """

    entry_id: str
    player_id: str
    desk: str = ""
    party: str = ""
    size: int = 1
    since_ms: int = 0
    skill: float = 0.0
    latencies: Sequence[tuple[str, int]] = ()
    labels: Sequence[str] = ()


class QueueTicket(msgspec.Struct, frozen=True, dict=True, array_like=True):
    """One party, or one player alone, that waits to be matched as a whole.

    Args:
        seq: its place in the queue: a smaller one came first.
        since_ms: since when it waits, UTC.
    """

    ticket_id: str
    seq: int
    since_ms: int
    members: Sequence[Entry]

    @cached_property
    def size(self) -> int:
        """How many players it is."""
        return len(self.members)

    @cached_property
    def skill(self) -> float:
        """The party's: the mean of its members'."""
        if len(self.members) == 1:
            return self.members[0].skill
        return sum(member.skill for member in self.members) / len(self.members)

    @cached_property
    def latencies(self) -> Mapping[str, int]:
        """Round trips by region, in ms: those that all members know, of the member who is farthest away."""
        if len(self.members) == 1:
            return dict(self.members[0].latencies)
        each = [dict(member.latencies) for member in self.members]
        shared = set.intersection(*(set(one) for one in each))
        return {region: max(one[region] for one in each) for region in sorted(shared)}

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """What the match must be like; where friends differ, the first has its way."""
        found: dict[str, str] = {}
        for member in self.members:
            found = from_pairs(member.labels) | found
        return found

    def waited_s(self, now_ms: int) -> float:
        """For how long it has waited; never less than 0, whatever the clocks say."""
        return max(0.0, (now_ms - self.since_ms) / 1000)


class Backfill(msgspec.Struct, frozen=True):
    """A room in play that wants players.

    Args:
        skill: of those in it, the mean.
        open: free seats of each team.
        since_ms: since when it wants them, UTC.
    """

    room_id: str
    shard_id: str
    epoch: int
    region: str
    skill: float
    open: Sequence[int]
    since_ms: int
    labels: Sequence[str] = ()
    desk: str = ""


class Match(msgspec.Struct, frozen=True):
    """Tickets that are to play together.

    Args:
        tickets, teams: of the same length; teams count from 1.
        labels: what the room must be like: all that any of the tickets wants.
        backfill: the room that they go to; empty: a new one.
    """

    tickets: Sequence[str]
    teams: Sequence[int]
    labels: Mapping[str, str] = {}
    backfill: str = ""
