"""The requests of a simulated client that concern no room of its own: it waits for a match, and lists open rooms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tickwire.client.core import ClientCore
from tickwire.client.options import MatchOptions
from tickwire.client.requests import is_answer
from tickwire.client.updates import ErrorReceived, QueueChanged, RoomsListed, Update
from tickwire.schemas.messages import Error, Join, ListedRoom, ListRooms, MatchRequest, MatchStatus, QueueState


class MatchCall:
    """A match that a client has requested. It joins the room of the match once one is found.

    Args:
        mode: the mode.
        options: passed to the room's `on_join`.

    Attributes:
        status: the newest status, with the position in the queue; None before the first.
        has_ended: whether the wait has ended without a match: cancelled, or timed out.
        has_joined: whether the client has its seat in the match.
        error: the error of the server if it refused the request, or the seat.
    """

    def __init__(self, mode: str, options: dict[str, Any] | None) -> None:
        self.mode = mode
        self.options = options
        self.status: MatchStatus | None = None
        self.has_ended = False
        self.has_joined = False
        self.error: Error | None = None

    @property
    def is_found(self) -> bool:
        """Whether a match was found. The client then joins its room."""
        return self.status is not None and self.status.state is QueueState.FOUND

    @property
    def is_done(self) -> bool:
        """Whether the client has its seat, or waits no longer."""
        return self.has_joined or self.has_ended or self.error is not None


class RoomListCall:
    """A list of open rooms that a client has requested.

    Args:
        id: the number of the request.

    Attributes:
        id: as passed.
        error: the error of the server if it refused the request.
    """

    def __init__(self, id: int) -> None:
        self.id = id
        self.error: Error | None = None
        self._rooms: tuple[ListedRoom, ...] | None = None

    @property
    def is_done(self) -> bool:
        """Whether the answer has arrived."""
        return self._rooms is not None or self.error is not None

    @property
    def rooms(self) -> tuple[ListedRoom, ...]:
        """The open rooms, the fullest first.

        Raises:
            AssertionError: the answer has not arrived: run the room first.
        """
        if self._rooms is None:
            raise AssertionError(f"the list of rooms has not arrived: {self.error or 'call room.run() first'}")
        return self._rooms

    def answer(self, rooms: tuple[ListedRoom, ...]) -> None:
        """Store the answer."""
        self._rooms = rooms


class ClientLobby:
    """The requests of one client that concern no room of its own.

    Args:
        core: the client's core.
        send: sends a message if the session is open.

    Attributes:
        match: the newest match that the client has requested.
    """

    def __init__(self, core: ClientCore, send: Callable[[bytes], None]) -> None:
        self.match: MatchCall | None = None
        self._core = core
        self._send = send
        self._request = b""
        self._lists: dict[int, RoomListCall] = {}

    def request_match(self, mode: str, options: MatchOptions) -> MatchCall:
        """Request a match."""
        self._request = self._core.match_request(mode, options)
        self.match = MatchCall(mode, options.options)
        self._send(self._request)
        return self.match

    def cancel_match(self) -> None:
        """Leave the queue. The match ends, unless it was final before."""
        self._send(self._core.match_cancel())

    def list_rooms(self, room_type: str, labels: Mapping[str, str] | None, limit: int) -> RoomListCall:
        """Request the open rooms of a type."""
        data, id = self._core.list_rooms(room_type, labels, limit)
        call = self._lists[id] = RoomListCall(id)
        self._send(data)
        return call

    def session_opened(self) -> None:
        """Send the request of a match again, as the client does after each reconnect: it may have been lost.

        A match that was found is not requested again: the client has opened the session on the shard of its room.
        """
        match = self.match
        if match is not None and not match.is_done and not match.is_found:
            self._send(self._request)

    def seat_taken(self) -> None:
        """Record that the client has a seat; after FOUND it is that of the match."""
        if self.match is not None and self.match.is_found:
            self.match.has_joined = True

    def receive(self, update: Update) -> None:
        """Apply an update of the core."""
        match update:
            case QueueChanged(status, is_current, is_end) if is_current and self.match is not None:
                self.match.status = status
                self.match.has_ended = is_end
            case RoomsListed(answer) if answer.id in self._lists:
                self._lists.pop(answer.id).answer(answer.rooms)
            case ErrorReceived(error) if self.match is not None and is_answer(error, MatchRequest):
                self.match.error = error
            case ErrorReceived(error) if self.match is not None and self.match.is_found and is_answer(error, Join):
                if not self.match.has_joined:
                    self.match.error = error
            case ErrorReceived(error) if is_answer(error, ListRooms):
                for call in self._lists.values():
                    call.error = error
                self._lists.clear()
