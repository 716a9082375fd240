"""The lifetimes of keys in Redis that are not renewed."""

from __future__ import annotations

import msgspec


class Ttls(msgspec.Struct, frozen=True):
    """Lifetimes, in milliseconds.

    Args:
        shard_ms: the directory drops a shard that has sent no heartbeat for this time.
        lease_ms: another shard may recover a room whose lease was not renewed for this time.
        reservation_ms: how long a seat is reserved.
        recovery_ms: after Redis was emptied, new names are refused for this time.
    """

    shard_ms: int = 10_000
    lease_ms: int = 10_000
    reservation_ms: int = 15_000
    recovery_ms: int = 3_000
