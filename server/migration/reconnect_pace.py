"""Spreads the room migrations of a drain over time, so that players do not all reconnect at once.

The players of a migrated room connect to its new shard at once, and each handshake takes some time of its event loop.
The players of several large rooms would wait for each other. A room that waits keeps ticking on its old shard.

Pure.
"""

from __future__ import annotations

RECONNECTS_PER_S = 400.0
"""Reconnects that one shard can admit while its rooms tick on time."""


class ReconnectPace:
    """Schedules the migrations of rooms by the number of their players.

    Args:
        players_per_s: the players that may reconnect in a second.
    """

    def __init__(self, players_per_s: float = RECONNECTS_PER_S) -> None:
        self._players_per_s = players_per_s
        self._free_at_s = 0.0

    def delay_s(self, players: int, now_s: float) -> float:
        """Reserve the time in which the players of a room reconnect.

        Args:
            players: the connected players of the room.
            now_s: a monotonic clock.

        Returns:
            How long the migration should wait; 0 for a room without players.
        """
        if not players:
            return 0.0
        starts_at_s = max(now_s, self._free_at_s)
        self._free_at_s = starts_at_s + players / self._players_per_s
        return starts_at_s - now_s
