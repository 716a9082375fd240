"""How much a session may say: messages and bytes a second, with a second's worth at once.

    within        heard
    above         dropped and counted; the first drop in a second is told
    far above     as much dropped in a second as is allowed in one: the session is ended

Pure; the time comes in. Taking is written out by the session (`messages.level -= 1`): it is done for every message.
"""

from __future__ import annotations

import enum

from server.edge.buckets import Bucket
from server.edge.settings import EdgeSettings


class Verdict(enum.Enum):
    """What becomes of a message."""

    HEARD = enum.auto()
    DROPPED = enum.auto()
    DROPPED_AND_TOLD = enum.auto()
    TOO_MANY = enum.auto()


class Allowance:
    """One session's.

    Args:
        settings: the rates.
        now_s: seconds on the clock that `judge` is given.
    """

    __slots__ = ("_dropped", "_messages_max", "_since_s", "messages", "octets")

    def __init__(self, settings: EdgeSettings, now_s: float) -> None:
        self.messages = Bucket(settings.messages_per_second_max, settings.messages_per_second_max, now_s)
        self.octets = Bucket(settings.bytes_per_second_max, settings.bytes_per_second_max, now_s)
        self._messages_max = settings.messages_per_second_max
        self._dropped = 0
        self._since_s = now_s

    def judge(self, size: int, now_s: float) -> Verdict:
        """Judges a message that has been taken from the buckets and left one of them below zero."""
        if self.messages.refill(now_s) and self.octets.refill(now_s):
            return Verdict.HEARD
        self.messages.level += 1
        self.octets.level += size
        if now_s - self._since_s > 1.0:
            self._dropped, self._since_s = 0, now_s
        self._dropped += 1
        if self._dropped > self._messages_max:
            return Verdict.TOO_MANY
        return Verdict.DROPPED_AND_TOLD if self._dropped == 1 else Verdict.DROPPED
