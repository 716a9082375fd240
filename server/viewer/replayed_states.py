"""Reads the states of ticks from a replay, and keeps those of a window of ticks. Pure.

A read continues from the tick that the replay has reached if no keyframe is nearer. Otherwise it begins at the last
keyframe before the tick. States shortly before the tick are kept as well, so that stepping back does not replay the
same ticks again and again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from tickwire.server.recording.replay import Replay
from tickwire.server.viewer.tables import read_state

WINDOW_BYTES_MAX = 48 * 1024 * 1024
RESPONSE_BYTES_MAX = 4 * 1024 * 1024
ROWS_MAX = 2000
"""The most rows of a table in a state."""
TICKS_MAX = 120
"""The most ticks in a response."""
KEPT_BEFORE = 60
"""The number of ticks before a requested one that are kept."""


class ReplayedStates:
    """Reads states as JSON.

    Args:
        replay: the replay; the reader owns it.
        keyframes: the ticks of the keyframes, ascending.
        last_tick: the last tick of the recording.
    """

    def __init__(self, replay: Replay, keyframes: Sequence[int], last_tick: int) -> None:
        self._replay = replay
        self._keyframes = keyframes
        self._last_tick = last_tick
        self._window: OrderedDict[int, bytes] = OrderedDict()
        self._bytes = 0

    @property
    def window_bytes(self) -> int:
        """The bytes of the kept states."""
        return self._bytes

    def read(self, from_tick: int, to_tick: int) -> bytes:
        """Return the states of a range of ticks as a JSON array: at least one, if the recording has the first tick.

        Raises:
            RecordingDamaged, TickwireError: the replay cannot reach the tick.
        """
        states: list[bytes] = []
        size = 0
        for tick in range(from_tick, min(to_tick, self._last_tick, from_tick + TICKS_MAX - 1) + 1):
            state = self._state(tick)
            if state is None or (states and size + len(state) > RESPONSE_BYTES_MAX):
                break
            states.append(state)
            size += len(state)
        return b"[" + b",".join(states) + b"]"

    def _state(self, tick: int) -> bytes | None:
        if tick in self._window:
            self._window.move_to_end(tick)
            return self._window[tick]
        if tick < self._keyframes[0]:
            return None
        # A keyframe holds joins that follow its tick, so the state of the tick itself begins at the keyframe before.
        keyframe = self._keyframes[max(0, bisect_left(self._keyframes, tick) - 1)]
        if not keyframe <= self._replay.tick < tick:
            self._replay.seek(keyframe)
        state = self._keep() if self._replay.tick == self._keyframes[0] else None
        while self._replay.tick < tick:
            done = self._replay.step()
            if done is None:
                return None
            if done.ran and done.tick >= tick - KEPT_BEFORE:
                state = self._keep()
        return state

    def _keep(self) -> bytes:
        """Keep the state of the tick that the replay has reached, and return it."""
        tick = self._replay.tick
        state = msgspec.json.encode(read_state(self._replay.room, ROWS_MAX))
        self._bytes += len(state) - len(self._window.pop(tick, b""))
        self._window[tick] = state
        while self._bytes > WINDOW_BYTES_MAX and len(self._window) > 1:
            self._bytes -= len(self._window.popitem(last=False)[1])
        return state
