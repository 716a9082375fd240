"""The name on the wire of a class that declares an event. Server and client derive it alike. Pure."""

from __future__ import annotations

import re

_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def to_event_name(kind: type) -> str:
    """Return the class's `event_name`, or without one the class name in snake case: `RoundWon` is `round_won`."""
    declared: str = getattr(kind, "event_name", "")
    return declared or _WORD_STARTS.sub("_", kind.__name__).lower()
