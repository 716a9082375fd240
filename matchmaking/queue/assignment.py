"""Rooms for matches that are final: found in Redis under the match's own id, then told to the players' desks.

Doing it again finds the same room and the same seats, and tells nobody twice: a match leaves the list of those
without a room by whoever assigns it first. A match that one of its players has left by then is dropped: its room is
given back, and the others wait where they were.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from tickwire.matchmaking.errors import MatchmakerUnavailable, MatchmakingError, NoCapacity
from tickwire.matchmaking.labels import from_pairs, to_pairs
from tickwire.matchmaking.leases import Leases
from tickwire.matchmaking.placement import Placement, PlaceRequest, RoomPlacement
from tickwire.matchmaking.queue.agent import MatchRoom
from tickwire.matchmaking.queue.mode import Mode
from tickwire.matchmaking.queue.quality import MatchQuality, RecentWaits, quality_of
from tickwire.matchmaking.queue.ticket import Match, QueueTicket
from tickwire.matchmaking.script_runner import ScriptRunner

log = structlog.get_logger(__name__)

AT_ONCE_PLAYERS_MAX = 128
"""Players of matches in one call: other calls wait while a script runs, our loop while we encode and decode."""
CALLS_AT_ONCE = 8
PLACES_AT_ONCE = 256
"""Rooms that are looked for at a time: their calls are packed, and their answers read, in one turn of the loop."""


class CommittedMatch(msgspec.Struct, frozen=True, array_like=True):
    """A match as it is kept until it has a room. The order of the fields is known to lua/queue/assign.lua.

    Args:
        players: (desk, entry, player, team) of each.
        made_ms: when, by the clock of Redis.
    """

    match_id: str
    region: str
    tickets: Sequence[str]
    players: Sequence[tuple[str, str, str, int]]
    teams: Sequence[int]
    labels: Sequence[str]
    backfill: str = ""
    made_ms: int = 0


class _Assigned(msgspec.Struct, frozen=True):
    assigned: Sequence[str]
    returned: Sequence[str]
    dropped: Sequence[str]


class Assigner:
    """Finds matches their rooms.

    Args:
        mode: whose matches.
        region: where they are played.
        shard_id: who asks for rooms.
        seats: of the mode's room type.
        calls: the door to the mode's queue.
        places: finds rooms.
        leases: gives back the rooms of matches that are dropped.
        on_match: told of each match that has got its room.

    Attributes:
        results: matches by what became of them.
        lately: how long players have waited.
    """

    def __init__(
        self,
        mode: Mode,
        *,
        region: str,
        shard_id: str,
        seats: int,
        calls: ScriptRunner,
        places: RoomPlacement,
        leases: Leases,
        on_match: Callable[[str, MatchQuality], None],
    ) -> None:
        self.results: Counter[str] = Counter()
        self.lately = RecentWaits()
        self._mode = mode
        self._region = region
        self._shard_id = shard_id
        self._seats = max(seats, mode.rules.players_max)
        self._calls = calls
        self._places = places
        self._leases = leases
        self._on_match = on_match
        self._turns = asyncio.Semaphore(CALLS_AT_ONCE)
        self._places_at_once = asyncio.Semaphore(PLACES_AT_ONCE)

    async def find_rooms(
        self, matches: Sequence[CommittedMatch], tickets: Mapping[str, QueueTicket], now_ms: int
    ) -> bool:
        """Finds rooms for all of them, some at a time: while Redis tells the players of some, others get theirs.

        Args:
            tickets: those in the matches; empty where they were made by another leader.

        Returns:
            Whether all have one. The players of the others wait again, or their matches are there to be tried again.

        Raises:
            MatchmakerUnavailable: Redis does not answer.
        """
        count = max(1, AT_ONCE_PLAYERS_MAX // self._mode.rules.players_max)
        some = [matches[first : first + count] for first in range(0, len(matches), count)]
        ends = await asyncio.gather(
            *(self._find_rooms_of(part, tickets, now_ms) for part in some), return_exceptions=True
        )
        for end in ends:  # all have ended; the matches of those that failed are found again
            if isinstance(end, BaseException):
                raise end
        return all(ends)

    async def give_back(self, matches: Sequence[CommittedMatch]) -> None:
        """The players of these matches wait again, where they were.

        Raises:
            MatchmakerUnavailable: Redis does not answer.
        """
        request = {"found": [], "failed": [match.match_id for match in matches]}
        assigned = await self._calls.run("queue/assign", request, _Assigned)
        self.results["abandoned"] += len(assigned.returned)

    async def _find_rooms_of(
        self, matches: Sequence[CommittedMatch], tickets: Mapping[str, QueueTicket], now_ms: int
    ) -> bool:
        async with self._turns:
            return await self._find_rooms_now(matches, tickets, now_ms)

    async def _find_rooms_now(
        self, matches: Sequence[CommittedMatch], tickets: Mapping[str, QueueTicket], now_ms: int
    ) -> bool:
        placed = await asyncio.gather(*(self._place(match) for match in matches))
        found = {m.match_id: room for m, room in zip(matches, placed, strict=True) if isinstance(room, Placement)}
        failed = [m.match_id for m, room in zip(matches, placed, strict=True) if isinstance(room, MatchmakingError)]
        request = {
            "found": [{"match_id": match_id, "room": _room_of(room)} for match_id, room in found.items()],
            "failed": failed,
        }
        assigned = await self._calls.run("queue/assign", request, _Assigned)
        self.results["found"] += len(assigned.assigned)
        self.results["no_room"] += len(assigned.returned)
        self.results["dropped"] += len(assigned.dropped)
        dropped = frozenset(assigned.dropped)
        await asyncio.gather(
            *(self._give_back_room(match, found[match.match_id]) for match in matches if match.match_id in dropped)
        )
        if len(found) < len(matches):
            late = len(matches) - len(found) - len(failed)
            log.warning("matches_without_room", mode=self._mode.name, returned=len(failed), tried_again=late)
        for match in matches:
            if match.match_id in found and match.match_id not in dropped and tickets:
                self._judge(match, tickets, now_ms)
        return len(found) == len(matches) and not dropped

    async def _give_back_room(self, match: CommittedMatch, room: Placement) -> None:
        """Releases the room that was found for a dropped match, or its seats in a room in play; else they expire."""
        shard_id, epoch = room.shard_id, room.epoch
        try:
            if not match.backfill:
                await self._leases.release(room.room_id, shard_id=shard_id, epoch=epoch)
                return
            for _, _, player_id, _ in match.players:
                await self._leases.unreserved(room.room_id, player_id, shard_id=shard_id, epoch=epoch)
        except MatchmakingError as error:
            log.warning("match_room_release_failed", room_id=room.room_id, error=error.detail)

    async def _place(self, match: CommittedMatch) -> Placement | MatchmakingError | None:
        """A room; why there is none; or None when Redis has not answered, and the match is tried again."""
        wanted = PlaceRequest(
            room_type=self._mode.rules.room_type,
            players=[player_id for _, _, player_id, _ in match.players],
            shard_id=self._shard_id,
            seats=self._seats,
            region=self._region,
            labels=from_pairs(match.labels),
            make=None if match.backfill else match.match_id,
            room_id=match.backfill or None,
            may_enter=True,
        )
        try:
            async with self._places_at_once:
                return await self._places.place(wanted)
        except NoCapacity as error:
            return error
        except MatchmakerUnavailable:
            return None
        except MatchmakingError as error:
            return error

    def _judge(self, made: CommittedMatch, tickets: Mapping[str, QueueTicket], now_ms: int) -> None:
        """A match has its room: how good is it?"""
        quality = quality_of(Match(made.tickets, made.teams), tickets, region=self._region, now_ms=now_ms)
        self.lately.add(quality)
        self._on_match(self._mode.name, quality)


def _room_of(placement: Placement) -> MatchRoom:
    return MatchRoom(
        room_id=placement.room_id,
        room_type=placement.room_type,
        shard_id=placement.shard_id,
        url=placement.url,
        epoch=placement.epoch,
        until_ms=placement.until_ms,
        labels=to_pairs(placement.labels),
    )
