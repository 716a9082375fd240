"""Numbers the connections of a session, and decides which of two connections is newer.

A generation is the number of a connection, counted from 1. A resume token carries the generation of the connection
that it was issued on. A client also counts its Hellos; this count is noted when a connection is attached, that is,
after the player was authenticated, and holds for ATTEMPT_S. Otherwise an attacker with a stolen resume token could
lock out the owner with a high count. Pure.
"""

from __future__ import annotations

ATTEMPT_S = 15.0
"""How long the count of a client's Hellos holds. No Hello is older on arrival: a connection without one is closed
after 5 s."""


class Generations:
    """The generations of one session.

    Args:
        attached_s: the current time, on the clock of `is_newer`.
        current: the generation of the last connection; 0 before the first.
        used: see `used`.
        attempt: see `attempt`.
        is_restored: whether another shard had the session, which may have had newer connections there.

    Attributes:
        current: the generation of the last connection; 0 before the first.
        used: the generation of the token that the session was resumed with last, while that token is valid; else 0.
        attempt: the number of the last connection's Hello; 0 if the client does not count.
    """

    __slots__ = ("_attached_s", "_is_restored", "_reserved", "attempt", "current", "used")

    def __init__(
        self, attached_s: float, current: int = 0, used: int = 0, attempt: int = 0, *, is_restored: bool = False
    ) -> None:
        self.current = self._reserved = current
        self.used = used
        self.attempt = attempt
        self._attached_s = attached_s
        self._is_restored = is_restored

    def accepts(self, generation: int) -> bool:
        """Return whether a resume token of this generation is valid.

        The session may have had newer connections on another shard after its checkpoint was written. A token that
        proves this raises the generation here.
        """
        if self._is_restored and generation > self.current:
            self.current = self._reserved = generation
        return generation in (self.current, self.used or self.current)

    def reserve(self) -> int:
        """Return the number of the next connection, in the order in which Hellos arrive."""
        self._reserved += 1
        return self._reserved

    def is_newer(self, attempt: int, generation: int, now_s: float) -> bool:
        """Return whether a connection is newer than the current or last connection of the session.

        A client counts its Hellos, so that a Hello which the network has delayed takes nothing over.
        """
        is_recent = now_s - self._attached_s < ATTEMPT_S
        if attempt and self.attempt and is_recent:
            return attempt > self.attempt
        return generation > self.current

    def attach(self, attempt: int, generation: int, now_s: float) -> None:
        """Make a connection the current one."""
        self.current = max(generation, self.current + 1)
        self._reserved = max(self._reserved, self.current)
        self.attempt, self._attached_s = attempt, now_s
        self._is_restored = False

    def acknowledge(self, generation: int) -> None:
        """Note that the client has received the token of a generation; earlier tokens are not valid any more."""
        if generation == self.current:
            self.used = 0
