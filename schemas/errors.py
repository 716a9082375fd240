"""The exceptions of the codec: decoding raises no others.

WireError
├── MalformedMessage    the bytes are not a message of this contract
│   └── InvalidValue    well-formed MessagePack or JSON, with a value that does not have the expected type
└── UnknownMessage      a well-formed message of a type that only a newer build knows
"""

from __future__ import annotations


class WireError(ValueError):
    """The bytes cannot be decoded; the message says where and why."""


class MalformedMessage(WireError):
    """The bytes are not a message of this contract."""


class InvalidValue(MalformedMessage):
    """Well-formed MessagePack or JSON, with a value that does not have the expected type; the message says where."""


class UnknownMessage(WireError):
    """A well-formed message of a type that this build does not know."""
