"""How long things last in Redis without being renewed."""

from __future__ import annotations

import msgspec


class Ttls(msgspec.Struct, frozen=True):
    """Milliseconds, all of them.

    Args:
        shard_ms: a shard that has not beaten for so long is gone.
        lease_ms: a room whose lease was not renewed for so long may be taken over.
        reservation_ms: a seat is held for so long.
        heal_ms: a fleet that Redis has forgotten gives out no new names for so long.
    """

    shard_ms: int = 10_000
    lease_ms: int = 10_000
    reservation_ms: int = 15_000
    heal_ms: int = 3_000
