"""The arguments and the outcome of `Player.move_to`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tickwire.schemas.payloads import encode_payload
from tickwire.server.rooms.reasons import to_reason

OPTIONS_BYTES_MAX = 1024
"""The encoded options of a move: a Redirect to another shard carries them in its ticket."""
LEFT_REASON = "the player moves to another room"


class MoveRefused(RuntimeError):
    """The player is moving already, or is leaving; or the room moves to another shard, or has ended."""


class MoveOutcome(msgspec.Struct, frozen=True):
    """The outcome of `Player.move_to`.

    Args:
        player_id: the player.
        room_type: the type of the other room.
        name: the requested name of the other room; empty if any room was requested.
        refused: why the player was not moved, such as "all 8 seats are taken"; empty if it was.
    """

    player_id: str
    room_type: str
    name: str = ""
    refused: str = ""

    @property
    def has_moved(self) -> bool:
        """Whether the player has left this room for the other one."""
        return not self.refused


class MoveRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The room to which a player is to be moved.

    Args:
        room_type, name: the room; an empty name for any room of the type.
        options: the options for its `on_join`, encoded.
        reason: the reason why the player leaves this room, for its client.
        then: the method of this room that receives the outcome.
    """

    room_type: str
    name: str = ""
    options: bytes = b""
    reason: str = LEFT_REASON
    then: Callable[[MoveOutcome], object] | None = None


def create_move_request(
    room_type: str,
    name: str,
    options: Mapping[str, Any] | None,
    reason: str,
    then: Callable[[MoveOutcome], object] | None,
) -> MoveRequest:
    """Check the arguments of `Player.move_to`.

    Raises:
        TypeError, ValueError: one of them is invalid.
    """
    if not isinstance(room_type, str) or not isinstance(name, str):
        raise TypeError("move_to: the room type and the name must be strings")
    if not room_type:
        raise ValueError("move_to: needs the type of a room")
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(f"move_to: options must be a dict, not a {type(options).__name__}")
    encoded = encode_payload(dict(options)) if options else b""
    if len(encoded) > OPTIONS_BYTES_MAX:
        raise ValueError(f"move_to: the options must have at most {OPTIONS_BYTES_MAX} bytes, not {len(encoded)}")
    text = to_reason(reason) if reason != "" else LEFT_REASON
    return MoveRequest(room_type=room_type, name=name, options=encoded, reason=text, then=then)
