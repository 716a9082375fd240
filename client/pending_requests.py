"""The requests of a session whose callers wait for the answer.

    sent --answer--> returned, or Refused
      ^ └--connection lost--> unanswered --Welcome: sent again, unless the server still processes it--┐
      └------------------------------------------------------------------------------------------------┘

A caller that stops waiting for a Join leaves no seat behind: a seat that still arrives is released.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tickwire.client.core import ClientCore
from tickwire.client.errors import Disconnected, Refused
from tickwire.client.requests import Answer, Request
from tickwire.client.session_connection import SessionConnection
from tickwire.client.updates import ErrorReceived, SeatTaken, Update, Welcomed
from tickwire.schemas.messages import Join

CALL_S_MAX = 10.0
"""How long a call waits for the server's answer, unless the caller chooses another time."""


class PendingRequests:
    """Pending requests, oldest first.

    Args:
        core: encodes the messages.
        connection: sends them.
        wake_sender: called after a message was added to `core.outgoing`.
    """

    def __init__(self, core: ClientCore, connection: SessionConnection, wake_sender: Callable[[], None]) -> None:
        self._core = core
        self._connection = connection
        self._wake_sender = wake_sender
        self._futures: dict[Request, asyncio.Future[Answer]] = {}

    async def send(self, request: Request, timeout_s: float = CALL_S_MAX) -> Answer:
        """Send a request and wait for its answer. The request is sent again after a reconnect, if needed.

        Raises:
            Refused: the server refused the request.
            TimeoutError: no answer in time.
            Disconnected: the connection was closed for good.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._futures[request] = future
        try:
            await self._connection.send(request.data)
            async with asyncio.timeout(timeout_s):
                answer: Answer = await future
        except BaseException:
            if request.type is Join:
                self._abandon_join(future)
            raise
        finally:
            del self._futures[request]
            mark_retrieved(future)
        if isinstance(answer, ErrorReceived):
            raise Refused(answer.error)
        return answer

    def answer(self, update: Update) -> None:
        """Pass an update to the oldest request that it answers."""
        for request, future in self._futures.items():
            answer = request.answer(update)
            if answer is not None and not future.done():
                future.set_result(answer)
                return

    def welcomed(self, update: Welcomed) -> None:
        """Add to `core.outgoing` the requests that the server does not process any more."""
        unanswered = [request.data for request in self._futures if not request.is_in_flight(update)]
        self._core.outgoing.extend(unanswered)

    def fail(self, error: Disconnected) -> None:
        """Raise an error in all waiting callers."""
        for future in self._futures.values():
            if not future.done():
                future.set_exception(error)

    def _abandon_join(self, future: asyncio.Future[Answer]) -> None:
        """Release the seat of a join whose caller stopped waiting, also if the seat is still to arrive."""
        has_answer = future.done() and not future.cancelled() and future.exception() is None
        if not has_answer:
            self._core.abandon_join()
        elif isinstance(future.result(), SeatTaken):
            self._core.outgoing.append(self._core.leave())
        self._wake_sender()


def mark_retrieved(future: asyncio.Future[Any]) -> None:
    """Mark an exception as retrieved: asyncio would log it if the caller was cancelled at the same moment."""
    if future.done() and not future.cancelled():
        future.exception()
