"""Finds the first tick of a recording at which a condition is true.

    keyframes   F . . . . F . . . . F . . t . T        F false, T true, . not looked at
                                      ^ from here each tick is replayed

The condition is evaluated at the keyframes in order, and then at each tick before the first one where it is true. A
condition that is true for a while between two earlier keyframes only is missed, unless all ticks are looked at. Pure.
"""

from __future__ import annotations

from typing import NamedTuple

from tickwire.server.recording.expression import StateCondition
from tickwire.server.recording.replay import Replay


class FoundTick(NamedTuple):
    """The result of a search.

    Args:
        tick: the first tick at which the condition is true; None without one.
        scanned_from: all ticks after this one were looked at.
    """

    tick: int | None
    scanned_from: int


def find_tick(replay: Replay, condition: StateCondition, *, looks_at_all: bool = False) -> FoundTick:
    """Return the first tick at which a condition is true. The replay is at that tick afterwards.

    Args:
        replay: the replay.
        condition: the condition.
        looks_at_all: whether to replay all ticks from the beginning, instead of those before the first keyframe at
            which the condition is true.

    Raises:
        RecordingDamaged, ReplayFailed: see `Replay`.
    """
    ticks = [place.tick for place in replay.recording.keyframes]
    number = 0 if looks_at_all else _find_keyframe(replay, condition, ticks)
    found = _scan(replay, condition, ticks[max(number - 1, 0)])
    if found.tick is None and found.scanned_from > ticks[0]:
        return _scan(replay, condition, ticks[0])
    return found


def _find_keyframe(replay: Replay, condition: StateCondition, ticks: list[int]) -> int:
    """Return the number of the first keyframe at which the condition is true; 0 without one."""
    for number, tick in enumerate(ticks):
        replay.seek(tick)
        if condition.is_true(replay.room):
            return number
    return 0


def _scan(replay: Replay, condition: StateCondition, start: int) -> FoundTick:
    replay.seek(start)
    while not condition.is_true(replay.room):
        if replay.step() is None:
            return FoundTick(None, start)
    return FoundTick(replay.tick, start)
