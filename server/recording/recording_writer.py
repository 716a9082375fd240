"""Writes recordings in a thread, so that a slow or full disk delays no tick.

    loop     enqueues at most JOBS_MAX files, and waits for each until its deadline
    thread   writes one file after the other. It is a daemon, so that the process ends while the disk hangs

A file that is still queued at its deadline is never written. A write that hangs keeps the thread: further files wait
behind it, and are given up at their deadlines.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from tickwire.server.errors import Unavailable

T = TypeVar("T")
JOBS_MAX = 16
"""Files that wait for the thread: one failure of each of several rooms at once."""


class _Job:
    __slots__ = ("future", "loop", "work")

    def __init__(self, work: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()

    def run(self) -> None:
        """Run in the thread; the event loop receives the result."""
        if self.future.cancelled():
            return
        try:
            result, error = self.work(), None
        except Exception as caught:  # noqa: BLE001 the boundary of the thread: the caller receives it
            result, error = None, caught
        try:
            self.loop.call_soon_threadsafe(self._resolve, result, error)
        except RuntimeError:
            return  # the loop has ended, and no caller waits

    def _resolve(self, result: Any, error: Exception | None) -> None:
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class RecordingWriter:
    """A thread for the calls that block on the disk. It starts with the first call.

    Args:
        timeout_s: the deadline of a call, from the time when it is enqueued.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._jobs: queue.Queue[_Job | None] = queue.Queue(JOBS_MAX)
        self._thread: threading.Thread | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """Run a call in the thread and return its result.

        Raises:
            Unavailable: too many calls wait, the thread cannot start, or the deadline was missed: the call may then
                complete later.
            Exception: any exception of the call.
        """
        self._start()
        job = _Job(work, asyncio.get_running_loop())
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise Unavailable(f"{JOBS_MAX} recordings are waiting for the disk already") from None
        try:
            async with asyncio.timeout(self._timeout_s):
                result: T = await job.future
                return result
        except TimeoutError:
            raise Unavailable(f"the disk has not completed the call within {self._timeout_s:g} s") from None

    def _start(self) -> None:
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._run, name="write recordings", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the limit of threads; the next call tries again
            raise Unavailable(f"the thread that writes recordings cannot start: {error}") from error
        self._thread = thread

    def stop(self) -> None:
        """End the thread after the calls that are queued. Does not wait. Idempotent."""
        if self._thread is not None:
            try:
                self._jobs.put_nowait(None)
            except queue.Full:
                return  # the thread hangs; it ends with the process
            self._thread = None

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
