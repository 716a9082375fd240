"""Finds sessions that are not known on this shard: their shard is gone, or their client has come to the wrong door.

their room runs elsewhere        the client is told where
they are in no room              they were passed on to whichever shard asks; or are where their token was issued
nobody has it, and it is saved   it is made again, here or on a less loaded shard, and their sessions with it
its shard is gone, and the       come again when it is over: who knows whether the shard only sleeps
lease is not over yet
else                             the session is lost
"""

from __future__ import annotations

import structlog

from tickwire.matchmaking import Matchmaker, MatchmakingError
from tickwire.schemas.messages import Redirect
from tickwire.server.errors import TickwireError, Unavailable
from tickwire.server.migration.session_transfer import SessionTransfer
from tickwire.server.placement.join_service import JoinService, told
from tickwire.server.rooms.host import RoomHost
from tickwire.server.storage import WorldStore

log = structlog.get_logger(__name__)

RETRY_AFTER_MS_MIN = 200


class SessionRecovery:
    """The shard's `Homes`.

    Args:
        shard_id: this shard.
        host: its rooms.
        matchmaker: knows where rooms are.
        worlds: know who was in them.
        placer: makes them again.
        passing: knows of sessions without a room.
    """

    def __init__(
        self,
        *,
        shard_id: str,
        host: RoomHost,
        matchmaker: Matchmaker,
        worlds: WorldStore,
        placer: JoinService,
        passing: SessionTransfer,
    ) -> None:
        self._shard_id = shard_id
        self._host = host
        self._matchmaker = matchmaker
        self._worlds = worlds
        self._placer = placer
        self._passing = passing

    async def find(self, room_id: str, session_id: str, shard_id: str) -> Redirect | None:
        """See `tickwire.server.rooms.ports.SessionLocator.find`."""
        if room_id and self._host.get(room_id) is not None:
            await self._passing.receive(session_id)  # it may have left the room, and its client not know
            return None
        try:
            home = await self._matchmaker.directory.home_of(room_id) if room_id else None
            if home is None and (redirect := await self._find_without_room(session_id, shard_id)) is not None:
                return redirect
        except MatchmakingError as error:
            raise told(error) from error
        if not room_id:
            return None
        if home is not None and home.shard_id == self._shard_id and room_id in self._placer.arriving:
            raise Unavailable("the room is just coming to this shard", retry_after_ms=RETRY_AFTER_MS_MIN)
        if home is not None and home.shard_id != self._shard_id:
            if not home.url:
                wait_ms = max(RETRY_AFTER_MS_MIN, home.left_ms)
                raise Unavailable("the room's shard is gone; the room can be had soon", retry_after_ms=wait_ms)
            # A client that knows no resumes elsewhere may join by name.
            return Redirect(home.url, room_type=home.room_type, room_name=home.name, is_resume=True)
        kept = await self._worlds.find_player(room_id, session_id)
        if kept is None:
            return None
        log.info("room_recovers", room_id=room_id, room_type=kept.room_type, room_name=kept.name)
        try:
            return await self._placer.reopen(kept.player_id, kept.room_type, kept.name, kept.labels)
        except TickwireError as error:
            if error.retryable:
                raise
            # Not to be had here, now or later: the player gets a new session instead of none.
            log.warning("room_not_recovered", room_id=room_id, room_type=kept.room_type, error=str(error))
            return None

    async def _find_without_room(self, session_id: str, shard_id: str) -> Redirect | None:
        """Find a session by its id: it was passed on and is here from now on, or has gone with a room that its client
        does not know of, or is where its token was issued.

        Raises:
            MatchmakingError: Redis does not answer.
        """
        if await self._passing.receive(session_id):
            return None
        address = await self._passing.find_address(session_id)
        if address == self._shard_id and self._placer.arriving:
            raise Unavailable("the session may be just coming to this shard", retry_after_ms=RETRY_AFTER_MS_MIN)
        shard_id = address or shard_id
        if shard_id in ("", self._shard_id):
            return None
        shards = await self._matchmaker.directory.shards()
        url = next((shard.info.url for shard in shards if shard.info.shard_id == shard_id), "")
        return Redirect(url, is_resume=True) if url else None
