"""The pause between attempts while Redis does not answer. Pure."""

from __future__ import annotations

RETRY_S_MAX = 5.0
FACTOR = 1.5


def next_pause_s(pause_s: float, *, pause_s_min: float) -> float:
    """Return the pause after one more failure, given the last one: half as long again, at most RETRY_S_MAX."""
    return min(RETRY_S_MAX, max(pause_s, pause_s_min) * FACTOR)
