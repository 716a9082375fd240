"""An event loop on a clock that jumps: when nothing is ready to run, the time advances to the next timer at once.

`asyncio.sleep`, time limits and the timers of ticks work unchanged and take no real time. The loop waits for no
socket. A function that is passed to a thread runs in place, so that a run does not depend on the scheduling of
threads.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

from tickwire.server.rooms.tick_loop import Timer

STEPS_MAX = 100_000
"""The most steps of the loop at one time: a coroutine that waits for nothing would keep the time from advancing."""
END_S_MAX = 60.0
"""How long tasks may take to end after they were cancelled, in simulated time."""
ROUNDING_S = 1e-9


class LoopStuck(RuntimeError):
    """The event loop has run STEPS_MAX steps at one time: a coroutine runs without ever waiting."""


class _JumpingSelector(selectors.BaseSelector):
    """Advances the time instead of waiting.

    Args:
        stop: stops the loop.

    Attributes:
        now_s: the time in seconds.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self.now_s = 0.0
        self._stop = stop
        self._until_s = 0.0
        self._is_done: Callable[[], bool] | None = None
        self._steps = 0
        self._keys: dict[int, selectors.SelectorKey] = {}

    def begin(self, until_s: float, is_done: Callable[[], bool] | None) -> None:
        """Stop the loop at this time, or once `is_done` returns True while nothing is ready."""
        self._until_s, self._is_done = until_s, is_done

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Advance the time to the next timer, which is due in `timeout`. Return no events."""
        if timeout is not None and timeout <= 0:  # a callback is ready
            self._steps += 1
            if self._steps > STEPS_MAX:
                self._steps = 0
                raise LoopStuck(f"a coroutine ran {STEPS_MAX} times without waiting, at {self.now_s:.3f} s")
            return []
        self._steps = 0
        if self._is_done is not None and self._is_done():
            self._stop()
            return []
        due_s = math.inf if timeout is None else self.now_s + timeout
        if due_s > self._until_s + ROUNDING_S:
            if self._until_s < math.inf:
                self.now_s = max(self.now_s, self._until_s)
            self._stop()
        else:
            self.now_s = due_s
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Register the loop's own pipe; it is never read."""
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Remove a file."""
        return self._keys.pop(fileobj if isinstance(fileobj, int) else fileobj.fileno())

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Return the registered files."""
        return self._keys

    def close(self) -> None:
        """Remove all files."""
        self._keys.clear()


def create_virtual_loop() -> VirtualLoop:
    """Return a new loop.

    Raises:
        RuntimeError: another event loop runs on this thread.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return VirtualLoop()
    raise RuntimeError("a harness runs an event loop of its own: write the test as a plain function")


async def _call(func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    return func(*args)


class VirtualLoop(asyncio.SelectorEventLoop):
    """The event loop of a harness."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector(self.stop)
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the simulated time in seconds."""
        return self._jumping.now_s

    def run_until(self, until_s: float, is_done: Callable[[], bool] | None = None) -> None:
        """Run everything that is due up to a time, and advance the time to it.

        Args:
            until_s: the time.
            is_done: checked whenever nothing is ready to run; the loop stops early if it returns True.

        Raises:
            LoopStuck: a coroutine runs without waiting.
            RuntimeError: another event loop runs on this thread.
        """
        self._jumping.begin(until_s, is_done)
        self.run_forever()

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run a function as a task of the loop, not in a thread."""
        return self.create_task(_call(func, args))

    def end(self) -> None:
        """Cancel all tasks, run them for at most END_S_MAX, and close the loop also if they do not end.

        Raises:
            LoopStuck: a coroutine runs without waiting.
        """
        try:
            for task in asyncio.all_tasks(self):
                task.cancel()
            self._run_to_end(lambda: not asyncio.all_tasks(self))
            closing = self.create_task(self.shutdown_asyncgens())
            self._run_to_end(closing.done)
        finally:
            self.close()

    def _run_to_end(self, is_done: Callable[[], bool]) -> None:
        self.run_until(self.time(), is_done)
        if not is_done():
            self.run_until(self.time() + END_S_MAX, is_done)


class VirtualTimers:
    """The clock and the timers of ticks on a `VirtualLoop`. Implements `TickTimers`.

    Args:
        loop: the loop.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now_s(self) -> float:
        """Return the simulated time in seconds; it does not advance during a callback."""
        return self._loop.time()

    def call_at(self, due_s: float, callback: Callable[[], None]) -> Timer:
        """Schedule a call."""
        return self._loop.call_at(due_s, callback)
