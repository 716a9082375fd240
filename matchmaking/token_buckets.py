"""Token buckets that all processes of a fleet share: in Redis, by the time of Redis.

A request takes one token from each bucket of one identity, such as a player or an address, or from none. The buckets
of one identity are in one slot; identities are spread over SLOTS slots of a Redis Cluster. `LocalTokenBuckets` keeps
the same contract within one process.

The identity and the names may come from a client: they are part of a key, never of a script.
"""

from __future__ import annotations

import hashlib
import math
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from tickwire.matchmaking.scripts import ScriptConnection

SLOTS = 16
IDENTITY_CHARACTERS_MAX = 64
"""Longer identities are replaced by a digest, so that a client does not choose the length of a key."""
LOCAL_BUCKETS_MAX = 20_000
"""The buckets of one process. The one that was used least recently is forgotten, which fills it."""


class BucketLimit(msgspec.Struct, frozen=True):
    """The size of a bucket.

    Args:
        name: the name of the bucket; the buckets of an identity have different names.
        capacity: the tokens of a full bucket.
        window_s: the time in which an empty bucket fills, seconds.
    """

    name: str
    capacity: int
    window_s: float

    @property
    def interval_us(self) -> int:
        """The time in which one token is added: a whole number, so that the arithmetic is exact everywhere."""
        return max(1, math.ceil(self.window_s * 1e6 / self.capacity))


class BucketState(msgspec.Struct, frozen=True):
    """A bucket after a request.

    Args:
        remaining: the tokens that are left.
        retry_us: the time until the bucket has a token; 0 if this bucket did not refuse.
        full_us: the time until the bucket is full.
    """

    remaining: int
    retry_us: int
    full_us: int


class TakeResult(msgspec.Struct, frozen=True):
    """The result of a request.

    Args:
        is_allowed: whether the tokens were taken.
        buckets: the state of each bucket, in the order of the request.
    """

    is_allowed: bool
    buckets: list[BucketState]


class TokenBuckets(Protocol):
    """Takes tokens."""

    async def take(self, identity: str, limits: Sequence[BucketLimit]) -> TakeResult:
        """Take one token from each of the identity's buckets, or from none if one of them is empty. Atomic.

        A repetition takes further tokens.

        Raises:
            MatchmakerUnavailable: the store does not answer; the tokens may have been taken.
        """
        ...


class _Bucket(msgspec.Struct, frozen=True):
    name: str
    interval_us: int
    capacity: int


class _Take(msgspec.Struct, frozen=True):
    identity: str
    buckets: list[_Bucket]


class SharedTokenBuckets:
    """Implements `TokenBuckets` for all processes of a fleet. Close it with `aclose`.

    Args:
        connection: the connection to Redis; not closed with the buckets.
        namespace: the namespace of the fleet.
    """

    def __init__(self, connection: ScriptConnection, namespace: str) -> None:
        self._runners = [connection.create_script_runner(f"{namespace}:limits:{slot}") for slot in range(SLOTS)]

    async def take(self, identity: str, limits: Sequence[BucketLimit]) -> TakeResult:
        """See `TokenBuckets.take`."""
        name = bounded_identity(identity)
        buckets = [_Bucket(limit.name, limit.interval_us, limit.capacity) for limit in limits]
        runner = self._runners[zlib.crc32(name.encode()) % SLOTS]
        return await runner.run("limits/take", _Take(name, buckets), TakeResult)

    async def aclose(self) -> None:
        """Cancel all calls in flight. Idempotent."""
        for runner in self._runners:
            await runner.aclose()


class LocalTokenBuckets:
    """Implements `TokenBuckets` within one process.

    Args:
        monotonic_s: a monotonic clock, seconds.
        buckets_max: the number of buckets that are remembered.
    """

    def __init__(
        self, monotonic_s: Callable[[], float] = time.monotonic, *, buckets_max: int = LOCAL_BUCKETS_MAX
    ) -> None:
        self._monotonic_s = monotonic_s
        self._buckets_max = buckets_max
        self._full_at: OrderedDict[tuple[str, str], int] = OrderedDict()  # us

    async def take(self, identity: str, limits: Sequence[BucketLimit]) -> TakeResult:
        """See `TokenBuckets.take`; never unavailable."""
        now = int(self._monotonic_s() * 1e6)
        name = bounded_identity(identity)
        found = [self._bucket(name, limit, now) for limit in limits]
        is_allowed = all(excess <= 0 for _, excess in found)
        states = []
        for limit, (full_at, excess) in zip(limits, found, strict=True):
            if is_allowed:
                full_at += limit.interval_us
                self._remember((limit.name, name), full_at)
            left = limit.capacity * limit.interval_us - (full_at - now)
            states.append(BucketState(left // limit.interval_us, max(0, excess), full_at - now))
        return TakeResult(is_allowed, states)

    def _bucket(self, name: str, limit: BucketLimit, now: int) -> tuple[int, int]:
        """Return when the bucket is full, and by how much the next token would exceed it."""
        span = limit.capacity * limit.interval_us
        full_at = min(max(self._full_at.get((limit.name, name), 0), now), now + span)
        return full_at, full_at + limit.interval_us - now - span

    def _remember(self, key: tuple[str, str], full_at: int) -> None:
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._buckets_max:
            self._full_at.popitem(last=False)


def bounded_identity(identity: str) -> str:
    """Return the identity, or a digest of one that is long or not text in UTF-8."""
    if len(identity) <= IDENTITY_CHARACTERS_MAX and identity.isascii():
        return identity
    return hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
