"""One player's session on gevent, over the Sans-I/O core, and what it measures.

A greenlet plays it: `open`, `join`, `stay`, `command`, `leave`, `close`. It comes back by itself when the connection
is lost, with the back-off of every client (`client.backoff`), as long as somebody waits in one of these calls.

What comes in is heard where it is read, and measured there:

    state      the interval to the one before; by how much it is late, beside the earliest of the last seconds
    ack        from when each input that it covers should have been sent
    reply      from when the command should have been asked
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import gevent
import msgspec
from gevent.event import Event as Signal

from client.backoff import Backoff
from client.core import ClientCore
from client.errors import ClientError, CommandFailed, Disconnected, NotMatched, RefusedError, SessionLost
from client.updates import (
    Ended,
    EventReceived,
    EventsLost,
    InputAcknowledged,
    QueueChanged,
    Redirected,
    Refused,
    ReplyReceived,
    SeatLost,
    SeatTaken,
    StateApplied,
    Update,
    Welcomed,
)
from loadtest.measures import Measures
from loadtest.metronome import Beat
from loadtest.swarm import Swarm
from loadtest.wire import Wire
from schemas.errors import MalformedMessage
from schemas.messages import Error, ErrorCode, Goodbye, Joined, QueueState, Redirect, Reply, Welcome

CALL_S_MAX = 10.0
JOIN_S_MAX = 30.0
SEAT_GRACE_S = 10.0
"""Who asked for a seat so long ago is expected to have one."""
REDIRECTS_MAX = 5
ATTEMPTS_BEFORE_HOME = 2
INPUTS_WAITING_MAX = 2048
REPLIES_KEPT = 64
BASE_WINDOW_S = 5.0
_DO_NOT_RETURN = {1000, 1002, 1003, 1007, 1008, 1009}


class Session:
    """One session.

    Args:
        swarm: what it shares with others.
        player_id: who it is.
        chance: spreads retries.
        wanted_since_s: since when its player has wanted a seat, with the sessions before this; None: it does not.

    Attributes:
        core: the client.
        is_patient: it reads slowly on purpose: what it sees, and when, is not measured.
        has_quiet_ticks: in its room a tick may change nothing: none was missed.
        may_end: its room may end the play: that is no failure.
        is_aside: what happens to it is counted nowhere (it misbehaves on purpose).
        events: how many came.
        on_event: told of each event.
    """

    def __init__(
        self, swarm: Swarm, player_id: str, chance: random.Random, *, wanted_since_s: float | None = None
    ) -> None:
        self.core = ClientCore(swarm.worlds.world_of)
        self.is_patient = self.is_aside = False
        self.may_end = False
        self.has_quiet_ticks = swarm.habits.has_quiet_ticks
        self.events = 0
        self.on_event: Callable[[EventReceived], None] | None = None
        self._swarm = swarm
        self._chance = chance
        self._token = swarm.tokens.of(player_id, time.time())
        self._url = swarm.url
        self._wire: Wire | None = None
        self._welcome: Welcome | Error | None = None
        self._goodbye: Goodbye | None = None
        self._answers: deque[SeatTaken | SeatLost | Redirected | QueueChanged | Refused] = deque(maxlen=16)
        self._replies: OrderedDict[int, Reply] = OrderedDict()
        self._news = Signal()
        self._heartbeat: Beat | None = None
        self._lost_at_s: float | None = None
        self._dark_since_s = 0.0  # the last state before the connection was lost; 0: it is not dark
        self._moved_to = ""
        self._sessions_lost = 0
        self._is_joining = self._has_session = False
        self._aside = Measures()
        # the seat
        self._wants_seat_since_s = wanted_since_s
        self._had_seat = self._has_state = False
        # what is measured
        self._inputs: deque[tuple[int, float]] = deque(maxlen=INPUTS_WAITING_MAX)
        self._last_tick = 0
        self._last_state_s = self._interval_s = 0.0
        self._base_s = self._next_base_s = float("inf")
        self._base_until_s = 0.0
        self._bytes = self._mismatches = self._missed = self._repeated = 0
        self._collected_s = time.monotonic()
        swarm.members.add(self)

    @property
    def _measures(self) -> Measures:
        return self._aside if self.is_aside else self._swarm.measures

    # -- what the swarm asks --------------------------------------------------------------------------------

    @property
    def is_expected(self) -> bool:
        """Whether it should have a seat by now."""
        since_s = self._wants_seat_since_s
        return (
            not self.is_aside
            and since_s is not None
            and (self._had_seat or time.monotonic() - since_s > SEAT_GRACE_S)
        )

    @property
    def wanted_since_s(self) -> float | None:
        """Since when its player has wanted a seat; None: it does not (any more)."""
        return self._wants_seat_since_s

    @property
    def is_seated(self) -> bool:
        """Whether it has a seat and a connection, and has seen the room since."""
        return self.core.world is not None and self._has_state and self._wire is not None and self._wire.is_open

    @property
    def is_seated_somewhere(self) -> bool:
        """Whether it has a seat, with or without a connection, and has seen the room."""
        return self.core.world is not None and self._has_state

    @property
    def is_connected(self) -> bool:
        """Whether the session is there, on a connection."""
        return self._wire is not None and self._wire.is_open and isinstance(self._welcome, Welcome)

    def collect(self, measures: Measures) -> None:
        """Adds what it has counted by itself since the last time."""
        if self.is_aside:
            return
        now, core = time.monotonic(), self.core
        received = self._wire.bytes_received if self._wire is not None else 0
        measures.count("bytes", received - self._bytes)
        self._bytes = received
        if self.is_seated:
            measures.count("player_seconds", now - self._collected_s)
        self._collected_s = now
        for row, reason, was, now_is in (
            ("world", "checksum mismatch", self._mismatches, core.mismatches),
            ("events", "lost", self._missed, core.events_missed),
            ("events", "doubled", self._repeated, core.events_repeated),
        ):
            if now_is > was:
                measures.fail(row, reason, now_is - was)
        self._mismatches, self._missed, self._repeated = core.mismatches, core.events_missed, core.events_repeated

    # -- the session ----------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connects and says Hello; asks again while that makes sense, for at most JOIN_S_MAX.

        Raises:
            Disconnected, RefusedError: it cannot be done.
        """
        if self._wants_seat_since_s is None and not self.may_end:
            self._wants_seat_since_s = time.monotonic()
        self._again(lambda: self._connect(self._url), JOIN_S_MAX, "hello", is_eager=True)

    def connect_once(self) -> None:
        """As `open`, without a second try."""
        self._connect(self._url)

    def join_once(self, room_type: str, *, options: dict[str, Any] | None = None) -> Joined:
        """As `join`, without a second try, and without waiting for the first state."""
        return self._take_seat(self.core.join(room_type, options=options), options)

    def close(self) -> None:
        """Gives everything back and goes. Idempotent."""
        self._wants_seat_since_s = None
        self.give_up_inputs()
        if self.is_connected and self._wire is not None:
            if self.core.world is not None:
                self._wire.send(self.core.leave())
            self._wire.close()
        elif self._wire is not None:
            self._wire.abort()
        self._stop_beats()

    def end(self) -> None:
        """Closes, and leaves the swarm. Idempotent."""
        self.close()
        self.collect(self._swarm.measures)
        self.on_event = None
        self._swarm.members.discard(self)

    def drop(self) -> None:
        """Breaks the connection as a bad network does; the swarm expects it back."""
        if self._wire is not None and self._wire.is_open:
            self._measures.count("drops")
            self._inputs.clear()  # that they are shown late is this side's doing; `resume` has it
            self._wire.abort()

    def go_away(self) -> None:
        """Breaks the connection, and stays away for a while: the swarm expects it only some time later."""
        self._had_seat, self._wants_seat_since_s = False, time.monotonic()
        self.drop()

    def pause(self) -> None:
        """Reads nothing more, until `unpause`."""
        if self._wire is not None:
            self._wire.pause()

    def unpause(self) -> None:
        """Reads again."""
        if self._wire is not None:
            self._last_tick = 0
            self._wire.resume()

    def send(self, data: bytes) -> None:
        """Sends whatever it is; without a connection it is lost."""
        if self._wire is not None:
            self._wire.send(data)

    def join(self, room_type: str, *, name: str = "", options: dict[str, Any] | None = None) -> Joined:
        """Takes a seat, on whichever shard the room is; asks again while the server says that this makes sense.

        Raises:
            RefusedError: no seat.
            Disconnected, ClientError: it cannot be done.
            TimeoutError: no seat within JOIN_S_MAX.
        """
        started_s = time.monotonic()
        if self._wants_seat_since_s is None:
            self._wants_seat_since_s = started_s

        def once() -> Joined:
            self._be_connected()
            if self.core.joined is not None:  # it had been given while the connection was lost
                return self.core.joined
            data = b"" if self._is_joining else self.core.join(room_type, name=name, options=options)
            return self._take_seat(data, options)

        joined: Joined = self._again(once, JOIN_S_MAX, "join", is_eager=True)
        self._wait(lambda: self._has_state or self.core.world is None, CALL_S_MAX)
        self._had_seat = True
        self._measures.times["join"].record(time.monotonic() - started_s)
        return joined

    def match(self, mode: str, *, party: tuple[str, int] | None, timeout_s: float) -> Joined:
        """Waits in a queue, and takes the seat in the match.

        Raises:
            NotMatched, RefusedError, TimeoutError, Disconnected, ClientError: there is none.
        """
        started_s = time.monotonic()
        self._be_connected()
        found = self._ask(self.core.match_request(mode, party=party), Redirected | QueueChanged, timeout_s)
        if isinstance(found, QueueChanged):
            raise NotMatched(found.status)
        assert isinstance(found, Redirected)
        self._wants_seat_since_s = time.monotonic()
        joined = self._take_seat(self._follow(found.redirect, None), None)
        self._had_seat = True
        self._measures.times["match"].record(time.monotonic() - started_s)
        return joined

    def cancel_match(self) -> None:
        """Gives the place in the queue back."""
        self.send(self.core.match_cancel())

    def leave(self) -> None:
        """Gives the seat back.

        Raises:
            RefusedError, TimeoutError, Disconnected: it cannot be said.
        """
        self._wants_seat_since_s = None
        self._had_seat = False
        self._dark_since_s = 0.0
        self.give_up_inputs()
        if self.core.world is not None and self.is_connected:
            self._ask(self.core.leave(), SeatLost, CALL_S_MAX)

    def send_input(self, payload: bytes, due_s: float) -> None:
        """Sends an input that was due at a moment; without a seat and a connection there is none."""
        core, wire = self.core, self._wire
        if core.world is None or wire is None or not self.is_connected:
            return
        wire.send(core.input_of(payload))
        if not self.is_patient:
            self._inputs.append((core.input_seq, due_s))
        self._measures.count("inputs")

    def command(self, name: str, payload: Any, *, due_s: float, times: int = 1) -> Any:
        """Asks for something, `times` times under one id, and gives the answer; comes back first where it must.

        Raises:
            CommandFailed: the room says no.
            SessionLost: whether it was done is not known, and never will be.
            TimeoutError, Disconnected: likewise.
        """
        self._be_connected()
        command_id, data = self.core.command(name, payload)
        sessions_lost, deadline_s = self._sessions_lost, time.monotonic() + JOIN_S_MAX
        backoff = Backoff(self._chance.random)
        try:
            for _ in range(times):
                self.send(data)
            while True:
                self._wait(
                    lambda: command_id in self._replies or not self.is_connected or self.core.world is None,
                    deadline_s - time.monotonic(),
                )
                reply = self._replies.get(command_id)
                if reply is not None and (reply.ok or reply.error is not ErrorCode.UNAVAILABLE):
                    break
                if not self.is_connected:
                    self._be_connected()  # and the core asks again
                if self._sessions_lost != sessions_lost or self.core.world is None:
                    raise SessionLost(f"the session was lost before {name!r} was answered")
                if reply is not None:
                    del self._replies[command_id]
                    gevent.sleep(backoff.next_s())
                    self.send(data)
        finally:
            self.core.give_up(command_id)
        self._measures.times["reply"].record(time.monotonic() - due_s)
        if not reply.ok:
            raise CommandFailed(reply)
        return msgspec.msgpack.decode(reply.payload) if reply.payload else None

    def stay(self, seconds: float) -> None:
        """Stays for a while, and comes back when the connection is lost.

        Raises:
            SessionLost: the seat is gone: the session, or the room, has ended.
            Disconnected, RefusedError: it cannot come back.
        """
        until_s = time.monotonic() + seconds
        had_seat = self.core.world is not None
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                self._wait(lambda: not self.is_connected or (had_seat and self.core.world is None), left_s)
            except TimeoutError:
                return
            self._be_connected()
            if had_seat and self.core.world is None:
                raise SessionLost("the seat is gone")

    # -- connections ----------------------------------------------------------------------------------------

    def _be_connected(self) -> None:
        if not self.is_connected:
            self.come_back()

    def come_back(self) -> None:
        """Connects again and goes on with the session, as every client does; measured from the loss.

        Raises:
            Disconnected, RefusedError: it cannot be done within `Habits.resume_s_max`.
        """
        lost_at_s = self._lost_at_s if self._lost_at_s is not None else time.monotonic()
        was_seated, attempts = self.core.world is not None, 0
        is_sent = bool(self._moved_to)
        if is_sent:
            self._url, self._moved_to = self._moved_to, ""
        advised_s = self._goodbye.retry_after_ms / 1000 if self._goodbye is not None else 0.0
        if advised_s:
            gevent.sleep(Backoff(self._chance.random).next_s(advised_s))

        def once() -> None:
            nonlocal attempts
            attempts += 1
            is_for_home = attempts > ATTEMPTS_BEFORE_HOME and attempts % 2 == 0
            self._connect(self._swarm.url if is_for_home else self._url)

        lost = self._sessions_lost
        self._again(once, self._swarm.habits.resume_s_max, "hello", is_eager=is_sent)
        if self._sessions_lost != lost:
            self._measures.fail("resume", "the session was not kept")
            return
        if was_seated and self.core.world is not None:
            self._wait(lambda: self._has_state or not self.is_connected, CALL_S_MAX)
        if self.is_connected:
            self._had_seat = self.core.world is not None
            self._measures.times["resume"].record(time.monotonic() - lost_at_s)

    def _connect(self, url: str) -> None:
        """A connection with the session on it, wherever that is.

        Raises:
            Disconnected, RefusedError: as `open`.
        """
        for _ in range(REDIRECTS_MAX):
            if self._greets(url):
                return
            url, self._moved_to = self._moved_to, ""
        raise Disconnected(f"sent on more than {REDIRECTS_MAX} times")

    def _greets(self, url: str) -> bool:
        """One connection, from the first byte to Welcome; False: the session goes on at `_moved_to`."""
        started_s = time.monotonic()
        self._stop_beats()
        if self._wire is not None:
            self._wire.abort()
            self.collect(self._measures)
            self._wire = None
        self._welcome, self._goodbye = None, None
        self._bytes = 0
        wire = Wire(self._hear, self._connection_ended)
        wire.open(url, tls=self._swarm.tls, timeout_s=CALL_S_MAX)
        opened_s = time.monotonic()
        self._measures.times["connect"].record(opened_s - started_s)
        self._wire, self._url, self._has_state, self._last_tick = wire, url, False, 0
        wire.send(self.core.hello(build=self._swarm.build, token=self._token))
        try:
            self._wait(lambda: self._welcome is not None or not wire.is_open, CALL_S_MAX)
        except TimeoutError:
            wire.abort()
            raise Disconnected("the server did not answer the Hello") from None
        if isinstance(self._welcome, Error):
            wire.abort()
            raise RefusedError(self._welcome)
        if self._welcome is None:
            if self._moved_to:
                return False
            raise Disconnected(wire.because, may_return=self._may_return(wire))
        self._measures.times["hello"].record(time.monotonic() - opened_s)
        self._lost_at_s = None
        self._flush()
        wire.send(self.core.ping(_now_us()))
        period_s = min(max(self._welcome.heartbeat_interval_ms / 1000, 0.5), 60.0)
        first_s = self._chance.uniform(0.2, 1.0) * period_s
        self._heartbeat = self._swarm.metronome.every(period_s, self._ping, first_s=first_s)
        return True

    def _again(self, once: Callable[[], Any], timeout_s: float, row: str, *, is_eager: bool = False) -> Any:
        """Tries until it succeeds, as long as that makes sense and there is time; failures are counted."""
        deadline_s, backoff, advised_s = time.monotonic() + timeout_s, Backoff(self._chance.random), 0.0
        pause_s = 0.0 if is_eager else backoff.next_s()
        last: Exception
        while True:
            gevent.sleep(pause_s)
            try:
                return once()
            except Disconnected as error:
                self._measures.fail("connect", _short(str(error)))
                if not error.may_return:
                    raise
                last, advised_s = error, error.retry_after_s
            except RefusedError as error:
                self._measures.fail(row, error.error.code.name)
                if not error.error.retryable:
                    raise
                last, advised_s = error, error.error.retry_after_ms / 1000
            except TimeoutError as error:
                self._measures.fail(row, "no answer in time")
                last = error
            pause_s = backoff.next_s(advised_s)
            if time.monotonic() + pause_s > deadline_s:
                raise last

    def _may_return(self, wire: Wire) -> bool:
        code = wire.close_code
        return code is None or (code not in _DO_NOT_RETURN and code < 4500)

    def _connection_ended(self) -> None:
        wire = self._wire
        self._stop_beats()
        if self._lost_at_s is None:
            self._lost_at_s = time.monotonic()
            self._dark_since_s = self._last_state_s if self.is_seated_somewhere else 0.0
        if wire is not None and not wire.is_ours and isinstance(self._welcome, Welcome) and not self._moved_to:
            self._measures.fail("close", _short(wire.because))
        self._news.set()

    def _stop_beats(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    def _ping(self, due_s: float) -> None:
        self.send(self.core.ping(_now_us()))

    # -- asking ---------------------------------------------------------------------------------------------

    def _take_seat(self, data: bytes, options: dict[str, Any] | None) -> Joined:
        for _ in range(REDIRECTS_MAX):
            answer = self._ask(data, SeatTaken | Redirected, CALL_S_MAX)
            if isinstance(answer, SeatTaken):
                return answer.joined
            data = self._follow(answer.redirect, options)
        raise ClientError(f"redirected more than {REDIRECTS_MAX} times")

    def _follow(self, redirect: Redirect, options: dict[str, Any] | None) -> bytes:
        if redirect.url:
            if self._url.startswith("wss:") and not redirect.url.startswith("wss:"):
                raise ClientError(f"redirected to {redirect.url}: the token is not sent over a plain connection")
            if self._wire is not None:
                self._wire.close()
            self.core.forget_session()
            self._has_session = False
            self._connect(redirect.url)
        return self.core.join(redirect.room_type, name=redirect.room_name, ticket=redirect.ticket, options=options)

    def _ask(self, data: bytes, wanted: Any, timeout_s: float) -> Any:
        self._answers.clear()
        if data:
            self.send(data)
        deadline_s = time.monotonic() + timeout_s
        while True:
            self._wait(lambda: bool(self._answers) or not self.is_connected, deadline_s - time.monotonic())
            if not self._answers:
                raise Disconnected("the connection was lost before the answer")
            answer = self._answers.popleft()
            if isinstance(answer, Refused):
                raise RefusedError(answer.error)
            if isinstance(answer, wanted):
                return answer

    def _wait(self, predicate: Callable[[], bool], timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not predicate():
            self._news.clear()
            if not self._news.wait(max(0.0, deadline_s - time.monotonic())) and not predicate():
                raise TimeoutError("no answer in time")

    # -- what comes in --------------------------------------------------------------------------------------

    def _hear(self, data: bytes) -> None:
        try:
            update = self.core.receive(data, now_us=0)
        except MalformedMessage as error:
            self._measures.fail("world", f"malformed message: {error}")
            if self._wire is not None:
                self._wire.abort()
            return
        kind = type(update)
        if kind is StateApplied:
            self._state_came(update)  # type: ignore[arg-type]
        elif kind is InputAcknowledged:
            self._acknowledged(update)  # type: ignore[arg-type]
        elif update is not None:
            self._told(update)
        if self.core.outgoing:
            self._flush()

    def _state_came(self, state: StateApplied) -> None:
        wire = self._wire
        assert wire is not None
        now, tick, measures = wire.read_at_s, state.tick, self._measures
        interval_s = self._interval_s
        if self._last_tick and not self.is_patient:
            took_s, ticks = now - self._last_state_s, tick - self._last_tick
            measures.times["tick"].record(took_s)
            measures.times["jitter"].record(abs(took_s - ticks * interval_s))
            if ticks > 1 and not self.has_quiet_ticks:
                measures.count("missed_ticks", ticks - 1)
        if not self._has_state:
            self._has_state = True
            if self._dark_since_s:
                measures.times["blackout"].record(now - self._dark_since_s)
                self._dark_since_s = 0.0
            self._base_s = self._next_base_s = float("inf")
            self._news.set()
        self._last_tick, self._last_state_s = tick, now
        if self.is_patient:
            return
        # The earliest state of the last seconds says where the server's clock stands on ours.
        at_s = now - tick * interval_s
        if now > self._base_until_s:
            self._base_s, self._next_base_s = min(self._next_base_s, at_s), at_s
            self._base_until_s = now + BASE_WINDOW_S
        if at_s < self._next_base_s:
            self._next_base_s = at_s
            self._base_s = min(self._base_s, at_s)
        measures.count("states")
        if at_s - self._base_s > interval_s / 2:
            measures.count("late_states")

    def _acknowledged(self, ack: InputAcknowledged) -> None:
        inputs, wire = self._inputs, self._wire
        if wire is not None and inputs and inputs[0][0] <= ack.seq:
            now, row = wire.read_at_s, self._measures.times["input"]
            while inputs and inputs[0][0] <= ack.seq:
                row.record(now - inputs.popleft()[1])

    def give_up_inputs(self) -> None:
        """Inputs that were never shown have taken at least until now: a server that stalls for good must not look
        fast. Those of the last moment are on their way."""
        now, row = time.monotonic(), self._measures.times["input"]
        while self._inputs:
            waited_s = now - self._inputs.popleft()[1]
            if waited_s > 1.0:
                row.record(waited_s)

    def _told(self, update: Update) -> None:
        match update:
            case Welcomed(welcome, has_resumed):
                self._welcome, self._is_joining = welcome, welcome.is_joining
                if self._has_session and not has_resumed:
                    self._sessions_lost += 1
                    self._had_seat = False
                self._has_session = True
            case SeatTaken(joined):
                self._interval_s = 1 / joined.tick_rate_hz if joined.tick_rate_hz else 0.0
                self._inputs.clear()
                self._has_state, self._last_tick, self._is_joining = False, 0, False
                self._answers.append(update)
            case QueueChanged(status) if status.state in (QueueState.CANCELLED, QueueState.TIMED_OUT):
                self._answers.append(update)
            case Redirected(redirect) if redirect.is_resume:
                self._moved_to = redirect.url
            case Redirected():
                self._answers.append(update)
            case SeatLost(reason):
                if self._wants_seat_since_s is not None and not self.may_end:
                    self._measures.fail("seat", f"lost: {reason[:100]}")
                self._answers.append(update)
            case Refused(error):
                if self._welcome is None:
                    self._welcome = error
                self._is_joining = False
                self._answers.append(update)
            case EventsLost():
                self._measures.fail("events", "the server says that some are lost")
            case EventReceived():
                self.events += 1
                if self.on_event is not None:
                    self.on_event(update)
            case ReplyReceived(reply):
                self._check_reply(reply)
            case Ended(goodbye):
                self._goodbye = goodbye
        self._news.set()

    def _check_reply(self, reply: Reply) -> None:
        """The same id has the same answer, however often it was asked."""
        before = self._replies.get(reply.id)
        if before is not None and before.error is not ErrorCode.UNAVAILABLE and before != reply:
            self._measures.fail("replies", "a repeated command was answered otherwise")
        self._replies[reply.id] = reply
        if len(self._replies) > REPLIES_KEPT:
            self._replies.popitem(last=False)

    def _flush(self) -> None:
        while self.core.outgoing and self._wire is not None:
            self._wire.send(self.core.outgoing.popleft())


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def _short(reason: str) -> str:
    """A reason without what differs from player to player: few rows, not thousands."""
    return reason.partition(": ")[2] if reason.startswith("cannot connect to") else reason[:100]
