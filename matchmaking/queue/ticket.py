"""What waits in a queue: an entry a player, a ticket a party; and what a room in play wants. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tickwire.matchmaking.labels import from_pairs

_set = msgspec.structs.force_setattr


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One player who waits. The order of the fields is known to lua/queue.lua.

    Args:
        entry_id: another each time that somebody asks; holds no space.
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


class QueueTicket(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One party, or one player alone, that waits to be matched as a whole.

    Args:
        seq: its place in the queue: a smaller one came first.
        since_ms: since when it waits, UTC.
        size, skill, latencies: made from the members: how many they are; the mean; round trips by region in ms, those
            that all members know, of the member who is farthest away.
        nearest_ms: the shortest of these round trips.
        labels: made from the members: what the match must be like; where friends differ, the first has its way.
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
        if len(members) == 1:  # most are alone, and a leader reads thousands a second
            _set(self, "skill", members[0].skill)
            _set(self, "latencies", dict(members[0].latencies))
        elif members:
            _set(self, "skill", sum(member.skill for member in members) / len(members))
            _set(self, "latencies", _of_farthest([dict(member.latencies) for member in members]))
        _set(self, "nearest_ms", min(self.latencies.values(), default=0))
        if any(member.labels for member in members):
            labels: dict[str, str] = {}
            for member in reversed(members):
                labels |= from_pairs(member.labels)
            _set(self, "labels", labels)

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


def _of_farthest(each: Sequence[Mapping[str, int]]) -> dict[str, int]:
    shared = set.intersection(*(set(one) for one in each))
    return {region: max(one[region] for one in each) for region in sorted(shared)}
