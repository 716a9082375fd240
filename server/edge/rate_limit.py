"""Limits what one connection may send: frames of every kind and all bytes, from the first byte on.

    a token is left     the frame is handled
    none is left        nothing more is read until there is one: the peer's TCP stack has to wait, no message is lost
    none for FLOOD_S    the connection is closed as a flood; its session can be resumed

Each frame takes one token, or more for a large one: `bytes_per_second_max` bytes take as many tokens as
`messages_per_second_max` small messages. A read that completes no frame takes one, too. It takes them out of two
buckets, the connection's own and the one that all connections of its address share; each must hold one before.

The silence of a peer fills its own bucket, up to BURST_S: what a network held back for some seconds arrives at once
and is handled at once. Pure: the caller passes the time.
"""

from __future__ import annotations

import enum

from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.edge.token_bucket import TokenBucket

BURST_S = 10.0
"""A connection that is silent for longer than this is closed, so no more than this can have been held back."""
FIRST_BURST_S = 1.0
"""A new connection has not been silent for long: it may send what it may send in one second."""
FLOOD_S = 5.0


class LimitScope(enum.Enum):
    """Whose bucket is empty."""

    CONNECTION = "connection"
    ADDRESS = "address"


class RateLimiter:
    """The buckets of one connection.

    Taking is written out by the connection (`limiter.own.level -= 1`), because it is done for every frame. `refill`
    is called only when one of the buckets is empty, so that the usual frame reads no clock and makes no call.

    Args:
        settings: the rates.
        address: the bucket of the peer's address.
        now_s: seconds on the clock that `refill` gets.

    Attributes:
        own: the connection's bucket. A large frame may leave it below zero.
        address: the bucket of the address; a connection that learns the client's address from a proxy replaces it.
        token_bytes: how many bytes a frame may have for one token.
    """

    __slots__ = ("address", "own", "token_bytes")

    def __init__(self, settings: EdgeSettings, address: TokenBucket, now_s: float) -> None:
        rate = settings.messages_per_second_max
        self.own = TokenBucket(rate, rate * BURST_S, now_s, level=rate * FIRST_BURST_S)
        self.address = address
        self.token_bytes = max(1, settings.bytes_per_second_max // rate)

    def take(self, size: int) -> None:
        """Take the tokens of a frame of this many bytes."""
        tokens = 1 + (size - 1) // self.token_bytes
        self.own.level -= tokens
        self.address.level -= tokens

    def refill(self, now_s: float) -> LimitScope | None:
        """Refill the buckets; return the scope of an empty one, or None if both hold a token."""
        self.own.refill(now_s)
        self.address.refill(now_s)
        if self.own.level <= 0:
            return LimitScope.CONNECTION
        return LimitScope.ADDRESS if self.address.level <= 0 else None

    def has_recovered(self, now_s: float) -> bool:
        """Return whether a connection that ran out of tokens has stayed below its rate since."""
        self.own.refill(now_s)
        return self.own.level >= self.own.per_second * FIRST_BURST_S
