"""The asyncio shell of the session machine: opens WebSockets, runs one timer, and passes results to the game.

    game --join, command, ...--> ClientSession --events--> SessionMachine
    game <--results, listeners-- ClientSession <--commands-- SessionMachine

All policy is in `tickwire.client.session_machine`. The commands are carried out in the order in which the machine
returned them, also if a listener calls the machine meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from ssl import SSLContext
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection

from tickwire.client.connection import ClientSocket, open_socket
from tickwire.client.connection_machine import NORMAL, PROTOCOL_ERROR, RECONNECT, MachineOptions
from tickwire.client.connection_state import ConnectionState
from tickwire.client.core import ClientCore
from tickwire.client.errors import ConnectFailed, Disconnected, Refused
from tickwire.client.event_log import EventLog
from tickwire.client.events import Listeners
from tickwire.client.machine_calls import CALL_MS_MAX
from tickwire.client.machine_commands import (
    ClearSession,
    CloseSocket,
    Connect,
    Emit,
    MachineCommand,
    Reject,
    RequestToken,
    Resolve,
    Send,
    SetTimer,
    StoreSession,
)
from tickwire.client.session_machine import SessionMachine
from tickwire.client.session_storage import SessionStorage, StoredText
from tickwire.client.updates import Ended, PongReceived, StateApplied
from tickwire.schemas.messages import Error, Event, MatchStatus

log = logging.getLogger("tickwire.client")

CALL_S_MAX = CALL_MS_MAX / 1000
"""How long a call waits for the server's answer, unless the caller chooses another time."""
TokenSource = Callable[[], Awaitable[str]]


class SessionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a client's session.

    Args:
        url: the address of the first connection.
        token: the player's token, or a function that returns a token for every connection.
        build: the game's version.
        tls: the TLS settings for wss; None: the system's trusted certificates.
        reconnect_s: how long the client tries to reconnect; 0 disables reconnecting.
        session_storage: saves the session for a restart of the program; None: it is not saved.
    """

    url: str
    token: str | TokenSource = ""
    build: str = ""
    tls: SSLContext | None = None
    reconnect_s: float = 60.0
    session_storage: SessionStorage | None = None


class ClientSession:
    """A session over successive connections.

    Args:
        options: the options.
        rng: spreads retries.

    Attributes:
        machine: the policy.
        core: the Sans-I/O core.
        listeners: the game's listeners.
        events: the received events.
        close_code: the close code of the newest connection; None while it is open, or if it broke without a close.
        bytes_received, ticks_received, last_error, queue_status, rtt_ms, clock_offset_ms: as the properties of
            `Client`.
    """

    def __init__(self, options: SessionOptions, rng: random.Random) -> None:
        machine_options = MachineOptions(
            url=options.url,
            build=options.build,
            reconnect_ms=options.reconnect_s * 1000,
            has_storage=options.session_storage is not None,
        )
        self.machine = SessionMachine(machine_options, rng.random)
        self.core: ClientCore = self.machine.core
        self.listeners = Listeners()
        self.events = EventLog(self.listeners)
        self.close_code: int | None = None
        self.bytes_received = 0
        self.ticks_received = 0
        self.last_error: Error | None = None
        self.queue_status: MatchStatus | None = None
        self.rtt_ms: float | None = None
        self.clock_offset_ms: float | None = None
        self._options = options
        self._storage = StoredText(options.session_storage, self._storage_failed)
        self._commands: deque[MachineCommand] = deque()
        self._is_running = False
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._waiting: list[asyncio.Future[None]] = []  # calls of `wait_for`
        self._timer: asyncio.TimerHandle | None = None
        self._socket: ClientSocket | None = None
        self._attempt: asyncio.Task[None] | None = None  # gets a token, or opens a WebSocket
        self._last_close: asyncio.Task[None] | None = None  # of a session that ends
        self._tasks: set[asyncio.Task[None]] = set()
        self._open_error: BaseException | None = None  # the cause of a failed attempt
        self._is_closed = False

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return self.machine.state

    # -- the game's calls -----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect for the first time, or resume the session that was saved.

        Raises:
            Disconnected, Refused: the client cannot connect.
        """
        stored = await self._storage.load()
        try:
            await self.call(lambda now_ms: self._begin(stored, now_ms))
        except (Disconnected, Refused) as error:
            await self._wait_for_tasks()
            raise error from self._open_error
        except asyncio.CancelledError:  # maybe after the session was opened: the caller has no client to close
            self.event(self.machine.close)
            raise

    def _begin(self, stored: str, now_ms: float) -> int:
        number = self.machine.open(stored, now_ms)
        if self._is_closed:  # while the stored session was loaded
            self.machine.close(now_ms)
        return number

    async def close(self) -> None:
        """End the session, also one that `open` has not begun yet. Idempotent."""
        self._is_closed = True
        self.event(self.machine.close)
        await self._wait_for_tasks()
        await self._storage.close()

    async def _wait_for_tasks(self) -> None:
        while tasks := [task for task in self._tasks if task is not asyncio.current_task()]:
            await asyncio.wait(tasks)

    async def call(self, begin: Callable[[float], int]) -> Any:
        """Begin a call of the machine and wait for its outcome.

        Args:
            begin: receives the time, and returns the number of the call.
        """
        number = begin(_now_ms())
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls[number] = future
        self._run()
        try:
            return await future
        except asyncio.CancelledError:
            self.event(lambda now_ms: self.machine.abandon(number, now_ms))
            raise
        finally:
            del self._calls[number]
            if future.done() and not future.cancelled():
                future.exception()  # asyncio would log it if the caller was cancelled at the same moment

    def event(self, happened: Callable[[float], object]) -> None:
        """Pass an event to the machine, and carry out its commands.

        Args:
            happened: a method of the machine; receives the time.
        """
        happened(_now_ms())
        self._run()

    def _pass_on(self, happened: Callable[[float], object]) -> None:
        """Pass an event of a task or of the timer to the machine, as `event`. The client's own errors end it."""
        try:
            self.event(happened)
        except Exception as error:  # noqa: BLE001 the client ends, and the error is logged
            self._fail(error)

    async def send_input(self, values: dict[str, float]) -> int:
        """Send an input. See `SessionMachine.send_input`."""
        seq = self.machine.send_input(values)
        self._run()
        if self._socket is not None:
            await self._socket.drain()
        return seq

    def send(self, data: bytes) -> None:
        """Send a message, in addition to those of the machine. It is lost without a connection."""
        if self._socket is not None:
            self._socket.send(data)

    async def wait_for(self, predicate: Callable[[], bool], timeout_s: float = CALL_S_MAX) -> None:
        """Wait until the predicate is true. It is checked after every message and after changes of the connection.

        Raises:
            TimeoutError: the predicate did not become true in time.
            Disconnected: the connection was closed for good before.
        """
        async with asyncio.timeout(timeout_s):
            while not predicate():
                if self.state is ConnectionState.CLOSED:
                    raise self.machine.connection.disconnected()
                changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.append(changed)
                await changed

    # -- the machine's commands -----------------------------------------------------------------------------

    def _run(self) -> None:
        """Carry out the machine's commands. A call in between appends to them."""
        self._commands.extend(self.machine.take_commands())
        if self._is_running:
            return
        self._is_running = True
        try:
            while self._commands:
                self._carry_out(self._commands.popleft())
        finally:
            self._is_running = False
        waiting, self._waiting = self._waiting, []
        for changed in waiting:
            if not changed.done():
                changed.set_result(None)

    def _carry_out(self, command: MachineCommand) -> None:
        match command:
            case Emit(event, value):
                self._emit(event, value)
            case Send(data):
                self.send(data)
            case SetTimer(at_ms):
                self._set_timer(at_ms)
            case Resolve(number, value):
                self._end_call(number, lambda future: future.set_result(value))
            case Reject(number, error):
                self._end_call(number, lambda future: future.set_exception(error))
            case RequestToken():
                self._request_token()
            case Connect(url):
                self._attempt = self._start_task(self._connect(url), "client connect")
            case CloseSocket(code, reason):
                self._close_socket(code, reason)
            case StoreSession(text):
                self._storage.save(text)
            case ClearSession():
                self._storage.save("")

    def _end_call(self, number: int, end: Callable[[asyncio.Future[Any]], None]) -> None:
        future = self._calls.get(number)
        if future is not None and not future.done():
            end(future)

    def _set_timer(self, at_ms: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at_ms is not None:
            delay_s = max(0.0, (at_ms - _now_ms()) / 1000)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._pass_on(self.machine.timer_fired)

    def _emit(self, event: str, value: Any) -> None:
        match value:
            case Event():
                self.events.received(value)
                return
            case MatchStatus():
                self.queue_status = value
            case Refused():
                self.last_error = value.error if event == "refused" else self.last_error
            case PongReceived(rtt_us, clock_offset_us):
                self.rtt_ms, self.clock_offset_ms = rtt_us / 1e3, clock_offset_us / 1e3
        if event == "error":
            self.listeners.report(value, "joined", f"the client could not follow the server: {value}")
            return
        if event == "joined":
            self.events.joined()
        elif event == "closed":
            self._stop_attempt()
        self.listeners.notify(event, value)

    def _storage_failed(self, error: BaseException, method: str) -> None:
        self.listeners.report(error, "session_storage", f"the session storage's {method} raised")

    # -- connections ----------------------------------------------------------------------------------------

    def _start_task(self, work: Any, name: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _stop_attempt(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()

    def _request_token(self) -> None:
        self._stop_attempt()
        token = self._options.token
        if isinstance(token, str):
            self.event(lambda now_ms: self.machine.token_received(token, now_ms))
        else:
            self._attempt = self._start_task(self._get_token(token), "client token")

    async def _get_token(self, source: TokenSource) -> None:
        try:
            token = _checked_token(await source())
        except Exception as error:  # noqa: BLE001 any exception of the game's function; the attempt has failed
            self._open_error = error
            reason = f"the token source raised {type(error).__name__}"
            self._pass_on(lambda now_ms: self.machine.token_failed(reason, now_ms))
        else:
            self._pass_on(lambda now_ms: self.machine.token_received(token, now_ms))

    async def _connect(self, url: str) -> None:
        if self._last_close is not None:  # a player may have only one session, and that before must have ended
            await asyncio.wait([self._last_close])
        self.close_code = self._open_error = None
        try:
            websocket = await open_socket(url, tls=self._options.tls)
        except ConnectFailed as error:
            self._connect_failed(error, error.__cause__)
            return
        except Exception as error:
            log.exception("the client could not connect to %s", url)
            self._connect_failed(ConnectFailed(f"cannot connect to {url}: {type(error).__name__}"), error)
            return
        self._attempt = None
        self._begin_socket(websocket)

    def _connect_failed(self, error: ConnectFailed, cause: BaseException | None) -> None:
        self._open_error = cause
        self._pass_on(lambda now_ms: self.machine.connect_failed(error, now_ms))

    def _begin_socket(self, websocket: ClientConnection) -> None:
        self._socket = ClientSocket(websocket, self._received, self._ended)
        self._pass_on(self.machine.connected)

    def _close_socket(self, code: int, reason: str) -> None:
        self._stop_attempt()
        socket, self._socket = self._socket, None
        if socket is None:
            return
        if code == RECONNECT:
            self._start_task(socket.drop(), "client drop")
        else:
            close = self._start_task(self._close_gracefully(socket, code, reason), "client close")
            self._last_close = close if code == NORMAL else None

    async def _close_gracefully(self, socket: ClientSocket, code: int, reason: str) -> None:
        await socket.close(code, reason)
        if self._socket is None:
            self.close_code = socket.close_code

    def _received(self, socket: ClientSocket, data: bytes) -> None:
        if socket is self._socket:
            try:
                self._receive(data)
            except Exception as error:  # noqa: BLE001 the client ends, and the error is logged
                self._fail(error)

    def _receive(self, data: bytes) -> None:
        self.bytes_received += len(data)
        tick_before = self.core.world.tick if self.core.world else 0
        update = self.machine.message_received(data, _now_ms())
        if isinstance(update, StateApplied):
            self.ticks_received += update.tick > tick_before
        elif isinstance(update, Ended):
            self.events.goodbye_received(update.goodbye)
        self._run()

    def _ended(self, socket: ClientSocket, code: int | None, reason: str) -> None:
        if socket is self._socket:
            self._socket = None
            self.close_code = socket.close_code
            self._start_task(socket.drop(), "client drop")
            self._pass_on(lambda now_ms: self.machine.connection_lost(code, reason, now_ms))

    def _fail(self, error: Exception) -> None:
        """End the client after an error of its own, so that no call waits forever."""
        log.error("the client failed", exc_info=error)
        self.event(
            lambda _: self.machine.connection.close(PROTOCOL_ERROR, f"an internal error: {type(error).__name__}")
        )


def _checked_token(token: object) -> str:
    """Return the token of a token source, which is the game's code."""
    if not isinstance(token, str):
        raise TypeError(f"the token source returned a {type(token).__name__}, not a text")
    return token


def _now_ms() -> float:
    return time.monotonic() * 1000
