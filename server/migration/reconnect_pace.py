"""Spreads the moves of rooms in a drain, so that their players reconnect as a stream and not at the same moment.

Players of a room that has moved connect to its new shard at once, and each handshake takes some time of its event
loop. The players of several large rooms would wait for each other. A room that waits ticks where it is meanwhile.

Pure.
"""

from __future__ import annotations

RECONNECTS_PER_S = 400.0
"""What one shard admits while its rooms tick on time."""


class ReconnectPace:
    """Decides when the next room moves.

    Args:
        players_per_s: how many players may reconnect in a second.
    """

    def __init__(self, players_per_s: float = RECONNECTS_PER_S) -> None:
        self._players_per_s = players_per_s
        self._free_at_s = 0.0

    def delay_s(self, players: int, now_s: float) -> float:
        """Reserve the time in which the players of a room reconnect, and return how long its move should wait.

        Args:
            players: of the room, who are connected.
            now_s: a monotonic clock.
        """
        starts_at_s = max(now_s, self._free_at_s)
        self._free_at_s = starts_at_s + players / self._players_per_s
        return starts_at_s - now_s
