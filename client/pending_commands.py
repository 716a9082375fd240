"""The commands of a session whose callers wait for the reply.

The core holds the messages and sends each one again under its id until it is answered (`CommandWindow`); here the
replies are passed to the callers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tickwire.client.core import ClientCore
from tickwire.client.errors import ClientError, CommandFailed, Disconnected, SessionLost
from tickwire.client.pending_requests import mark_retrieved
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import Reply
from tickwire.schemas.payloads import decode_value


class PendingCommands:
    """Pending commands, by id.

    Args:
        core: numbers the commands and holds their messages.
        wake_sender: called when a command may be due.
    """

    def __init__(self, core: ClientCore, wake_sender: Callable[[], None]) -> None:
        self._core = core
        self._wake_sender = wake_sender
        self._futures: dict[int, asyncio.Future[Reply]] = {}

    def __len__(self) -> int:
        return len(self._futures)

    async def run(self, name: str, payload: Any, timeout_s: float) -> Any:
        """Add a command, wait for its reply, and return the result.

        Raises:
            CommandFailed, ClientError, SessionLost, TimeoutError, Disconnected, MessageTooLarge: as `Client.command`.
        """
        reply = await self._reply(name, payload, timeout_s)
        if not reply.ok:
            raise CommandFailed(reply)
        try:
            return decode_value(reply.payload)
        except MalformedMessage as error:
            raise ClientError(f"the reply to {name!r} cannot be decoded: {error}") from error

    async def _reply(self, name: str, payload: Any, timeout_s: float) -> Reply:
        command_id, _ = self._core.command(name, payload)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._futures[command_id] = future
        self._wake_sender()
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except (SessionLost, Disconnected, ClientError) as error:  # shared by all waiting commands: raise a new one
            raise type(error)(f"{error} before the room answered {name!r}") from error
        finally:
            self._core.abandon_command(command_id)
            del self._futures[command_id]
            mark_retrieved(future)
            self._wake_sender()  # the next command may be sent

    def replied(self, reply: Reply) -> None:
        """Pass a final reply to its caller, if it still waits."""
        future = self._futures.get(reply.id)
        if future is not None and not future.done():
            future.set_result(reply)

    def fail(self, error: ClientError) -> None:
        """Raise an error in all waiting callers."""
        for future in self._futures.values():
            if not future.done():
                future.set_exception(error)
