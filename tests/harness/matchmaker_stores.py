"""The stores on which the contract tests of the matchmaker run: a real Redis, and the in-process one.

A test that takes a store waits with `wait`, which lets the clock of the in-process store jump. The methods that
follow it read the state of the store, or change it as a failure does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

from redis.asyncio import Redis

from tickwire.matchmaking import Matchmaker, Ttls
from tickwire.matchmaking.presence import PARTITIONS, presence_slot
from tickwire.matchmaking.presence_wake import PresenceWake
from tickwire.matchmaking.redis_connection import RedisConnection
from tickwire.matchmaking.scripts import Scripts
from tickwire.testing.matchmaking import MemoryConnection, create_matchmaker


class MatchmakerStore(Protocol):
    """A store, and the failures that a test may cause."""

    namespace: str

    def create(self, *, ttls: Ttls | None = None) -> Matchmaker:
        """Return a new matchmaker of the fleet."""
        ...

    def create_runner(self, mode: str) -> Scripts:
        """Return a runner of scripts on the queue of a mode."""
        ...

    async def wait(self, seconds: float) -> None:
        """Let time pass on the clock of the store."""

    def now_us(self) -> int:
        """Return the time on the clock of the store, or of this machine, which it is on."""
        ...

    async def list_room_ids(self) -> list[str]:
        """Return the rooms with a valid lease."""
        ...

    async def list_seats(self, room_id: str) -> list[str]:
        """Return the players with a seat or a reservation."""
        ...

    async def end_lease(self, room_id: str) -> None:
        """End the lease of a room."""

    async def delay_heartbeat(self, shard_id: str, ms: int) -> None:
        """Make the last heartbeat of a shard older."""

    async def forget_shard(self, shard_id: str) -> None:
        """Let the entry of a shard expire."""

    async def end_leadership(self, mode: str) -> None:
        """End the lease of the leader of a mode in the region ""."""

    async def silence_agent(self, mode: str, agent_id: str) -> None:
        """Make the last sync of a queue agent very old."""

    async def list_queued(self, mode: str) -> dict[str, list[str]]:
        """Return the tickets, the waiting tickets, the matches and the agents of a queue."""
        ...

    async def forget_presence(self) -> None:
        """Delete the presence of all players, as a restart of Redis without its data does."""

    async def lose_notices(self, shard_id: str) -> None:
        """Delete the notices of presence for a shard."""

    async def forget_present_shard(self, shard_id: str) -> None:
        """Let the key of a shard expire, so that its presence does not count."""

    async def aclose(self) -> None:
        """Close all matchmakers and runners."""


class RedisStore:
    """A real Redis."""

    def __init__(self, url: str, namespace: str) -> None:
        self.namespace = namespace
        self._url = url
        self._redis = Redis.from_url(url, decode_responses=True)
        self._made: list[Matchmaker | Scripts] = []

    def create(self, *, ttls: Ttls | None = None) -> Matchmaker:
        made = Matchmaker.from_url(self._url, namespace=self.namespace, ttls=ttls, deadline_s=5.0)
        self._made.append(made)
        return made

    def create_runner(self, mode: str) -> Scripts:
        made = self.create().connection.create_script_runner(f"{self.namespace}:{mode}")
        self._made.insert(0, made)
        return made

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def now_us(self) -> int:
        return time.time_ns() // 1000

    async def run(self, *command: Any) -> Any:
        """Run a command of Redis."""
        return await self._redis.execute_command(*command)

    async def list_room_ids(self) -> list[str]:
        return [key.rpartition(":")[2] for key in await self.run("KEYS", f"{{{self.namespace}}}:room:*")]

    async def list_seats(self, room_id: str) -> list[str]:
        found: list[str] = await self.run("ZRANGE", f"{{{self.namespace}}}:seats:{room_id}", 0, -1)
        return found

    async def end_lease(self, room_id: str) -> None:
        await self.run("DEL", f"{{{self.namespace}}}:room:{room_id}")

    async def delay_heartbeat(self, shard_id: str, ms: int) -> None:
        await self.run("ZINCRBY", f"{{{self.namespace}}}:shards", -ms, shard_id)

    async def forget_shard(self, shard_id: str) -> None:
        await self.run("DEL", f"{{{self.namespace}}}:shard:{shard_id}")

    async def end_leadership(self, mode: str) -> None:
        await self.run("DEL", f"{{{self.namespace}:{mode}}}:leader:")

    async def silence_agent(self, mode: str, agent_id: str) -> None:
        await self.run("ZADD", f"{{{self.namespace}:{mode}}}:agents", 1, agent_id)

    async def list_queued(self, mode: str) -> dict[str, list[str]]:
        prefix = f"{{{self.namespace}:{mode}}}"
        return {
            "tickets": await self.run("HKEYS", f"{prefix}:tickets"),
            "waiting": await self.run("ZRANGE", f"{prefix}:waiting", 0, -1),
            "matches": await self.run("HKEYS", f"{prefix}:matches"),
            "agents": await self.run("ZRANGE", f"{prefix}:agents", 0, -1),
        }

    def create_wake(self, shard_id: str, on_wake: Callable[[int], object]) -> PresenceWake:
        """Return a subscription to the notices of a shard."""
        connection = self.create().connection
        assert isinstance(connection, RedisConnection)
        return PresenceWake(connection.client, self.namespace, shard_id, on_wake)

    async def forget_presence(self) -> None:
        for key in await self.run("KEYS", f"{{{self.namespace}:presence:*"):
            await self.run("DEL", key)

    async def lose_notices(self, shard_id: str) -> None:
        for number in range(PARTITIONS):
            await self.run("DEL", f"{{{presence_slot(self.namespace, number)}}}:inbox:{shard_id}")

    async def forget_present_shard(self, shard_id: str) -> None:
        for number in range(PARTITIONS):
            await self.run("DEL", f"{{{presence_slot(self.namespace, number)}}}:shard:{shard_id}")

    async def aclose(self) -> None:
        for made in self._made:
            await made.aclose()
        await self._redis.aclose()


class MemoryStore:
    """The in-process store, by a clock that jumps."""

    def __init__(self) -> None:
        self.namespace = "test"
        self._now_us = time.time_ns() // 1000
        self._connection = MemoryConnection(lambda: self._now_us)

    def create(self, *, ttls: Ttls | None = None) -> Matchmaker:
        return create_matchmaker(
            lambda: self._now_us, connection=self._connection, namespace=self.namespace, ttls=ttls
        )

    def create_runner(self, mode: str) -> Scripts:
        return self._connection.create_script_runner(f"{self.namespace}:{mode}")

    async def wait(self, seconds: float) -> None:
        self._now_us += int(seconds * 1e6)

    def now_us(self) -> int:
        return self._now_us

    async def list_room_ids(self) -> list[str]:
        return [room.room_id for room in self._connection.fleets[self.namespace].rooms]

    async def list_seats(self, room_id: str) -> list[str]:
        return sorted(self._connection.fleets[self.namespace].get_seats(room_id))

    async def end_lease(self, room_id: str) -> None:
        self._connection.fleets[self.namespace].rooms.pop(room_id)

    async def delay_heartbeat(self, shard_id: str, ms: int) -> None:
        shard = self._connection.fleets[self.namespace].shards.get(shard_id)
        assert shard is not None
        shard.seen_ms -= ms

    async def forget_shard(self, shard_id: str) -> None:
        self._connection.fleets[self.namespace].shards.pop(shard_id)

    async def end_leadership(self, mode: str) -> None:
        self._connection.queues[f"{self.namespace}:{mode}"].leaders.pop("")

    async def silence_agent(self, mode: str, agent_id: str) -> None:
        self._connection.queues[f"{self.namespace}:{mode}"].agents[agent_id] = 1

    async def list_queued(self, mode: str) -> dict[str, list[str]]:
        queue = self._connection.queues[f"{self.namespace}:{mode}"]
        found = {name: getattr(queue, name) for name in ("tickets", "waiting", "matches", "agents")}
        return {name: sorted(values) for name, values in found.items()}

    async def forget_presence(self) -> None:
        for partition in self._connection.presence.values():
            partition.clear()

    async def lose_notices(self, shard_id: str) -> None:
        for partition in self._connection.presence.values():
            partition.inboxes.pop(shard_id)

    async def forget_present_shard(self, shard_id: str) -> None:
        for partition in self._connection.presence.values():
            partition.shards.pop(shard_id)

    async def aclose(self) -> None:
        """Nothing is open."""
