"""A timeout that counts only time in which the event loop was responsive.

When a loop was blocked for three seconds, the due timers run before the task that waits for a reply, although the
reply has arrived in the socket. A plain timeout then reports that a healthy Redis does not answer. This timeout
consists of SLICES timers in sequence. Each takes its share of the delay, or one turn of the loop if that is longer. A
call to a healthy service needs about five turns, and about twenty with a new connection.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

SLICES = 40


class LoopTimeout:
    """An async context manager like `asyncio.timeout`; raises TimeoutError.

    Args:
        delay_s: the responsive time after which the timeout is raised.
    """

    __slots__ = ("_handle", "_left", "_loop", "_slice_s", "_timeout")

    def __init__(self, delay_s: float) -> None:
        self._slice_s = delay_s / SLICES
        self._left = SLICES
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_later(self._slice_s, self._count)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def _count(self) -> None:
        self._left -= 1
        if self._left:
            self._handle = self._loop.call_later(self._slice_s, self._count)
        else:
            self._timeout.reschedule(self._loop.time())
