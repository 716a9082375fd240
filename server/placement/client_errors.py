"""Errors for clients: matchmaking errors and invalid request fields as errors of the protocol.

The matchmaker has its own error tree, because it imports nothing of the server. `to_client_error` maps it to
`tickwire.server.errors`, whose codes clients know.
"""

from __future__ import annotations

from typing import TypeVar

import structlog

from tickwire.matchmaking import (
    BadRequest,
    BadTicket,
    MatchmakerUnavailable,
    MatchmakingError,
    PlacementFull,
    PlacementLocked,
    RoomNotFound,
    StaleLease,
)
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.payloads import decode_payload
from tickwire.server.errors import (
    Malformed,
    NoSuchRoom,
    RoomFull,
    RoomLocked,
    TickwireError,
    Unauthorized,
    Unavailable,
)

log = structlog.get_logger(__name__)
T = TypeVar("T")


def decode_options(data: bytes, kind: type[T], what: str) -> T:
    """Decode a msgpack map of a client's request.

    Args:
        data: the encoded map; no bytes mean an empty map.
        kind: the expected type.
        what: the name of the field, for the message.

    Raises:
        Malformed: the bytes are not a msgpack map of this type.
    """
    try:
        value: T = decode_payload(data or b"\x80", kind)
        return value
    except MalformedMessage as error:
        raise Malformed(f"{what}: must be a msgpack map of the declared type: {error}") from error


def to_client_error(error: MatchmakingError) -> TickwireError:
    """Return the error that a client receives for an error of the matchmaker."""
    match error:
        case PlacementFull():
            return RoomFull(str(error), retry_after_ms=1000)
        case PlacementLocked():
            return RoomLocked(str(error))
        case RoomNotFound():
            return NoSuchRoom(str(error))
        case StaleLease():
            return NoSuchRoom("the room has changed its owner since: join again", retry_after_ms=500)
        case BadTicket():
            return Unauthorized(f"the ticket is invalid: {error}")
        case BadRequest():
            return Malformed(str(error))
        case MatchmakerUnavailable():
            message = f"matchmaking is unavailable: {error}"
            return Unavailable(message, retry_after_ms=error.retry_after_ms, detail=error.detail)
        case _:
            log.error("matchmaking_failed", error=error.detail)
            return Unavailable("matchmaking has failed", retry_after_ms=1000)
