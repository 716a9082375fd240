"""Waits in a queue until a match is found, and joins its room.

After the timeout the queue decides between the cancellation and a match that was final before. Every failure also
leaves the queue, including a cancellation of the task.
"""

from __future__ import annotations

import asyncio

from tickwire.client.errors import ClientError, NotMatched
from tickwire.client.options import MatchOptions
from tickwire.client.requests import Request
from tickwire.client.room_membership import RoomMembership
from tickwire.client.session import ClientSession
from tickwire.client.updates import QueueChanged, Redirected
from tickwire.schemas.messages import Joined, MatchRequest

CANCEL_S_MAX = 5.0
"""How long the queue may take to decide between a cancellation and a match."""


class MatchFinder:
    """Finds one match at a time.

    Args:
        session: the player's session.
        membership: joins the room of a match.
    """

    def __init__(self, session: ClientSession, membership: RoomMembership) -> None:
        self._session = session
        self._membership = membership
        self._lock = asyncio.Lock()

    async def find(self, mode: str, options: MatchOptions, timeout_s: float) -> Joined:
        """Wait for a match, and join its room.

        Raises:
            NotMatched, Refused, TimeoutError, Disconnected, ClientError: as `Client.match`.
        """
        if self._lock.locked():
            raise ClientError("another match is waiting: call cancel_match first")
        async with self._lock:
            data = self._session.core.match_request(mode, options)
            self._session.queue_status = None
            try:
                found = await self._wait_for_match(Request(MatchRequest, data), timeout_s)
                return await self._membership.join_match(found.redirect, mode, options.options)
            except NotMatched:
                raise
            except BaseException:
                self._session.core.abandon_match()
                self._session.sender.wake()
                raise

    async def cancel(self) -> None:
        """Leave the queue: a `find` in progress raises NotMatched, unless the match was already final.

        Raises:
            Disconnected: the connection is closed for good.
        """
        await self._session.connection.send(self._session.core.match_cancel())

    async def _wait_for_match(self, request: Request, timeout_s: float) -> Redirected:
        loop = asyncio.get_running_loop()
        is_late = False

        def cancel() -> None:
            nonlocal is_late
            is_late = True
            self._session.core.outgoing.append(self._session.core.match_cancel())
            self._session.sender.wake()

        timer = loop.call_later(timeout_s, cancel)
        try:
            found = await self._session.requests.send(request, timeout_s + CANCEL_S_MAX)
        finally:
            timer.cancel()
        if isinstance(found, Redirected):
            return found
        assert isinstance(found, QueueChanged)
        if is_late:
            raise TimeoutError(f"no match was found within {timeout_s:g} s")
        raise NotMatched(found.status)
