"""Parcels: what one shard leaves for whichever shard asks for it first: a session without a room, on its way.

Guarantees: a parcel is taken once. One that nobody takes is gone after its time.
"""

from __future__ import annotations

import msgspec

from tickwire.matchmaking.script_runner import ScriptRunner


class _Found(msgspec.Struct, frozen=True):
    found: bool
    parcel: msgspec.Raw = msgspec.Raw(b"\xc0")


class SessionHandoffs:
    """Parcels of a fleet.

    Args:
        calls: the door to Redis.
    """

    def __init__(self, calls: ScriptRunner) -> None:
        self._calls = calls

    async def put(self, name: str, parcel: bytes, *, ttl_ms: int) -> None:
        """Leaves one, packed as a msgpack value; one of that name is replaced.

        Raises:
            MatchmakerUnavailable: Redis does not answer. So do all others here.
        """
        await self._calls.run("parcel", {"how": "put", "name": name, "ttl_ms": ttl_ms}, _Found, (parcel,))

    async def take(self, name: str) -> bytes | None:
        """The parcel of that name; nobody else gets it."""
        found = await self._calls.run("parcel", {"how": "take", "name": name}, _Found)
        return bytes(found.parcel) if found.found else None

    async def look(self, name: str) -> bytes | None:
        """Return the parcel of that name, and leave it there."""
        found = await self._calls.run("parcel", {"how": "look", "name": name}, _Found)
        return bytes(found.parcel) if found.found else None
