"""Relates MatchStatus and Redirect to the match request that waits. Pure.

A MatchCancel is answered with CANCELLED, or with FOUND and a reason if the match was final before: FOUND without one
and its Redirect have come before that answer. A client that gives its place up and asks again at once receives
messages about the place before; they must not end the new wait. CANCELLED comes unasked, too. Messages arrive in
order, and the first about a new place is WAITING:

    no place --WAITING--> has a place --CANCELLED, TIMED_OUT, given up--> no place
                              └--FOUND--> the next Redirect leads to the match
"""

from __future__ import annotations

import enum

from tickwire.schemas.messages import MatchStatus, QueueState


class Meaning(enum.Enum):
    """What a message about the queue means for the request that waits."""

    NONE = enum.auto()
    """It is about a place that was given up."""
    PROGRESS = enum.auto()
    END = enum.auto()
    """The wait is over without a match."""


class MatchQueue:
    """One session's place in the matchmaking queue, as the client knows it."""

    def __init__(self) -> None:
        self._wanted_mode = ""
        self._has_place = False
        self._cancels = 0
        self._redirect: Meaning | None = None  # of the Redirect that follows FOUND

    @property
    def has_cancelled(self) -> bool:
        """Whether a MatchCancel is not answered yet: after a resume it is sent again."""
        return self._cancels > 0

    def request(self, mode: str) -> None:
        """Record that a MatchRequest is sent."""
        self._wanted_mode = mode

    def give_up(self) -> bool:
        """Record that the client waits no more; return whether a MatchCancel must be sent for that."""
        if not self._wanted_mode:
            return False
        self._wanted_mode = ""
        self._has_place = False
        self._cancels += 1
        return True

    def resumed(self) -> None:
        """Record a new connection of the session: a MatchCancel without an answer is sent again, once."""
        self._cancels = min(self._cancels, 1)

    def reset(self) -> None:
        """Record a new session: it has no place. A request that waits is sent again."""
        self._has_place, self._cancels, self._redirect = False, 0, None

    def status_received(self, status: MatchStatus) -> Meaning:
        """Return what a MatchStatus means."""
        if status.state is QueueState.FOUND:
            return self._answered() if status.reason else self._found(status)
        if self._cancels:
            self._cancels -= status.state is QueueState.CANCELLED
            return Meaning.NONE
        had_place, self._has_place = self._has_place, status.state is QueueState.WAITING
        if self._has_place:
            return Meaning.PROGRESS
        return self._end() if had_place else Meaning.NONE

    def _answered(self) -> Meaning:
        """A MatchCancel came too late; no Redirect follows this FOUND."""
        self._cancels = max(0, self._cancels - 1)
        return Meaning.NONE

    def _end(self) -> Meaning:
        self._wanted_mode = ""
        return Meaning.END

    def _found(self, status: MatchStatus) -> Meaning:
        """A match, also in answer to a MatchCancel. The client plays it if it waits for one of this mode."""
        self._cancels, self._has_place = 0, False
        if not self._wanted_mode:
            meaning = Meaning.NONE
        elif status.mode in ("", self._wanted_mode):
            meaning = Meaning.PROGRESS
        else:  # the request for the other mode is void
            meaning = self._end()
        self._redirect = meaning
        return meaning

    def redirect_received(self) -> Meaning | None:
        """Return what a Redirect means for the wait; None: it answers a Join."""
        meaning, self._redirect = self._redirect, None
        return meaning
