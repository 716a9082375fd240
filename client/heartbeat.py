"""The client's heartbeat: when to send a Ping, and when the connection counts as lost. Pure.

Pings are counted and no time is measured: after a pause of the whole process (a laptop that slept, a debugger) the
next beat is one beat, and sends a Ping first.
"""

from __future__ import annotations

PING_INTERVAL_S_MAX = 3.0
PING_INTERVAL_S_MIN = 0.1
"""An interval of 0 in Welcome must not make a flood of Pings."""
UNANSWERED_PINGS_MAX = 2
"""The third beat in a row that finds nothing received ends the connection: with a beat every 3 s, 6 to 9 s after the
path has died. A network that holds everything back for 5 s is not mistaken for that."""


def ping_interval_s(heartbeat_interval_ms: int) -> float:
    """Return the time between two Pings: the server's interval, within the limits above.

    Args:
        heartbeat_interval_ms: of the server's Welcome.
    """
    return min(max(heartbeat_interval_ms / 1000, PING_INTERVAL_S_MIN), PING_INTERVAL_S_MAX)


class Heartbeat:
    """The Pings of one connection that had no answer yet."""

    def __init__(self) -> None:
        self._unanswered = 0

    def received(self) -> None:
        """Record that the connection has delivered something. Every message counts, not only a Pong."""
        self._unanswered = 0

    def beat(self) -> bool:
        """Record that a Ping is sent now; call it once every interval.

        Returns:
            False if the Pings before were not answered: the connection is lost, and no Ping is to be sent.
        """
        if self._unanswered >= UNANSWERED_PINGS_MAX:
            return False
        self._unanswered += 1
        return True
