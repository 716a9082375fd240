"""The successive connections of a session, and what is measured of them: `connect`, `hello`, `resume` and failures.

The session machine connects and reconnects, as in every client (`GeventShell`). Received states and acknowledgements
are passed to the observer and never to the machine, which has no work for them; the subclass handles all other
updates (`_on_update`).
"""

from __future__ import annotations

import random
import time

from websockets.frames import CloseCode

from tickwire.client.connection_machine import MachineOptions, Phase
from tickwire.client.core import ClientCore
from tickwire.client.errors import ConnectFailed
from tickwire.client.reconnect import CONNECT_MS_MAX
from tickwire.client.session_machine import SessionMachine
from tickwire.client.updates import (
    ErrorReceived,
    InputAcknowledged,
    Redirected,
    StateApplied,
    Update,
    Welcomed,
)
from tickwire.loadtest.frames import find_frame
from tickwire.loadtest.gevent_connection import GeventConnection
from tickwire.loadtest.gevent_shell import GeventShell, now_ms
from tickwire.loadtest.metrics import Measures
from tickwire.loadtest.observer import PlayerObserver, TrafficTally
from tickwire.loadtest.swarm import Swarm
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.state_messages import is_ack

CALL_S_MAX = 10.0


class SwarmConnection(GeventShell):
    """The connections of one session.

    Args:
        swarm: the state that all players of the process share.
        player_id: the player's id.
        rng: spreads retries.

    Attributes:
        core: the client.
        observer: the player's view of its room.
        is_excluded: whether the session is excluded from all measurements (it misbehaves on purpose).
        had_seat: whether it had a seat that it did not release.
        losses: how often the server or the network ended an open connection.
    """

    def __init__(self, swarm: Swarm, player_id: str, rng: random.Random) -> None:
        settings = swarm.settings
        self.core = ClientCore(swarm.worlds.create_world, random=rng.random)
        options = MachineOptions(
            url=swarm.next_url(), build=settings.build, reconnect_ms=int(settings.habits.resume_s_max * 1000)
        )
        machine = SessionMachine(options, rng.random, self.core)
        super().__init__(machine, swarm.scheduler, settings.tokens.create_token(player_id, time.time()))
        self._state = self.core.state
        self.observer = PlayerObserver(has_quiet_ticks=settings.habits.has_quiet_ticks)
        self.is_excluded = self.had_seat = False
        self.losses = 0
        self._swarm = swarm
        self._rng = rng
        self._opened_s = 0.0
        self._lost_at_s: float | None = None  # until the session is resumed, with a state if it has a seat
        self._is_welcomed = self._was_connected = False  # on this connection; on any one
        self._is_end_expected = False  # the session moved to another shard, or the server refused the Hello
        self._is_away = False  # the loss of the connection is not reported to the machine before `reconnect`
        self._excluded_measures = Measures()
        self._tally = TrafficTally(time.monotonic())

    @property
    def _measures(self) -> Measures:
        return self._excluded_measures if self.is_excluded else self._swarm.measures

    @property
    def sessions_lost(self) -> int:
        """How often the server did not keep the session."""
        return self._machine.sessions_lost

    @property
    def is_connected(self) -> bool:
        """Whether the session is open and connected."""
        return self._is_welcomed and self._connection is not None and self._connection.is_open

    @property
    def is_seated(self) -> bool:
        """Whether it has a seat and a connection, and received a state since."""
        return (
            self.core.world is not None
            and self.observer.has_state
            and self._connection is not None
            and self._connection.is_open
        )

    def send(self, data: bytes) -> None:
        """Send a message. It is discarded without a connection."""
        if self._connection is not None:
            self._connection.send(data)

    def drop(self) -> None:
        """Break the connection, as a bad network does. The swarm expects the player to reconnect."""
        if self._connection is not None and self._connection.is_open:
            self._measures.count("drops")
            self.observer.discard_inputs()
            self._connection.abort()

    def stay_away(self) -> None:
        """Break the connection, and do not reconnect before `reconnect`."""
        self._is_away = True
        self.drop()

    def reconnect(self) -> None:
        """Reconnect after `stay_away`, and wait until the session is resumed, with a state if it has a seat.

        Raises:
            Disconnected: an error was final, or `Habits.resume_s_max` is over.
            TimeoutError: no state within CALL_S_MAX.
        """
        self._is_away = False
        if self._connection is not None and not self._connection.is_open and self._machine.is_connected:
            self._connection_lost(self._connection)
        self._wait(
            lambda: self.is_closed or (self.is_connected and self._lost_at_s is None),
            self._swarm.settings.habits.resume_s_max + CALL_S_MAX,
        )
        self._check_open()

    def _check_open(self) -> None:
        if self.is_closed:
            raise self._machine.connection.disconnected()

    def pause(self) -> None:
        """Stop reading, until `unpause`."""
        if self._connection is not None:
            self._connection.pause()

    def unpause(self) -> None:
        """Start reading again."""
        if self._connection is not None:
            self.observer.reading_resumed()
            self._connection.resume()

    def collect(self, measures: Measures) -> None:
        """Add the client's own counters since the last call."""
        if self.is_excluded:
            return
        received = self._connection.bytes_received if self._connection is not None else 0
        self._tally.collect(self.core, received, time.monotonic(), measures, is_seated=self.is_seated)

    # -- the connection -------------------------------------------------------------------------------------

    def _open_socket(self, url: str) -> GeventConnection:
        started_s = time.monotonic()
        if self._connection is not None:  # its bytes are counted before those of the next one
            self.collect(self._measures)
            self._connection = None
        self._is_welcomed = self._is_end_expected = False
        self._tally.connected()
        connection = GeventConnection(self._receive, lambda: self._connection_ended(connection), self._receive_read)
        connection.open(url, tls=self._swarm.settings.tls, timeout_s=CONNECT_MS_MAX / 1000)
        self._opened_s = time.monotonic()
        self._measures.times["connect"].record(self._opened_s - started_s)
        self.observer.connection_started()
        return connection

    def _connect_failed(self, error: ConnectFailed) -> None:
        self._measures.fail("connect", _short(str(error)))

    def _connection_ended(self, connection: GeventConnection) -> None:
        if connection is not self._connection:  # it was never open
            return
        was_welcomed, self._is_welcomed = self._is_welcomed, False
        is_failure = not connection.is_ours and not self._is_end_expected
        self.losses += was_welcomed and is_failure
        if self._lost_at_s is None:
            self._lost_at_s = time.monotonic()
            self.observer.lost(has_seat=self.core.world is not None)
        if is_failure:
            self._measures.fail("close" if was_welcomed else "connect", _short(connection.close_reason))
        if not self._is_away:
            self._connection_lost(connection)
        self._updated.set()

    def _timer_fired(self, due_s: float) -> None:
        if not self._is_away:  # otherwise the timer runs again after TIMER_AGAIN_S
            super()._timer_fired(due_s)

    def _session_opened(self, update: Welcomed) -> None:
        """Measure a Welcome. The time of a resume ends here, or with the first state if the player has a seat."""
        self._is_welcomed = True
        self._measures.times["hello"].record(time.monotonic() - self._opened_s)
        if update.has_lost_session:
            self.had_seat = False
            self._measures.fail("resume", "the session was not kept")
        if not self._was_connected or not update.has_resumed:
            self._lost_at_s = None
        elif self.core.world is None:
            self._resumed(has_seat=False)
        self._was_connected = True

    def _resumed(self, *, has_seat: bool) -> None:
        if self._lost_at_s is not None:
            self.had_seat = has_seat
            self._measures.times["resume"].record(time.monotonic() - self._lost_at_s)
            self._lost_at_s = None

    # -- received messages ------------------------------------------------------------------------------------

    def _receive_read(self, data: bytes) -> int:
        """Handle the first frames of a read: acknowledgements, and states that another world has received before.

        Nearly all reads have no others, so this is the swarm's hot path: it must touch few objects of the player.

        Returns:
            The number of bytes that were handled.
        """
        world, connection, observer = self._state.world, self._connection, self.observer
        if world is None or connection is None or not observer.has_state:
            return 0
        at, size, read_at_s = 0, len(data), connection.read_at_s
        while at < size:
            start, end = find_frame(data, at)
            if not end:
                break
            message = data[start:end]
            if is_ack(message):
                acknowledged = self.core.receive(message, now_us=0)
                assert isinstance(acknowledged, InputAcknowledged)
                observer.inputs_acknowledged(acknowledged.seq, read_at_s, self._measures)
            else:
                update = self._swarm.worlds.recall(world, message)
                if update is None:
                    break
                observer.state_received(update.tick, read_at_s, self._measures)
            at = end
        return at

    def _receive(self, data: bytes) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            update = self._swarm.worlds.receive(self.core, data, now_us=int(now_ms() * 1000))
        except MalformedMessage as error:
            self._measures.fail("world", f"malformed message: {error}")
            self._machine.connection_lost(CloseCode.PROTOCOL_ERROR, "the server sent a malformed message", now_ms())
            connection.abort()
            self._perform()
            return
        if isinstance(update, StateApplied):
            is_first = not self.observer.has_state
            self.observer.state_received(update.tick, connection.read_at_s, self._measures)
            if is_first:
                self._resumed(has_seat=True)
                self._updated.set()
            update = None
        elif isinstance(update, InputAcknowledged):
            self.observer.inputs_acknowledged(update.seq, connection.read_at_s, self._measures)
            update = None
        if update is not None:
            self._handle(update)
        elif self.core.outgoing:
            self._machine.update_received(None, now_ms())
            self._perform()

    def _handle(self, update: Update) -> None:
        match update:
            case Welcomed():
                self._session_opened(update)
            case ErrorReceived(error) if self._machine.connection.phase is Phase.HELLO:
                self._measures.fail("hello", error.code.name)
                self._is_end_expected = True
            case Redirected(redirect) if redirect.is_resume:
                self._is_end_expected = True
        self._on_update(update)
        self._machine.update_received(update, now_ms())
        self._perform()

    def _on_update(self, update: Update) -> None:
        """Handle an update, except states and acknowledgements, before the machine does."""
        raise NotImplementedError


def _short(reason: str) -> str:
    """Return a reason without the parts that differ between players, so that reports have few rows."""
    return reason.partition(": ")[2] if reason.startswith("cannot connect to") else reason[:100]
