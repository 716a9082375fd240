"""What reading the wire can raise: one tree, and nothing else ever leaves the codec.

WireError
├── MalformedMessage    the bytes are not a message of this contract
└── UnknownMessage      well-formed, of a type that a newer peer knows and we do not
"""

from __future__ import annotations


class WireError(ValueError):
    """The bytes at hand cannot be read; the sentence says where and why."""


class MalformedMessage(WireError):
    """The bytes are not a message of this contract."""


class UnknownMessage(WireError):
    """A well-formed message of a type that this build does not know."""
