"""The successive connections of a session, on gevent (`tickwire.client.session_connection` does the same on asyncio).

    connecting -> connected -> lost -> reconnecting -> connected ...

`tickwire.client.reconnect` plans the reconnects, as in every client. The times `connect`, `hello` and `resume` are
measured here. Received states and acknowledgements are passed to the observer; the subclass handles all other updates
(`_on_update`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event as Signal

from tickwire.client.backoff import Backoff
from tickwire.client.core import ClientCore
from tickwire.client.errors import ConnectFailed, Disconnected, Refused
from tickwire.client.heartbeat import Heartbeat, ping_interval_s
from tickwire.client.reconnect import CONNECT_S_MAX, HELLO_S_MAX, ReconnectPlan, advice_ms, is_final_close
from tickwire.client.updates import (
    Ended,
    ErrorReceived,
    InputAcknowledged,
    Redirected,
    StateApplied,
    Update,
    Welcomed,
)
from tickwire.loadtest.frames import find_frame
from tickwire.loadtest.gevent_connection import GeventConnection
from tickwire.loadtest.metrics import Measures
from tickwire.loadtest.observer import PlayerObserver, TrafficTally
from tickwire.loadtest.open_loop_scheduler import Recurring
from tickwire.loadtest.swarm import Swarm
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import Error, Goodbye, Welcome
from tickwire.schemas.state_messages import is_ack

CALL_S_MAX = 10.0


class SwarmConnection:
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
        sessions_lost: how often the server did not keep the session.
    """

    def __init__(self, swarm: Swarm, player_id: str, rng: random.Random) -> None:
        self.core = ClientCore(swarm.worlds.create_world, random=rng.random)
        self._state = self.core.state
        settings = swarm.settings
        self.observer = PlayerObserver(has_quiet_ticks=settings.habits.has_quiet_ticks)
        self.is_excluded = self.had_seat = False
        self.sessions_lost = 0
        self._swarm = swarm
        self._rng = rng
        self._token = settings.tokens.create_token(player_id, time.time())
        self._initial_url = swarm.next_url()
        self._plan = ReconnectPlan(
            self._initial_url, reconnect_ms=settings.habits.resume_s_max * 1000, random=rng.random
        )
        self._connection: GeventConnection | None = None
        self._welcome: Welcome | Error | None = None
        self._goodbye: Goodbye | None = None
        self._refusal: Error | None = None
        self._updated = Signal()
        self._heartbeat = Heartbeat()
        self._bytes_at_ping = 0
        self._pings: Recurring | None = None
        self._lost_at_s: float | None = None
        self._has_moved = self._was_connected = False
        self._excluded_measures = Measures()
        self._tally = TrafficTally(time.monotonic())

    @property
    def _measures(self) -> Measures:
        return self._excluded_measures if self.is_excluded else self._swarm.measures

    @property
    def is_connected(self) -> bool:
        """Whether the session is open and connected."""
        return self._connection is not None and self._connection.is_open and isinstance(self._welcome, Welcome)

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

    # -- connecting -----------------------------------------------------------------------------------------

    def connect_once(self) -> None:
        """Connect as `open` does, without retries."""
        self._connect(self._plan.url)

    def ensure_connected(self) -> None:
        """Reconnect if the connection is lost.

        Raises:
            Disconnected, Refused: as `reconnect`.
        """
        if not self.is_connected:
            self.reconnect()

    def reconnect(self) -> None:
        """Reconnect and resume the session, as every client does. The time since the loss is measured.

        Raises:
            Disconnected, Refused: an error was final, or `Habits.resume_s_max` is over.
        """
        lost_at_s = self._lost_at_s if self._lost_at_s is not None else time.monotonic()
        was_seated = self.core.world is not None
        lost = self.sessions_lost
        self._reconnect()
        if self.sessions_lost != lost:
            self._measures.fail("resume", "the session was not kept")
            return
        if was_seated and self.core.world is not None:
            self._wait(lambda: self.observer.has_state or not self.is_connected, CALL_S_MAX)
        if self.is_connected:
            self.had_seat = self.core.world is not None
            self._measures.times["resume"].record(time.monotonic() - lost_at_s)

    def _reconnect(self) -> None:
        last: Exception = Disconnected("the connection was lost")
        while (attempt := self._plan.next(time.monotonic() * 1000)) is not None:
            gevent.sleep(attempt.pause_ms / 1000)
            try:
                self._connect(attempt.url)
            except Refused as error:
                self._measures.fail("hello", error.error.code.name)
                if not error.error.retryable:
                    raise
                self._plan.failed(error.error.retry_after_ms, was_refused=True)
                last = error
            except Disconnected as error:
                if self._has_moved:  # not a failure: the session moved to another shard
                    self._has_moved = False
                    continue
                self._measures.fail("connect", _short(str(error)))
                if not error.may_return and not isinstance(error, ConnectFailed):
                    raise
                self._plan.failed(int(error.retry_after_s * 1000))
                last = error
            else:
                return
        raise last

    def _connect(self, url: str) -> None:
        """Open a connection and the session.

        Raises:
            Disconnected, Refused: as `open`.
        """
        if self._initial_url.startswith("wss:") and not url.startswith("wss:"):
            words = f"redirected to {url}: the token is not sent over a plain connection"
            raise Disconnected(words, may_return=False)
        started_s = time.monotonic()
        self._stop_pings()
        if self._connection is not None:
            self._connection.abort()
            self.collect(self._measures)
            self._connection = None
        self._welcome = self._goodbye = self._refusal = None
        self._has_moved = False
        self._tally.connected()
        connection = GeventConnection(self._receive, self._connection_ended, self._receive_read)
        connection.open(url, tls=self._swarm.settings.tls, timeout_s=CONNECT_S_MAX)
        opened_s = time.monotonic()
        self._measures.times["connect"].record(opened_s - started_s)
        self._connection = connection
        self.observer.connection_started()
        connection.send(self.core.hello(build=self._swarm.settings.build, token=self._token))
        welcome = self._wait_for_welcome(connection)
        self._measures.times["hello"].record(time.monotonic() - opened_s)
        self._lost_at_s, self._was_connected = None, True
        self._plan.connected(url, time.monotonic() * 1000)
        self._flush()
        self._start_pings(welcome)

    def _wait_for_welcome(self, connection: GeventConnection) -> Welcome:
        try:
            self._wait(lambda: self._welcome is not None or not connection.is_open, HELLO_S_MAX)
        except TimeoutError:
            connection.abort()
            raise Disconnected("the server did not answer the Hello") from None
        if isinstance(self._welcome, Error):
            connection.abort()
            raise Refused(self._welcome)
        if self._welcome is None:
            raise Disconnected(
                connection.close_reason, may_return=not is_final_close(connection.close_code, self._goodbye)
            )
        return self._welcome

    def _retry(self, once: Callable[[], Any], timeout_s: float, row: str, *, is_eager: bool = False) -> Any:
        """Call `once` until it succeeds, an error is final, or the time is over. Failures are counted."""
        deadline_s, backoff, advised_s = time.monotonic() + timeout_s, Backoff(self._rng.random), 0.0
        pause_s = 0.0 if is_eager else backoff.next_s()
        last: Exception
        while True:
            gevent.sleep(pause_s)
            try:
                return once()
            except Disconnected as error:
                self._measures.fail("connect", _short(str(error)))
                if not error.may_return and not (self._was_connected and isinstance(error, ConnectFailed)):
                    raise
                last, advised_s = error, error.retry_after_s
            except Refused as error:
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

    def _connection_ended(self) -> None:
        connection = self._connection
        self._stop_pings()
        if self._lost_at_s is None:
            self._lost_at_s = time.monotonic()
            self.observer.lost(has_seat=self.core.world is not None)
        if isinstance(self._welcome, Welcome):
            code = connection.close_code if connection is not None else None
            self._plan.lost(time.monotonic() * 1000, advice_ms(code, self._goodbye, self._refusal))
            if connection is not None and not connection.is_ours and not self._has_moved:
                self._measures.fail("close", _short(connection.close_reason))
        self._updated.set()

    def _start_pings(self, welcome: Welcome) -> None:
        self._heartbeat, self._bytes_at_ping = Heartbeat(), 0
        self._ping(0.0)  # sent immediately, because it confirms the resume token
        period_s = ping_interval_s(welcome.heartbeat_interval_ms)
        first_s = self._rng.uniform(0.2, 1.0) * period_s
        self._pings = self._swarm.scheduler.every(period_s, self._ping, first_s=first_s)

    def _stop_pings(self) -> None:
        if self._pings is not None:
            self._pings.stop()
            self._pings = None

    def _ping(self, due_s: float) -> None:
        if self._connection is None:
            return
        if self._connection.bytes_received != self._bytes_at_ping:  # counted here, because reads are frequent
            self._bytes_at_ping = self._connection.bytes_received
            self._heartbeat.record_received()
        if self._heartbeat.record_ping():
            self._connection.send(self.core.ping(now_us()))
        else:
            self._connection.fail("the server does not answer pings")

    # -- waiting, and received messages -----------------------------------------------------------------------

    def _wait(self, predicate: Callable[[], bool], timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not predicate():
            self._updated.clear()
            if not self._updated.wait(max(0.0, deadline_s - time.monotonic())) and not predicate():
                raise TimeoutError("no answer in time")

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
        try:
            update = self._swarm.worlds.receive(self.core, data, now_us=now_us())
        except MalformedMessage as error:
            self._measures.fail("world", f"malformed message: {error}")
            if self._connection is not None:
                self._connection.abort()
            return
        connection = self._connection
        if connection is not None and isinstance(update, StateApplied):
            is_first = not self.observer.has_state
            self.observer.state_received(update.tick, connection.read_at_s, self._measures)
            if is_first:
                self._updated.set()
        elif connection is not None and isinstance(update, InputAcknowledged):
            self.observer.inputs_acknowledged(update.seq, connection.read_at_s, self._measures)
        elif update is not None:
            self._handle(update)
        if self.core.outgoing and isinstance(self._welcome, Welcome):
            self._flush()

    def _handle(self, update: Update) -> None:
        match update:
            case Welcomed(welcome):
                self._welcome = welcome
                if update.has_lost_session:
                    self.sessions_lost += 1
                    self.had_seat = False
            case ErrorReceived(error):
                if self._welcome is None:
                    self._welcome = error
                else:
                    self._refusal = error
            case Redirected(redirect) if redirect.is_resume:
                self._plan.redirected(redirect.url)
                self._has_moved = True
                return
            case Ended(goodbye):
                self._goodbye = goodbye
        self._on_update(update)
        self._updated.set()

    def _on_update(self, update: Update) -> None:
        """Handle an update, except states and acknowledgements."""
        raise NotImplementedError

    def _flush(self) -> None:
        while self.core.outgoing and self._connection is not None:
            self._connection.send(self.core.outgoing.popleft())


def now_us() -> int:
    """Return the monotonic clock, in microseconds."""
    return time.monotonic_ns() // 1000


def _short(reason: str) -> str:
    """Return a reason without the parts that differ between players, so that reports have few rows."""
    return reason.partition(": ")[2] if reason.startswith("cannot connect to") else reason[:100]
