"""Rate limits of one connection: frames of all types and all bytes, from the first byte on.

    a token is left         the frame is handled
    no token                reading pauses until there is one: the peer's TCP stack waits, and no message is lost
    no token for FLOOD_S    the connection is closed as a flood; its session can be resumed

A small frame costs one token and a large one more: `bytes_per_second_max` bytes cost as many tokens as
`messages_per_second_max` small messages. A read that completes no frame costs one as well. Tokens are taken from two
buckets: the connection's own, and the one that all connections of its address share. Both must hold a token before.

A silent peer fills its own bucket, up to BURST_S. Messages that a network has delayed for some seconds arrive and
are handled at once. Pure: the caller passes the time.
"""

from __future__ import annotations

import enum

from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.edge.token_bucket import TokenBucket

BURST_S = 10.0
"""A connection that is silent for longer is closed, so the network cannot have delayed more than this."""
FIRST_BURST_S = 1.0
"""The initial burst: a new connection has not been silent, so it may send the messages of one second."""
FLOOD_S = 5.0


class LimitScope(enum.Enum):
    """The owner of the bucket that is empty."""

    CONNECTION = "connection"
    ADDRESS = "address"


class RateLimiter:
    """The buckets of one connection.

    The connection decrements `limiter.own.tokens` itself, because it does so for every frame. It calls `refill` only
    when one of the buckets is empty, so that most frames read no clock and make no call.

    Args:
        settings: the rates.
        address: the bucket of the peer's address.
        now_s: seconds on the clock that `refill` receives.

    Attributes:
        own: the connection's bucket. A large frame may leave it below zero.
        address: the bucket of the address; a connection that learns the client's address from a proxy replaces it.
        token_bytes: the largest frame that costs one token.
    """

    __slots__ = ("_exceeded_since_s", "address", "own", "token_bytes")

    def __init__(self, settings: EdgeSettings, address: TokenBucket, now_s: float) -> None:
        rate = settings.messages_per_second_max
        self.own = TokenBucket(rate, rate * BURST_S, now_s, tokens=rate * FIRST_BURST_S)
        self.address = address
        self.token_bytes = max(1, settings.bytes_per_second_max // rate)
        self._exceeded_since_s: float | None = None

    def charge(self, size: int) -> None:
        """Take the tokens of a frame of `size` bytes."""
        tokens = 1 + (size - 1) // self.token_bytes
        self.own.tokens -= tokens
        self.address.tokens -= tokens

    def refill(self, now_s: float) -> LimitScope | None:
        """Refill the buckets; return the scope of an empty one, or None if both hold a token."""
        self.own.refill(now_s)
        self.address.refill(now_s)
        if self.own.tokens <= 0:
            return LimitScope.CONNECTION
        return LimitScope.ADDRESS if self.address.tokens <= 0 else None

    def mark_exceeded(self, at_s: float) -> None:
        """Note that the connection's own bucket is empty.

        Args:
            at_s: the current time, on the clock of `is_exceeded_since`.
        """
        if self._exceeded_since_s is None:
            self._exceeded_since_s = at_s

    def is_exceeded_since(self, since_s: float, now_s: float) -> bool:
        """Return whether the connection has stayed above its own rate since before a time.

        Args:
            since_s: on the clock of `mark_exceeded`.
            now_s: the current time, on the clock of `refill`.
        """
        if self._exceeded_since_s is None:
            return False
        if self.has_recovered(now_s):
            self._exceeded_since_s = None
            return False
        return self._exceeded_since_s < since_s

    def has_recovered(self, now_s: float) -> bool:
        """Return whether a connection that ran out of tokens has stayed below its rate since."""
        self.own.refill(now_s)
        return self.own.tokens >= self.own.per_second * FIRST_BURST_S
