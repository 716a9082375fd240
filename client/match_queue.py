"""Relates MatchStatus and Redirect messages to the waiting match request. Pure.

The server answers a MatchCancel with CANCELLED, or with FOUND and a reason if the match was already final: FOUND
without a reason and its Redirect were then sent before. A client that leaves the queue and immediately enters it
again receives messages about the previous entry, which must not end the new wait. CANCELLED also arrives without a
MatchCancel. Messages arrive in order, and the first message about a new entry is WAITING:

    not queued --WAITING--> queued --CANCELLED, TIMED_OUT, abandoned--> not queued
                              └--FOUND--> the next Redirect leads to the match
"""

from __future__ import annotations

import enum

from tickwire.schemas.messages import MatchStatus, QueueState


class Meaning(enum.Enum):
    """The meaning of a queue message for the waiting request."""

    NONE = enum.auto()
    """The message is about an abandoned queue entry."""
    PROGRESS = enum.auto()
    END = enum.auto()
    """The wait ended without a match."""


class MatchQueue:
    """A session's entry in the matchmaking queue, as the client knows it."""

    def __init__(self) -> None:
        self._requested_mode = ""
        self._is_queued = False
        self._cancels = 0
        self._redirect: Meaning | None = None  # the meaning of the Redirect after FOUND

    @property
    def has_cancelled(self) -> bool:
        """Whether a MatchCancel has no answer yet. It is sent again after a resume."""
        return self._cancels > 0

    def request(self, mode: str) -> None:
        """Record that a MatchRequest is sent."""
        self._requested_mode = mode

    def abandon(self) -> bool:
        """Record that the client stopped waiting. Return whether it must send a MatchCancel."""
        if not self._requested_mode:
            return False
        self._requested_mode = ""
        self._is_queued = False
        self._cancels += 1
        return True

    def resumed(self) -> None:
        """Record a resume: an unanswered MatchCancel is sent again, once."""
        self._cancels = min(self._cancels, 1)

    def reset(self) -> None:
        """Record a new session, which is not queued. A waiting request is sent again."""
        self._is_queued, self._cancels, self._redirect = False, 0, None

    def status_received(self, status: MatchStatus) -> Meaning:
        """Return the meaning of a MatchStatus."""
        if status.state is QueueState.FOUND:
            return self._cancel_answered() if status.reason else self._found(status)
        if self._cancels:
            self._cancels -= status.state is QueueState.CANCELLED
            return Meaning.NONE
        was_queued, self._is_queued = self._is_queued, status.state is QueueState.WAITING
        if self._is_queued:
            return Meaning.PROGRESS
        return self._end() if was_queued else Meaning.NONE

    def _cancel_answered(self) -> Meaning:
        """Handle FOUND as the answer to a late MatchCancel; no Redirect follows it."""
        self._cancels = max(0, self._cancels - 1)
        return Meaning.NONE

    def _end(self) -> Meaning:
        self._requested_mode = ""
        return Meaning.END

    def _found(self, status: MatchStatus) -> Meaning:
        """Handle a found match. The client joins it if it waits for a match of this mode."""
        self._cancels, self._is_queued = 0, False
        if not self._requested_mode:
            meaning = Meaning.NONE
        elif status.mode in ("", self._requested_mode):
            meaning = Meaning.PROGRESS
        else:  # the match ends the request for the other mode
            meaning = self._end()
        self._redirect = meaning
        return meaning

    def redirect_received(self) -> Meaning | None:
        """Return the meaning of a Redirect for the wait; None if it answers a Join."""
        meaning, self._redirect = self._redirect, None
        return meaning
