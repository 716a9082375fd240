"""Ports through which rooms reach the sessions of a shard, so that rooms import neither sockets nor stores.

The ports of a single seat, `Subscriber` and `SeatConnection`, are in server/rooms/seat.py.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from tickwire.schemas.messages import Command, ErrorCode, Join, MatchRequest, Redirect, Reply
from tickwire.server.errors import NoSuchMode
from tickwire.server.rooms.checkpoint import SessionCheckpoint
from tickwire.server.rooms.seat import Seat, Subscriber
from tickwire.server.rooms.transactions import Decision


class SessionSource(Protocol):
    """Restores the sessions of a room that another shard had, or that an earlier run of this shard had."""

    def revive(self, kept: SessionCheckpoint, /) -> Subscriber | None:
        """Restore a session, disconnected. No client can resume it before `settle`.

        Returns:
            None if this shard has a newer copy of the session.
        """
        ...


class SessionRestorer(SessionSource, Protocol):
    """Restores sessions and activates them."""

    def settle(self, subscriber: Subscriber, /) -> None:
        """Activate a restored session, and apply the policy for several sessions of one player.

        Call it once this shard owns the session's room, or once the room could not be restored and has no owner.
        """
        ...

    def drop(self, session_id: str, room_id: str, /) -> None:
        """End a restored session whose player has left this room on the shard where it was."""
        ...


class NoSessionRestorer:
    """Restores no sessions."""

    def revive(self, kept: SessionCheckpoint, /) -> Subscriber | None:
        """Return None: the session cannot be restored."""
        return None

    def settle(self, subscriber: Subscriber, /) -> None:
        """Do nothing: there are no sessions."""

    def drop(self, session_id: str, room_id: str, /) -> None:
        """Do nothing: there are no sessions."""


class Outcome(msgspec.Struct, frozen=True):
    """The result of an attempt to write a command's decision.

    Args:
        reply: for the client. One with `retry_after_ms` decides nothing.
        pending: the attempt, if the decision may have been written, for `TransactionRunner.deal_again`. None when the
            command is
            decided, and when nothing was written: then the room may decide again.
    """

    reply: Reply
    pending: object | None = None


class TransactionRunner(Protocol):
    """Carries out deals. The shard implements it over the ledger."""

    async def deal(self, seat: Seat, command: Command, decision: Decision) -> Outcome:
        """Write a command's decision, within a deadline, whatever happens."""
        ...

    async def deal_again(self, pending: Any) -> Outcome:
        """Find out what became of an attempt, and carry it out if it was not written.

        Args:
            pending: of the `Outcome` before.
        """
        ...


class NoTransactions:
    """Where nothing is written."""

    async def deal(self, seat: Seat, command: Command, decision: Decision) -> Outcome:
        """Return a Reply that decides nothing."""
        text, code = "nothing is written here", ErrorCode.UNAVAILABLE
        return Outcome(Reply(command.id, ok=False, error=code, message=text, retry_after_ms=1000))

    async def deal_again(self, pending: Any) -> Outcome:
        """Never called: no attempt of this dealer is pending."""
        raise NotImplementedError


class SessionLocator(Protocol):
    """Finds sessions that are not known here. The shard implements it over the directory and the stores."""

    async def find(self, room_id: str, session_id: str, shard_id: str) -> Redirect | None:
        """Where a session goes on whose resume token was shown. None: its room was made again here, and the session
        with it; or it was in no room, and was passed on to this shard; or it is lost.

        Args:
            room_id: the room that its client believes to be in; empty for none.
            shard_id: the shard that has issued the token.

        Raises:
            TickwireError: not to be found out now; its `retryable` says whether asking again makes sense.
        """
        ...


class NoSessionLocator:
    """Where there is one shard alone."""

    async def find(self, room_id: str, session_id: str, shard_id: str) -> Redirect | None:
        """Lost."""
        return None


class RoomJoiner(Protocol):
    """Finds a room for a session. The shard implements it over the matchmaker, the stores and its rooms."""

    async def place(self, subscriber: Subscriber, join: Join) -> Seat | Redirect:
        """Seats the session in a room here, or says where else to go.

        A seat's `Joined` has been sent when this returns. The caller owns the seat and calls `Seat.leave` when
        the session ends, also when it ended while this was awaited.

        Raises:
            TickwireError: no seat; its code, words and `retryable` are for the client.
        """
        ...


class PlayerQueue(Protocol):
    """Where players wait for a match. The shard implements it over the matchmaker's queues."""

    def enter(self, subscriber: Subscriber, request: MatchRequest, /) -> None:
        """A session begins to wait; it is told its MatchStatus, now and whenever it changes. Asked again, it is told
        again. After FOUND it is sent a Redirect.

        Raises:
            TickwireError: it cannot wait here.
        """
        ...

    def cancel(self, subscriber: Subscriber, reason: str, /) -> bool:
        """Cancels a session's place; the session receives CANCELLED with the reason, or FOUND when it is too late.

        Returns:
            False when the session does not wait; nothing is sent then.
        """
        ...

    def leave(self, subscriber: Subscriber, /) -> None:
        """Cancels the place of a session that has ended; nothing is sent."""
        ...

    def seated(self, subscriber: Subscriber, /) -> None:
        """A session has taken a seat: a match that was found for it is settled; one that waits goes on waiting."""
        ...

    def resumed(self, subscriber: Subscriber, /) -> None:
        """A session has a connection again: it is told what it may have missed."""
        ...


class NoPlayerQueue:
    """Where there are no modes to wait for."""

    def enter(self, subscriber: Subscriber, request: MatchRequest, /) -> None:
        """Raises NoSuchMode."""
        raise NoSuchMode("this server has no matchmaking queue")

    def cancel(self, subscriber: Subscriber, reason: str, /) -> bool:
        """Return False: no session waits."""
        return False

    def leave(self, subscriber: Subscriber, /) -> None:
        """Do nothing: no session waits."""

    def seated(self, subscriber: Subscriber, /) -> None:
        """Nobody waits."""

    def resumed(self, subscriber: Subscriber, /) -> None:
        """Nobody waits."""
