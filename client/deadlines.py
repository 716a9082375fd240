"""The deadlines of a session machine, which share one timer. Pure."""

from __future__ import annotations

ATTEMPT = -1
"""The end of the pause before an attempt, or of a step of the attempt."""
HEARTBEAT = -2
COMMANDS = -3
"""A command is due."""
RENEWAL = -4
"""A new token is requested again, or the renewal of the token has no answer.

Keys above 0 are the numbers of calls; 0 is a move to another room."""


class Deadlines:
    """The deadlines by key. Of two that are due at the same time, the one that was set first is first.

    Attributes:
        has_changed: whether `next_ms` may be another one; the user resets it.
    """

    def __init__(self) -> None:
        self.has_changed = False
        self._at_ms: dict[int, float] = {}

    def set(self, key: int, at_ms: float) -> None:
        """Set or replace a deadline."""
        self.has_changed = True
        self._at_ms.pop(key, None)
        self._at_ms[key] = at_ms

    def cancel(self, key: int) -> None:
        """Remove a deadline. Idempotent."""
        if self._at_ms.pop(key, None) is not None:
            self.has_changed = True

    def clear(self) -> None:
        """Remove all deadlines."""
        self.has_changed = True
        self._at_ms.clear()

    @property
    def next_ms(self) -> float | None:
        """The earliest deadline; None without any."""
        return min(self._at_ms.values(), default=None)

    def pop_due(self, now_ms: float) -> tuple[int, float] | None:
        """Remove the earliest deadline that is due, and return its key and time; None if none is due."""
        if not self._at_ms:
            return None
        key = min(self._at_ms, key=self._at_ms.__getitem__)
        if self._at_ms[key] > now_ms:
            return None
        self.has_changed = True
        return key, self._at_ms.pop(key)
