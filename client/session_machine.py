"""The policy of a client: events go in with the time, commands come out in order. Pure.

    shell --open, join, connected, message_received, timer_fired, ...--> SessionMachine
    shell <--Connect, Send, SetTimer, Resolve, Emit, ...---------------- `take_commands`

A shell opens sockets, runs one timer and passes results to the game. It carries out the commands in order, after each
call of a method. All clients have this machine, and agree on schemas/scenarios; the README there defines the events
and commands. ConnectionMachine connects, SeatMachine joins rooms; here are the messages, commands, matches and lists.

States and acknowledgements are nearly all messages: the machine does nothing for them but Emit. A shell may also call
`core` for them itself, together with `record_received`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tickwire.client.connection_machine import (
    NORMAL,
    PROTOCOL_ERROR,
    ConnectionMachine,
    MachineOptions,
    Phase,
    downgrade_error,
)
from tickwire.client.connection_state import ConnectionState
from tickwire.client.core import ClientCore
from tickwire.client.deadlines import ATTEMPT, COMMANDS, HEARTBEAT, RENEWAL, Deadlines
from tickwire.client.errors import (
    ClientError,
    CommandFailed,
    ConnectFailed,
    Disconnected,
    NotMatched,
    Refused,
    SessionLost,
)
from tickwire.client.machine_calls import CALL_MS_MAX, CANCEL_MS_MAX, MOVE, RENEWAL_MS, CallKind, PendingCall
from tickwire.client.machine_commands import Emit, MachineCommand, Reject, Resolve, Send, SetTimer
from tickwire.client.options import JoinOptions, MatchOptions
from tickwire.client.requests import Answer, Request, is_answer
from tickwire.client.seat_machine import SeatMachine
from tickwire.client.updates import (
    Ended,
    ErrorReceived,
    EventReceived,
    EventsLost,
    InputAcknowledged,
    PongReceived,
    QueueChanged,
    Redirected,
    ReplyReceived,
    RoomsListed,
    SeatLost,
    SeatTaken,
    SessionAuthenticated,
    StateApplied,
    TokenRequested,
    Update,
    Welcomed,
)
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import Authenticate, Error, Join, ListRooms, MatchRequest, Redirect, Reply

MATCH_MS_MAX = 300_000
"""How long `match` waits, unless the caller chooses another time."""
SEAT_CALLS = (CallKind.JOIN, CallKind.LEAVE, CallKind.MOVE)


class SessionMachine:
    """One session over successive connections. Times are milliseconds of a monotonic clock.

    Args:
        options: the options.
        random: returns random numbers from 0 to 1.
        core: the protocol; by default a new one.

    Attributes:
        core: the protocol.
        connection: the connection.
        resumes: the number of connections that continued the session.
        sessions_lost: the number of sessions that the server did not keep.
    """

    def __init__(self, options: MachineOptions, random: Callable[[], float], core: ClientCore | None = None) -> None:
        self.core = core if core is not None else ClientCore(random=random)
        self.resumes = 0
        self.sessions_lost = 0
        self._commands: list[MachineCommand] = []
        self._deadlines = Deadlines()
        self._timer_ms: float | None = None
        self.connection = ConnectionMachine(
            options,
            core=self.core,
            deadlines=self._deadlines,
            commands=self._commands,
            random=random,
            user=self,
        )
        self._seats = SeatMachine(self.core, self.connection, self._deadlines, random, self)
        self._calls: dict[int, PendingCall] = {}
        self._last_call = 0
        self._open: PendingCall | None = None
        self._match: PendingCall | None = None
        self._lists: list[PendingCall] = []
        self._authentications: list[PendingCall] = []  # the first one has been sent
        self._renewal_until_ms = 0.0  # when the token of the session expires
        self._by_command: dict[int, PendingCall] = {}
        self._move: Redirect | None = None  # from the Redirect of a move until the room's Left
        self._seated_call = 0  # the call that got the newest seat
        self._has_reported_loss = False  # `disconnected` was emitted, and `reconnected` not yet
        self._now_ms = 0.0  # the time of the current event

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return self.connection.state

    @property
    def is_connected(self) -> bool:
        """Whether the session is open and connected."""
        return self.connection.phase is Phase.OPEN

    @property
    def is_matching(self) -> bool:
        """Whether a `match` waits, for the queue or for the seat."""
        return self._match is not None

    def take_commands(self) -> list[MachineCommand]:
        """Return the commands since the last call, in order. The last one may be SetTimer."""
        self._set_timer()
        commands = self._commands.copy()
        self._commands.clear()
        return commands

    def _set_timer(self) -> None:
        if not self._deadlines.has_changed:
            return
        self._deadlines.has_changed = False
        next_ms = self._deadlines.next_ms
        if next_ms != self._timer_ms:
            self._timer_ms = next_ms
            self._commands.append(SetTimer(next_ms))

    # -- the game's calls -----------------------------------------------------------------------------------

    def open(self, stored: str, now_ms: float) -> int:
        """Connect for the first time, or resume the session of an earlier run of the program.

        Args:
            stored: the text of the last StoreSession; empty without one.
            now_ms: the clock.
        """
        self._now_ms = now_ms
        self._open = self._new_call(CallKind.OPEN)
        self.connection.open(stored, now_ms)
        return self._open.number

    def join(self, room_type: str, options: JoinOptions, now_ms: float) -> int:
        """Join a room, on whichever shard it is."""
        self._now_ms = now_ms
        call = self._new_call(CallKind.JOIN)
        call.options = options.options
        if (data := self._encode(call, lambda: self.core.join(room_type, options))) is not None:
            call.first = data
            self._seats.add(call, now_ms)
        return call.number

    def leave(self, now_ms: float) -> int:
        """Leave the room."""
        self._now_ms = now_ms
        call = self._new_call(CallKind.LEAVE)
        if self._check_open(call):
            self._seats.add(call, now_ms)
        return call.number

    def match(self, mode: str, options: MatchOptions, timeout_ms: float, now_ms: float) -> int:
        """Wait in a queue until a match is found, and join its room."""
        self._now_ms = now_ms
        call = self._new_call(CallKind.MATCH)
        if self._match is not None:
            self.reject(call, ClientError("another match is waiting: call cancel_match first"))
            return call.number
        call.mode, call.timeout_ms, call.options = mode, timeout_ms, options.options
        if (data := self._encode(call, lambda: self.core.match_request(mode, options))) is not None:
            self._match = call
            call.request = Request(MatchRequest, data)
            self._deadlines.set(call.number, now_ms + timeout_ms)
            self.send(data)
        return call.number

    def cancel_match(self, now_ms: float) -> None:
        """Leave the queue. A `match` in progress fails, unless the match was final before."""
        self._now_ms = now_ms
        if self._match is not None and self._match.request is not None:
            self._match.is_cancelled = True
        self.send(self.core.match_cancel())

    def list_rooms(self, room_type: str, labels: Mapping[str, str] | None, limit: int, now_ms: float) -> int:
        """Request open rooms of a type. One request waits at a time: an Error does not say which one it answers."""
        self._now_ms = now_ms
        call = self._new_call(CallKind.LIST_ROOMS)

        def encode() -> bytes:
            data, request_id = self.core.list_rooms(room_type, labels, limit)
            call.request = Request(ListRooms, data, request_id)
            return data

        if self._encode(call, encode) is not None:
            self._lists.append(call)
            if len(self._lists) == 1:
                self._begin(call)
        return call.number

    def authenticate(self, token: str, now_ms: float) -> int:
        """Log in during the session, or renew its token. One token is checked at a time."""
        self._now_ms = now_ms
        call = self._new_call(CallKind.AUTHENTICATE)
        self._add_authentication(call, token)
        return call.number

    def command(self, name: str, payload: Any, timeout_ms: float, now_ms: float) -> int:
        """Run a command in the room. It is sent again until it is answered, and runs at most once."""
        self._now_ms = now_ms
        call = self._new_call(CallKind.COMMAND)
        call.name = name
        if self.core.world is None:
            self.reject(call, ClientError("the client is in no room: join first"))
            return call.number

        def encode() -> bytes:
            call.command_id, data = self.core.command(name, payload)
            return data

        if self._encode(call, encode) is not None:
            self._by_command[call.command_id] = call
            self._deadlines.set(call.number, now_ms + timeout_ms)
            self.connection.command_added()
            self._send_commands()
        return call.number

    def send_input(self, values: dict[str, float]) -> int:
        """Send an input, in the game's units.

        Returns:
            Its sequence number; 0 if it was not sent because the client is not connected.

        Raises:
            ClientError: the client is in no room.
            ValueError: the room declares no such input, or a value is not a number.
            Disconnected: the connection was closed for good.
        """
        if self.core.world is None:
            raise ClientError("the client is in no room: join first")
        if self.connection.phase is Phase.CLOSED:
            raise self.connection.disconnected()
        if not self.is_connected:
            return 0
        self._commands.append(Send(self.core.input(values)))
        return self.core.input_seq

    def abandon(self, number: int, now_ms: float) -> None:
        """Stop waiting for a call: a seat or a queue entry that it would get is released. Idempotent."""
        self._now_ms = now_ms
        call = self._calls.get(number)
        if call is not None:
            self._end(call, is_failure=True)
        elif number and number == self._seated_call and self.core.joined is not None:  # resolved, and not received
            self.send(self.core.leave())
        if call is not None and call.kind is CallKind.OPEN:
            self.connection.close(NORMAL, "abandoned")
        self._flush()

    def network_changed(self, now_ms: float) -> None:
        """Check the path at once: the network changed, a timer was late, or the game is visible again."""
        self._now_ms = now_ms
        self.connection.network_changed(now_ms)

    def drop(self, now_ms: float) -> None:
        """Break the connection, as a bad network does."""
        self._now_ms = now_ms
        self.connection.drop("dropped", now_ms)

    def close(self, now_ms: float) -> None:
        """End the session, its seat and its queue entry. Idempotent."""
        self._now_ms = now_ms
        if self.connection.phase is not Phase.CLOSED:
            self.connection.close(NORMAL, "closed")

    # -- the shell's events ---------------------------------------------------------------------------------

    def token_received(self, token: str, now_ms: float) -> None:
        """Answer RequestToken."""
        self._now_ms = now_ms
        if self.is_connected:
            self._renew(token)
        else:
            self.connection.token_received(token, now_ms)

    def token_failed(self, reason: str, now_ms: float) -> None:
        """Answer RequestToken: the application's function failed."""
        self._now_ms = now_ms
        self.connection.token_failed(reason, now_ms)

    def connected(self, now_ms: float) -> None:
        """Answer Connect: the WebSocket is open."""
        self._now_ms = now_ms
        self.connection.connected(now_ms)

    def connect_failed(self, error: ConnectFailed, now_ms: float) -> None:
        """Answer Connect: the WebSocket could not be opened."""
        self._now_ms = now_ms
        self.connection.connect_failed(error, now_ms)

    def connection_lost(self, code: int | None, reason: str, now_ms: float) -> None:
        """Report the end of the newest connection, unless Close caused it.

        Args:
            code: the close code; None without a close. A code that the WebSocket library sent itself counts as well.
            reason: why this side closed; empty if the server or the network did.
            now_ms: the clock.
        """
        self._now_ms = now_ms
        self.connection.connection_lost(code, reason, now_ms)

    def timer_fired(self, now_ms: float) -> None:
        """Report that the time of the last SetTimer has come."""
        self._timer_ms = None
        self._deadlines.has_changed = True
        self._run_due(now_ms)

    def message_received(self, data: bytes, now_ms: float) -> Update | None:
        """Apply a message of the newest connection. Return the update, for the shell's own counters."""
        if self.connection.phase is not Phase.HELLO and self.connection.phase is not Phase.OPEN:
            return None
        self.connection.heartbeat.record_received()
        try:
            update = self.core.receive(data, now_us=int(now_ms * 1000))
        except MalformedMessage as error:  # the server would send it again after a reconnect
            self.connection.close(PROTOCOL_ERROR, f"the server sent a message that cannot be decoded: {error}")
            return None
        self.update_received(update, now_ms)
        return update

    def update_received(self, update: Update | None, now_ms: float) -> None:
        """Handle an update of the core, for shells that call `core.receive` themselves."""
        self._now_ms = now_ms
        if isinstance(update, StateApplied):
            self._commands.append(Emit("state", update))
        elif isinstance(update, InputAcknowledged):
            self._commands.append(Emit("acknowledged", update))
        elif update is not None:
            if isinstance(update, ErrorReceived) and self.connection.phase is Phase.HELLO:
                self._emit("refused", Refused(update.error))
                self.connection.refused(self._login_refused(update.error), now_ms)
            else:
                self._handle(update)
        if self.core.outgoing:
            self._flush()
            self._continue_seats()
        if self._timer_ms is not None and self._timer_ms <= now_ms:  # timers are late in a hidden page
            self._run_due(now_ms)

    def record_received(self) -> None:
        """Record a sign of life, for shells that call `core` themselves."""
        self.connection.heartbeat.record_received()

    # -- updates --------------------------------------------------------------------------------------------

    def _handle(self, update: Update) -> None:
        match update:
            case Welcomed():
                self._welcomed(update)
            case Redirected(redirect) if redirect.is_resume:
                self._moved(redirect.url)
            case Redirected(redirect, is_move=True):
                self._move = redirect
            case SeatTaken(joined):
                self._emit("joined", joined)
                self.connection.store()
            case SeatLost(reason):
                self._seat_lost(reason)
            case ErrorReceived(error):
                self._emit("refused", Refused(error))
                self.connection.refusal = error
            case EventsLost(error):
                self._emit("refused", Refused(error))
            case EventReceived(event):
                self._emit("event", event)
            case ReplyReceived(reply, is_decided):
                self._replied(reply, is_decided)
            case QueueChanged(status, is_current=True):
                self._emit("match", status)
            case PongReceived():
                self._emit("pong", update)
            case TokenRequested(expires_in_ms):
                self._renewal_until_ms = self._now_ms + expires_in_ms
                self._request_renewal()
            case Ended(goodbye):
                self.connection.goodbye = goodbye
        self._answer(update)
        if self._open is not None and self.connection.phase is Phase.OPEN:
            self._open_answered(update)
        self._continue_seats()
        self._follow_move()

    def _continue_seats(self) -> None:
        if not self.core.is_abandoning_join:
            self._seats.abandoned_join_answered(self._now_ms)

    def _welcomed(self, update: Welcomed) -> None:
        if self.connection.phase is not Phase.HELLO:
            return
        self.connection.welcomed(update.welcome, self._now_ms)
        self.resumes += update.has_resumed
        self.sessions_lost += update.has_lost_session
        self._flush()
        self._deadlines.cancel(RENEWAL)
        if (renewal := self._calls.get(RENEWAL)) is not None:  # Hello had a token
            self._end(renewal, is_failure=False)
        if self._has_reported_loss:
            self._has_reported_loss = False
            self._emit("reconnected", update.has_resumed)
        if update.has_lost_session:
            self._fail_commands(SessionLost, "the session was lost")
        if update.lost_room_id:
            reason = update.welcome.left_reason or "the seat was lost while the client was disconnected"
            self._seat_lost(reason)
        self._seats.welcomed(update, self._now_ms)
        self._send_requests_again()
        self._send_commands()
        if self._open is not None and not (update.has_resumed and update.is_join_in_flight):
            self.resolve(self._open, None)
        elif self._open is not None:  # the seat of the earlier run of the program follows
            self._deadlines.set(self._open.number, self._now_ms + CALL_MS_MAX)

    def _open_answered(self, update: Update) -> None:
        """End `open` once the client has the seat of an earlier run of the program, or will not get it."""
        match update:
            case Redirected(redirect):
                is_over = not redirect.is_resume
            case ErrorReceived(error):
                is_over = is_answer(error, Join)
            case _:
                is_over = isinstance(update, SeatTaken | SeatLost)
        if is_over and self._open is not None:
            self.resolve(self._open, None)

    def _send_requests_again(self) -> None:
        match = self._match
        if match is not None and match.request is not None and match.request.type is MatchRequest:
            self.send(match.request.data)
            if match.is_cancelled:
                self.send(self.core.match_cancel())
        for calls in (self._lists, self._authentications):
            if calls and calls[0].request is not None:
                self.send(calls[0].request.data)

    def _moved(self, url: str) -> None:
        if self.connection.is_downgrade(url):
            self._emit("error", downgrade_error(url))
        else:
            self.connection.moved(url)

    def _seat_lost(self, reason: str) -> None:
        self._fail_commands(ClientError, "the seat was lost")
        self._emit("left", reason)
        self.connection.store()

    def _follow_move(self) -> None:
        """Enter the room to which the player is moved, once it has left its room."""
        if self._move is None or self.core.joined is not None:
            return
        redirect, self._move = self._move, None
        before = self._calls.get(MOVE)
        if before is not None:
            self._end(before, is_failure=True)
        call = self._calls[MOVE] = PendingCall(MOVE, CallKind.MOVE, redirect=redirect)
        self._seats.add(call, self._now_ms)

    def _answer(self, update: Update) -> None:
        """Pass an update to the oldest call whose request it answers."""
        for call in self._calls.values():
            if call.request is None:
                continue
            answer = call.request.answer(update)
            if answer is not None:
                self._answered(call, answer)
                return

    def _answered(self, call: PendingCall, answer: Answer) -> None:
        if self._seats.active is call:
            self._seats.answered(call, answer, self._now_ms)
        elif call.kind is CallKind.LIST_ROOMS:
            if isinstance(answer, ErrorReceived):
                self.reject(call, Refused(answer.error))
            elif isinstance(answer, RoomsListed):
                self.resolve(call, answer.answer)
        elif call.kind is CallKind.MATCH:
            self._match_answered(call, answer)
        elif isinstance(answer, ErrorReceived):
            self.reject(call, Refused(answer.error))
        elif isinstance(answer, SessionAuthenticated):
            self.connection.authenticated(call.token)
            self.resolve(call, answer.answer.player_id)

    def _match_answered(self, call: PendingCall, answer: Answer) -> None:
        if isinstance(answer, ErrorReceived):
            self.reject(call, Refused(answer.error))
        elif isinstance(answer, QueueChanged):
            late = TimeoutError(f"no match was found within {call.timeout_ms / 1000:g} s")
            self.reject(call, late if call.is_late else NotMatched(answer.status))
        elif isinstance(answer, Redirected):
            call.request, call.redirect = None, answer.redirect
            self._deadlines.cancel(call.number)
            self._seats.add(call, self._now_ms)

    def _replied(self, reply: Reply, is_decided: bool) -> None:
        call = self._by_command.get(reply.id)
        if call is not None and is_decided:
            if reply.ok:
                self.resolve(call, reply)
            else:
                self.reject(call, CommandFailed(reply))
        self._send_commands()

    # -- the connection's events ----------------------------------------------------------------------------

    def disconnected(self, reason: str) -> None:
        """Report the loss of the connection; the machine reconnects."""
        self._deadlines.cancel(COMMANDS)
        self._has_reported_loss = True
        self._emit("disconnected", reason)

    def closed(self, error: Disconnected | Refused) -> None:
        """End all calls."""
        self._seats.clear()
        self._deadlines.clear()
        self._lists.clear()
        self._authentications.clear()
        self.connection.login_token = ""
        for call in list(self._calls.values()):
            self.reject(call, error if call.kind is CallKind.OPEN else self.connection.disconnected())
        self._emit("closed", self.connection.disconnected())

    # -- time -----------------------------------------------------------------------------------------------

    def _run_due(self, now_ms: float) -> None:
        self._now_ms = now_ms
        while (due := self._deadlines.pop_due(now_ms)) is not None:
            key, due_ms = due
            if key == ATTEMPT:
                self.connection.attempt_due(due_ms, now_ms)
            elif key == HEARTBEAT:
                self.connection.heartbeat_due(due_ms, now_ms)
            elif key == COMMANDS:
                self._send_commands()
            elif key in self._calls:
                self._call_due(self._calls[key])
            elif key == RENEWAL and self.is_connected:
                self._request_renewal()
        self._flush()

    def _call_due(self, call: PendingCall) -> None:
        if self._seats.active is call:
            self._seats.deadline_due(call, self._now_ms)
        elif call.kind is CallKind.OPEN:
            self.resolve(call, None)
        elif call.kind is CallKind.MATCH and not call.is_late:
            call.is_late = call.is_cancelled = True
            self._deadlines.set(call.number, self._now_ms + CANCEL_MS_MAX)
            self.send(self.core.match_cancel())
        else:
            self.reject(call, TimeoutError("no answer in time"))

    # -- tokens ---------------------------------------------------------------------------------------------

    def _add_authentication(self, call: PendingCall, token: str) -> None:
        if (data := self._encode(call, lambda: self.core.authenticate(token))) is not None:
            call.request, call.token = Request(Authenticate, data), token
            self._authentications.append(call)
            if len(self._authentications) == 1:
                self._begin_authentication(call)

    def _begin_authentication(self, call: PendingCall) -> None:
        if call.kind is CallKind.AUTHENTICATE:
            self.connection.login_token = call.token
        self._begin(call)

    def _login_refused(self, error: Error) -> Error:
        """Return the Error that answers a Hello. One with the token of a login ends the login, not the session."""
        if error.retryable or not self.connection.login_token:
            return error
        self.reject(self._authentications[0], Refused(error))
        return msgspec.structs.replace(error, retryable=True)

    def _request_renewal(self) -> None:
        """Request a new token, now and after a pause, until the token of the session expires."""
        self.connection.request_token()
        self._try_renewal_later(RENEWAL_MS)

    def _try_renewal_later(self, pause_ms: float) -> None:
        if self._now_ms + pause_ms < self._renewal_until_ms:
            self._deadlines.set(RENEWAL, self._now_ms + pause_ms)

    def _renew(self, token: str) -> None:
        token = self.connection.renewed_token(token)
        if token and RENEWAL not in self._calls:
            call = self._calls[RENEWAL] = PendingCall(RENEWAL, CallKind.RENEWAL)
            self._add_authentication(call, token)

    # -- parts ----------------------------------------------------------------------------------------------

    def _new_call(self, kind: CallKind) -> PendingCall:
        self._last_call += 1
        call = self._calls[self._last_call] = PendingCall(self._last_call, kind)
        return call

    def _check_open(self, call: PendingCall) -> bool:
        if self.connection.phase is Phase.CLOSED:
            self.reject(call, self.connection.disconnected())
            return False
        return True

    def _encode(self, call: PendingCall, encode: Callable[[], bytes]) -> bytes | None:
        """Encode the message of a call. Reject the call and return None if it cannot be sent."""
        if not self._check_open(call):
            return None
        try:
            return encode()
        except ClientError as error:
            self.reject(call, error)
            return None

    def _begin(self, call: PendingCall) -> None:
        self._deadlines.set(call.number, self._now_ms + CALL_MS_MAX)
        if call.request is not None:
            self.send(call.request.data)

    def send(self, data: bytes) -> None:
        """Send a message, if the session is open."""
        if self.is_connected:
            self._commands.append(Send(data))

    def _flush(self) -> None:
        """Send the core's own messages. Without a connection they wait for the next one."""
        while self.core.outgoing and self.is_connected:
            self._commands.append(Send(self.core.outgoing.popleft()))

    def _send_commands(self) -> None:
        """Send the commands that are due, and set the deadline of the next one."""
        if not self.is_connected:
            return
        now_us = int(self._now_ms * 1000)
        for data in self.core.commands_due(now_us):
            self._commands.append(Send(data))
        next_us = self.core.next_command_us(now_us)
        if next_us is None:
            self._deadlines.cancel(COMMANDS)
        else:
            self._deadlines.set(COMMANDS, next_us / 1000)

    def _emit(self, event: str, value: Any) -> None:
        self._commands.append(Emit(event, value))

    def _fail_commands(self, kind: type[ClientError], reason: str) -> None:
        for call in list(self._by_command.values()):
            self.reject(call, kind(f"{reason} before the room answered {call.name!r}"))

    # -- the end of a call ----------------------------------------------------------------------------------

    def resolve(self, call: PendingCall, value: object) -> None:
        """End a call with its result."""
        if call.kind in (CallKind.JOIN, CallKind.MATCH):
            self._seated_call = call.number
        if call.kind not in (CallKind.MOVE, CallKind.RENEWAL):
            self._commands.append(Resolve(call.number, value))
        self._end(call, is_failure=False)

    def reject(self, call: PendingCall, error: Exception) -> None:
        """End a call with an error. A move has no caller: its error is reported. A renewal is tried again."""
        if call.kind is CallKind.MOVE:
            self._emit("error", error)
        elif call.kind is not CallKind.RENEWAL:
            self._commands.append(Reject(call.number, error))
        self._end(call, is_failure=not isinstance(error, NotMatched))
        is_refused = isinstance(error, Refused) and not error.error.retryable
        if call.kind is CallKind.RENEWAL and self.is_connected and not is_refused:
            retry_after_ms = error.error.retry_after_ms if isinstance(error, Refused) else 0
            self._try_renewal_later(max(RENEWAL_MS, retry_after_ms))

    def _end(self, call: PendingCall, *, is_failure: bool) -> None:
        """Remove a call, and begin the next of its kind.

        Args:
            call: the call.
            is_failure: whether a match leaves the queue.
        """
        self._calls.pop(call.number, None)
        self._deadlines.cancel(call.number)
        if call is self._open:
            self._open = None
        if call is self._match:
            self._match = None
            if is_failure:
                self.core.abandon_match()
                self._flush()
        if call.kind is CallKind.COMMAND and call.command_id:
            self._by_command.pop(call.command_id, None)
            self.core.abandon_command(call.command_id)
            self._send_commands()
        if call in self._lists:
            was_first = self._lists[0] is call
            self._lists.remove(call)
            if was_first and self._lists:
                self._begin(self._lists[0])
        if call in self._authentications:
            was_first = self._authentications[0] is call
            self._authentications.remove(call)
            if was_first:
                self.connection.login_token = ""
                if self._authentications:
                    self._begin_authentication(self._authentications[0])
        self._seats.remove(call, self._now_ms)
