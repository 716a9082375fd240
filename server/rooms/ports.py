"""How rooms speak to the rest of a shard: small interfaces, so that rooms know neither sockets nor stores.

Imports schemas and, for its type alone, the seat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from schemas.messages import Join, MatchRequest, Message, Redirect
from server.errors import NoSuchMode
from server.rooms.outbox import Outbox

if TYPE_CHECKING:
    from server.rooms.seat import Seat


class Wire(Protocol):
    """A connection, as the tick sees it. Read once a player and tick, so these are plain attributes."""

    is_congested: bool
    """Whether the transport holds more than it should: the session is passed over this tick."""

    def write(self, frames: bytes, /) -> None:
        """Writes complete WebSocket frames at once, in one write; nothing once the connection closes."""
        ...


class Subscriber(Protocol):
    """A session, as a room sees it. All calls are made on the loop's thread and never block."""

    @property
    def wire(self) -> Wire | None:
        """Its connection; None while it has none, and may come back."""
        ...

    @property
    def outbox(self) -> Outbox:
        """Its events. The room pushes, and takes them into a tick's write."""
        ...

    @property
    def session_id(self) -> str:
        """Unguessable, unique."""
        ...

    @property
    def player_id(self) -> str:
        """Who plays; may be a guest."""
        ...

    @property
    def is_guest(self) -> bool:
        """Whether its player id is good for this session alone."""
        ...

    @property
    def schema_version(self) -> int:
        """What its client speaks."""
        ...

    def send_message(self, message: Message) -> None:
        """Writes one control message now; it does not wait for a tick. Nothing while there is no connection."""
        ...

    def slow_consumer(self, reason: str) -> None:
        """The client takes too little for too long: closes the connection with a code that says come back."""
        ...

    def seat_lost(self, reason: str) -> None:
        """The room took the seat away (it closed); the session stays and may join again."""
        ...


class Placer(Protocol):
    """Finds a room for a session. The shard implements it over the matchmaker, the stores and its rooms."""

    async def place(self, subscriber: Subscriber, join: Join) -> Seat | Redirect:
        """Seats the session in a room here, or says where else to go.

        A seat's `Joined` has been sent when this returns. The caller owns the seat and calls `Seat.leave` when
        the session ends, also when it ended while this was awaited.

        Raises:
            TickwireError: no seat; its code, words and `retryable` are for the client.
        """
        ...


class Queue(Protocol):
    """Where players wait for a match. The shard implements it over the matchmaker's queues."""

    def enter(self, subscriber: Subscriber, request: MatchRequest, /) -> None:
        """A session begins to wait; it is told its MatchStatus, now and whenever it changes. Asked again, it is told
        again. After FOUND it is sent a Redirect.

        Raises:
            TickwireError: it cannot wait here.
        """
        ...

    def leave(self, subscriber: Subscriber, /) -> bool:
        """A session waits no more; gives whether it did."""
        ...

    def seated(self, subscriber: Subscriber, /) -> None:
        """A session has taken a seat: a match that was found for it is settled; one that waits goes on waiting."""
        ...

    def resumed(self, subscriber: Subscriber, /) -> None:
        """A session has a connection again: it is told what it may have missed."""
        ...


class NoQueue:
    """Where there are no modes to wait for."""

    def enter(self, subscriber: Subscriber, request: MatchRequest, /) -> None:
        """Raises NoSuchMode."""
        raise NoSuchMode("this server has no matchmaking queue")

    def leave(self, subscriber: Subscriber, /) -> bool:
        """Nobody waits."""
        return False

    def seated(self, subscriber: Subscriber, /) -> None:
        """Nobody waits."""

    def resumed(self, subscriber: Subscriber, /) -> None:
        """Nobody waits."""
