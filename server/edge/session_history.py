"""The last events of a session: the answer to "why was this player disconnected at 12:03?".

Each event is logged when it happens. The log drops lines in bursts, such as in a reconnect storm, so the log line
that ends a session repeats the last events, and the admin API returns them while the session lives.
"""

from __future__ import annotations

import datetime
from typing import Any

import structlog

log = structlog.get_logger(__name__)

ENTRIES_MAX = 32
ENTRY_CHARACTERS_MAX = 300
_UTC_SUFFIX = "+00:00"

_Entry = tuple[int, str, dict[str, Any]]
"""The time, the event and its details: they are formatted when they are read, which most of them never are."""


class SessionHistory:
    """The events of one session on this shard; the oldest entries are dropped.

    Args:
        session_id, player_id: the session and its player, which every log line contains.

    Attributes:
        player_id: the player.
    """

    __slots__ = ("_entries", "_session_id", "player_id")

    def __init__(self, session_id: str, player_id: str) -> None:
        self._session_id = session_id
        self.player_id = player_id
        self._entries: list[_Entry] = []  # a deque would allocate space for 64 entries at once

    @property
    def entries(self) -> list[str]:
        """A line for each event, the oldest first, such as "2026-01-31T12:03:05.250Z disconnected reason=silent"."""
        return [_format(entry) for entry in self._entries]

    def add(self, at_us: int, event: str, **details: Any) -> None:
        """Add an event, and log it as `session_EVENT`.

        Args:
            at_us: UTC, microseconds since 1970.
            event: a past participle.
            details: values that an operator needs; never a secret.
        """
        self._entries.append((at_us, event, {name: _truncated(value) for name, value in details.items()}))
        del self._entries[:-ENTRIES_MAX]
        log.info(f"session_{event}", session_id=self._session_id, player_id=self.player_id, **details)


def _truncated(value: Any) -> Any:
    return value[:ENTRY_CHARACTERS_MAX] if isinstance(value, str) else value


def _format(entry: _Entry) -> str:
    at_us, event, details = entry
    at = datetime.datetime.fromtimestamp(at_us / 1e6, datetime.UTC).isoformat(timespec="milliseconds")
    words = " ".join(f"{name}={value}" for name, value in details.items() if value != "")
    return f"{at.removesuffix(_UTC_SUFFIX)}Z {event} {words}".rstrip()[:ENTRY_CHARACTERS_MAX]
