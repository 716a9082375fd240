"""Sends the messages that no call of a session sends itself: the core's own messages, and the due commands."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from tickwire.client.connection_state import ConnectionState
from tickwire.client.core import ClientCore
from tickwire.client.errors import Disconnected
from tickwire.client.session_connection import SessionConnection


def now_us() -> int:
    """Return the monotonic clock, in microseconds."""
    return time.monotonic_ns() // 1000


class OutgoingSender:
    """Sends in one task, so that a cancelled call leaves no message half sent.

    Args:
        core: has the messages.
        connection: sends them.
    """

    def __init__(self, core: ClientCore, connection: SessionConnection) -> None:
        self._core = core
        self._connection = connection
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task."""
        self._task = asyncio.create_task(self._run(), name="client commands")

    async def stop(self) -> None:
        """Stop the task. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def wake(self) -> None:
        """Check for messages: one was added, or the connection, the room or a limit changed."""
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            is_connected = self._connection.state is ConnectionState.CONNECTED
            timeout_s = await self._send_due() if is_connected else None
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()

    async def _send_due(self) -> float | None:
        """Send what is due. Return the seconds until more commands may be due; None if no command waits."""
        with suppress(Disconnected):  # the waiting calls raise it
            await self._connection.send()
            for data in self._core.commands_due(now_us()):
                await self._connection.send(data)
        due_us = self._core.next_command_us(now_us())
        return None if due_us is None else max(0.0, (due_us - now_us()) / 1e6)
