"""The Redirect of a player whom a room has moved to another shard, while its client may not have received it.

A client that lost its connection before still believes that it is in the room. When it resumes, it receives what it
has missed: Welcome with that room, the Redirect, and Left. Pure.
"""

from __future__ import annotations

from typing import NamedTuple

from tickwire.schemas.messages import Left, Message, Redirect

REPEATED_S = 10.0
"""By default a seat is reserved for 15 s. Later the client learns only that it has left the room, and why."""


class UnreadRedirect(NamedTuple):
    """A Redirect to a reserved seat.

    Args:
        redirect: the Redirect.
        room_id: the room that the player has left.
        reason: why.
        until_s: when it is not repeated any more, on the clock for time limits.
    """

    redirect: Redirect
    room_id: str
    reason: str
    until_s: float

    def is_missed(self, room_id: str, now_s: float) -> bool:
        """Return whether a client that resumes has missed the Redirect.

        Args:
            room_id: the room that the client believes to be in.
            now_s: the time.
        """
        return room_id == self.room_id and now_s < self.until_s

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages that the client has missed."""
        return self.redirect, Left(self.reason)
