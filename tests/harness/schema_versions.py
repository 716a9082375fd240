"""Clients of all schema versions that a server accepts. The client core reads the messages of each."""

from __future__ import annotations

import msgspec

from tickwire.schemas import SCHEMA_VERSION, SCHEMA_VERSION_MIN, STRUCTS_VERSION_MIN
from tickwire.schemas.codec import decode_client, decode_server, encode_client
from tickwire.schemas.messages import Hello, InputAck, StateFrame
from tickwire.schemas.state_messages import is_struct

VERSIONS = tuple(range(SCHEMA_VERSION_MIN, SCHEMA_VERSION + 1))


def with_version(hello: bytes, version: int) -> bytes:
    """Return a Hello as a client of this schema version sends it."""
    message = decode_client(hello)
    assert isinstance(message, Hello)
    return encode_client(msgspec.structs.replace(message, schema_version=version))


def assert_has_form(data: bytes, version: int) -> None:
    """Assert that a message is a struct, or a table, as a client of this schema version reads it."""
    is_hot = isinstance(decode_server(data), StateFrame | InputAck)
    assert is_struct(data) == (is_hot and version >= STRUCTS_VERSION_MIN), f"not a message of version {version}"
