"""Finds sessions that this shard does not know: their shard is lost, or their client connected to the wrong shard.

the room runs on another shard          the client is redirected to it
the session is in no room               it was transferred to whichever shard asks; or it is on the shard that
                                        issued its token, and the client is redirected to that one
the room has no owner, but is saved     it is recovered with its sessions, here or on a less loaded shard
the shard is lost, its lease is valid   the client retries after the lease: the shard may only be paused
this one runs at that shard's address   the same: this one has replaced it
otherwise                               the session is lost
"""

from __future__ import annotations

import structlog

from tickwire.matchmaking import Directory, MatchmakingError
from tickwire.schemas.messages import Redirect
from tickwire.server.errors import TickwireError, Unavailable
from tickwire.server.migration.session_transfer import SessionTransfer
from tickwire.server.placement.client_errors import to_client_error
from tickwire.server.placement.hosted_rooms import HostedRooms
from tickwire.server.placement.join_service import JoinService
from tickwire.server.storage import WorldStore

log = structlog.get_logger(__name__)

RETRY_AFTER_MS_MIN = 200


class SessionRecovery:
    """Locates sessions in the directory and the stores. Implements `SessionLocator`.

    Args:
        directory: locates rooms.
        rooms: the rooms of this shard.
        worlds: finds the saved rooms of players.
        join_service: recovers rooms.
        session_transfer: receives sessions without a room.
    """

    def __init__(
        self,
        directory: Directory,
        rooms: HostedRooms,
        worlds: WorldStore,
        join_service: JoinService,
        session_transfer: SessionTransfer,
    ) -> None:
        self._shard_id = session_transfer.shard_id
        self._directory = directory
        self._rooms = rooms
        self._worlds = worlds
        self._join_service = join_service
        self._session_transfer = session_transfer

    async def find(self, room_id: str, session_id: str, shard_id: str) -> Redirect | None:
        """See `tickwire.server.edge.services.SessionLocator.find`."""
        if room_id and self._rooms.has_room(room_id):
            # It may have left the room without its client's knowledge.
            await self._session_transfer.receive(session_id)
            return None
        try:
            location = await self._directory.locate_room(room_id, shard_id=self._shard_id) if room_id else None
            if location is None and (redirect := await self._find_without_room(session_id, shard_id)) is not None:
                return redirect
        except MatchmakingError as error:
            raise to_client_error(error) from error
        if not room_id:
            return None
        if location is not None and location.shard_id == self._shard_id and room_id in self._rooms.incoming_rooms:
            raise Unavailable("the room is being transferred to this shard", retry_after_ms=RETRY_AFTER_MS_MIN)
        if location is not None and location.shard_id != self._shard_id:
            if not location.url:
                wait_ms = max(RETRY_AFTER_MS_MIN, location.lease_left_ms)
                raise Unavailable(
                    "the room's shard is lost; retry when its lease has expired", retry_after_ms=wait_ms
                )
            # A client that cannot resume on another shard may join by name.
            return Redirect(location.url, room_type=location.room_type, room_name=location.name, is_resume=True)
        saved = await self._worlds.find_player(room_id, session_id)
        if saved is None:
            return None
        log.info("room_recovery_started", room_id=room_id, room_type=saved.room_type, room_name=saved.name)
        try:
            return await self._join_service.recover_room(saved.player_id, saved.room_type, saved.name, saved.labels)
        except TickwireError as error:
            if error.retryable:
                raise
            # The room can never be recovered here: the client gets a new session.
            log.warning("room_recovery_failed", room_id=room_id, room_type=saved.room_type, error=str(error))
            return None

    async def _find_without_room(self, session_id: str, shard_id: str) -> Redirect | None:
        """Find a session by its id, independently of the room that its client names.

        Returns:
            A Redirect to the shard that has the session: the one to which its room has moved, or the one that issued
            its token. None if the session was received here, or if no other shard is known.

        Raises:
            MatchmakingError: Redis does not answer.
        """
        if await self._session_transfer.receive(session_id):
            return None
        location = await self._session_transfer.find_location(session_id)
        if location == self._shard_id and self._rooms.incoming_rooms:
            raise Unavailable("the session may be on its way to this shard", retry_after_ms=RETRY_AFTER_MS_MIN)
        shard_id = location or shard_id
        if shard_id in ("", self._shard_id):
            return None
        urls = {shard.info.shard_id: shard.info.url for shard in await self._directory.list_shards()}
        url = urls.get(shard_id, "")
        # This shard may have replaced the other one at its address: the session is lost then.
        return Redirect(url, is_resume=True) if url not in ("", urls.get(self._shard_id)) else None
