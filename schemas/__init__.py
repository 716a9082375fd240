"""The contract, imported by both ends: schemas, message codec, fields, delta codec.

Pure: no I/O, no clock, no randomness. Imports none of ours.
"""

SCHEMA_VERSION = 3
"""The version of the contract that this build speaks."""

SCHEMA_VERSION_MIN = 2
"""The oldest version that a server of this build accepts."""

SUBPROTOCOL = "tickwire.1"
"""The WebSocket subprotocol that names the contract's major version."""
