"""Session handoffs: stores the session of a player who is in no room until another shard takes it.

Guarantees: a handoff is taken at most once. A handoff that is not taken expires.
"""

from __future__ import annotations

import msgspec

from tickwire.matchmaking.script_runner import ScriptRunner


class _FoundSession(msgspec.Struct, frozen=True):
    found: bool
    data: msgspec.Raw = msgspec.Raw(b"\xc0")


class SessionHandoffs:
    """Stores and takes the session handoffs of a fleet.

    Args:
        scripts: runs scripts on the fleet's keys.
    """

    def __init__(self, scripts: ScriptRunner) -> None:
        self._scripts = scripts

    async def put(self, name: str, data: bytes, *, ttl_ms: int) -> None:
        """Store a msgpack value under a name, replacing an earlier one.

        Raises:
            MatchmakerUnavailable: Redis does not answer. All other methods raise it too.
        """
        request = {"action": "put", "name": name, "ttl_ms": ttl_ms}
        await self._scripts.run("rooms/session_handoff", request, _FoundSession, (data,))

    async def take(self, name: str) -> bytes | None:
        """Return and delete the value stored under a name, or None."""
        return await self._read("take", name)

    async def get(self, name: str) -> bytes | None:
        """Return the value stored under a name, or None, without deleting it."""
        return await self._read("get", name)

    async def _read(self, action: str, name: str) -> bytes | None:
        found = await self._scripts.run("rooms/session_handoff", {"action": action, "name": name}, _FoundSession)
        return bytes(found.data) if found.found else None
