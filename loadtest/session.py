"""One player's session on gevent, over the Sans-I/O core: seats, matches, inputs, commands.

A greenlet plays the session: `open`, `join`, `stay`, `command`, `leave`, `close`. These calls reconnect after a lost
connection (connection.py). The player's view is measured by observer.py; joins, matches and replies are measured
here.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tickwire.client.errors import ClientError, CommandFailed, Disconnected, NotMatched, Refused, SessionLost
from tickwire.client.options import JoinOptions, MatchOptions
from tickwire.client.reconnect import REDIRECTS_MAX
from tickwire.client.requests import Answer, Request
from tickwire.client.updates import (
    ErrorReceived,
    EventReceived,
    EventsLost,
    QueueChanged,
    Redirected,
    ReplyReceived,
    SeatLost,
    SeatTaken,
    Update,
    Welcomed,
)
from tickwire.limits import REPLIES_MAX
from tickwire.loadtest.connection import CALL_S_MAX, SwarmConnection, now_us
from tickwire.loadtest.swarm import Swarm
from tickwire.schemas.messages import Join, Joined, Leave, MatchRequest, Redirect, Reply, Welcome
from tickwire.schemas.payloads import decode_value

JOIN_S_MAX = 30.0
SEAT_GRACE_S = 10.0
"""The time after which a player that requested a seat is expected to have one."""


class SwarmSession(SwarmConnection):
    """One session.

    Args:
        swarm: the state that all players of the process share.
        player_id: the player's id.
        rng: spreads retries.
        wanted_since_s: since when the player has wanted a seat, including its earlier sessions; None: it does not.

    Attributes:
        may_end: whether the room may close, so that a lost seat is not a failure.
        events: the number of received events.
        on_event: called with each event.
    """

    def __init__(
        self, swarm: Swarm, player_id: str, rng: random.Random, *, wanted_since_s: float | None = None
    ) -> None:
        super().__init__(swarm, player_id, rng)
        self.may_end = False
        self.events = 0
        self.on_event: Callable[[EventReceived], None] | None = None
        self._wanted_since_s = wanted_since_s
        self._welcomed: Welcomed | None = None  # the newest
        self._has_pending_join = False
        self._request: Request | None = None
        self._answer: Answer | None = None
        self._replies: OrderedDict[int, Reply] = OrderedDict()
        self._repeated_replies: set[int] = set()
        swarm.members.add(self)

    # -- for the swarm --------------------------------------------------------------------------------------

    @property
    def is_expected(self) -> bool:
        """Whether it should have a seat by now."""
        since_s = self._wanted_since_s
        return (
            not self.is_excluded
            and since_s is not None
            and (self.had_seat or time.monotonic() - since_s > SEAT_GRACE_S)
        )

    @property
    def wanted_since_s(self) -> float | None:
        """Since when the player has wanted a seat; None if it does not."""
        return self._wanted_since_s

    def record_unacknowledged_inputs(self) -> None:
        """Record inputs that were never acknowledged, with their age."""
        self.observer.record_unacknowledged_inputs(time.monotonic(), self._measures)

    # -- the session ----------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect and open the session, with retries for at most JOIN_S_MAX.

        Raises:
            Disconnected, Refused: an error was final, or the time is over.
        """
        if self._wanted_since_s is None and not self.may_end:
            self._wanted_since_s = time.monotonic()
        self._retry(lambda: self._connect(self._plan.url), JOIN_S_MAX, "hello", is_eager=True)

    def join_once(self, room_type: str, *, options: dict[str, Any] | None = None) -> Joined:
        """Join a room without retries, and without waiting for the first state."""
        return self._acquire_seat(self.core.join(room_type, JoinOptions(options=options)), options)

    def close(self) -> None:
        """End the session and disconnect. Idempotent."""
        self._wanted_since_s = None
        self.record_unacknowledged_inputs()
        self._end_session()
        self._stop_pings()

    def _end_session(self) -> None:
        if self._connection is not None:
            self._connection.send(self.core.end_session())
            self._connection.close()

    def end(self) -> None:
        """Close the session, and remove it from the swarm. Idempotent."""
        self.close()
        self.collect(self._swarm.measures)
        self.on_event = None
        self._swarm.members.discard(self)

    def disconnect(self) -> None:
        """Break the connection on purpose; the swarm expects the player to have a seat only SEAT_GRACE_S later."""
        self.had_seat, self._wanted_since_s = False, time.monotonic()
        self.drop()

    def join(self, room_type: str, *, name: str = "", options: dict[str, Any] | None = None) -> Joined:
        """Join a room, on whichever shard it is, with retries while the errors are retryable.

        Raises:
            Refused: the server refused the join for good.
            Disconnected, ClientError: the player cannot join.
            TimeoutError: no seat within JOIN_S_MAX.
        """
        started_s = time.monotonic()
        if self._wanted_since_s is None:
            self._wanted_since_s = started_s

        def once() -> Joined:
            self.ensure_connected()
            if self.core.joined is not None:  # the seat was assigned while the connection was lost
                return self.core.joined
            join = JoinOptions(name=name, options=options)
            return self._acquire_seat(b"" if self._has_pending_join else self.core.join(room_type, join), options)

        joined: Joined = self._retry(once, JOIN_S_MAX, "join", is_eager=True)
        self._wait_for_state()
        self.had_seat = True
        self._measures.times["join"].record(time.monotonic() - started_s)
        return joined

    def _wait_for_state(self) -> None:
        """Wait for the first state of the seat, also across reconnects."""
        deadline_s = time.monotonic() + JOIN_S_MAX

        def is_over() -> bool:
            return self.observer.has_state or self.core.world is None

        while not is_over():
            self._wait(lambda: is_over() or not self.is_connected, deadline_s - time.monotonic())
            self.ensure_connected()

    def match(self, mode: str, *, party: tuple[str, int] | None, timeout_s: float) -> Joined:
        """Wait in a queue, and join the match.

        Raises:
            NotMatched, Refused, TimeoutError, Disconnected, ClientError: no match, or no seat in it.
        """
        started_s = time.monotonic()
        self.ensure_connected()
        try:
            data = self.core.match_request(mode, MatchOptions(party=party))
            found = self._find_match(Request(MatchRequest, data), timeout_s)
            self._wanted_since_s = time.monotonic()
            joined = self._acquire_seat(self._follow(found.redirect, None), None)
        except BaseException as error:
            if not isinstance(error, NotMatched):
                self.core.abandon_match()
                self._flush()
            raise
        self.had_seat = True
        self._measures.times["match"].record(time.monotonic() - started_s)
        return joined

    def _find_match(self, request: Request, timeout_s: float) -> Redirected:
        """Wait for a match. After the timeout the queue decides: a match that was final before counts."""
        try:
            found = self._send_and_wait(request, timeout_s)
        except TimeoutError:
            self.send(self.core.match_cancel())
            found = self._send_and_wait(Request(MatchRequest, b""), CALL_S_MAX)
            if isinstance(found, QueueChanged):
                raise
        if isinstance(found, QueueChanged):
            raise NotMatched(found.status)
        assert isinstance(found, Redirected)
        return found

    def leave(self) -> None:
        """Leave the room.

        Raises:
            Refused, TimeoutError, Disconnected: the request failed.
        """
        self._wanted_since_s = None
        self.had_seat = False
        self.observer.left()
        self.record_unacknowledged_inputs()
        if self.core.world is not None:
            self.ensure_connected()
        if self.core.world is not None:
            self._send_and_wait(Request(Leave, self.core.leave()), JOIN_S_MAX)

    def send_input(self, payload: bytes, due_s: float) -> None:
        """Send an input with its due time. Does nothing without a seat or a connection."""
        core, connection = self.core, self._connection
        if (
            self._state.world is None
            or connection is None
            or not connection.is_open
            or not isinstance(self._welcome, Welcome)
        ):
            return
        connection.send(core.input_from_payload(payload))
        self.observer.input_sent(core.input_seq, due_s)
        self._measures.count("inputs")

    def command(self, name: str, payload: Any, *, due_s: float, times: int = 1) -> Any:
        """Run a command and return its result. Reconnects if needed.

        Args:
            name: the command.
            payload: its payload.
            due_s: its due time, from which the reply's latency is measured.
            times: how often the command is sent under one id; if above 1, it is sent once more after its reply.

        Raises:
            CommandFailed: the room rejected the command.
            SessionLost: the session was lost; whether the command ran is unknown.
            TimeoutError, Disconnected: no reply; whether the command ran is unknown.
        """
        self.ensure_connected()
        command_id, data = self.core.command(name, payload)
        sessions_lost, deadline_s = self.sessions_lost, time.monotonic() + JOIN_S_MAX
        try:
            for _ in range(times - 1):
                self.send(data)
            while (reply := self._replies.get(command_id)) is None:
                self._send_commands(deadline_s)
                if not self.is_connected:
                    self.ensure_connected()  # the core then sends the command again
                if self.sessions_lost != sessions_lost or self.core.world is None:
                    raise SessionLost(f"the session was lost before {name!r} was answered")
        finally:
            self.core.abandon_command(command_id)
        self._measures.times["reply"].record(time.monotonic() - due_s)
        if times > 1:
            self._repeat_command(command_id, data)
        if not reply.ok:
            raise CommandFailed(reply)
        return decode_value(reply.payload)

    def _send_commands(self, deadline_s: float) -> None:
        """Send due commands, and wait for a reply, the end of the connection, or the next due command.

        Raises:
            TimeoutError: the deadline has passed.
        """
        if time.monotonic() > deadline_s:
            raise TimeoutError("no answer in time")
        for data in self.core.commands_due(now_us()):
            self.send(data)
        due_us = self.core.next_command_us(now_us())
        until_s = min(deadline_s, due_us / 1e6) if due_us is not None else deadline_s
        known = len(self._replies), next(reversed(self._replies), 0)
        with suppress(TimeoutError):
            self._wait(
                lambda: (
                    (len(self._replies), next(reversed(self._replies), 0)) != known
                    or not self.is_connected
                    or self.core.world is None
                ),
                until_s - time.monotonic(),
            )

    def _repeat_command(self, command_id: int, data: bytes) -> None:
        """Repeat an answered command: the server must send the same reply again (see `_check_reply`)."""
        self._repeated_replies.discard(command_id)
        self.send(data)
        try:
            self._wait(lambda: command_id in self._repeated_replies or not self.is_connected, CALL_S_MAX)
        except TimeoutError:
            self._measures.fail("replies", "a repeated command was not answered")

    def stay(self, seconds: float) -> None:
        """Stay for a while, and reconnect when the connection is lost.

        Raises:
            SessionLost: the seat is lost, because the session or the room ended.
            Disconnected, Refused: the client cannot reconnect.
        """
        until_s = time.monotonic() + seconds
        had_seat = self.core.world is not None
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                self._wait(lambda: not self.is_connected or (had_seat and self.core.world is None), left_s)
            except TimeoutError:
                return
            self.ensure_connected()
            if had_seat and self.core.world is None:
                raise SessionLost("the seat was lost")

    # -- requests -------------------------------------------------------------------------------------------

    def _acquire_seat(self, data: bytes, options: dict[str, Any] | None) -> Joined:
        for _ in range(REDIRECTS_MAX + 1):
            answer = self._send_and_wait(Request(Join, data), CALL_S_MAX)
            if isinstance(answer, SeatTaken):
                return answer.joined
            assert isinstance(answer, Redirected)
            data = self._follow(answer.redirect, options)
        raise ClientError(f"redirected more than {REDIRECTS_MAX} times")

    def _follow(self, redirect: Redirect, options: dict[str, Any] | None) -> bytes:
        if redirect.url:
            self._end_session()
            self.core.discard_session()
            self._plan.visit(redirect.url, time.monotonic() * 1000)
            self._reconnect()
            if self._plan.url != redirect.url:
                raise Disconnected(f"cannot reach {redirect.url}, the room's shard: returned to the initial URL")
        there = JoinOptions(name=redirect.room_name, ticket=redirect.ticket, options=options)
        return self.core.join(redirect.room_type, there)

    def _send_and_wait(self, request: Request, timeout_s: float) -> Answer:
        """Send a request and wait for its answer. The request is sent again after a reconnect, if needed.

        Raises:
            Refused: the server refused the request.
            TimeoutError: no answer in time.
            Disconnected: the client cannot reconnect.
        """
        self._request, self._answer = request, None
        deadline_s = time.monotonic() + timeout_s
        self._send_request(request)
        while True:
            self._wait(lambda: self._answer is not None or not self.is_connected, deadline_s - time.monotonic())
            if isinstance(self._answer, ErrorReceived):
                raise Refused(self._answer.error)
            if self._answer is not None:
                return self._answer
            self.ensure_connected()
            if self._welcomed is not None and not request.is_in_flight(self._welcomed):
                self._send_request(request)

    def _send_request(self, request: Request) -> None:
        if request.data:
            self._has_pending_join = request.type is Join
            self.send(request.data)

    # -- updates --------------------------------------------------------------------------------------------

    def _on_update(self, update: Update) -> None:
        if self._request is not None and self._answer is None:
            self._answer = self._request.answer(update)
        match update:
            case Welcomed():
                self._welcomed = update
                self._has_pending_join = update.is_join_in_flight
            case SeatTaken(joined):
                self.observer.joined(joined.tick_rate_hz)
                self._has_pending_join = False
            case Redirected(is_match=False):
                self._has_pending_join = False
            case SeatLost(reason):
                if self._wanted_since_s is not None and not self.may_end:
                    self._measures.fail("seat", f"lost: {reason[:100]}")
            case ErrorReceived() if isinstance(self._answer, ErrorReceived):
                self._has_pending_join = False
            case EventsLost():
                self._measures.fail("events", "lost, as the server reported")
            case EventReceived():
                self.events += 1
                if self.on_event is not None:
                    self.on_event(update)
            case ReplyReceived(reply, is_decided=True):
                self._check_reply(reply)

    def _check_reply(self, reply: Reply) -> None:
        """Check that every reply to the same id is equal."""
        before = self._replies.get(reply.id)
        if before is not None:
            self._repeated_replies.add(reply.id)
        if before is not None and before != reply:
            self._measures.fail("replies", "a repeated command had another reply")
        self._replies[reply.id] = reply
        if len(self._replies) > REPLIES_MAX:
            oldest, _ = self._replies.popitem(last=False)
            self._repeated_replies.discard(oldest)
