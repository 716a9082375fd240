"""A client on a simulated connection: carries out the commands of the session machine on the clock of a harness.

    away --open, reconnect--> the machine connects, joins and reconnects
     ^                           │disconnect, or the session is over
     └---------------------------┘

The policy is in the machine, as for every client. Here are one connection, one timer and the outcomes of calls. A
player who is away is not part of the machine: it learns of the lost connection with `come_back`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from tickwire.client.connection_machine import NORMAL, MachineOptions, Phase
from tickwire.client.core import ClientCore
from tickwire.client.errors import ConnectFailed, Disconnected, Refused
from tickwire.client.machine_commands import (
    CloseSocket,
    Connect,
    Emit,
    MachineCommand,
    Reject,
    RequestToken,
    Resolve,
    Send,
    SetTimer,
)
from tickwire.client.session_machine import SessionMachine
from tickwire.client.updates import InputAcknowledged, StateApplied, Update, Welcomed
from tickwire.client.world_cache import SharedWorlds
from tickwire.schemas.framing import frame_payloads
from tickwire.testing.schedule import Schedule
from tickwire.testing.simulated_connection import SimulatedConnection
from tickwire.testing.simulated_network import Network
from tickwire.testing.virtual_loop import VirtualLoop

RECONNECT_MS = 60_000
"""How long a client tries to reconnect."""
OPEN_AGAIN_S = 0.5
"""The pause before a client whose first connection has failed tries again, as a player does."""
ROUNDING_MS = 1e-3

Outcome = Callable[[Any, Exception | None], None]
"""Receives the value of a call, or its error."""


class ClientContext(NamedTuple):
    """The parts that a client needs of its harness.

    Args:
        loop: the clock.
        rng: spreads the client's retries.
        schedule: the chance of its connections.
        connect: connects to a shard by its URL; returns None if it refuses the connection.
        url: the address of the shard that the client connects to first.
        worlds: the worlds of all clients: equal frames on equal worlds are decoded once.
    """

    loop: VirtualLoop
    rng: random.Random
    schedule: Schedule
    connect: Callable[[str, Network, Any], SimulatedConnection | None]
    url: str
    worlds: SharedWorlds


class HarnessShell:
    """One player's session. Implements `ConnectionUser`.

    Args:
        name: its name, which is the id of its player.
        network: its network.
        context: the parts of the harness.

    Attributes:
        name: its name.
        network: its network; a change applies to the next connection.
        core: the client core.
        connection: the newest connection; None before the first, and after the last has ended.
        connections: the number of connections so far.
    """

    def __init__(self, name: str, network: Network, context: ClientContext) -> None:
        self.name = name
        self.network = network
        self.core = ClientCore(context.worlds.create_world, random=context.rng.random)
        self.connection: SimulatedConnection | None = None
        self.connections = 0
        self._context = context
        self._loop = context.loop
        options = MachineOptions(url=context.url, reconnect_ms=RECONNECT_MS)
        self._machine = SessionMachine(options, context.rng.random, self.core)
        self._outcomes: dict[int, Outcome] = {}
        self._is_away = True
        self._is_performing = self._opens_again = False
        self._timer: asyncio.TimerHandle | None = None
        self._due_ms: float | None = None  # of the timer; it does not run while the player is away
        self._break_timer: asyncio.TimerHandle | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the client has an open session on its connection."""
        return self.connection is not None and self.connection.is_in_use and self._machine.is_connected

    @property
    def is_away(self) -> bool:
        """Whether the test has disconnected the client, or its session is over."""
        return self._is_away

    # -- for the subclass -----------------------------------------------------------------------------------

    def _opening(self) -> None:
        """Begin the calls that wait for the session."""
        raise NotImplementedError

    def _updated(self, update: Update) -> None:
        """Handle an update, except states and acknowledgements, before the machine does."""
        raise NotImplementedError

    def _session_opened(self) -> None:
        """Continue on a new connection, after the machine."""
        raise NotImplementedError

    def _ended(self) -> None:
        """Handle the end of the connection."""
        raise NotImplementedError

    def _call(self, number: int, outcome: Outcome) -> None:
        """Carry out the commands of a call that has begun.

        Args:
            number: the number of the call.
            outcome: receives the outcome, maybe before this method returns.
        """
        self._outcomes[number] = outcome
        self._perform()

    def _send(self, data: bytes) -> None:
        if self.connection is not None:
            self.connection.client_sends(data)

    # -- coming and going -----------------------------------------------------------------------------------

    def _go_away(self, *, is_silent: bool) -> None:
        """Break the connection, and stop the time of the machine."""
        self._is_away = True
        self._run_timer()
        connection = self._end_connection()
        if connection is not None:
            connection.client_closes(is_silent=is_silent)

    def _come_back(self) -> None:
        """Continue after `_go_away`, or after the session was over."""
        self._is_away = False
        if self._machine.connection.phase is Phase.CLOSED:
            if not self._opens_again:
                self._open()
            return
        if self._machine.connection.phase in (Phase.HELLO, Phase.OPEN) and self.connection is None:
            self._machine.connection_lost(None, "the player was away", self._now_ms())
        self._machine.network_changed(self._now_ms())  # connects at once
        self._run_timer()
        self._perform()

    def _open(self) -> None:
        self._opens_again = False
        if self._is_away:
            return
        number = self._machine.open("", self._now_ms())
        self._opening()
        self._call(number, self._opened)

    def _opened(self, _: object, error: Exception | None) -> None:
        """Try again if the first connection has failed. Without a session, an error is final."""
        is_retryable = (isinstance(error, Disconnected) and error.may_return) or (
            isinstance(error, Refused) and error.error.retryable
        )
        if is_retryable:
            self._opens_again = True
            self._loop.call_later(OPEN_AGAIN_S, self._open)

    def connection_ended(self, connection: SimulatedConnection, code: int | None, /) -> None:
        """Reconnect after a pause, unless the server closed the connection for good."""
        if connection is self.connection:
            self._end_connection()
            self._machine.connection_lost(code, "", self._now_ms())
            self._perform()

    def _end_connection(self) -> SimulatedConnection | None:
        """Forget the connection, and return it."""
        connection, self.connection = self.connection, None
        if self._break_timer is not None:
            self._break_timer.cancel()
        self._ended()
        return connection

    # -- messages -------------------------------------------------------------------------------------------

    def frames_received(self, connection: SimulatedConnection, frames: bytes, /) -> None:
        """Apply the messages of the server in these frames."""
        self._machine.record_received()
        for data in frame_payloads(frames):
            if connection is not self.connection:
                return
            world = self.core.world
            if world is None or self._context.worlds.recall(world, data) is None:
                now_ms = self._now_ms()
                self._apply(self._context.worlds.receive(self.core, data, now_us=int(now_ms * 1000)), now_ms)

    def _apply(self, update: Update | None, now_ms: float) -> None:
        if isinstance(update, StateApplied | InputAcknowledged):  # the machine has no work for them
            update = None
        if update is not None:
            self._updated(update)
        if update is not None or self.core.outgoing:
            self._machine.update_received(update, now_ms)
            self._perform()
        if isinstance(update, Welcomed):
            self._session_opened()

    # -- commands -------------------------------------------------------------------------------------------

    def _perform(self) -> None:
        """Carry out the machine's commands."""
        if self._is_performing:
            return
        self._is_performing = True
        try:
            while commands := self._machine.take_commands():
                for command in commands:
                    self._perform_one(command)
        finally:
            self._is_performing = False

    def _perform_one(self, command: MachineCommand) -> None:
        match command:
            case RequestToken():
                self._machine.token_received(self.name, self._now_ms())
            case Connect(url):
                self._connect(url)
            case Send(data):
                self._send(data)
            case CloseSocket(code, _):
                connection = self._end_connection()
                if connection is not None:
                    connection.client_closes(code if code == NORMAL else None)
            case SetTimer(at_ms):
                self._due_ms = at_ms
                self._run_timer()
            case Emit("closed"):
                self._is_away = self._is_away or not self._opens_again
            case Resolve(call, value) if call in self._outcomes:
                self._outcomes.pop(call)(value, None)
            case Reject(call, error) if call in self._outcomes:
                self._outcomes.pop(call)(None, error)

    def _connect(self, url: str) -> None:
        connection = self._context.connect(url, self.network, self)
        if connection is None:
            self._machine.connect_failed(ConnectFailed(f"cannot connect to {url}"), self._now_ms())
            return
        self.connection = connection
        self.connections += 1
        self._machine.connected(self._now_ms())
        if self.network.breaks_per_minute:
            stream = self._context.schedule.stream(f"{self.name} connection")
            break_s = stream.rng.expovariate(self.network.breaks_per_minute / 60)
            if stream.keeps("break", break_s * 1000):
                self._break_timer = self._loop.call_later(break_s, self._break, connection)

    def _break(self, connection: SimulatedConnection) -> None:
        if connection.is_in_use:
            connection.client_closes()
            self.connection_ended(connection, None)

    # -- time -----------------------------------------------------------------------------------------------

    def _now_ms(self) -> float:
        return self._loop.time() * 1000 + ROUNDING_MS

    def _run_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._due_ms is not None and not self._is_away:
            self._timer = self._loop.call_at(self._due_ms / 1000, self._timer_fired, self._due_ms)

    def _timer_fired(self, due_ms: float) -> None:
        self._timer = self._due_ms = None
        self._machine.timer_fired(max(due_ms, self._now_ms()))  # the loop's times are rounded
        self._perform()
