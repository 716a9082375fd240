"""Sessions without a room go on at another shard: those that wait in a queue keep their place, and their party.

    here    the session is packed, with its place in the queue -> a parcel in Redis -> its client is told where to go
    there   its client comes with its resume token -> the parcel is taken -> the session is there, and waits on

Also one whose connection is lost: whichever shard its client comes back to takes the parcel.
"""

from __future__ import annotations

import asyncio
import itertools
import random

import msgspec
import structlog

from tickwire.matchmaking import Matchmaker, MatchmakingError, ShardStatus
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import Redirect
from tickwire.schemas.payloads import decode_payload, encode_payload
from tickwire.server.edge.server import EdgeServer
from tickwire.server.edge.session import Session, SessionState
from tickwire.server.placement.join_service import told
from tickwire.server.placement.queue_service import QueueService, TransferredPosition
from tickwire.server.placement.ready_shards import ReadyShards
from tickwire.server.rooms.checkpoint import SessionCheckpoint

log = structlog.get_logger(__name__)

SESSIONS_PER_S = 200
"""So many are sent on in a second: a drain is a stream, and no stampede at the other shards' doors."""
LOOK_S = 0.05


class TransferredSession(msgspec.Struct, frozen=True):
    """A session on its way."""

    session: SessionCheckpoint
    place: TransferredPosition | None = None


class SessionTransfer:
    """A shard's side of both.

    Args:
        shard_id, region: of this shard.
        listener: has the sessions.
        queueing: knows who waits.
        matchmaker: has the parcels, and knows the other shards.
        chance: jitter, 0 to 1.
    """

    def __init__(
        self,
        *,
        shard_id: str,
        region: str,
        listener: EdgeServer,
        queueing: QueueService,
        matchmaker: Matchmaker,
        chance: random.Random | None = None,
    ) -> None:
        self._listener = listener
        self._queueing = queueing
        self._matchmaker = matchmaker
        self._shard_id = shard_id
        self._ready_shards = ReadyShards(matchmaker, shard_id=shard_id, region=region)
        self._random = (chance or random.Random()).random  # noqa: S311 - spreads load, keeps no secret

    async def send_all(self, deadline_s: float) -> int:
        """Move all sessions without a room to other shards, once there is one that is ready.

        Returns:
            How many sessions are left at the deadline.
        """
        try:
            async with asyncio.timeout(deadline_s):
                targets = await self._ready_shards.wait(lambda: self._sessions_without_room() > 0)
                if targets:
                    await self._send_to(targets)
        except TimeoutError:
            pass  # the deadline: the caller receives how many are left
        except MatchmakingError as error:
            log.warning("sessions_not_passed_on", error=error.detail)
        return self._sessions_without_room()

    def _sessions_without_room(self) -> int:
        return sum(not session.room_id for session in self._listener.registry)

    async def _send_to(self, targets: list[ShardStatus]) -> None:
        url_of = itertools.cycle([target.info.url for target in targets])
        while left := [
            one for one in self._listener.registry if not one.room_id and not self._queueing.has_match(one)
        ]:
            for session in left:
                if self._may_go(session):
                    await self._send(session, next(url_of))
                    await asyncio.sleep(2 * self._random() / SESSIONS_PER_S)
            await asyncio.sleep(LOOK_S)  # who is just joining is soon seated, or redirected, or neither

    async def _send(self, session: Session, url: str) -> None:
        parcel = self._parcel_of(session)
        ttl_ms = int(self._listener.settings.resume_window_s * 1000)
        data = msgspec.msgpack.encode(parcel)
        await self._matchmaker.parcels.put(session.session_id, data, ttl_ms=ttl_ms)
        if not self._may_go(session) or self._parcel_of(session) != parcel:
            await self._matchmaker.parcels.take(session.session_id)  # something has happened to it meanwhile
            return
        self._queueing.release(session)
        session.go_on_at(Redirect(url, is_resume=True))

    def _may_go(self, session: Session) -> bool:
        """Return whether nothing is under way that only this shard can finish."""
        is_idle = session.state is SessionState.IDLE and not session.has_pending_commands
        return is_idle and not self._queueing.is_bound(session)

    def _parcel_of(self, session: Session) -> TransferredSession:
        return TransferredSession(session.keep(), self._queueing.place_of(session))

    async def leave_address(self, session_id: str, shard_id: str) -> None:
        """Write down where a session is about to go, for a client that knows neither the shard nor the room.

        It is read only by shards that do not find the session, so it may be wrong.

        Raises:
            MatchmakingError: Redis does not answer.
        """
        ttl_ms = int(self._listener.settings.resume_window_s * 1000)
        await self._matchmaker.parcels.put(_address_of(session_id), encode_payload(shard_id), ttl_ms=ttl_ms)

    async def _note_address(self, session_id: str) -> None:
        """Write down that a session is here: the Welcome with the token that says so may be lost."""
        try:
            await self.leave_address(session_id, self._shard_id)
        except MatchmakingError as error:
            log.warning("session_address_failed", session_id=session_id, error=error.detail)

    async def find_address(self, session_id: str) -> str:
        """Return the shard to which a session has gone; empty if none is written down.

        Raises:
            MatchmakingError: Redis does not answer.
        """
        data = await self._matchmaker.parcels.look(_address_of(session_id))
        return decode_payload(data, str) if data is not None else ""

    async def receive(self, session_id: str) -> bool:
        """Restore a session that another shard has left in Redis. Return whether there was one.

        Raises:
            TickwireError: Redis does not answer; the client tries again.
        """
        try:
            data = await self._matchmaker.parcels.take(session_id)
        except MatchmakingError as error:
            log.warning("session_transfer_fetch_failed", session_id=session_id, error=error.detail)
            raise told(error) from error
        if data is None:
            return False
        try:
            parcel = decode_payload(data, TransferredSession)
        except MalformedMessage as error:  # packed by another build
            log.warning("parcel_not_read", session_id=session_id, error=str(error))
            return False
        await self._note_address(session_id)
        session = self._listener.revive(parcel.session)
        if session is not None:
            self._listener.settle(session)
        if session is not None and parcel.place is not None:
            await self._queueing.adopt(session, parcel.place)
        return session is not None


def _address_of(session_id: str) -> str:
    return f"address {session_id}"
