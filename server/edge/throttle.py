"""Gives each connection whose reading is paused one turn in every slot.

Connections that made no progress come first in the next slot, so all connections of a busy address advance alike.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

SLOT_S = 0.05
"""A connection at its limit of 120 messages a second handles six of them in a slot."""


class Throttled(Protocol):
    """A connection with paused reading."""

    def proceed(self) -> bool:
        """Handle the frames that the limits allow; return whether there were any."""
        ...


class Throttle:
    """The paused connections of a shard, and the timer of their turns."""

    def __init__(self) -> None:
        self._waiting: dict[Throttled, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, connection: Throttled) -> None:
        """Add a connection; it gets a turn in every slot until it is removed."""
        self._waiting[connection] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SLOT_S, self._run_slot)

    def remove(self, connection: Throttled) -> None:
        """Remove a connection. Idempotent."""
        self._waiting.pop(connection, None)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run_slot(self) -> None:
        self._timer = None
        for connection in list(self._waiting):
            if connection.proceed() and connection in self._waiting:
                self.remove(connection)
                self.add(connection)  # moves it behind the connections that still wait
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SLOT_S, self._run_slot)
