"""The attributes of a connection that the write of a tick reads: with the native kernel, they are fields of a struct.

The kernel reads them once a player and tick, without a call: see schemas/_kernel_seats.h. Python code uses them as
attributes in both cases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tickwire.schemas import kernel

if TYPE_CHECKING or not kernel.is_native:

    class SocketFields:
        """The base class of a connection.

        Attributes:
            descriptor: the socket while the connection is open, for direct sends; -1 otherwise, and always with TLS.
            is_congested: whether the write buffer holds more than its limit.
            may_hold_bytes: whether the transport may hold bytes: it was written to since `unsent_bytes` returned 0.
        """

        __slots__ = ("descriptor", "is_congested", "may_hold_bytes")

        descriptor: int
        is_congested: bool
        may_hold_bytes: bool

else:
    SocketFields = kernel.SocketFields
