"""A client on gevent: carries out the commands of the session machine (`tickwire.client.client` does so on asyncio).

    SessionMachine --Connect, Send, CloseSocket, SetTimer, Resolve, ...--> GeventShell --> GeventConnection, scheduler
    SessionMachine <--connected, update_received, connection_lost, ...---- GeventShell

The policy is in the machine: Hello, heartbeats, reconnects, redirects, requests and the repetition of commands. Here
are one connection, one greenlet that opens it, one timer, and the greenlets that wait for calls. A subclass decodes
the messages and measures (`SwarmConnection`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import AsyncResult
from gevent.event import Event as Signal

from tickwire.client.connection_machine import NORMAL, Phase
from tickwire.client.errors import ConnectFailed
from tickwire.client.machine_commands import (
    CloseSocket,
    Connect,
    MachineCommand,
    Reject,
    RequestToken,
    Resolve,
    Send,
    SetTimer,
)
from tickwire.client.session_machine import SessionMachine
from tickwire.loadtest.gevent_connection import GeventConnection
from tickwire.loadtest.open_loop_scheduler import OpenLoopScheduler, Recurring

TIMER_AGAIN_S = 1.0
"""A timer that a subclass ignores runs again after this time. All others are stopped when they run."""


class GeventShell:
    """One session on gevent.

    Args:
        machine: the machine of the session.
        scheduler: runs the timer, so that its lateness is measured like that of all actions.
        token: the player's token.
    """

    def __init__(self, machine: SessionMachine, scheduler: OpenLoopScheduler, token: str) -> None:
        self._machine = machine
        self._scheduler = scheduler
        self._token = token
        self._connection: GeventConnection | None = None
        self._connecting: gevent.Greenlet | None = None
        self._timer: Recurring | None = None
        self._calls: dict[int, AsyncResult] = {}
        self._updated = Signal()
        self._is_performing = self._is_closing = False
        self._bytes_at_timer = 0

    @property
    def is_closed(self) -> bool:
        """Whether the session is closed for good, or was never open."""
        return self._machine.connection.phase is Phase.CLOSED

    # -- for the subclass -----------------------------------------------------------------------------------

    def _open_socket(self, url: str) -> GeventConnection:
        """Open a connection. Blocks the calling greenlet.

        Raises:
            ConnectFailed: it could not be opened.
        """
        raise NotImplementedError

    def _connect_failed(self, error: ConnectFailed) -> None:
        """Measure a connection that could not be opened."""
        raise NotImplementedError

    # -- calls ----------------------------------------------------------------------------------------------

    def _call(self, begin: Callable[[], int]) -> Any:
        """Begin a call of the machine, and wait for its result in the calling greenlet.

        Args:
            begin: returns the number of the call.

        Raises:
            ClientError, TimeoutError: the call failed.
        """
        number = begin()
        result = self._calls[number] = AsyncResult()
        try:
            self._perform()
            return result.get()
        except BaseException:
            self._machine.abandon(number, now_ms())
            self._perform()
            raise
        finally:
            del self._calls[number]

    def _wait(self, predicate: Callable[[], bool], timeout_s: float) -> None:
        """Wait until the predicate is true. It is checked after every update and every change of the connection.

        Raises:
            TimeoutError: it did not become true in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while not predicate():
            self._updated.clear()
            if not self._updated.wait(max(0.0, deadline_s - time.monotonic())) and not predicate():
                raise TimeoutError("no answer in time")

    # -- commands -------------------------------------------------------------------------------------------

    def _perform(self) -> None:
        """Carry out the machine's commands. A command may end the connection, and so lead to further commands."""
        if self._is_performing:
            return
        self._is_performing = True
        try:
            while commands := self._machine.take_commands():
                for command in commands:
                    self._perform_one(command)
        finally:
            self._is_performing = False
        self._updated.set()

    def _perform_one(self, command: MachineCommand) -> None:
        match command:
            case Send(data):
                if self._connection is not None:
                    self._connection.send(data)
            case SetTimer(at_ms):
                self._set_timer(at_ms)
            case RequestToken():
                self._machine.token_received(self._token, now_ms())
            case Connect(url):
                self._connecting = gevent.spawn(self._connect, url)
            case CloseSocket(code, reason):
                self._close_connection(code, reason)
            case Resolve(call, value) if call in self._calls:
                self._calls[call].set(value)
            case Reject(call, error) if call in self._calls:
                self._calls[call].set_exception(error)

    def _connect(self, url: str) -> None:
        """Open a connection, in a greenlet that CloseSocket kills."""
        greenlet = gevent.getcurrent()
        try:
            connection = self._open_socket(url)
        except ConnectFailed as error:
            if self._connecting is greenlet:
                self._connecting = None
                self._connect_failed(error)
                self._machine.connect_failed(error, now_ms())
                self._perform()
            return
        if self._connecting is not greenlet:
            connection.abort()
            return
        self._connecting, self._connection, self._bytes_at_timer = None, connection, 0
        self._machine.connected(now_ms())
        self._perform()

    def _close_connection(self, code: int, reason: str) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.kill(block=False)
        elif self._connection is not None:
            self._is_closing = True
            if code == NORMAL:
                self._connection.close()
            else:
                self._connection.fail(reason)
            self._is_closing = False

    def _connection_lost(self, connection: GeventConnection) -> None:
        """Report the end of a connection to the machine, unless CloseSocket has caused it."""
        if connection is self._connection and not self._is_closing:
            self._machine.connection_lost(connection.close_code, connection.close_reason, now_ms())
            self._perform()

    # -- time -----------------------------------------------------------------------------------------------

    def _set_timer(self, at_ms: float | None) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        if at_ms is not None:
            first_s = max(0.0, at_ms - now_ms()) / 1000
            self._timer = self._scheduler.every(TIMER_AGAIN_S, self._timer_fired, first_s=first_s)

    def _timer_fired(self, due_s: float) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        connection = self._connection
        if connection is not None and connection.bytes_received != self._bytes_at_timer:
            self._bytes_at_timer = connection.bytes_received  # compared here, because reads are frequent
            self._machine.record_received()
        self._machine.timer_fired(now_ms())
        self._perform()


def now_ms() -> float:
    """Return the monotonic clock, in milliseconds."""
    return time.monotonic_ns() / 1e6
