"""Measures one player's view of its room: late states, acknowledged inputs, blackouts, and its client's errors.

Pure: the caller passes clock readings, in seconds of one monotonic clock.
"""

from __future__ import annotations

from collections import deque

from tickwire.client.core import ClientCore
from tickwire.loadtest.metrics import Measures

INPUTS_WAITING_MAX = 2048
BASE_WINDOW_S = 5.0
"""The earliest state of this period is the reference for lateness: clocks drift, and servers skip ticks."""
ON_THE_WAY_S = 1.0
"""Inputs that were sent within this time may still be acknowledged."""
LATE_SHARE = 0.5
UNACKNOWLEDGED_S_MAX = 5
"""After this number of seconds with states and without an acknowledgement, the room has lost the player's inputs.
Seconds without a state do not count, because the network or the shard is stalled."""
UNACKNOWLEDGED_INPUTS_MIN = 5
"""Fewer inputs may have been lost with a connection, if the player stopped sending since."""
NEVER_S = float("inf")


class PlayerObserver:
    """One player's view of its room.

    Attributes:
        has_state: whether it received a state since it joined or reconnected.
        is_slow_reader: whether it reads slowly on purpose; its states and inputs are then not measured.
        has_quiet_ticks: whether a tick of its room may change nothing; ticks without a state are then not missed.
    """

    __slots__ = (
        "_base_s", "_base_until_s", "_dark_since_s", "_inputs", "_interval_s", "_last_second", "_next_base_s",
        "_state_s", "_tick", "_unacknowledged_s", "has_quiet_ticks", "has_state", "is_slow_reader",
    )  # fmt: skip

    def __init__(self, *, has_quiet_ticks: bool = False) -> None:
        self.has_state = False
        self.is_slow_reader = False
        self.has_quiet_ticks = has_quiet_ticks
        self._interval_s = 0.0
        self._tick = 0
        self._state_s = 0.0
        self._base_s = self._next_base_s = NEVER_S
        self._base_until_s = 0.0
        self._dark_since_s = 0.0  # the time of the last state before the connection was lost; 0 without a blackout
        self._inputs: deque[tuple[int, float]] = deque(maxlen=INPUTS_WAITING_MAX)
        self._unacknowledged_s = self._last_second = 0

    def joined(self, tick_rate_hz: float) -> None:
        """Record a seat, in a new room or the same one."""
        self._interval_s = 1 / tick_rate_hz if tick_rate_hz else 0.0
        self.discard_inputs()
        self.connection_started()

    def connection_started(self) -> None:
        """Record a new connection: the next state is its first."""
        self.has_state, self._tick = False, 0

    def reading_resumed(self) -> None:
        """Record the end of a pause: the states of the pause arrive at once, so their times are not measured."""
        self._tick = 0

    def lost(self, *, has_seat: bool) -> None:
        """Record a lost connection."""
        self._dark_since_s = self._state_s if has_seat and self.has_state else 0.0

    def left(self) -> None:
        """Record that the player left the room: the time without states is not a blackout."""
        self._dark_since_s = 0.0

    def state_received(self, tick: int, now_s: float, measures: Measures) -> None:
        """Record a state."""
        interval_s = self._interval_s
        if not self.has_state:
            self._first_state_received(now_s, measures)
        elif self._tick and not self.is_slow_reader:
            took_s, ticks = now_s - self._state_s, tick - self._tick
            measures.times["tick"].record(took_s)
            measures.times["jitter"].record(abs(took_s - ticks * interval_s))
            if ticks > 1 and not self.has_quiet_ticks:
                measures.count("missed_ticks", ticks - 1)
        self._tick, self._state_s = tick, now_s
        if int(now_s) != self._last_second:
            self._last_second = int(now_s)
            self._check_acknowledged(measures)
        if not self.is_slow_reader:
            measures.count("states")
            if self._lateness_s(now_s - tick * interval_s, now_s) > LATE_SHARE * interval_s:
                measures.count("late_states")

    def _first_state_received(self, now_s: float, measures: Measures) -> None:
        self.has_state = True
        if self._dark_since_s:
            measures.times["blackout"].record(now_s - self._dark_since_s)
            self._dark_since_s = 0.0
        self._base_s = self._next_base_s = NEVER_S

    def _lateness_s(self, at_s: float, now_s: float) -> float:
        """Return the delay of a state relative to the earliest one of the last seconds.

        Args:
            at_s: its arrival minus the duration of its ticks, which is equal for equally late states.
            now_s: its arrival.
        """
        if now_s > self._base_until_s:
            self._base_s, self._next_base_s = min(self._next_base_s, at_s), at_s
            self._base_until_s = now_s + BASE_WINDOW_S
        if at_s < self._next_base_s:
            self._next_base_s = at_s
            self._base_s = min(self._base_s, at_s)
        return at_s - self._base_s

    def _check_acknowledged(self, measures: Measures) -> None:
        """Count a failure if states arrive and the player's inputs are not acknowledged. Called in each second."""
        if len(self._inputs) < UNACKNOWLEDGED_INPUTS_MIN:
            self._unacknowledged_s = 0
            return
        self._unacknowledged_s += 1
        if self._unacknowledged_s > UNACKNOWLEDGED_S_MAX:
            measures.fail("inputs", "not acknowledged")
            self._unacknowledged_s = 0

    # -- inputs ---------------------------------------------------------------------------------------------

    def input_sent(self, seq: int, due_s: float) -> None:
        """Record an input and its due time."""
        if not self.is_slow_reader:
            self._inputs.append((seq, due_s))

    def inputs_acknowledged(self, seq: int, now_s: float, measures: Measures) -> None:
        """Record an acknowledgement: the world contains the inputs up to `seq`."""
        inputs = self._inputs
        if inputs and inputs[0][0] <= seq:
            self._unacknowledged_s = 0
            row = measures.times["input"]
            while inputs and inputs[0][0] <= seq:
                row.record(now_s - inputs.popleft()[1])

    def discard_inputs(self) -> None:
        """Discard pending inputs, whose delay or loss is caused by the swarm itself."""
        self._inputs.clear()
        self._unacknowledged_s = 0

    def record_unacknowledged_inputs(self, now_s: float, measures: Measures) -> None:
        """Record pending inputs with their age, so that a server that stalls for good does not look fast."""
        row = measures.times["input"]
        while self._inputs:
            waited_s = now_s - self._inputs.popleft()[1]
            if waited_s > ON_THE_WAY_S:
                row.record(waited_s)


class TrafficTally:
    """Collects one client's own counters once a second."""

    def __init__(self, now_s: float) -> None:
        self._mismatches = self._missed = self._repeated = 0
        self._bytes = 0
        self._since_s = now_s

    def connected(self) -> None:
        """Record a new connection, whose bytes are counted from 0."""
        self._bytes = 0

    def collect(self, core: ClientCore, received: int, now_s: float, measures: Measures, *, is_seated: bool) -> None:
        """Add the increase of the counters since the last call.

        Args:
            core: the client.
            received: the bytes received on the current connection.
            now_s: the monotonic clock.
            measures: the measurements to add to.
            is_seated: whether the player has a seat and a connection.
        """
        measures.count("bytes", received - self._bytes)
        self._bytes = received
        if is_seated:
            measures.count("player_seconds", now_s - self._since_s)
        self._since_s = now_s
        if core.mismatches > self._mismatches:
            measures.fail("world", "checksum mismatch", core.mismatches - self._mismatches)
        if core.events_missed > self._missed:
            measures.fail("events", "lost", core.events_missed - self._missed)
        if core.events_repeated > self._repeated:
            measures.fail("events", "doubled", core.events_repeated - self._repeated)
        self._mismatches, self._missed, self._repeated = core.mismatches, core.events_missed, core.events_repeated
