"""A session's connections: one wire after the other, as every client keeps them (`tickwire.client.session_connection`
does it on asyncio).

    connecting -> connected -> lost -> reconnecting -> connected ...

When and where it reconnects is decided by `tickwire.client.reconnect`, as in every client. It is measured: `connect`,
`hello`, `resume`. What comes in is heard where it is read; whoever has this says what it means (`_told`).
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
from tickwire.client.reconnect import CONNECT_S_MAX, HELLO_S_MAX, ReconnectPlan, advice_s, is_final_close
from tickwire.client.updates import (
    Ended,
    ErrorReceived,
    InputAcknowledged,
    Redirected,
    StateApplied,
    Update,
    Welcomed,
)
from tickwire.loadtest.gevent_connection import GeventConnection
from tickwire.loadtest.metrics import Measures
from tickwire.loadtest.observer import PlayerObserver, TrafficTally
from tickwire.loadtest.open_loop_scheduler import Recurring
from tickwire.loadtest.swarm import Swarm
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import Error, Goodbye, Welcome

CALL_S_MAX = 10.0


class SwarmConnection:
    """One session, as far as its connections go.

    Args:
        swarm: what it shares with others.
        player_id: who it is.
        chance: spreads retries.

    Attributes:
        core: the client.
        watch: what its player sees.
        is_aside: what happens to it is counted nowhere (it misbehaves on purpose).
        had_seat: it had one that it did not give up.
        sessions_lost: how often the server had not kept the session.
    """

    def __init__(self, swarm: Swarm, player_id: str, chance: random.Random) -> None:
        self.core = ClientCore(swarm.worlds.world_of, random=chance.random)
        self.watch = PlayerObserver(has_quiet_ticks=swarm.habits.has_quiet_ticks)
        self.is_aside = self.had_seat = False
        self.sessions_lost = 0
        self._swarm = swarm
        self._chance = chance
        self._token = swarm.tokens.of(player_id, time.time())
        self._home_url = swarm.next_entry()
        self._plan = ReconnectPlan(self._home_url, reconnect_s=swarm.habits.resume_s_max, random=chance.random)
        self._wire: GeventConnection | None = None
        self._welcome: Welcome | Error | None = None
        self._goodbye: Goodbye | None = None
        self._refusal: Error | None = None
        self._news = Signal()
        self._heartbeat = Heartbeat()
        self._pings: Recurring | None = None
        self._lost_at_s: float | None = None
        self._has_moved = self._has_stood = False
        self._aside = Measures()
        self._tally = TrafficTally(time.monotonic())

    @property
    def _measures(self) -> Measures:
        return self._aside if self.is_aside else self._swarm.measures

    @property
    def is_connected(self) -> bool:
        """Whether the session is there, on a connection."""
        return self._wire is not None and self._wire.is_open and isinstance(self._welcome, Welcome)

    @property
    def is_seated(self) -> bool:
        """Whether it has a seat and a connection, and has seen the room since."""
        return self.core.world is not None and self.watch.has_state and self._wire is not None and self._wire.is_open

    def send(self, data: bytes) -> None:
        """Sends whatever it is; without a connection it is lost."""
        if self._wire is not None:
            self._wire.send(data)

    def drop(self) -> None:
        """Breaks the connection as a bad network does; the swarm expects it back."""
        if self._wire is not None and self._wire.is_open:
            self._measures.count("drops")
            self.watch.forget_inputs()
            self._wire.abort()

    def pause(self) -> None:
        """Reads nothing more, until `unpause`."""
        if self._wire is not None:
            self._wire.pause()

    def unpause(self) -> None:
        """Reads again."""
        if self._wire is not None:
            self.watch.reads_again()
            self._wire.resume()

    def collect(self, measures: Measures) -> None:
        """Adds what it has counted by itself since the last time."""
        if self.is_aside:
            return
        received = self._wire.bytes_received if self._wire is not None else 0
        self._tally.take(self.core, received, time.monotonic(), measures, is_seated=self.is_seated)

    # -- connecting -----------------------------------------------------------------------------------------

    def connect_once(self) -> None:
        """As `open`, without a second try."""
        self._connect(self._plan.url)

    def be_connected(self) -> None:
        """Comes back, if the connection is lost; raises as `come_back`."""
        if not self.is_connected:
            self.come_back()

    def come_back(self) -> None:
        """Connects again and goes on with the session, as every client does; measured from the loss.

        Raises:
            Disconnected, Refused: it cannot be done within `Habits.resume_s_max`, or not any more.
        """
        lost_at_s = self._lost_at_s if self._lost_at_s is not None else time.monotonic()
        was_seated = self.core.world is not None
        lost = self.sessions_lost
        self._reconnect()
        if self.sessions_lost != lost:
            self._measures.fail("resume", "the session was not kept")
            return
        if was_seated and self.core.world is not None:
            self._wait(lambda: self.watch.has_state or not self.is_connected, CALL_S_MAX)
        if self.is_connected:
            self.had_seat = self.core.world is not None
            self._measures.times["resume"].record(time.monotonic() - lost_at_s)

    def _reconnect(self) -> None:
        last: Exception = Disconnected("the connection was lost")
        while (attempt := self._plan.next(time.monotonic())) is not None:
            gevent.sleep(attempt.pause_s)
            try:
                self._connect(attempt.url)
            except Refused as error:
                self._measures.fail("hello", error.error.code.name)
                if not error.error.retryable:
                    raise
                self._plan.failed(error.error.retry_after_ms / 1000, was_refused=True)
                last = error
            except Disconnected as error:
                if self._has_moved:  # no failure: the session is at another shard
                    self._has_moved = False
                    continue
                self._measures.fail("connect", _short(str(error)))
                if not error.may_return and not isinstance(error, ConnectFailed):
                    raise
                self._plan.failed(error.retry_after_s)
                last = error
            else:
                return
        raise last

    def _connect(self, url: str) -> None:
        """One connection, from the first byte to Welcome.

        Raises:
            Disconnected, Refused: as `open`.
        """
        if self._home_url.startswith("wss:") and not url.startswith("wss:"):
            words = f"redirected to {url}: the token is not sent over a plain connection"
            raise Disconnected(words, may_return=False)
        started_s = time.monotonic()
        self._stop_pings()
        if self._wire is not None:
            self._wire.abort()
            self.collect(self._measures)
            self._wire = None
        self._welcome = self._goodbye = self._refusal = None
        self._has_moved = False
        self._tally.connected()
        wire = GeventConnection(self._hear, self._connection_ended)
        wire.open(url, tls=self._swarm.tls, timeout_s=CONNECT_S_MAX)
        opened_s = time.monotonic()
        self._measures.times["connect"].record(opened_s - started_s)
        self._wire = wire
        self.watch.began()
        wire.send(self.core.hello(build=self._swarm.build, token=self._token))
        welcome = self._wait_for_welcome(wire)
        self._measures.times["hello"].record(time.monotonic() - opened_s)
        self._lost_at_s, self._has_stood = None, True
        self._plan.connected(url, time.monotonic())
        self._flush()
        self._start_pings(welcome)

    def _wait_for_welcome(self, wire: GeventConnection) -> Welcome:
        try:
            self._wait(lambda: self._welcome is not None or not wire.is_open, HELLO_S_MAX)
        except TimeoutError:
            wire.abort()
            raise Disconnected("the server did not answer the Hello") from None
        if isinstance(self._welcome, Error):
            wire.abort()
            raise Refused(self._welcome)
        if self._welcome is None:
            raise Disconnected(wire.because, may_return=not is_final_close(wire.close_code, self._goodbye))
        return self._welcome

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
                if not error.may_return and not (self._has_stood and isinstance(error, ConnectFailed)):
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
        wire = self._wire
        self._stop_pings()
        if self._lost_at_s is None:
            self._lost_at_s = time.monotonic()
            self.watch.lost(has_seat=self.core.world is not None)
        if isinstance(self._welcome, Welcome):
            code = wire.close_code if wire is not None else None
            self._plan.lost(time.monotonic(), advice_s(code, self._goodbye, self._refusal))
            if wire is not None and not wire.is_ours and not self._has_moved:
                self._measures.fail("close", _short(wire.because))
        self._news.set()

    def _start_pings(self, welcome: Welcome) -> None:
        self._heartbeat = Heartbeat()
        self._ping(0.0)  # at once: it says that the resume token has arrived
        period_s = ping_interval_s(welcome.heartbeat_interval_ms)
        first_s = self._chance.uniform(0.2, 1.0) * period_s
        self._pings = self._swarm.metronome.every(period_s, self._ping, first_s=first_s)

    def _stop_pings(self) -> None:
        if self._pings is not None:
            self._pings.stop()
            self._pings = None

    def _ping(self, due_s: float) -> None:
        if self._wire is None:
            return
        if self._heartbeat.beat():
            self._wire.send(self.core.ping(now_us()))
        else:
            self._wire.give_up("the server does not answer pings")

    # -- waiting, and what comes in ---------------------------------------------------------------------------

    def _wait(self, predicate: Callable[[], bool], timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not predicate():
            self._news.clear()
            if not self._news.wait(max(0.0, deadline_s - time.monotonic())) and not predicate():
                raise TimeoutError("no answer in time")

    def _hear(self, data: bytes) -> None:
        self._heartbeat.received()
        try:
            update = self.core.receive(data, now_us=now_us())
        except MalformedMessage as error:
            self._measures.fail("world", f"malformed message: {error}")
            if self._wire is not None:
                self._wire.abort()
            return
        wire = self._wire
        if wire is not None and isinstance(update, StateApplied):
            is_first = not self.watch.has_state
            self.watch.state_came(update.tick, wire.read_at_s, self._measures)
            if is_first:
                self._news.set()
        elif wire is not None and isinstance(update, InputAcknowledged):
            self.watch.inputs_shown(update.seq, wire.read_at_s, self._measures)
        elif update is not None:
            self._heard(update)
        if self.core.outgoing and isinstance(self._welcome, Welcome):
            self._flush()

    def _heard(self, update: Update) -> None:
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
        self._told(update)
        self._news.set()

    def _told(self, update: Update) -> None:
        """What came in, but for states and acknowledgements."""
        raise NotImplementedError

    def _flush(self) -> None:
        while self.core.outgoing and self._wire is not None:
            self._wire.send(self.core.outgoing.popleft())


def now_us() -> int:
    """Return the monotonic clock, in microseconds."""
    return time.monotonic_ns() // 1000


def _short(reason: str) -> str:
    """A reason without what differs from player to player: few rows, not thousands."""
    return reason.partition(": ")[2] if reason.startswith("cannot connect to") else reason[:100]
