"""What this build says to clients of the schema version before: nothing that they could not read. Pure.

1   the first
2   resume (Welcome.generation, Hello.room_id, ...), Rate, and four more error codes
"""

from __future__ import annotations

import msgspec

from schemas import SCHEMA_VERSION
from schemas.messages import Error, ErrorCode, Goodbye, Message, Rate, Reply

RESUMED_SINCE = 2
"""Clients of older versions know of no resume: nobody keeps their seats for them."""
_CODES_OF_1 = {
    ErrorCode.REPLACED: ErrorCode.UNAVAILABLE,
    ErrorCode.ALREADY_CONNECTED: ErrorCode.UNAVAILABLE,
    ErrorCode.RESYNC: ErrorCode.UNAVAILABLE,
    ErrorCode.COMMAND_TOO_OLD: ErrorCode.COMMAND_FAILED,
}


def as_spoken(message: Message, version: int) -> Message | None:
    """A message as a client of that version understands it; None when it knows nothing of the kind."""
    if version >= SCHEMA_VERSION:
        return message
    if isinstance(message, Rate):
        return None
    if isinstance(message, Error | Goodbye) and message.code in _CODES_OF_1:
        return msgspec.structs.replace(message, code=_CODES_OF_1[message.code])
    if isinstance(message, Reply) and message.error in _CODES_OF_1:
        return msgspec.structs.replace(message, error=_CODES_OF_1[message.error])
    return message
