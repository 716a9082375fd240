"""Assigns rooms to committed matches: places each match under its own id, then notifies the agents of its players.

Repeating an assignment finds the same room and the same seats, and notifies no player twice, because the first
assignment removes the match from the list of matches without a room. If a player has left before, the match is
dropped: its room is released, and the other tickets keep their positions in the queue.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from tickwire.matchmaking.errors import MatchmakingError
from tickwire.matchmaking.labels import to_pairs
from tickwire.matchmaking.placement import Placement
from tickwire.matchmaking.queue.agent import MatchRoom
from tickwire.matchmaking.queue.committed_match import CommittedMatch
from tickwire.matchmaking.queue.match_rooms import MatchRooms
from tickwire.matchmaking.queue.quality import MatchQuality, RecentWaits, measure_quality
from tickwire.matchmaking.queue.regional_queue import RegionalQueue
from tickwire.matchmaking.queue.ticket import Match, QueueTicket

log = structlog.get_logger(__name__)

PLAYERS_PER_CALL_MAX = 128
"""Limits the duration of one script, and of encoding and decoding one call."""
CONCURRENT_CALLS_MAX = 8


class _Assigned(msgspec.Struct, frozen=True):
    assigned: Sequence[str]
    returned: Sequence[str]
    dropped: Sequence[str]


class Assigner:
    """Assigns rooms to the matches of one mode.

    Args:
        queue: the queue of the matches.
        rooms: places the matches.
        on_match: called with the mode and the quality of each match that has a room.

    Attributes:
        results: the number of matches by result.
        recent_waits: how long players have waited recently.
    """

    def __init__(
        self, queue: RegionalQueue, rooms: MatchRooms, *, on_match: Callable[[str, MatchQuality], None]
    ) -> None:
        self.results: Counter[str] = Counter()
        self.recent_waits = RecentWaits()
        self._mode = queue.mode
        self._region = queue.region
        self._scripts = queue.scripts
        self._rooms = rooms
        self._on_match = on_match
        self._call_slots = asyncio.Semaphore(CONCURRENT_CALLS_MAX)

    async def find_rooms(
        self, matches: Sequence[CommittedMatch], tickets: Mapping[str, QueueTicket], now_ms: int
    ) -> bool:
        """Assign rooms to matches, in batches that overlap.

        Args:
            matches: the matches.
            tickets: their tickets; empty for matches that another leader made.
            now_ms: UTC, milliseconds.

        Returns:
            Whether all matches have a room. The tickets of the others wait again, or their matches are retried.

        Raises:
            MatchmakerUnavailable: Redis does not answer.
        """
        count = max(1, PLAYERS_PER_CALL_MAX // self._mode.rules.players_max)
        batches = [matches[first : first + count] for first in range(0, len(matches), count)]
        results = await asyncio.gather(
            *(self._assign_batch(batch, tickets, now_ms) for batch in batches), return_exceptions=True
        )
        for result in results:  # all batches have ended; the matches of a failed batch are read again
            if isinstance(result, BaseException):
                raise result
        return all(results)

    async def return_tickets(self, matches: Sequence[CommittedMatch]) -> None:
        """Return the tickets of matches to their positions in the queue.

        Raises:
            MatchmakerUnavailable: Redis does not answer.
        """
        request = {"found": [], "failed": [match.match_id for match in matches]}
        assigned = await self._scripts.run("queue/assign", request, _Assigned)
        self.results["abandoned"] += len(assigned.returned)

    async def _assign_batch(
        self, matches: Sequence[CommittedMatch], tickets: Mapping[str, QueueTicket], now_ms: int
    ) -> bool:
        async with self._call_slots:
            return await self._assign_now(matches, tickets, now_ms)

    async def _assign_now(
        self, matches: Sequence[CommittedMatch], tickets: Mapping[str, QueueTicket], now_ms: int
    ) -> bool:
        placed = await asyncio.gather(*(self._rooms.place(match) for match in matches))
        found = {m.match_id: room for m, room in zip(matches, placed, strict=True) if isinstance(room, Placement)}
        failed = [m.match_id for m, room in zip(matches, placed, strict=True) if isinstance(room, MatchmakingError)]
        request = {
            "found": [{"match_id": match_id, "room": _to_match_room(room)} for match_id, room in found.items()],
            "failed": failed,
        }
        assigned = await self._scripts.run("queue/assign", request, _Assigned)
        self.results["found"] += len(assigned.assigned)
        self.results["no_room"] += len(assigned.returned)
        self.results["dropped"] += len(assigned.dropped)
        dropped = frozenset(assigned.dropped)
        await asyncio.gather(
            *(self._rooms.release(match, found[match.match_id]) for match in matches if match.match_id in dropped)
        )
        if len(found) < len(matches):
            late = len(matches) - len(found) - len(failed)
            log.warning("matches_without_room", mode=self._mode.name, returned=len(failed), retried=late)
        for match in matches:
            if match.match_id in found and match.match_id not in dropped and tickets:
                self._observe_quality(match, tickets, now_ms)
        return len(found) == len(matches) and not dropped

    def _observe_quality(self, match: CommittedMatch, tickets: Mapping[str, QueueTicket], now_ms: int) -> None:
        """Record the quality of a match that has a room."""
        quality = measure_quality(Match(match.tickets, match.teams), tickets, region=self._region, now_ms=now_ms)
        self.recent_waits.add(quality)
        self._on_match(self._mode.name, quality)


def _to_match_room(placement: Placement) -> MatchRoom:
    return MatchRoom(
        room_id=placement.room_id,
        room_type=placement.room_type,
        shard_id=placement.shard_id,
        url=placement.url,
        epoch=placement.epoch,
        until_ms=placement.until_ms,
        labels=to_pairs(placement.labels),
    )
