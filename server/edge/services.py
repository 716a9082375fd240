"""The services of a shard that sessions call, as small interfaces: the edge knows neither stores nor the matchmaker.

The shard implements them in `tickwire.server.placement`, `tickwire.server.persistence`, `tickwire.server.migration`,
`tickwire.server.presence`, `tickwire.server.recording` and `tickwire.server.admin`.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from tickwire.schemas.messages import Command, Join, ListRooms, MatchRequest, Redirect, Reply, RoomList
from tickwire.schemas.report import ReportReply
from tickwire.server.edge.generations import Generations
from tickwire.server.errors import Unavailable
from tickwire.server.rooms.seat import Seat
from tickwire.server.rooms.subscriber import Subscriber
from tickwire.server.rooms.transactions import Decision


class RoomJoiner(Protocol):
    """Finds a room for a session. The shard implements it over the matchmaker, the stores and its rooms."""

    async def join(self, subscriber: Subscriber, join: Join, *, seals_options: bool = False) -> Seat | Redirect:
        """Seat the session in a room of this shard, or return the address of another shard.

        The seat's `Joined` has been sent when this returns. The caller owns the seat: it calls `Seat.leave` when the
        session ends, also if the session ended during this call.

        Args:
            subscriber: the session.
            join: the requested room.
            seals_options: whether the ticket of a Redirect carries the options, which the client then cannot choose.

        Raises:
            TickwireError: no seat was found. The client receives its code, its message and `retryable`.
        """
        ...

    async def list_rooms(self, request: ListRooms, /) -> RoomList:
        """Return open rooms of a type.

        Raises:
            TickwireError: the type is unknown, a label is invalid, or the rooms cannot be read now.
        """
        ...


class PlayerQueue(Protocol):
    """The matchmaking queue. The shard implements it over the matchmaker's queues."""

    def enqueue(self, subscriber: Subscriber, request: MatchRequest, /) -> None:
        """Add a session to the queue, or send the status again if it is queued already.

        The session receives MatchStatus now and whenever it changes. After FOUND it receives a Redirect.

        Raises:
            TickwireError: the session cannot be queued.
        """
        ...

    def cancel(self, subscriber: Subscriber, reason: str, /) -> bool:
        """Cancel the queue position of a session.

        The session receives CANCELLED with the reason, or FOUND if a match was made before.

        Returns:
            False if the session is not queued; nothing is sent then.
        """
        ...

    def dequeue(self, subscriber: Subscriber, /) -> None:
        """Remove a session that has ended from the queue; nothing is sent."""
        ...

    def session_seated(self, subscriber: Subscriber, /) -> None:
        """Note that a session has taken a seat: its match is complete. A queued session stays queued."""
        ...

    def session_resumed(self, subscriber: Subscriber, /) -> None:
        """Send the queue status to a session that has a connection again; it may have missed changes."""
        ...


class Outcome(msgspec.Struct, frozen=True):
    """The result of an attempt to write a command's decision.

    Args:
        reply: for the client. One with `retry_after_ms` decides nothing.
        pending: the attempt, if the decision may have been written, for `TransactionRunner.retry`. None when the
            command is decided, and when nothing was written: the room may then decide again.
    """

    reply: Reply
    pending: object | None = None


class TransactionRunner(Protocol):
    """Commits transactions. The shard implements it over the ledger."""

    async def run(self, seat: Seat, command: Command, decision: Decision) -> Outcome:
        """Write a command's decision within a time limit. Every failure is returned as an outcome."""
        ...

    async def retry(self, pending: Any) -> Outcome:
        """Find out whether an earlier attempt was written, and write it if it was not.

        Args:
            pending: `Outcome.pending` of the earlier attempt.
        """
        ...


class SessionLocator(Protocol):
    """Finds sessions that are not on this shard. The shard implements it over the directory and the stores."""

    async def find(self, room_id: str, session_id: str, shard_id: str) -> Redirect | None:
        """Find the shard of the session that a resume token names.

        Args:
            room_id: the room that the client believes to be in; empty for none.
            session_id: the session.
            shard_id: the shard that issued the token.

        Returns:
            The address of the session's shard. None if the session was restored on this shard with its room, or was
            transferred to this shard, or is lost; the registry has it in the first two cases.

        Raises:
            TickwireError: the shard cannot be determined now. `retryable` says whether the client should try again.
        """
        ...


class BanList(Protocol):
    """The players that an operator has banned."""

    def check(self, player_id: str, /) -> None:
        """Check that a player is not banned.

        Raises:
            Banned: the player is banned; the message says until when.
        """
        ...


class ReportService(Protocol):
    """Accepts the reports of players."""

    def report(self, seat: Seat, reason: str, /) -> ReportReply:
        """Log a report, and record the room.

        Raises:
            TickwireError: the report is not accepted; the client receives the message.
        """
        ...


class NoReportService:
    """Accepts no reports, for servers without recordings."""

    def report(self, seat: Seat, reason: str, /) -> ReportReply:
        """Refuse the report."""
        raise Unavailable("this server accepts no reports")


class PresentSession(Protocol):
    """A session, as far as presence uses it."""

    session_id: str
    player_id: str
    is_guest: bool
    opened_us: int
    generations: Generations
    connection: Any
    previous_session_id: str

    @property
    def room_id(self) -> str:
        """The room of its seat; empty outside of a room."""
        ...

    @property
    def room_type(self) -> str:
        """The type of that room."""
        ...

    @property
    def is_moving(self) -> bool:
        """Whether its room is being sent to another shard, with a copy of the session."""
        ...

    def replace(self) -> None:
        """End the session because its player has opened another one."""

    def end_if_redirected(self) -> bool:
        """End the session if its client has followed a Redirect. Return whether it has ended."""
        ...

    def kick(self, reason: str) -> None:
        """End the session by an operator's request."""


class SessionPresence(Protocol):
    """Makes sessions known to the fleet, and ends those whose player has another one on any shard.

    Guests have no presence. Only `admit` waits; the other methods record what is written later.
    """

    async def admit(self, session: PresentSession, /) -> None:
        """Check that a new session may open, if the policy is to refuse a second one.

        While the presence of the fleet cannot be read, every session may open.

        Raises:
            AlreadyConnected: its player has a session on another shard.
        """

    async def is_replaced(self, player_id: str, session_id: str, /) -> bool:
        """Return whether another client of a player is connected, with a session in place of one that has ended.

        A record whose client is disconnected is no proof: the session may be an earlier one, of a room that was
        recovered from a save, or the player has left that client. False while the presence of the fleet cannot be
        read, and if the policy is not to replace sessions.

        Args:
            player_id: the player.
            session_id: the session that a client tries to resume.
        """
        ...

    def withdraw(self, session: PresentSession, /) -> None:
        """Note that a session that was admitted does not open."""

    def session_opened(self, session: PresentSession, /) -> None:
        """Note a new session, or one whose guest has become a player with an account."""

    def session_arrived(self, session: PresentSession, /) -> None:
        """Note a session that has come from another shard, or was restored with its room."""

    def session_changed(self, session: PresentSession, /) -> None:
        """Note that the room, the connection or the generation of a session has changed."""

    def session_ended(self, session: PresentSession, /, *, has_moved: bool = False) -> None:
        """Note that a session has ended here; `has_moved`: it continues on another shard."""


class NoSessionPresence:
    """Records nothing, for a server that is alone."""

    async def admit(self, session: PresentSession, /) -> None:
        """See `SessionPresence.admit`."""

    async def is_replaced(self, player_id: str, session_id: str, /) -> bool:
        """See `SessionPresence.is_replaced`."""
        return False

    def withdraw(self, session: PresentSession, /) -> None:
        """See `SessionPresence.withdraw`."""

    def session_opened(self, session: PresentSession, /) -> None:
        """See `SessionPresence.session_opened`."""

    def session_arrived(self, session: PresentSession, /) -> None:
        """See `SessionPresence.session_arrived`."""

    def session_changed(self, session: PresentSession, /) -> None:
        """See `SessionPresence.session_changed`."""

    def session_ended(self, session: PresentSession, /, *, has_moved: bool = False) -> None:
        """See `SessionPresence.session_ended`."""
