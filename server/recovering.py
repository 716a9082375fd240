"""Finds sessions that are not known on this shard: their shard is gone, or their client has come to the wrong door.

their room runs elsewhere        the client is told where
nobody has it, and it is saved   it is made again, here or on a less loaded shard, and their sessions with it
its shard is gone, and the       come again when it is over: who knows whether the shard only sleeps
lease is not over yet
else                             the session is lost
"""

from __future__ import annotations

import structlog

from matchmaking import Matchmaker, MatchmakingError
from schemas.messages import Redirect
from server.errors import TickwireError, Unavailable
from server.passing import Passing
from server.placing import RoomPlacer, told
from server.rooms.host import RoomHost
from server.storage import Worlds

log = structlog.get_logger(__name__)

RETRY_AFTER_MS_MIN = 200


class Recovery:
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
        worlds: Worlds,
        placer: RoomPlacer,
        passing: Passing,
    ) -> None:
        self._shard_id = shard_id
        self._host = host
        self._matchmaker = matchmaker
        self._worlds = worlds
        self._placer = placer
        self._passing = passing

    async def find(self, room_id: str, session_id: str) -> Redirect | None:
        """See `server.rooms.ports.Homes.find`."""
        if not room_id:
            await self._passing.receive(session_id)
            return None
        if self._host.get(room_id) is not None:
            return None
        try:
            home = await self._matchmaker.directory.home_of(room_id)
        except MatchmakingError as error:
            raise told(error) from error
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
