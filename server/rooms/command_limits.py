"""Limits the rate of each player's commands: a token bucket for each command with `rate_per_s`.

Time is the room's own, in ticks, so a limit moves with the room, is saved with a durable one, and runs the same in a
replay. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from tickwire.server.rooms.command_methods import CommandOptions

PLAYERS_MAX = 256
"""The players of a room whose limits are kept after they have left."""
SavedLimits = Mapping[str, tuple[float, int]]
"""By command: the calls that a player had left, and the tick at which it had them."""


class CommandLimits:
    """The limits of one player.

    Args:
        saved: the limits in a checkpoint.
    """

    __slots__ = ("_left",)

    def __init__(self, saved: SavedLimits | None = None) -> None:
        self._left: dict[str, tuple[float, int]] = dict(saved or {})

    def take(self, name: str, options: CommandOptions, tick: int, tick_rate_hz: float) -> int:
        """Take one call of a command.

        Returns:
            0, or how long the player must wait before the call, in milliseconds; it is then not taken.
        """
        if options.rate_per_s is None:
            return 0
        left, since = self._left.get(name, (options.burst, tick))
        left = min(options.burst, left + max(0, tick - since) / tick_rate_hz * options.rate_per_s)
        if left >= 1:
            self._left[name] = left - 1, tick
            return 0
        ticks = max(1, math.ceil((1 - left) / options.rate_per_s * tick_rate_hz))
        return math.ceil(ticks / tick_rate_hz * 1000)

    def save(self) -> dict[str, tuple[float, int]]:
        """Return the limits for a checkpoint."""
        return dict(self._left)


class RecentLimits:
    """The limits of the last players who have called a limited command, for those who leave and join again."""

    __slots__ = ("_limits",)

    def __init__(self) -> None:
        self._limits: dict[str, CommandLimits] = {}  # the last caller at the end

    def __len__(self) -> int:
        return len(self._limits)

    def renew(self, player_id: str, limits: CommandLimits | None) -> CommandLimits:
        """Return the limits of a player who calls a command, and keep them.

        Args:
            player_id: the player.
            limits: those of its seat; None while it has called no limited command from this seat.
        """
        kept = self._limits.pop(player_id, None)
        limits = limits or kept or CommandLimits()
        self._limits[player_id] = limits
        if len(self._limits) > PLAYERS_MAX:
            del self._limits[next(iter(self._limits))]
        return limits
