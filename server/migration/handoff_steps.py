"""The steps of a room's handoff between two shards: each is retried until Redis has decided it.

Redis decides each step in one Lua script (matchmaking/handoffs.py). If an answer is lost, the shard reads the
room's owner from the directory.
"""

from __future__ import annotations

import asyncio

from tickwire.matchmaking import HandoffOffer, Matchmaker, MatchmakerUnavailable

ACCEPT_TIMEOUT_S = 4.0
"""A shard receives offers with its heartbeat, once a second."""
CLAIM_TIMEOUT_S = 3.0
"""How long the source waits for the target to claim a room that was sent. The room is frozen meanwhile."""
RECEIVE_TIMEOUT_S = 6.0
"""How long the target waits for the state of a room that it has accepted."""
OFFER_POLL_INTERVAL_S, ROOM_POLL_INTERVAL_S = 0.1, 0.02
OUTCOME_TIMEOUT_S = 6.0
"""How long a shard retries to learn whether the target has claimed a room. After that the source resumes the room; if
the target did claim it, the next lease renewal fails and the room is closed."""
RETRY_INTERVAL_S = 0.5


class HandoffSteps:
    """The handoffs of one shard, as source and as target.

    Args:
        matchmaker: has the handoffs, and locates rooms.
        shard_id: the id of this shard.
    """

    def __init__(self, matchmaker: Matchmaker, shard_id: str) -> None:
        self._matchmaker = matchmaker
        self._handoffs = matchmaker.handoffs
        self._shard_id = shard_id

    # -- source ---------------------------------------------------------------------------------------------

    async def offer(self, offer: HandoffOffer, *, epoch: int, to: str) -> bool:
        """Offer a room to a shard; return whether the shard has accepted it.

        Raises:
            MatchmakingError: Redis does not answer, or another shard owns the room.
        """
        await self._handoffs.offer(offer, epoch=epoch, to=to)
        return await self._wait_for_state(offer.room_id, "accepted", ACCEPT_TIMEOUT_S, OFFER_POLL_INTERVAL_S)

    async def withdraw(self, room_id: str) -> None:
        """Withdraw an offer.

        Raises:
            MatchmakingError: Redis does not answer.
        """
        await self._handoffs.cancel(room_id, self._shard_id)

    async def send(self, room_id: str, data: bytes) -> None:
        """Send the state of a room to the shard that has accepted it.

        Raises:
            MatchmakingError: Redis does not answer, or the handoff has ended.
        """
        await self._handoffs.send(room_id, self._shard_id, data)

    async def is_claimed(self, room_id: str) -> bool:
        """Return whether the target claims the room that was sent; otherwise the handoff is cancelled.

        Raises:
            MatchmakingError: Redis does not answer.
        """
        if not await self._wait_for_state(room_id, "", CLAIM_TIMEOUT_S, ROOM_POLL_INTERVAL_S):
            return not await self.cancel(room_id)
        # A claim removes the handoff. It is also missing from a Redis that was restarted without its data.
        return not await self._is_owner(room_id)

    async def cancel(self, room_id: str) -> bool:
        """Cancel a handover, and retry until Redis has decided.

        Returns:
            Whether the room stays on this shard; also True if Redis does not answer for OUTCOME_TIMEOUT_S.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + OUTCOME_TIMEOUT_S
        while loop.time() < until_s:
            try:
                if await self._handoffs.cancel(room_id, self._shard_id):
                    return True
                return await self._is_owner(room_id)
            except MatchmakerUnavailable:
                await asyncio.sleep(RETRY_INTERVAL_S)
        return True

    async def _is_owner(self, room_id: str) -> bool:
        """Return whether no other shard has the lease of the room."""
        location = await self._matchmaker.directory.locate_room(room_id)
        return location is None or location.shard_id == self._shard_id

    async def _wait_for_state(self, room_id: str, state: str, timeout_s: float, pause_s: float) -> bool:
        """Wait until a handover is in a state. Return False if it has ended otherwise, or after a timeout."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        while loop.time() < until_s:
            current = await self._handoffs.get_state(room_id)
            if current == state:
                return True
            if current in ("", "refused"):
                return False
            await asyncio.sleep(pause_s)
        return False

    # -- target ---------------------------------------------------------------------------------------------

    async def poll_offers(self) -> list[HandoffOffer]:
        """Return the rooms that are offered to this shard.

        Raises:
            MatchmakingError: Redis does not answer.
        """
        return list(await self._handoffs.poll_offers(self._shard_id))

    async def respond(self, room_id: str, *, accepts: bool) -> bool:
        """Accept or refuse an offer; return whether it was still open.

        Raises:
            MatchmakingError: Redis does not answer.
        """
        return await self._handoffs.respond(room_id, self._shard_id, accepts=accepts)

    async def fetch(self, room_id: str) -> bytes:
        """Wait for the state of an accepted room; return it, or nothing if the handoff was cancelled or timed out.

        Raises:
            MatchmakingError: Redis does not answer.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + RECEIVE_TIMEOUT_S
        while loop.time() < until_s:
            state, data = await self._handoffs.fetch(room_id, self._shard_id)
            if state == "sent":
                return data
            if state != "accepted":
                return b""
            await asyncio.sleep(ROOM_POLL_INTERVAL_S)
        return b""

    async def claim(self, room_id: str) -> int:
        """Claim a room, and return its epoch. If an answer of Redis is lost, read the room's owner first.

        Raises:
            MatchmakingError: another shard owns the room, or Redis does not answer for OUTCOME_TIMEOUT_S.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + OUTCOME_TIMEOUT_S
        is_lost = False
        while True:
            try:
                location = await self._matchmaker.directory.locate_room(room_id) if is_lost else None
                if location is not None and location.shard_id == self._shard_id:
                    return location.epoch
                return await self._handoffs.claim(room_id, self._shard_id)
            except MatchmakerUnavailable:
                if loop.time() > until_s:
                    raise
                is_lost = True
                await asyncio.sleep(OFFER_POLL_INTERVAL_S)
