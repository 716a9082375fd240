"""One player's session on gevent: seats, matches, inputs, commands, and what is measured of them.

A greenlet plays the session: `open`, `join`, `stay`, `command`, `leave`, `close`. The session machine answers these
calls, also across reconnects (gevent_shell.py). The player's view is measured by observer.py; joins, matches and
replies are measured here.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import gevent

from tickwire.client.backoff import Backoff
from tickwire.client.errors import Disconnected, Refused, SessionLost
from tickwire.client.options import JoinOptions, MatchOptions
from tickwire.client.updates import (
    EventReceived,
    EventsLost,
    QueueChanged,
    ReplyReceived,
    SeatLost,
    SeatTaken,
    Update,
)
from tickwire.limits import REPLIES_MAX
from tickwire.loadtest.connection import CALL_S_MAX, SwarmConnection
from tickwire.loadtest.gevent_shell import now_ms
from tickwire.loadtest.swarm import Swarm
from tickwire.schemas.codec import encode_client
from tickwire.schemas.messages import Command, Joined, QueueState, Reply
from tickwire.schemas.payloads import decode_value, encode_payload

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
        self._retry(self.open_once, "")

    def open_once(self) -> None:
        """Connect and open the session as `open` does, without retries."""
        self._call(lambda: self._machine.open("", now_ms()))

    def join_once(self, room_type: str, *, options: dict[str, Any] | None = None) -> Joined:
        """Join a room without retries, and without waiting for the first state."""
        return self._join(room_type, JoinOptions(options=options))

    def close(self) -> None:
        """End the session and disconnect. Idempotent."""
        self._wanted_since_s = None
        self.record_unacknowledged_inputs()
        self._machine.close(now_ms())
        self._perform()

    def end(self) -> None:
        """Close the session, and remove it from the swarm. Idempotent."""
        self.close()
        self.collect(self._swarm.measures)
        self.on_event = None
        self._swarm.members.discard(self)

    def disconnect(self) -> None:
        """Break the connection until `reconnect`. The swarm expects the player to have a seat SEAT_GRACE_S later."""
        self.had_seat, self._wanted_since_s = False, time.monotonic()
        self.stay_away()

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
        joined: Joined = self._retry(lambda: self._join(room_type, JoinOptions(name=name, options=options)), "join")
        self._wait_for_state()
        self.had_seat = True
        self._measures.times["join"].record(time.monotonic() - started_s)
        return joined

    def _join(self, room_type: str, options: JoinOptions) -> Joined:
        if self.core.joined is not None:  # the seat was assigned after the last attempt
            return self.core.joined
        joined: Joined = self._call(lambda: self._machine.join(room_type, options, now_ms()))
        return joined

    def _wait_for_state(self) -> None:
        """Wait for the first state of the seat, also across reconnects."""
        self._wait(lambda: self.observer.has_state or self.core.world is None or self.is_closed, JOIN_S_MAX)
        self._check_open()

    def _retry(self, once: Callable[[], Any], row: str) -> Any:
        """Call `once` until it succeeds, an error is final, or JOIN_S_MAX is over.

        Args:
            once: the attempt.
            row: the row in which its failures are counted; empty: they are counted already.
        """
        deadline_s, backoff, advised_ms = time.monotonic() + JOIN_S_MAX, Backoff(self._rng.random), 0
        last: Exception
        while True:
            try:
                return once()
            except Disconnected as error:
                if self._was_connected or not error.may_return:  # the machine has tried to reconnect
                    raise
                last, advised_ms = error, int(error.retry_after_s * 1000)
            except Refused as error:
                self._count_failure(row, error.error.code.name)
                if not error.error.retryable:
                    raise
                last, advised_ms = error, error.error.retry_after_ms
            except TimeoutError as error:
                self._count_failure(row, "no answer in time")
                last = error
            pause_s = backoff.next_ms(advised_ms) / 1000
            if time.monotonic() + pause_s > deadline_s:
                raise last
            gevent.sleep(pause_s)

    def _count_failure(self, row: str, reason: str) -> None:
        if row:
            self._measures.fail(row, reason)

    def match(self, mode: str, *, party: tuple[str, int] | None, timeout_s: float) -> Joined:
        """Wait in a queue, and join the match.

        Raises:
            NotMatched, Refused, TimeoutError, Disconnected, ClientError: no match, or no seat in it.
        """
        started_s = time.monotonic()
        options, timeout_ms = MatchOptions(party=party), int(timeout_s * 1000)
        joined: Joined = self._call(lambda: self._machine.match(mode, options, timeout_ms, now_ms()))
        self.had_seat = True
        self._measures.times["match"].record(time.monotonic() - started_s)
        return joined

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
            self._call(lambda: self._machine.leave(now_ms()))

    def send_input(self, payload: bytes, due_s: float) -> None:
        """Send an input with its due time. Does nothing without a seat or a connection."""
        core, connection = self.core, self._connection
        if self._state.world is None or connection is None or not connection.is_open or not self._is_welcomed:
            return
        connection.send(core.input_from_payload(payload))
        self.observer.input_sent(core.input_seq, due_s)
        self._measures.count("inputs")

    def command(self, name: str, payload: Any, *, due_s: float, times: int = 1) -> Any:
        """Run a command and return its result, also across reconnects.

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
        command_id, data, replies = 0, b"", self._replies

        def begin() -> int:
            nonlocal command_id, data
            last_id = self.core.command_id
            number = self._machine.command(name, payload, int(JOIN_S_MAX * 1000), now_ms())
            if self.core.command_id == last_id:  # the machine has rejected it
                return number
            command_id = self.core.command_id
            if times > 1:
                data = encode_client(Command(command_id, name, encode_payload(payload)))
                for _ in range(times - 1):
                    self.send(data)
            return number

        try:
            reply: Reply = self._call(begin)
        finally:
            if command_id in replies:  # also of a command that the room rejected
                self._measures.times["reply"].record(time.monotonic() - due_s)
        if times > 1:
            self._repeat_command(command_id, data)
        return decode_value(reply.payload)

    def _repeat_command(self, command_id: int, data: bytes) -> None:
        """Repeat an answered command: the server must send the same reply again (see `_check_reply`)."""
        self._repeated_replies.discard(command_id)
        self.send(data)
        try:
            self._wait(lambda: command_id in self._repeated_replies or not self.is_connected, CALL_S_MAX)
        except TimeoutError:
            self._measures.fail("replies", "a repeated command was not answered")

    def stay(self, seconds: float) -> None:
        """Stay for a while; the session is resumed when the connection is lost.

        Raises:
            SessionLost: the seat is lost, because the session or the room ended.
            Disconnected: the client cannot reconnect.
        """
        had_seat = self.core.world is not None
        try:
            self._wait(lambda: self.is_closed or (had_seat and self.core.world is None), seconds)
        except TimeoutError:
            return
        self._check_open()
        raise SessionLost("the seat was lost")

    # -- updates --------------------------------------------------------------------------------------------

    def _on_update(self, update: Update) -> None:
        match update:
            case SeatTaken(joined):
                self.observer.joined(joined.tick_rate_hz)
            case SeatLost(reason):
                if self._wanted_since_s is not None and not self.may_end:
                    self._measures.fail("seat", f"lost: {reason[:100]}")
            case QueueChanged(status, is_current=True) if status.state is QueueState.FOUND:
                self._wanted_since_s = time.monotonic()
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
