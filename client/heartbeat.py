"""The client's heartbeat: when to send a Ping, and when the connection counts as lost. Pure.

The heartbeat counts Pings and measures no time. After a pause of the whole process (a suspended laptop, a debugger)
only one interval counts as silent, and a Ping is sent before the connection can be lost.
"""

from __future__ import annotations

PING_INTERVAL_MS_MAX = 3_000
PING_INTERVAL_MS_MIN = 100
"""Prevents a flood of Pings if the interval in Welcome is 0."""
UNANSWERED_PINGS_MAX = 2
"""After two Pings without any message, the connection ends instead of a third Ping: with an interval of 3 s, 6 to 9 s
after the path died. A network that stalls for 5 s does not count as dead."""


def ping_interval_ms(heartbeat_interval_ms: int) -> int:
    """Return the time between two Pings: the server's interval, within the limits above.

    Args:
        heartbeat_interval_ms: of the server's Welcome.
    """
    return min(max(heartbeat_interval_ms, PING_INTERVAL_MS_MIN), PING_INTERVAL_MS_MAX)


class Heartbeat:
    """Counts the Pings of one connection since the last received message."""

    def __init__(self) -> None:
        self._unanswered = 0

    def record_received(self) -> None:
        """Record that a message was received. Every message counts, not only a Pong."""
        self._unanswered = 0

    def record_ping(self) -> bool:
        """Record that a Ping is sent; call it once every interval.

        Returns:
            False if the previous Pings were not answered: the connection is lost, and the Ping must not be sent.
        """
        if self._unanswered >= UNANSWERED_PINGS_MAX:
            return False
        self._unanswered += 1
        return True

    def record_probe(self) -> None:
        """Record a Ping that is sent because the path may be dead: one more silent interval ends the connection."""
        self._unanswered = UNANSWERED_PINGS_MAX
