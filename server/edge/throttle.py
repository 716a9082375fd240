"""The connections whose reading is paused because a bucket is empty: each gets a turn in every slot.

Those that a turn did not help come first in the next one, so that all connections of a busy address advance alike.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

SLOT_S = 0.05
"""A connection at its limit of 120 messages a second handles six of them in a slot."""


class Throttled(Protocol):
    """A connection with paused reading."""

    def proceed(self) -> bool:
        """Handle what the limits allow; return whether that was anything."""
        ...


class Throttle:
    """The paused connections of a shard, and the timer of their turns."""

    def __init__(self) -> None:
        self._waiting: dict[Throttled, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, connection: Throttled) -> None:
        """Give the connection turns until it is removed."""
        self._waiting[connection] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SLOT_S, self._turn)

    def remove(self, connection: Throttled) -> None:
        """Give the connection no more turns. Idempotent."""
        self._waiting.pop(connection, None)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn(self) -> None:
        self._timer = None
        for connection in list(self._waiting):
            if connection.proceed() and connection in self._waiting:
                self.remove(connection)
                self.add(connection)  # behind those that still wait
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SLOT_S, self._turn)
