"""The requests of a simulated client that concern no room of its own: it waits for a match, and lists open rooms."""

from __future__ import annotations

from tickwire.client.errors import Refused
from tickwire.schemas.messages import Error, ListedRoom, MatchStatus, QueueState


class MatchCall:
    """A match that a client has requested. It joins the room of the match once one is found.

    Args:
        mode: the mode.

    Attributes:
        status: the newest status, with the position in the queue; None before the first.
        has_ended: whether the wait has ended without a match: cancelled, or timed out.
        has_joined: whether the client has its seat in the match.
        failure: why the request failed otherwise; None if it did not.
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.status: MatchStatus | None = None
        self.has_ended = False
        self.has_joined = False
        self.failure: Exception | None = None

    @property
    def error(self) -> Error | None:
        """The error of the server if it refused the request, or the seat."""
        return self.failure.error if isinstance(self.failure, Refused) else None

    @property
    def is_found(self) -> bool:
        """Whether a match was found. The client then joins its room."""
        return self.status is not None and self.status.state is QueueState.FOUND

    @property
    def is_done(self) -> bool:
        """Whether the client has its seat, or waits no longer."""
        return self.has_joined or self.has_ended or self.failure is not None


class RoomListCall:
    """A list of open rooms that a client has requested.

    Attributes:
        failure: why the request failed; None if it did not.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self._rooms: tuple[ListedRoom, ...] | None = None

    @property
    def error(self) -> Error | None:
        """The error of the server if it refused the request."""
        return self.failure.error if isinstance(self.failure, Refused) else None

    @property
    def is_done(self) -> bool:
        """Whether the answer has arrived."""
        return self._rooms is not None or self.failure is not None

    @property
    def rooms(self) -> tuple[ListedRoom, ...]:
        """The open rooms, the fullest first.

        Raises:
            AssertionError: the answer has not arrived: run the room first.
        """
        if self._rooms is None:
            raise AssertionError(f"the list of rooms has not arrived: {self.failure or 'call room.run() first'}")
        return self._rooms

    def answer(self, rooms: tuple[ListedRoom, ...]) -> None:
        """Store the answer."""
        self._rooms = rooms
