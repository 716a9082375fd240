"""The contract, imported by both ends: schemas, message codec, fields, delta codec.

Pure: no I/O, no clock, no randomness. Imports none of ours.
"""

SCHEMA_VERSION = 3
"""The version of the contract that this build speaks."""

SCHEMA_VERSION_MIN = 2
"""The oldest version that a server of this build accepts."""

SERVER_MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""The largest message that a server sends and a client takes. A world that needs a larger keyframe is refused."""

SUBPROTOCOL = "tickwire.1"
"""The WebSocket subprotocol that names the contract's major version."""
