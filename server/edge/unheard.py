"""The receiver of a connection that has lost its session to another: counts, and does nothing."""

from __future__ import annotations

from tickwire.server.edge.connection import Connection
from tickwire.server.edge.counters import EdgeCounters


class DiscardingReceiver:
    """Put in the session's place; the listener waits for the close."""

    __slots__ = ("_counters",)

    def __init__(self, counters: EdgeCounters) -> None:
        self._counters = counters

    def message_received(self, data: bytes, /) -> None:
        """Not heard."""
        self._counters.rejected["replaced"] += 1

    def text_received(self) -> None:
        """Not heard."""
        self._counters.rejected["replaced"] += 1

    def swept(self, now_s: float) -> None:
        """Has no time limits of its own."""

    def connection_ended(self, connection: Connection) -> None:
        """Nobody needs to know."""
