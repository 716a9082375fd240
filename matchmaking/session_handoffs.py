"""Session handoffs: stores the session of a player who is in no room until another shard takes it.

Guarantees: at most one shard takes a handoff. It may repeat the call, because a reply may be lost, and discards the
handoff afterwards. A handoff that is not taken or not discarded expires.
"""

from __future__ import annotations

import msgspec

from tickwire.matchmaking.scripts import Scripts

TAKEN_MS = 30_000
"""How long a handoff that was taken is kept for a repeated call, at most."""


class _FoundSession(msgspec.Struct, frozen=True):
    found: bool
    data: msgspec.Raw = msgspec.Raw(b"\xc0")
    taker: str = ""


class SessionHandoffs:
    """Stores and takes the session handoffs of a fleet.

    Args:
        scripts: runs scripts on the fleet's keys.
    """

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def put(self, name: str, data: bytes, *, ttl_ms: int) -> None:
        """Store a msgpack value under a name, replacing an earlier one.

        Raises:
            MatchmakerUnavailable: Redis does not answer. All other methods raise it too.
        """
        await self._run({"action": "put", "name": name, "ttl_ms": ttl_ms}, data)

    async def get(self, name: str) -> bytes | None:
        """Return the value stored under a name, or None."""
        found = await self._run({"action": "get", "name": name})
        return bytes(found.data) if found.found else None

    async def take(self, name: str, shard_id: str) -> bytes | None:
        """Take the value stored under a name; return None if there is none, or if another shard has taken it.

        A repeated call returns the value again, until `discard` or TAKEN_MS.
        """
        request = {"action": "take", "name": name, "shard_id": shard_id, "taken_ms": TAKEN_MS}
        found = await self._run(request)
        return bytes(found.data) if found.found else None

    async def discard(self, name: str, shard_id: str) -> None:
        """Delete the value stored under a name, unless another shard has taken it. Idempotent."""
        await self._run({"action": "discard", "name": name, "shard_id": shard_id})

    async def find_taker(self, name: str) -> str:
        """Return the id of the shard that has taken the value and not discarded it; empty if there is none."""
        return (await self._run({"action": "find_taker", "name": name})).taker

    async def _run(self, request: dict[str, object], *packed: bytes) -> _FoundSession:
        return await self._scripts.run("rooms/session_handoff", request, _FoundSession, packed)
