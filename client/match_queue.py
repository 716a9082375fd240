"""Relates MatchStatus and Redirect to the match request that waits. Pure.

The server answers each MatchCancel with CANCELLED, and sends CANCELLED unasked, too. A client that gives its place up
and asks again at once receives messages about the place before; they must not end the new wait. Messages arrive in
order, and the first about a new place is WAITING:

    no place --WAITING, FOUND--> has a place --CANCELLED, TIMED_OUT, given up--> no place
"""

from __future__ import annotations

from schemas.messages import QueueState


class MatchQueue:
    """One session's place in the matchmaking queue, as the client knows it.

    Attributes:
        has_cancelled: a MatchCancel was sent and is not answered yet: after a resume it is sent again.
    """

    def __init__(self) -> None:
        self._has_place = self._is_redirect_next = self._is_stale_redirect_next = False
        self._cancels = 0

    @property
    def has_cancelled(self) -> bool:
        """See the class."""
        return self._cancels > 0

    def give_up(self) -> None:
        """Record that a MatchCancel is sent: whatever arrives before its answer is about the place before."""
        self._cancels += 1
        self._has_place = self._is_redirect_next = False

    def resumed(self) -> None:
        """Record a new connection of the session: a MatchCancel without an answer is sent again, once."""
        self._cancels = min(self._cancels, 1)

    def reset(self) -> None:
        """Record a new session: it has no place."""
        self._has_place = self._is_redirect_next = self._is_stale_redirect_next = False
        self._cancels = 0

    def status_received(self, state: QueueState) -> bool:
        """Return whether a MatchStatus is about the place that the client wants now."""
        is_end = state in (QueueState.CANCELLED, QueueState.TIMED_OUT)
        if self._cancels:
            self._cancels -= state is QueueState.CANCELLED
            self._is_stale_redirect_next = state is QueueState.FOUND
            return False
        is_current = self._has_place or not is_end
        self._has_place = not is_end
        self._is_redirect_next = state is QueueState.FOUND
        return is_current

    def redirect_received(self) -> bool | None:
        """Return whether a Redirect leads to the match or answers a Join; None: to a match that was given up."""
        is_match, is_stale = self._is_redirect_next, self._is_stale_redirect_next
        self._is_redirect_next = self._is_stale_redirect_next = False
        if is_match:
            self._has_place = False
        return None if is_stale else is_match
