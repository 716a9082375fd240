"""The connections of a session machine: attempts, Hello, heartbeat, loss, redirects and the final close. Pure.

    closed --open--> token --> opening --> hello --Welcome--> open
                       ^  └---------└---------└--failed--┐      │
                       └------------- pause <------------┴-lost-┘
    any phase --final close, final error, time over, close()--> closed

`tickwire.client.reconnect` plans when and where; here the steps of an attempt follow each other. Each step has a time
limit. The session machine handles the messages, and owns the deadlines and the list of commands.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

import msgspec

from tickwire.client.connection_state import ConnectionState
from tickwire.client.core import ClientCore
from tickwire.client.deadlines import ATTEMPT, HEARTBEAT, Deadlines
from tickwire.client.errors import ClientError, ConnectFailed, Disconnected, Refused
from tickwire.client.heartbeat import Heartbeat, ping_interval_ms
from tickwire.client.machine_commands import (
    ClearSession,
    CloseSocket,
    Connect,
    MachineCommand,
    RequestToken,
    Send,
    StoreSession,
)
from tickwire.client.reconnect import CONNECT_MS_MAX, HELLO_MS_MAX, ReconnectPlan, advice_ms, is_final_close
from tickwire.client.stored_session import (
    ATTEMPTS_AHEAD,
    COMMANDS_AHEAD,
    VERSION,
    StoredSession,
    player_from_token,
    stored_session_from,
)
from tickwire.schemas.messages import Error, Goodbye, Welcome

NORMAL, PROTOCOL_ERROR, RECONNECT = 1000, 1002, 4000
"""The codes with which a client closes: the session ends; a message cannot be decoded; the session is kept."""


class Phase(enum.Enum):
    """The phase of a connection; see the drawing above."""

    CLOSED = "closed"
    PAUSE = "pause"
    TOKEN = "token"  # noqa: S105 - a phase, no token
    OPENING = "opening"
    HELLO = "hello"
    OPEN = "open"


HAS_SOCKET = (Phase.OPENING, Phase.HELLO, Phase.OPEN)


class MachineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a session machine.

    Args:
        url: the address of the first connection.
        build: the game's version.
        reconnect_ms: how long the client tries to reconnect; 0 disables reconnecting.
        has_storage: whether StoreSession and ClearSession are returned.
    """

    url: str
    build: str = ""
    reconnect_ms: float = 60_000
    has_storage: bool = False


class ConnectionUserMachine(Protocol):
    """The part of the machine above the connection."""

    def disconnected(self, reason: str) -> None:
        """Handle the loss of the open connection; the machine reconnects."""

    def closed(self, error: Disconnected | Refused) -> None:
        """Handle the end. `error` is the reason."""


class ConnectionMachine:
    """The connections of one session.

    Args:
        options: the options.
        core: encodes the messages, and knows the session.
        deadlines: receives ATTEMPT and HEARTBEAT.
        commands: the commands are appended to it.
        random: returns random numbers from 0 to 1; spreads the attempts.
        user: the machine above.

    Attributes:
        phase: the phase of the newest connection.
        state: the state, as the game sees it.
        url: the address of the newest attempt.
        goodbye: the server's Goodbye on the newest connection.
        refusal: the newest Error on it.
        close_code: the close code of the last connection; None while it is open, or without a close.
        close_reason: why the last connection ended.
        login_token: of an Authenticate without an answer: Hello has it, because the server may have adopted it.
    """

    def __init__(  # noqa: PLR0913 - the parts of one machine
        self,
        options: MachineOptions,
        *,
        core: ClientCore,
        deadlines: Deadlines,
        commands: list[MachineCommand],
        random: Callable[[], float],
        user: ConnectionUserMachine,
    ) -> None:
        self.phase = Phase.CLOSED
        self.state = ConnectionState.CLOSED
        self.url = options.url
        self.goodbye: Goodbye | None = None
        self.refusal: Error | None = None
        self.close_code: int | None = None
        self.close_reason = "never connected"
        self.heartbeat = Heartbeat()
        self._options = options
        self._core = core
        self._deadlines = deadlines
        self._commands = commands
        self._user = user
        self._plan = ReconnectPlan(options.url, reconnect_ms=options.reconnect_ms, random=random)
        self._is_first = True
        self._visited_url = ""
        self.login_token = ""
        self._token = ""
        self._given_token = ""  # the application's newest one
        self._adopted_token = ""  # of the last login
        self._replaced_token: str | None = None  # which the application had given before
        self._ping_ms = 0
        self._stored: StoredSession | None = None
        self._saved: StoredSession | None = None  # the newest StoreSession

    @property
    def session_url(self) -> str:
        """The address of the session's shard."""
        return self._plan.url

    def disconnected(self) -> Disconnected:
        """Return the reason of the last close as an error."""
        return Disconnected(f"the connection is lost: {self.close_reason}")

    def is_downgrade(self, url: str) -> bool:
        """Return whether an address would carry the token over a plain connection."""
        return self._options.url.startswith("wss:") and not url.startswith("wss:")

    # -- the session ----------------------------------------------------------------------------------------

    def open(self, stored: str, now_ms: float) -> None:
        """Begin the first attempt.

        Args:
            stored: the text of the last StoreSession, or empty.
            now_ms: the monotonic clock.
        """
        self.state = ConnectionState.CONNECTING
        if stored:
            self._stored = stored_session_from(stored, self._options.url)
            if self._stored is None:
                self._clear_stored()
        self._request_token(now_ms)

    def visit(self, url: str, now_ms: float) -> None:
        """End this session and begin a new one on another shard, or at the initial URL if that shard fails."""
        if self.phase is Phase.OPEN:
            self._commands.append(Send(self._core.end_session()))
            self._commands.append(CloseSocket(NORMAL, "redirected"))
        elif self.phase in HAS_SOCKET:
            self._commands.append(CloseSocket(RECONNECT, "redirected"))
        self._deadlines.cancel(HEARTBEAT)
        self._core.discard_session()
        self._visited_url = url
        self._plan.visit(url, now_ms)
        self.state = ConnectionState.CONNECTING
        self._next_attempt(now_ms)

    def moved(self, url: str) -> None:
        """Record that the session is on another shard. The server closes, and the next attempt goes there."""
        self._plan.redirected(url)

    def close(self, code: int, reason: str) -> None:
        """End the connection for good with this code; 1000 also ends the session. `closed` follows."""
        if code == NORMAL and self.phase is Phase.OPEN:
            self._commands.append(Send(self._core.end_session()))
        if self.phase in HAS_SOCKET:
            self._commands.append(CloseSocket(code, reason))
        if code == NORMAL:
            self._clear_stored()
        self.close_reason = reason
        self._finish(self.disconnected())

    def drop(self, reason: str, now_ms: float) -> None:
        """Break the open connection, or an attempt."""
        if self.phase not in HAS_SOCKET:
            return
        self._commands.append(CloseSocket(RECONNECT, reason))
        if self.phase is Phase.OPEN:
            self._lost(None, reason, now_ms)
        else:
            self._failed(Disconnected(reason), now_ms)

    def network_changed(self, now_ms: float) -> None:
        """Check the path, or attempt to connect at once."""
        if self.phase is Phase.OPEN:
            self._probe(now_ms)
        elif self.state is ConnectionState.RECONNECTING and self.phase is not Phase.TOKEN:
            if self.phase in HAS_SOCKET:  # an attempt on the previous network may hang
                self._commands.append(CloseSocket(RECONNECT, "another attempt"))
            self._plan.restart(now_ms)
            self._request_token(now_ms)

    # -- an attempt -----------------------------------------------------------------------------------------

    def _next_attempt(self, now_ms: float) -> None:
        attempt = self._plan.next(now_ms)
        if attempt is None:
            limit_s = self._options.reconnect_ms / 1000
            self.close_reason = f"could not reconnect within {limit_s:g} s: {self.close_reason}"
            self._finish(Disconnected(self.close_reason))
            return
        self.url = attempt.url
        if attempt.pause_ms > 0:
            self.phase = Phase.PAUSE
            self._deadlines.set(ATTEMPT, now_ms + attempt.pause_ms)
        else:
            self._request_token(now_ms)

    def _request_token(self, now_ms: float) -> None:
        self.phase = Phase.TOKEN
        self._deadlines.set(ATTEMPT, now_ms + HELLO_MS_MAX)
        self._commands.append(RequestToken())

    def token_received(self, token: str, now_ms: float) -> None:
        """Connect with this token."""
        if self.phase is not Phase.TOKEN:
            return
        self._token = self._pick_token(token)
        if self._stored is not None:
            self._restore(self._stored, now_ms)
        self.phase = Phase.OPENING
        self.goodbye = self.refusal = self.close_code = None
        self._deadlines.set(ATTEMPT, now_ms + CONNECT_MS_MAX)
        self._commands.append(Connect(self.url))

    def token_failed(self, reason: str, now_ms: float) -> None:
        """Count a failed attempt: the application has no token."""
        if self.phase is Phase.TOKEN:
            self._failed(Disconnected(reason), now_ms)

    def _pick_token(self, token: str) -> str:
        """Return the token to use: the application may still return the one that a login has replaced."""
        self._given_token = token
        return self._adopted_token if token == self._replaced_token else token

    def renewed_token(self, token: str) -> str:
        """Return the token with which the session can be renewed; empty if the application has no other one."""
        token = self._pick_token(token)
        return "" if token == self._token else token

    def authenticated(self, token: str) -> None:
        """Use the token with which the session has authenticated from now on."""
        self._token = self._adopted_token = token
        self._replaced_token = self._given_token
        self.store()

    def request_token(self) -> None:
        """Ask the application for a token while the connection is open."""
        self._commands.append(RequestToken())

    def connected(self, now_ms: float) -> None:
        """Send Hello: the WebSocket is open."""
        if self.phase is not Phase.OPENING:
            return
        self.phase = Phase.HELLO
        self._deadlines.set(ATTEMPT, now_ms + HELLO_MS_MAX)
        try:
            data = self._core.hello(build=self._options.build, token=self.login_token or self._token)
        except ClientError as error:  # the token is too large
            self._commands.append(CloseSocket(RECONNECT, "no Hello"))
            self._failed(Disconnected(str(error)), now_ms)
            return
        if self._saved is not None and self._core.attempt >= self._saved.attempt:
            self.store()
        self._commands.append(Send(data))

    def connect_failed(self, error: ConnectFailed, now_ms: float) -> None:
        """Count a failed attempt: the WebSocket could not be opened."""
        if self.phase is Phase.OPENING:
            self._failed(error, now_ms)

    def refused(self, error: Error, now_ms: float) -> None:
        """Count a failed attempt: the server answered the Hello with an Error."""
        self._commands.append(CloseSocket(RECONNECT, "refused"))
        self._failed(Refused(error), now_ms)

    def welcomed(self, welcome: Welcome, now_ms: float) -> None:
        """Begin the session on this connection: the resume token is saved and confirmed."""
        self.phase = Phase.OPEN
        self.state = ConnectionState.CONNECTED
        self._is_first = False
        self._visited_url = ""
        self._plan.connected(self.url, now_ms)
        self._deadlines.cancel(ATTEMPT)
        self.store()
        self.heartbeat = Heartbeat()
        self._ping_ms = ping_interval_ms(welcome.heartbeat_interval_ms)
        self._ping(now_ms)

    def connection_lost(self, code: int | None, reason: str, now_ms: float) -> None:
        """Handle the end of the newest connection."""
        self.close_code = code
        text = reason or f"close code {code}"
        if self.phase is Phase.OPENING:
            self._failed(ConnectFailed(f"cannot connect to {self.url}: {text}"), now_ms)
        elif self.phase is Phase.HELLO:
            may_return = not is_final_close(code, self.goodbye)
            self._failed(Disconnected(f"the connection is lost: {text}", may_return=may_return), now_ms)
        elif self.phase is Phase.OPEN:
            self._lost(code, text, now_ms)

    def _failed(self, error: Disconnected | Refused, now_ms: float) -> None:
        self.phase = Phase.PAUSE
        self.close_reason = str(error)
        if isinstance(error, Refused):
            is_final, advised_ms = not error.error.retryable, error.error.retry_after_ms
        else:  # a handshake is always tried again: a proxy may refuse it while it is reloaded
            is_final = not error.may_return and not isinstance(error, ConnectFailed)
            advised_ms = int(error.retry_after_s * 1000)
        # Another shard's refusal leads to the initial URL, whose own refusal counts.
        is_visit = self.url == self._visited_url != self._options.url
        if self._is_first or (is_final and not is_visit):
            self._finish(error)
            return
        self._plan.failed(advised_ms, was_refused=isinstance(error, Refused))
        self._next_attempt(now_ms)

    def _lost(self, code: int | None, reason: str, now_ms: float) -> None:
        self.phase = Phase.PAUSE
        self.close_reason = reason
        self._deadlines.cancel(HEARTBEAT)
        if not self._options.reconnect_ms or is_final_close(code, self.goodbye):
            self._finish(self.disconnected())
            return
        self._plan.lost(now_ms, advice_ms(code, self.goodbye, self.refusal))
        self.state = ConnectionState.RECONNECTING
        self._user.disconnected(reason)
        self._next_attempt(now_ms)

    def _finish(self, error: Disconnected | Refused) -> None:
        self.phase = Phase.CLOSED
        self.state = ConnectionState.CLOSED
        self._user.closed(error)

    # -- time -----------------------------------------------------------------------------------------------

    def attempt_due(self, due_ms: float, now_ms: float) -> None:
        """Handle the deadline ATTEMPT: the pause is over, or a step took too long."""
        self._plan.extend(now_ms - due_ms)
        match self.phase:
            case Phase.PAUSE:
                self._request_token(now_ms)
            case Phase.TOKEN:
                self._failed(Disconnected("no token in time"), now_ms)
            case Phase.OPENING:
                self._commands.append(CloseSocket(RECONNECT, "no connection in time"))
                self._failed(ConnectFailed(f"cannot connect to {self.url}: no answer in time"), now_ms)
            case Phase.HELLO:
                self._commands.append(CloseSocket(RECONNECT, "no Welcome in time"))
                self._failed(Disconnected("the server did not answer the Hello"), now_ms)

    def heartbeat_due(self, due_ms: float, now_ms: float) -> None:
        """Handle the deadline HEARTBEAT: send a Ping, or end a connection on which nothing arrives."""
        if now_ms - due_ms >= self._ping_ms:  # the timer was late: the silence proves nothing
            self._probe(now_ms)
        else:
            self._ping(now_ms)

    def _ping(self, now_ms: float) -> None:
        if not self.heartbeat.record_ping():
            self._commands.append(CloseSocket(RECONNECT, "the server does not answer pings"))
            self._lost(None, "the server does not answer pings", now_ms)
            return
        if self._saved is not None and self._saved.last_event != self._core.event_number:
            self.store()
        self._send_ping(now_ms)

    def _probe(self, now_ms: float) -> None:
        self.heartbeat.record_probe()
        self._send_ping(now_ms)

    def _send_ping(self, now_ms: float) -> None:
        self._commands.append(Send(self._core.ping(int(now_ms * 1000))))
        self._deadlines.set(HEARTBEAT, now_ms + self._ping_ms)

    # -- storage --------------------------------------------------------------------------------------------

    def store(self) -> None:
        """Save the session, if it can be resumed."""
        if not self._options.has_storage or not self._core.resume_token:
            return
        before, core = self._saved, self._core
        attempt = before.attempt if before is not None else 0
        command_id = before.command_id if before is not None else 0
        self._saved = StoredSession(
            VERSION,
            self._plan.url if before is None or self.phase is Phase.OPEN else before.url,
            self._options.url,
            player_from_token(self._token),
            core.resume_token,
            core.event_number,
            attempt if core.attempt < attempt else core.attempt + ATTEMPTS_AHEAD,
            command_id if core.command_id < command_id else core.command_id + COMMANDS_AHEAD,
        )
        self._commands.append(StoreSession(self._saved.to_text()))

    def command_added(self) -> None:
        """Save the session if its saved command id is reached."""
        if self._saved is not None and self._core.command_id >= self._saved.command_id:
            self.store()

    def _restore(self, stored: StoredSession, now_ms: float) -> None:
        self._stored = None
        if stored.player != player_from_token(self._token):
            self._clear_stored()
            return
        self._is_first = False
        self._core.restore(
            stored.resume_token,
            last_event=stored.last_event,
            attempt=stored.attempt,
            command_id=stored.command_id,
        )
        self._saved = stored
        self._visited_url = stored.url
        self._plan.visit(stored.url, now_ms)
        attempt = self._plan.next(now_ms)
        self.url = attempt.url if attempt is not None else stored.url

    def _clear_stored(self) -> None:
        self._saved = None
        if self._options.has_storage:
            self._commands.append(ClearSession())


def downgrade_error(url: str) -> ClientError:
    """Return the error for a Redirect from an encrypted connection to a plain one."""
    return ClientError(f"redirected to {url}: the token is not sent over a plain connection")
