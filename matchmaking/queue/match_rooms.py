"""The rooms of matches: finds or creates a room for each match, and releases the rooms of dropped matches."""

from __future__ import annotations

import asyncio

import structlog

from tickwire.matchmaking.errors import MatchmakerUnavailable, MatchmakingError, NoCapacity
from tickwire.matchmaking.labels import from_pairs
from tickwire.matchmaking.leases import Leases
from tickwire.matchmaking.placement import Placement, PlaceRequest, RoomPlacement
from tickwire.matchmaking.queue.committed_match import CommittedMatch
from tickwire.matchmaking.queue.regional_queue import RegionalQueue

log = structlog.get_logger(__name__)

CONCURRENT_PLACEMENTS_MAX = 256
"""Limits the placements whose calls are encoded and whose replies are decoded in one turn of the event loop."""


class MatchRooms:
    """Places matches under their own ids, so that repeating a placement finds the same room and the same seats.

    Args:
        queue: the queue of the matches.
        shard_id: the shard that requests rooms.
        seats: the number of seats of the mode's room type.
        placement: finds or creates rooms.
        leases: releases rooms.
    """

    def __init__(
        self, queue: RegionalQueue, *, shard_id: str, seats: int, placement: RoomPlacement, leases: Leases
    ) -> None:
        self._room_type = queue.mode.rules.room_type
        self._region = queue.region
        self._shard_id = shard_id
        self._seats = max(seats, queue.mode.rules.players_max)
        self._placement = placement
        self._leases = leases
        self._slots = asyncio.Semaphore(CONCURRENT_PLACEMENTS_MAX)

    async def place(self, match: CommittedMatch) -> Placement | MatchmakingError | None:
        """Return the placement, or the error. Return None if Redis did not answer, so that the match is retried."""
        request = PlaceRequest(
            room_type=self._room_type,
            players=[player_id for _, _, player_id, _ in match.players],
            shard_id=self._shard_id,
            seats=self._seats,
            region=self._region,
            labels=from_pairs(match.labels),
            create_id=None if match.backfill else match.match_id,
            room_id=match.backfill or None,
            may_enter=True,
        )
        try:
            async with self._slots:
                return await self._placement.place(request)
        except NoCapacity as error:
            return error
        except MatchmakerUnavailable:
            return None
        except MatchmakingError as error:
            return error

    async def release(self, match: CommittedMatch, room: Placement) -> None:
        """Release the room of a dropped match, or its seats in a running room. If that fails, they expire."""
        shard_id, epoch = room.shard_id, room.epoch
        try:
            if not match.backfill:
                await self._leases.release(room.room_id, shard_id=shard_id, epoch=epoch)
                return
            for _, _, player_id, _ in match.players:
                await self._leases.release_reservation(room.room_id, player_id, shard_id=shard_id, epoch=epoch)
        except MatchmakingError as error:
            log.warning("match_room_release_failed", room_id=room.room_id, error=error.detail)
