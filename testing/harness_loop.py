"""Runs the event loop of a harness from the plain function of a test, and raises the exceptions of the room there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tickwire.testing.raised_errors import RaisedError
from tickwire.testing.virtual_loop import VirtualLoop, create_virtual_loop

CALL_S_MAX = 60.0
"""How long a call such as `migrate` may take in simulated time; each has a deadline of its own."""


class HarnessLoop:
    """The event loop of a harness, on a clock that jumps.

    Args:
        raise_errors: whether exceptions of hooks are raised; otherwise they are in `errors`.

    Attributes:
        loop: the loop.
        raised: receives the exceptions of hooks.
        errors: the exceptions of hooks that were not raised.
    """

    def __init__(self, *, raise_errors: bool) -> None:
        self.loop: VirtualLoop = create_virtual_loop()
        self.raised: list[RaisedError] = []
        self.errors: list[RaisedError] = []
        self._raise_errors = raise_errors
        self._faults: list[BaseException] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False
        self.loop.set_exception_handler(self._add_fault)

    @property
    def now_s(self) -> float:
        """The simulated time in seconds."""
        return self.loop.time()

    def run(self, seconds: float, is_done: Callable[[], bool] | None = None) -> None:
        """Advance the time by a number of seconds, or until `is_done` returns True while nothing is ready.

        Raises:
            RuntimeError: the harness is closed.
            Exception: a hook of a room raised it.
        """
        self._check_open()
        self.loop.run_until(self.loop.time() + seconds, is_done)
        self._raise_faults()

    def call(self, function: Callable[[], Coroutine[Any, Any, None] | None]) -> None:
        """Call a function on the event loop, and run until it has ended, and everything that is due then.

        Raises:
            RuntimeError: the harness is closed.
            Exception: the function, or a hook of a room, raised it.
        """
        self._check_open()
        task = self.loop.create_task(_call(function))
        self.loop.run_until(self.loop.time())
        if not task.done():
            self.loop.run_until(self.loop.time() + CALL_S_MAX, task.done)
        error = task.exception()
        if not isinstance(error, AssertionError):
            self._raise_faults()
        task.result()

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Start a coroutine, which runs in `run`."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """End all tasks, and close the loop."""
        self._is_closed = True
        self.loop.end()

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeError("the harness is closed")

    def _add_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._faults.append(context.get("exception") or RuntimeError(context["message"]))

    def _raise_faults(self) -> None:
        """Raise the first exception of a hook since the last call."""
        faults, self._faults[:] = list(self._faults), []
        raised, self.raised[:] = list(self.raised), []
        if raised and not self._raise_errors:
            self.errors += raised
        elif raised:
            raised[0].error.add_note(str(raised[0]))
            raise raised[0].error
        for fault in faults:
            raise fault


async def _call(function: Callable[[], Coroutine[Any, Any, None] | None]) -> None:
    result = function()
    if result is not None:
        await result
