"""The options of a join and of a queue entry, and their messages. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from tickwire.schemas.messages import Join, MatchRequest
from tickwire.schemas.payloads import encode_payload


class JoinOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which room of a type a player joins, and how.

    Args:
        name: the name of one room. Without name, room_id and code, any open room of the type is joined.
        room_id: the id of one room.
        code: the code of one private room.
        is_private: creates a room that can be joined only with its code.
        labels: only rooms with these labels.
        party: a code that friends share, and their number: all of them get seats in one room, or none of them.
        options: passed to the room's `on_join`.
        ticket: from a Redirect.
    """

    name: str = ""
    room_id: str = ""
    code: str = ""
    is_private: bool = False
    labels: dict[str, str] | None = None
    party: tuple[str, int] | None = None
    options: dict[str, Any] | None = None
    ticket: str = ""

    def to_message(self, room_type: str) -> Join:
        """Return the request for a seat in a room of this type."""
        party_code, party_size = self.party or ("", 0)
        return Join(
            room_type,
            self.name,
            self.ticket,
            _encode_map(self.options),
            self.room_id,
            self.code,
            self.is_private,
            _encode_map(self.labels),
            party_code,
            party_size,
        )


class MatchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """With whom and where a queued player is matched.

    Args:
        party: a code that friends share, and their number: they are matched together once all of them are queued.
        latencies: round trips in milliseconds by region; by default only the region of the shard is allowed.
        labels: labels that the match must have.
        options: passed to the room's `on_join`.
    """

    party: tuple[str, int] | None = None
    latencies: dict[str, float] | None = None
    labels: dict[str, str] | None = None
    options: dict[str, Any] | None = None

    def to_message(self, mode: str) -> MatchRequest:
        """Return the request to enter the queue of a mode."""
        party_code, party_size = self.party or ("", 0)
        return MatchRequest(
            mode,
            _encode_map(self.options),
            party_code,
            party_size,
            _encode_map(self.latencies),
            _encode_map(self.labels),
        )


ANY_ROOM = JoinOptions()
"""Any open room of the type."""
ANY_MATCH = MatchOptions()
"""Any match of the mode in the region of the shard."""


def _encode_map(value: dict[str, Any] | dict[str, str] | dict[str, float] | None) -> bytes:
    return encode_payload(value) if value else b""
