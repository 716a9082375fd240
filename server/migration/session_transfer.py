"""Transfers sessions that are not in a room to another shard during a drain, with queue positions and parties.

    source   the session is encoded with its queue position -> stored in Redis -> its client is redirected
    target   the client presents its resume token -> the session is taken from Redis and restored -> it waits on

Disconnected sessions are transferred too: whichever shard their client connects to takes them from Redis. If the
reply to that is lost, the shard takes the session when the client retries; other shards redirect the client to it.
"""

from __future__ import annotations

import asyncio
import itertools
import random

import msgspec
import structlog

from tickwire.matchmaking import MatchmakingError, SessionHandoffs, ShardStatus
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import Redirect
from tickwire.schemas.payloads import decode_payload, encode_payload
from tickwire.server.edge.session import Session, SessionState
from tickwire.server.edge.session_registry import SessionRegistry
from tickwire.server.placement.client_errors import to_client_error
from tickwire.server.placement.queue_service import QueueService
from tickwire.server.placement.queued_session import TransferredPosition
from tickwire.server.placement.ready_shards import ReadyShards
from tickwire.server.rooms.checkpoint import SessionCheckpoint

log = structlog.get_logger(__name__)

SESSIONS_PER_S = 200
"""Sessions transferred in a second, so that their clients do not all reconnect at once."""
POLL_INTERVAL_S = 0.05
"""How often sessions are checked that could not be transferred yet."""
RETRY_INTERVAL_S = 0.5
"""The pause after Redis did not answer."""


class TransferredSession(msgspec.Struct, frozen=True, rename={"position": "place"}):
    """A session on its way to another shard, with its queue position if it waits for a match."""

    session: SessionCheckpoint
    position: TransferredPosition | None = None


class SessionTransfer:
    """Sends and receives session transfers for one shard.

    Args:
        shard_id: the id of this shard.
        sessions: the sessions of this shard.
        queue_service: has the queue positions of sessions.
        session_handoffs: stores transferred sessions.
        ready_shards: finds the shards that may receive sessions.

    Attributes:
        shard_id: as passed.
    """

    def __init__(
        self,
        shard_id: str,
        sessions: SessionRegistry,
        queue_service: QueueService,
        session_handoffs: SessionHandoffs,
        ready_shards: ReadyShards,
    ) -> None:
        self.shard_id = shard_id
        self._sessions = sessions
        self._queue_service = queue_service
        self._session_handoffs = session_handoffs
        self._ready_shards = ready_shards
        self._random = random.Random().random  # noqa: S311 - spreads load, keeps no secret
        self._receiving: dict[str, asyncio.Task[bool]] = {}

    async def transfer_all(self, timeout_s: float) -> int:
        """Transfer all sessions without a room to other shards, once another shard is ready.

        Args:
            timeout_s: the longest time to take.

        Returns:
            How many sessions without a room are left.
        """
        try:
            async with asyncio.timeout(timeout_s):
                targets = await self._ready_shards.wait(lambda: self._sessions_without_room() > 0)
                if targets:
                    await self._transfer_to(targets)
        except TimeoutError:
            pass  # the caller receives how many are left
        return self._sessions_without_room()

    def _sessions_without_room(self) -> int:
        return sum(not session.room_id for session in self._sessions)

    async def _transfer_to(self, targets: list[ShardStatus]) -> None:
        urls = itertools.cycle([target.info.url for target in targets])
        while left := [one for one in self._sessions if not one.room_id and not self._queue_service.has_match(one)]:
            try:
                for session in left:
                    if self._can_transfer(session):
                        await self._transfer(session, next(urls))
                        await asyncio.sleep(2 * self._random() / SESSIONS_PER_S)
            except MatchmakingError as error:
                log.warning("session_transfer_failed", error=error.detail, retry_s=RETRY_INTERVAL_S)
                await asyncio.sleep(RETRY_INTERVAL_S)
            await asyncio.sleep(POLL_INTERVAL_S)  # sessions that are joining are soon seated or redirected

    async def _transfer(self, session: Session, url: str) -> None:
        transfer = self._create_transfer(session)
        ttl_ms = int(self._sessions.window_s * 1000)
        data = msgspec.msgpack.encode(transfer)
        await self._session_handoffs.put(session.session_id, data, ttl_ms=ttl_ms)
        if not self._can_transfer(session) or self._create_transfer(session) != transfer:
            # The session has changed in the meantime.
            await self._session_handoffs.discard(session.session_id, self.shard_id)
            return
        self._queue_service.release_position(session)
        session.redirect(Redirect(url, is_resume=True))

    def _can_transfer(self, session: Session) -> bool:
        """Return whether the session has nothing in flight that only this shard can complete."""
        is_idle = session.state is SessionState.IDLE and not session.has_pending_commands
        return is_idle and not self._queue_service.is_bound(session)

    def _create_transfer(self, session: Session) -> TransferredSession:
        return TransferredSession(session.to_checkpoint(), self._queue_service.find_position(session))

    async def publish_location(self, session_id: str, shard_id: str) -> None:
        """Publish the shard to which a session moves, for clients that know neither the shard nor the room.

        Only shards that do not have the session read it, so it may be outdated. It expires with the resume window.

        Raises:
            MatchmakingError: Redis does not answer.
        """
        ttl_ms = int(self._sessions.window_s * 1000)
        await self._session_handoffs.put(_location_key(session_id), encode_payload(shard_id), ttl_ms=ttl_ms)

    async def _publish_own_location(self, session_id: str) -> None:
        """Publish that a session is on this shard: the Welcome with its new token may be lost."""
        try:
            await self.publish_location(session_id, self.shard_id)
        except MatchmakingError as error:
            log.warning("session_location_publish_failed", session_id=session_id, error=error.detail)

    async def find_location(self, session_id: str) -> str:
        """Return the id of the shard to which a session has moved, or that is about to restore it; empty if unknown.

        Raises:
            MatchmakingError: Redis does not answer.
        """
        taker = await self._session_handoffs.find_taker(session_id)
        if taker:
            return taker
        data = await self._session_handoffs.get(_location_key(session_id))
        return decode_payload(data, str) if data is not None else ""

    async def receive(self, session_id: str) -> bool:
        """Take a transferred session from Redis and restore it.

        No other shard can restore a session that was taken. Therefore this continues if the caller is cancelled,
        because its connection has ended, and calls for the same session wait for one result.

        Returns:
            Whether there was a session, and it was restored.

        Raises:
            TickwireError: Redis does not answer; the client retries.
        """
        receiving = self._receiving.get(session_id)
        if receiving is None:
            receiving = asyncio.create_task(self._receive(session_id), name=f"transfer of {session_id}")
            self._receiving[session_id] = receiving
            receiving.add_done_callback(lambda _: self._receiving.pop(session_id))
        return await asyncio.shield(receiving)

    async def _receive(self, session_id: str) -> bool:
        try:
            data = await self._session_handoffs.take(session_id, self.shard_id)
        except MatchmakingError as error:
            log.warning("session_transfer_fetch_failed", session_id=session_id, error=error.detail)
            raise to_client_error(error) from error
        if data is None:
            return False
        try:
            transfer = decode_payload(data, TransferredSession)
        except MalformedMessage as error:  # encoded by another build
            log.warning("session_transfer_decode_failed", session_id=session_id, error=str(error))
            return False
        await self._publish_own_location(session_id)
        session = self._sessions.restore(transfer.session)
        if session is not None:
            self._sessions.settle(session)
        await self._discard(session_id)
        if session is not None and transfer.position is not None:
            await self._queue_service.accept_position(session, transfer.position)
        return session is not None

    async def _discard(self, session_id: str) -> None:
        """Delete a session that was restored from Redis, so that it is not restored again after its end."""
        try:
            await self._session_handoffs.discard(session_id, self.shard_id)
        except MatchmakingError as error:  # it expires
            log.warning("session_transfer_discard_failed", session_id=session_id, error=error.detail)


def _location_key(session_id: str) -> str:
    return f"address {session_id}"
