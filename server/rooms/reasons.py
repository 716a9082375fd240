"""The reasons for players why a seat or a room ends, or a request is refused. Pure."""

from __future__ import annotations

REASON_CHARACTERS_MAX = 1000
"""The reason of a refusal is truncated to this length: clients accept texts of at most 4,096 bytes."""


def to_reason(reason: str) -> str:
    """Return the reason of a game for the end of a seat or room, truncated to REASON_CHARACTERS_MAX.

    Raises:
        TypeError: it is not a string.
        ValueError: it is empty, or not Unicode.
    """
    if not isinstance(reason, str):
        raise TypeError(f"the reason must be a string that clients can show, not a {type(reason).__name__}")
    if not reason.strip():
        raise ValueError("the reason must not be empty; clients show it to their players")
    reason.encode()
    return reason[:REASON_CHARACTERS_MAX]
