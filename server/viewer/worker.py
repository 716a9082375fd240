"""A thread that runs replays, one call at a time, so that the event loop of the server stays responsive.

The thread is a daemon: a game's code that never returns does not keep the process from its end.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from tickwire.server.errors import Unavailable

T = TypeVar("T")
CALLS_MAX = 32
"""The page has few requests open at a time."""


class ReplayWorker:
    """Runs calls in a thread, in their order."""

    def __init__(self) -> None:
        self._calls: queue.Queue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = queue.Queue(CALLS_MAX)
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="tickwire-replay", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[], T]) -> T:
        """Run a call in the thread and return its result, or raise its exception.

        Raises:
            Unavailable: CALLS_MAX calls are waiting, or the worker has stopped.
        """
        if self._is_stopped:
            raise Unavailable("the replay has stopped")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        try:
            self._calls.put_nowait((work, future))
        except queue.Full as error:
            raise Unavailable("too many requests are waiting for the replay") from error
        return await future

    def stop(self) -> None:
        """End the thread after the call that it runs; waiting calls are cancelled. Idempotent."""
        self._is_stopped = True
        while True:
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                break
            if call is not None:
                call[1].cancel()
        self._calls.put_nowait(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            work, future = call
            if future.done():
                continue  # its request has been cancelled while it waited
            try:
                result, problem = work(), None
            except Exception as error:  # noqa: BLE001 the caller receives it
                result, problem = None, error
            try:
                future.get_loop().call_soon_threadsafe(_settle, future, result, problem)
            except RuntimeError:
                return  # the event loop is closed


def _settle(future: asyncio.Future[Any], result: Any, problem: Exception | None) -> None:
    if future.done():
        return  # the request has been cancelled
    if problem is not None:
        future.set_exception(problem)
    else:
        future.set_result(result)
