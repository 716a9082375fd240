"""Removes secrets from entries and keyframes: values under keys that name a secret, and texts that are tokens.

The replacement has the type of the value, so that the replayed room can still read its arguments. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.payloads import decode_payload, encode_payload
from tickwire.server.observability.redaction import REDACTED, TEXT_CHARACTERS_MAX, is_secret, redact_text
from tickwire.server.rooms.value_codec import ReferenceSource, encode_value

_MAY_BE_SECRET = re.compile(rb"(?i)token|ticket|secret|password|authorization|resume|eyJ|://|bearer ")
"""Occurs in each encoded value that has something to redact: far cheaper to find than the value itself is to walk."""
DEPTH_MAX = 32
"""As deep as an attribute of a room may be. Deeper values are replaced."""
_CONTAINERS: tuple[type[Any], ...] = (list, tuple, set, frozenset)


def redact_encoded(payload: bytes) -> bytes:
    """Return an encoded payload of a client without secrets. A payload that is not msgpack is returned as it is."""
    if not payload:
        return payload
    try:
        value = decode_payload(payload)
    except MalformedMessage:
        return payload
    redacted = redact_payload(value)
    return payload if redacted == value else encode_payload(redacted)


def encode_redacted(value: Any, room: ReferenceSource) -> bytes:
    """Return a value of the game without secrets, encoded as an attribute of its room.

    Raises:
        NotCopied, OverflowError, ValueError: see `encode_value`.
    """
    return redact_attribute(value, encode_value(value, room), room)


def redact_attribute(value: Any, encoded: bytes, room: ReferenceSource) -> bytes:
    """Return an encoded attribute without secrets.

    Args:
        value: the attribute.
        encoded: the attribute, encoded with `encode_value`.
        room: the room.
    """
    return encode_value(redact_payload(value), room) if _MAY_BE_SECRET.search(encoded) else encoded


def redact_payload(value: Any, depth: int = 0) -> Any:
    """Return a value without secrets: text, numbers, and containers of them."""
    match value:
        case str():
            return redact_text(value) if len(value) <= TEXT_CHARACTERS_MAX else value
        case Mapping():
            if depth >= DEPTH_MAX:
                return {}
            return {
                key: _blank(inner) if is_secret(key) else redact_payload(inner, depth + 1)
                for key, inner in value.items()
            }
        case list() | tuple() | set() | frozenset():
            kind = next(kind for kind in _CONTAINERS if isinstance(value, kind))
            return kind() if depth >= DEPTH_MAX else kind(redact_payload(inner, depth + 1) for inner in value)
    return value


def _blank(value: Any) -> Any:
    """Return a value of the same type that says nothing."""
    match value:
        case str():
            return REDACTED
        case bytes():
            return REDACTED.encode()
        case None | bool():
            return value if value is None else False
        case int() | float():
            return type(value)(0)
        case Mapping():
            return {}
    return next((kind() for kind in _CONTAINERS if isinstance(value, kind)), None)
