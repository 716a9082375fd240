"""The services of a shard that sessions call, as small interfaces: the edge knows neither stores nor the matchmaker.

The shard implements them in `tickwire.server.placement`, `tickwire.server.persistence`, `tickwire.server.migration`,
`tickwire.server.recording` and `tickwire.server.admin`.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from tickwire.schemas.messages import Command, Join, ListRooms, MatchRequest, Redirect, Reply, RoomList
from tickwire.schemas.report import ReportReply
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
