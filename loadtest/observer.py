"""What one player sees: states on time or not, inputs shown, darkness; and what its client has found wrong.

Pure: clock readings come in, in seconds of one monotonic clock.
"""

from __future__ import annotations

from collections import deque

from tickwire.client.core import ClientCore
from tickwire.loadtest.metrics import Measures

INPUTS_WAITING_MAX = 2048
BASE_WINDOW_S = 5.0
"""The earliest state of so long says where the server's clock stands on ours: clocks drift, servers skip ticks."""
ON_THE_WAY_S = 1.0
"""Inputs that were sent so lately may yet be shown."""
LATE_SHARE = 0.5
UNACKNOWLEDGED_S_MAX = 5
"""Seconds in which states arrive and no acknowledgement does, after which the room has lost the player's inputs.
Seconds without a state do not count: then the network, or the shard, holds everything back."""
UNACKNOWLEDGED_INPUTS_MIN = 5
"""Fewer may have been lost with a connection, if the player has stopped sending since."""
NEVER_S = float("inf")


class PlayerObserver:
    """One player's view of its room.

    Attributes:
        has_state: it has seen the room since it joined, or came back.
        is_patient: it reads slowly on purpose: what it sees, and when, is not measured.
        has_quiet_ticks: in its room a tick may change nothing: none was missed.
    """

    def __init__(self, *, has_quiet_ticks: bool = False) -> None:
        self.has_state = False
        self.is_patient = False
        self.has_quiet_ticks = has_quiet_ticks
        self._interval_s = 0.0
        self._tick = 0
        self._state_s = 0.0
        self._base_s = self._next_base_s = NEVER_S
        self._base_until_s = 0.0
        self._dark_since_s = 0.0  # the last state before the connection was lost; 0: it is not dark
        self._inputs: deque[tuple[int, float]] = deque(maxlen=INPUTS_WAITING_MAX)
        self._unacknowledged_s = self._last_second = 0

    def joined(self, tick_rate_hz: float) -> None:
        """Has a seat: in a new room, or again."""
        self._interval_s = 1 / tick_rate_hz if tick_rate_hz else 0.0
        self.forget_inputs()
        self.began()

    def began(self) -> None:
        """A connection begins: the next state is the first."""
        self.has_state, self._tick = False, 0

    def reads_again(self) -> None:
        """What came meanwhile is read at once: it says nothing of ticks."""
        self._tick = 0

    def lost(self, *, has_seat: bool) -> None:
        """The connection is lost."""
        self._dark_since_s = self._state_s if has_seat and self.has_state else 0.0

    def left(self) -> None:
        """Has given the seat back: what is dark from now on is meant to be."""
        self._dark_since_s = 0.0

    def state_came(self, tick: int, now_s: float, measures: Measures) -> None:
        """A state was read."""
        interval_s = self._interval_s
        if self._tick and not self.is_patient:
            took_s, ticks = now_s - self._state_s, tick - self._tick
            measures.times["tick"].record(took_s)
            measures.times["jitter"].record(abs(took_s - ticks * interval_s))
            if ticks > 1 and not self.has_quiet_ticks:
                measures.count("missed_ticks", ticks - 1)
        if not self.has_state:
            self.has_state = True
            if self._dark_since_s:
                measures.times["blackout"].record(now_s - self._dark_since_s)
                self._dark_since_s = 0.0
            self._base_s = self._next_base_s = NEVER_S
        self._tick, self._state_s = tick, now_s
        self._check_acknowledged(int(now_s), measures)
        if not self.is_patient:
            measures.count("states")
            if self._lateness_s(now_s - tick * interval_s, now_s) > LATE_SHARE * interval_s:
                measures.count("late_states")

    def _lateness_s(self, at_s: float, now_s: float) -> float:
        """By how much a state is later than the earliest of the last seconds.

        Args:
            at_s: when it came, less what its ticks take: alike for all that are as late.
        """
        if now_s > self._base_until_s:
            self._base_s, self._next_base_s = min(self._next_base_s, at_s), at_s
            self._base_until_s = now_s + BASE_WINDOW_S
        if at_s < self._next_base_s:
            self._next_base_s = at_s
            self._base_s = min(self._base_s, at_s)
        return at_s - self._base_s

    def _check_acknowledged(self, second: int, measures: Measures) -> None:
        """A state was read in this second: whoever sends inputs must have had an acknowledgement lately."""
        if len(self._inputs) < UNACKNOWLEDGED_INPUTS_MIN:
            self._unacknowledged_s = 0
        elif second != self._last_second:
            self._unacknowledged_s += 1
            if self._unacknowledged_s > UNACKNOWLEDGED_S_MAX:
                measures.fail("inputs", "not acknowledged")
                self._unacknowledged_s = 0
        self._last_second = second

    # -- inputs ---------------------------------------------------------------------------------------------

    def input_sent(self, seq: int, due_s: float) -> None:
        """An input was sent that was due at a moment."""
        if not self.is_patient:
            self._inputs.append((seq, due_s))

    def inputs_shown(self, seq: int, now_s: float, measures: Measures) -> None:
        """The inputs up to `seq` are part of what the player sees."""
        inputs = self._inputs
        if inputs and inputs[0][0] <= seq:
            self._unacknowledged_s = 0
            row = measures.times["input"]
            while inputs and inputs[0][0] <= seq:
                row.record(now_s - inputs.popleft()[1])

    def forget_inputs(self) -> None:
        """That they are shown late, or never, is this side's doing."""
        self._inputs.clear()
        self._unacknowledged_s = 0

    def give_up_inputs(self, now_s: float, measures: Measures) -> None:
        """Inputs that were never shown have taken at least until now: a server that stalls for good must not look
        fast."""
        row = measures.times["input"]
        while self._inputs:
            waited_s = now_s - self._inputs.popleft()[1]
            if waited_s > ON_THE_WAY_S:
                row.record(waited_s)


class TrafficTally:
    """What one client has counted by itself: taken once a second."""

    def __init__(self, now_s: float) -> None:
        self._mismatches = self._missed = self._repeated = 0
        self._bytes = 0
        self._since_s = now_s

    def connected(self) -> None:
        """Another connection: its bytes are counted from 0."""
        self._bytes = 0

    def take(self, core: ClientCore, received: int, now_s: float, measures: Measures, *, is_seated: bool) -> None:
        """Adds what is new.

        Args:
            received: bytes of the connection that there is.
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
