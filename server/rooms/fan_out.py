"""Limits the events that one player's messages cause for all receivers.

An event costs 1 for each receiver, and 1 more for each full KiB. The budget is the cost of one second. The cost of a
message is known only after it was handled, so a message may overdraw the budget; the next one then waits until the
budget is balanced. Pure: the time is a parameter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

EVENT_BYTES = 1024


def event_cost(size: int) -> int:
    """Return the cost of an event of this size in bytes, for one receiver."""
    return 1 + size // EVENT_BYTES


class FanOutBudget:
    """The budget of one player.

    Args:
        rate: the cost per second that the player's messages may cause.
        now_s: the current time in seconds, on the same clock as in `wait_ms`.
    """

    __slots__ = ("_balance", "_rate", "_refilled_s")

    def __init__(self, rate: float, now_s: float) -> None:
        self._rate = rate
        self._balance = rate
        self._refilled_s = now_s

    def spend(self, cost: int) -> None:
        """Subtract the cost of a message; the budget may become negative."""
        self._balance -= cost

    def wait_ms(self, now_s: float) -> int:
        """Return how long the player's next message must wait, in milliseconds; 0 if it need not wait."""
        self._balance = min(self._rate, self._balance + (now_s - self._refilled_s) * self._rate)
        self._refilled_s = now_s
        return 0 if self._balance >= 0 else math.ceil(-self._balance / self._rate * 1000)


class FanOutPayer(Protocol):
    """A seat, as the holder of its player's budget."""

    fan_out: FanOutBudget | None


class FanOutRoom(Protocol):
    """The room, as the source of its limit."""

    @property
    def fan_out_max(self) -> float:
        """The cost per second that the messages of one player may cause."""
        ...


class FanOutMeter:
    """Measures the cost of a room's events, and charges it to the players whose messages cause them.

    Args:
        room: the room with its limit.
        now_s: a monotonic clock in seconds.

    Attributes:
        cost: the cost of all events so far. Seats add to it.
    """

    __slots__ = ("_now_s", "_room", "cost")

    def __init__(self, room: FanOutRoom, now_s: Callable[[], float]) -> None:
        self._room = room
        self._now_s = now_s
        self.cost = 0

    @contextmanager
    def charged(self, seat: FanOutPayer) -> Iterator[None]:
        """Charge a player for the events that the code inside the `with` causes."""
        before = self.cost
        try:
            yield
        finally:
            self.charge_since(seat, before)

    def charge_since(self, seat: FanOutPayer, before: int) -> None:
        """Charge a player for the events since `cost` had the value `before`."""
        cost = self.cost - before
        if cost:
            if seat.fan_out is None:
                seat.fan_out = FanOutBudget(self._room.fan_out_max, self._now_s())
            seat.fan_out.spend(cost)

    def wait_ms(self, seat: FanOutPayer) -> int:
        """Return how long the player's next message must wait, in milliseconds; 0 if it need not wait."""
        return 0 if seat.fan_out is None else seat.fan_out.wait_ms(self._now_s())
