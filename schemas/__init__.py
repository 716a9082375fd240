"""The contract of client and server: schemas, message codec, fields, delta codec.

Pure: no I/O, no clock, no randomness. Imports no other package of Tickwire.
"""

SCHEMA_VERSION = 5
"""The version of the contract in this build."""

SCHEMA_VERSION_MIN = 3
"""The oldest version that a server of this build accepts."""

STRUCTS_VERSION_MIN = 4
"""The oldest version whose clients read state frames and input acknowledgements as structs."""

AUTHENTICATE_VERSION_MIN = 5
"""The oldest version whose clients know Authenticated and TokenExpiring."""

SERVER_MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""The largest message that a server sends and a client accepts. A room with a larger keyframe fails."""

SUBPROTOCOL = "tickwire.1"
"""The WebSocket subprotocol that names the contract's major version."""
