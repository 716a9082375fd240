"""The players of a room that migrates: their locations, queue positions, and the list of those that leave meanwhile.

The source publishes where disconnected players move, and sends the queue positions with the room. Sessions that end
after the room's state was sent are published as a list, from which the new owner ends them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
import structlog

from tickwire.matchmaking import MatchmakingError, SessionHandoffs
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.payloads import decode_payload
from tickwire.server.migration.session_transfer import SessionTransfer
from tickwire.server.placement.queue_service import QueueService
from tickwire.server.placement.queued_session import TransferredPosition
from tickwire.server.rooms.ports import SessionRestorer
from tickwire.server.rooms.runtime import RoomRuntime

log = structlog.get_logger(__name__)

LEAVERS_TTL_MS = 30_000
"""How long the list of ended sessions is kept for the new owner of a room."""
LEAVERS_POLL_DELAYS_S = (0.2, 0.8, 2.0)
"""The pauses before each attempt of the new owner to fetch the list of ended sessions."""


class MigratingPlayers:
    """Transfers what players have outside of their room.

    Args:
        shard_id: the id of this shard.
        session_handoffs: has the lists of ended sessions.
        sessions: ends restored sessions.
        queue_service: has the queue positions of the players in a room.
        session_transfer: publishes the locations of sessions.
    """

    def __init__(
        self,
        shard_id: str,
        session_handoffs: SessionHandoffs,
        sessions: SessionRestorer,
        queue_service: QueueService,
        session_transfer: SessionTransfer,
    ) -> None:
        self._shard_id = shard_id
        self._session_handoffs = session_handoffs
        self._sessions = sessions
        self._queue_service = queue_service
        self._session_transfer = session_transfer

    def are_bound(self, runtime: RoomRuntime) -> bool:
        """Return whether the match or cancel of a player is not completed yet; the room then has to stay."""
        return any(self._queue_service.is_bound(seat.subscriber) for seat in runtime.seats)

    async def publish_locations(self, runtime: RoomRuntime, shard_id: str) -> None:
        """Publish where disconnected players move: the client of a new player may not know the room's id yet.

        Raises:
            MatchmakingError: Redis does not answer.
        """
        disconnected = [seat.subscriber.session_id for seat in runtime.seats if seat.connection is None]
        await asyncio.gather(*(self._session_transfer.publish_location(each, shard_id) for each in disconnected))

    async def restore_locations(self, runtime: RoomRuntime) -> None:
        """Publish that the disconnected players of a room stay on this shard."""
        try:
            await self.publish_locations(runtime, self._shard_id)
        except MatchmakingError as error:  # the locations expire
            log.warning("session_location_publish_failed", room_id=runtime.room.room_id, error=str(error))

    def find_positions(self, runtime: RoomRuntime) -> dict[str, TransferredPosition]:
        """Return the queue positions of a room's players, by session."""
        sessions = [seat.subscriber for seat in runtime.seats]
        found = {session.session_id: self._queue_service.find_position(session) for session in sessions}
        return {session_id: position for session_id, position in found.items() if position is not None}

    def release_positions(self, runtime: RoomRuntime, sent: Mapping[str, TransferredPosition]) -> None:
        """Release the positions that were sent to the new owner. A position that has changed since stays here."""
        for seat in runtime.seats:
            session = seat.subscriber
            position = sent.get(session.session_id)
            if position is not None and self._queue_service.find_position(session) == position:
                self._queue_service.release_position(session)

    async def publish_leavers(self, room_id: str, session_ids: Sequence[str]) -> None:
        """Publish the sessions that have ended since the room's state was sent, for its new owner."""
        try:
            await self._session_handoffs.put(
                _leavers_key(room_id), msgspec.msgpack.encode(session_ids), ttl_ms=LEAVERS_TTL_MS
            )
        except MatchmakingError as error:  # the sessions expire on the new owner
            log.warning("leavers_publish_failed", room_id=room_id, sessions=len(session_ids), error=str(error))

    async def restore_positions(self, runtime: RoomRuntime, positions: Mapping[str, msgspec.Raw]) -> None:
        """Continue the queue positions of the room's players."""
        for seat in list(runtime.seats):
            encoded = positions.get(seat.subscriber.session_id)
            if encoded is None:
                continue
            try:
                position = decode_payload(bytes(encoded), TransferredPosition)
            except MalformedMessage as error:  # encoded by another build: the client requests a match again
                log.warning("queue_position_lost", session_id=seat.subscriber.session_id, error=str(error))
                continue
            await self._queue_service.accept_position(seat.subscriber, position)

    async def end_leavers(self, room_id: str) -> None:
        """End the sessions that have ended on the source after the room's state was sent.

        The source learns that the room was claimed, and publishes the list, some milliseconds after the claim.
        """
        for pause_s in LEAVERS_POLL_DELAYS_S:
            await asyncio.sleep(pause_s)
            try:
                data = await self._session_handoffs.take(_leavers_key(room_id), self._shard_id)
                session_ids = decode_payload(data, list[str]) if data is not None else None
            except (MatchmakingError, MalformedMessage) as error:  # the sessions expire
                log.warning("leavers_fetch_failed", room_id=room_id, error=str(error))
                return
            if session_ids is not None:
                for session_id in session_ids:
                    self._sessions.drop(session_id, room_id)
                return


def _leavers_key(room_id: str) -> str:
    return f"leavers {room_id}"
