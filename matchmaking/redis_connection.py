"""The connection of a shard to Redis, from which the scripts of all slots run."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tickwire.matchmaking.redis_client import Client, address_from_url, connect
from tickwire.matchmaking.script_runner import ScriptRunner


class RedisConnection(msgspec.Struct, frozen=True, kw_only=True):
    """A client of Redis, and the rules for its calls.

    Args:
        client: returns bytes (`decode_responses=False`).
        deadline_s: the longest that one call may take.
        address: the address of Redis, for operators.
        observe: receives the duration of each round trip to Redis, in seconds.
    """

    client: Client
    deadline_s: float = 2.0
    address: str = ""
    observe: Callable[[float], object] = lambda seconds: None

    @classmethod
    def from_url(
        cls, url: str, *, deadline_s: float = 2.0, observe: Callable[[float], object] = lambda seconds: None
    ) -> RedisConnection:
        """Return a connection to a Redis URL; see matchmaking/redis_client.py.

        Raises:
            ValueError: the URL is not a valid URL of Redis.
        """
        client = connect(url, deadline_s=deadline_s)
        return cls(client=client, deadline_s=deadline_s, address=address_from_url(url), observe=observe)

    def create_script_runner(self, slot: str) -> ScriptRunner:
        """Return a runner of scripts on the keys of one slot: those that begin with {SLOT}."""
        return ScriptRunner(
            self.client,
            prefix=f"{{{slot}}}",
            deadline_s=self.deadline_s,
            address=self.address,
            observe=self.observe,
        )

    async def aclose(self) -> None:
        """Close all connections of the client."""
        await self.client.aclose()
