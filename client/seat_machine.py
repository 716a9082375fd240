"""The calls of a session machine for a seat: joins, leaves, moves and the rooms of matches, one by one. Pure.

    join ───────────────────────────> requested --SeatTaken--> resolved
    match, move --leaves its room-->  ^  └--Redirect--> visiting --connected--> requested there, with the ticket
                                      └--after a pause, at the initial URL--└--the shard cannot be reached

The server processes one Join at a time. A Redirect without an address leads to a room on the same shard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tickwire.client.backoff import Backoff
from tickwire.client.connection_machine import ConnectionMachine, Phase, downgrade_error
from tickwire.client.core import ClientCore
from tickwire.client.deadlines import Deadlines
from tickwire.client.errors import ClientError, Disconnected, NotMatched, Refused
from tickwire.client.machine_calls import CALL_MS_MAX, JOIN_MS_MAX, CallKind, PendingCall, SeatStep
from tickwire.client.options import JoinOptions
from tickwire.client.reconnect import REDIRECTS_MAX
from tickwire.client.requests import Answer, Request
from tickwire.client.updates import ErrorReceived, Redirected, SeatTaken, Welcomed
from tickwire.schemas.messages import Join, Leave, MatchStatus, QueueState, Redirect


class SeatUserMachine(Protocol):
    """The part of the machine above the seats."""

    def send(self, data: bytes) -> None:
        """Send a message, if the session is open."""

    def resolve(self, call: PendingCall, value: object) -> None:
        """End a call."""

    def reject(self, call: PendingCall, error: Exception) -> None:
        """End a call with an error."""


class SeatMachine:
    """The calls for a seat.

    Args:
        core: encodes the messages.
        connection: goes to other shards.
        deadlines: receives the deadline of the first call.
        random: returns random numbers from 0 to 1.
        user: ends the calls.
    """

    def __init__(
        self,
        core: ClientCore,
        connection: ConnectionMachine,
        deadlines: Deadlines,
        random: Callable[[], float],
        user: SeatUserMachine,
    ) -> None:
        self._core = core
        self._connection = connection
        self._deadlines = deadlines
        self._random = random
        self._user = user
        self._queue: list[PendingCall] = []

    @property
    def active(self) -> PendingCall | None:
        """The call that is processed; the others wait for it."""
        return self._queue[0] if self._queue else None

    def add(self, call: PendingCall, now_ms: float) -> None:
        """Add a call, and begin it if no other is processed."""
        self._queue.append(call)
        if len(self._queue) == 1:
            self._begin(call, now_ms)

    def remove(self, call: PendingCall, now_ms: float) -> None:
        """Remove a call that has ended, and begin the next one. A Join without an answer is abandoned. Idempotent."""
        if call not in self._queue:
            return
        was_active = self._queue[0] is call
        self._queue.remove(call)
        if was_active:
            self._deadlines.cancel(call.number)
            if call.step is SeatStep.REQUESTED and call.request is not None:
                self._core.abandon_join()
            if self._queue and self._connection.phase is not Phase.CLOSED:
                self._begin(self._queue[0], now_ms)

    def clear(self) -> None:
        """Remove all calls."""
        self._queue.clear()

    def _begin(self, call: PendingCall, now_ms: float) -> None:
        call.until_ms = now_ms + JOIN_MS_MAX
        call.backoff = Backoff(self._random)
        if call.kind is CallKind.LEAVE:
            self._leave(call, now_ms)
        elif call.kind is CallKind.JOIN:
            self._request(call, call.first, now_ms)
        elif call.kind is CallKind.MATCH and self._core.joined is not None:
            call.step = SeatStep.LEAVING
            self._leave(call, now_ms)
        elif call.redirect is not None:
            self._follow(call, call.redirect, now_ms)

    def _leave(self, call: PendingCall, now_ms: float) -> None:
        call.request = Request(Leave, self._core.leave())
        self._deadlines.set(call.number, now_ms + CALL_MS_MAX)
        self._user.send(call.request.data)

    def _request(self, call: PendingCall, data: bytes, now_ms: float) -> None:
        """Send a Join, or wait until an abandoned Join has its answer: the server refuses another one until then."""
        self._deadlines.set(call.number, now_ms + CALL_MS_MAX)
        if self._core.is_abandoning_join:
            call.step, call.request, call.unsent = SeatStep.ABANDONED, None, data
            return
        call.step, call.request = SeatStep.REQUESTED, Request(Join, data)
        self._user.send(data)

    def abandoned_join_answered(self, now_ms: float) -> None:
        """Continue a call that waited for the answer to an abandoned Join."""
        call = self.active
        if call is not None and call.step is SeatStep.ABANDONED:
            self._request(call, call.unsent, now_ms)

    def answered(self, call: PendingCall, answer: Answer, now_ms: float) -> None:
        """Handle the answer to the request of the active call."""
        call.request = None
        match answer:
            case SeatTaken(joined):
                self._user.resolve(call, joined)
            case Redirected(redirect):
                call.redirects += 1
                if call.redirects > REDIRECTS_MAX:
                    self._user.reject(call, ClientError(f"redirected more than {REDIRECTS_MAX} times"))
                else:
                    self._follow(call, redirect, now_ms)
            case ErrorReceived(error):
                self._user.reject(call, Refused(error))
            case _ if call.kind is CallKind.LEAVE:
                self._user.resolve(call, None)
            case _ if call.redirect is not None:
                self._follow(call, call.redirect, now_ms)

    def _follow(self, call: PendingCall, redirect: Redirect, now_ms: float) -> None:
        call.redirect = redirect
        if not redirect.url:
            self._request_with_ticket(call, redirect, now_ms)
        elif self._connection.is_downgrade(redirect.url):
            self._user.reject(call, downgrade_error(redirect.url))
        else:
            call.step = SeatStep.VISITING
            self._deadlines.set(call.number, now_ms + JOIN_MS_MAX)
            self._connection.visit(redirect.url, now_ms)

    def _request_with_ticket(self, call: PendingCall, redirect: Redirect, now_ms: float) -> None:
        options = JoinOptions(name=redirect.room_name, ticket=redirect.ticket, options=call.options)
        try:
            data = self._core.join(redirect.room_type, options)
        except ClientError as error:  # too large for this shard
            self._user.reject(call, error)
            return
        self._request(call, data, now_ms)

    def welcomed(self, update: Welcomed, now_ms: float) -> None:
        """Continue on a new connection: send the request again, unless the server still processes it."""
        call = self.active
        if call is None:
            return
        if call.step is SeatStep.VISITING and call.redirect is not None:
            if self._connection.url == call.redirect.url:
                self._request_with_ticket(call, call.redirect, now_ms)
            else:
                self._shard_unreachable(call, call.redirect, now_ms)
        elif call.step is SeatStep.ABANDONED:
            if not self._core.is_abandoning_join:
                self.abandoned_join_answered(now_ms)
        elif call.request is not None and not call.request.is_in_flight(update):
            self._user.send(call.request.data)

    def _shard_unreachable(self, call: PendingCall, redirect: Redirect, now_ms: float) -> None:
        """Handle a Redirect to a shard that failed. The client is connected to its initial URL."""
        if call.kind is CallKind.MATCH:
            reason = "the shard of the match cannot be reached"
            status = MatchStatus(QueueState.CANCELLED, mode=call.mode, reason=reason)
            self._user.reject(call, NotMatched(status))
            return
        pause_ms = call.backoff.next_ms() if call.backoff is not None else 0
        if call.kind is CallKind.MOVE or now_ms + pause_ms > call.until_ms:
            self._user.reject(call, Disconnected(f"the room's shard, {redirect.url}, cannot be reached"))
            return
        call.step, call.redirects = SeatStep.PAUSE, 0
        self._deadlines.set(call.number, now_ms + pause_ms)

    def deadline_due(self, call: PendingCall, now_ms: float) -> None:
        """Handle the deadline of the active call: the pause is over, or no answer arrived."""
        if call.step is SeatStep.PAUSE:
            self._request(call, call.first, now_ms)
        else:
            self._user.reject(call, TimeoutError("no answer in time"))
