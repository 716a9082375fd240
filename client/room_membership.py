"""Joins and leaves rooms: requests a seat, and follows Redirects to the room's shard.

requested --SeatTaken--> joined
   ^ └--Redirect--> visiting --connected--> requested there, with the ticket of the Redirect
   └--after a pause, at the initial URL--└--the shard cannot be reached

A room may move the player to a room on another shard: a Redirect arrives from the room, and then Left. The client
follows it by itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Any

from tickwire.client.backoff import Backoff
from tickwire.client.connection_state import ConnectionState
from tickwire.client.errors import ClientError, Disconnected, NotMatched
from tickwire.client.options import JoinOptions
from tickwire.client.pending_requests import CALL_S_MAX
from tickwire.client.reconnect import REDIRECTS_MAX
from tickwire.client.requests import Request
from tickwire.client.session import ClientSession
from tickwire.client.updates import Redirected, SeatTaken
from tickwire.schemas.messages import Join, Joined, Leave, MatchStatus, QueueState, Redirect

log = logging.getLogger("tickwire.client")

JOIN_S_MAX = 30.0
"""How long `join` is repeated while it is redirected to a shard that cannot be reached. A dead shard leaves the
directory within some seconds."""


class RoomMembership:
    """The membership of a session in at most one room. Calls run one after the other.

    Args:
        session: the player's session.
        rng: spreads retries.
    """

    def __init__(self, session: ClientSession, rng: random.Random) -> None:
        self._session = session
        self._rng = rng
        self._lock = asyncio.Lock()
        self._move: asyncio.Task[None] | None = None
        session.on_move = self._start_move

    async def close(self) -> None:
        """Stop following a move to another room."""
        if self._move is not None:
            self._move.cancel()
            await asyncio.wait([self._move])

    def _start_move(self, redirect: Redirect) -> None:
        if self._move is not None:
            self._move.cancel()
        self._move = asyncio.create_task(self._follow_move(redirect), name="move to another room")

    async def _follow_move(self, redirect: Redirect) -> None:
        """Enter the room to which the player was moved. A failure leaves the client in no room."""
        try:
            async with self._lock:
                data = await self._follow(redirect, None)
                if data is None:
                    raise Disconnected(f"the room's shard, {redirect.url}, cannot be reached")
                await self._acquire_seat(data, None)
        except (ClientError, TimeoutError) as error:
            log.warning("the client could not follow its move to a room of type %s: %s", redirect.room_type, error)

    async def join(self, room_type: str, options: JoinOptions) -> Joined:
        """Join a room.

        Raises:
            Refused, Disconnected, TimeoutError, ClientError, MessageTooLarge: as `Client.join`.
        """
        data = self._session.core.join(room_type, options)
        async with self._lock:
            return await self._acquire_seat(data, options.options)

    async def join_match(self, redirect: Redirect, mode: str, options: dict[str, Any] | None) -> Joined:
        """Join the room of a match; a seat in another room is given up.

        Args:
            redirect: leads to the match.
            mode: the mode of the match.
            options: passed to the room's `on_join`.

        Raises:
            NotMatched: the shard of the match cannot be reached.
            Refused, Disconnected, TimeoutError, ClientError: as `join`.
        """
        async with self._lock:
            if self._session.core.world is not None:
                await self._leave()
            data = await self._follow(redirect, options)
            if data is None:
                reason = "the shard of the match cannot be reached"
                raise NotMatched(MatchStatus(QueueState.CANCELLED, mode=mode, reason=reason))
            return await self._acquire_seat(data, options)

    async def leave(self) -> None:
        """Leave the room.

        Raises:
            Refused: the client is in no room.
            Disconnected, TimeoutError: as `join`.
        """
        async with self._lock:
            await self._leave()

    async def _leave(self) -> None:
        await self._session.requests.send(Request(Leave, self._session.core.leave()))

    async def _acquire_seat(self, first: bytes, options: dict[str, Any] | None) -> Joined:
        """Request a seat and follow Redirects. After an unreachable shard, repeat the request at the initial URL."""
        session = self._session
        await session.wait_for(lambda: not session.core.is_abandoning_join, CALL_S_MAX)
        data, redirects = first, 0
        deadline_s, backoff = time.monotonic() + JOIN_S_MAX, Backoff(self._rng.random)
        while True:
            answer = await session.requests.send(Request(Join, data))
            if isinstance(answer, SeatTaken):
                return answer.joined
            assert isinstance(answer, Redirected)
            redirects += 1
            if redirects > REDIRECTS_MAX:
                raise ClientError(f"redirected more than {REDIRECTS_MAX} times")
            followed = await self._follow(answer.redirect, options)
            if followed is None:
                pause_s = backoff.next_s()
                if time.monotonic() + pause_s > deadline_s:
                    raise Disconnected(f"the room's shard, {answer.redirect.url}, cannot be reached")
                await asyncio.sleep(pause_s)
                redirects = 0
            data = first if followed is None else followed

    async def _follow(self, redirect: Redirect, options: dict[str, Any] | None) -> bytes | None:
        """Follow a Redirect.

        Returns:
            The Join to send there; None if the shard cannot be reached: the client is then connected to its initial
            URL.
        """
        if redirect.url and not await self._visit(redirect.url):
            return None
        there = JoinOptions(name=redirect.room_name, ticket=redirect.ticket, options=options)
        return self._session.core.join(redirect.room_type, there)

    async def _visit(self, url: str) -> bool:
        """Begin a session on another shard. Return False if the client had to return to its initial URL."""
        connection = self._session.connection
        connections = connection.connections
        connection.visit(url)
        await self._session.wait_for(
            lambda: connection.state is ConnectionState.CONNECTED and connection.connections > connections, JOIN_S_MAX
        )
        return connection.url == url
