"""Hides the corrections of a prediction: an offset that decays keeps the drawn entity from jumping. Pure.

The decay is exponential in time, not in frames: it looks the same on every display.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

HALF_LIFE_MS = 100.0
Values = Mapping[str, float]


class SmootherOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the errors of a prediction are corrected.

    Args:
        fields: the fields of the state whose errors are corrected smoothly; those that a state does not have are left
            out.
        angles: the fields that are angles in radians: they turn back by the shorter way.
        half_life_ms: the time in which half of an error is corrected; 0: at once.
        snap_distance: an error of `fields`, taken together, above this distance is corrected at once, as after a
            teleport.
        tick_ms: the time between two inputs: the drawn state then moves between the last two steps; 0: it does not.
    """

    fields: tuple[str, ...] = ("x", "y", "z")
    angles: tuple[str, ...] = ()
    half_life_ms: float = HALF_LIFE_MS
    snap_distance: float = math.inf
    tick_ms: float = 0.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: a value is negative or not a number.
        """
        for name in ("half_life_ms", "snap_distance", "tick_ms"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, not {getattr(self, name)}")


class Smoother:
    """The offset between the predicted state and the drawn one.

    Args:
        options: how errors are corrected.
    """

    def __init__(self, options: SmootherOptions) -> None:
        self._options = options
        self._offset: dict[str, float] = {}  # at `_offset_s`
        self._offset_s = 0.0
        self._previous: dict[str, float] | None = None  # the state before the newest step
        self._stepped_s = 0.0

    def stepped(self, before: Values, now_s: float) -> None:
        """Record a step of the prediction from this state."""
        self._previous, self._stepped_s = dict(before), now_s

    def corrected(self, before: Values, after: Values, now_s: float) -> None:
        """Record that the server has corrected the prediction: the drawn state continues where it was."""
        offset = self._offset_at(now_s)
        for name in self._names(after):
            error = self._difference(name, before[name], after[name])
            offset[name] = self._difference(name, offset.get(name, 0.0) + error, 0.0)
            if self._previous is not None:
                self._previous[name] -= error
        distance = math.hypot(*(offset.get(name, 0.0) for name in self._options.fields))
        is_at_once = distance > self._options.snap_distance or not self._options.half_life_ms
        self._offset, self._offset_s = {} if is_at_once else offset, now_s

    def sample(self, state: Values, now_s: float) -> dict[str, float]:
        """Return a state with the offset, between the last two steps if these have a duration."""
        drawn, offset, previous = dict(state), self._offset_at(now_s), self._previous
        left = 0.0
        if previous is not None and self._options.tick_ms:
            left = min(1.0, max(0.0, 1.0 - (now_s - self._stepped_s) * 1000 / self._options.tick_ms))
        for name in self._names(state):
            if left and previous is not None:
                drawn[name] += left * self._difference(name, previous[name], state[name])
            drawn[name] += offset.get(name, 0.0)
        return drawn

    def reset(self) -> None:
        """Discard the offset and the last step."""
        self._offset, self._previous = {}, None

    def _names(self, state: Values) -> list[str]:
        return [name for name in (*self._options.fields, *self._options.angles) if name in state]

    def _difference(self, name: str, one: float, other: float) -> float:
        """Return one value minus the other, for angles by the shorter way."""
        difference = one - other
        return (difference + math.pi) % math.tau - math.pi if name in self._options.angles else difference

    def _offset_at(self, now_s: float) -> dict[str, float]:
        if not self._offset:
            return {}
        passed_ms = max(0.0, now_s - self._offset_s) * 1000
        share = 0.5 ** (passed_ms / self._options.half_life_ms)
        return {name: value * share for name, value in self._offset.items()}
