"""The matchmaker: which shard and room a player goes to, who owns a room, which seats are taken. In Redis.

All keys of a fleet carry one hash tag, so that they live in one slot of a Redis Cluster; queues have a tag a mode
(matchmaking/queue). Every call ends within the deadline: what Redis does not answer by then is MatchmakerUnavailable,
and may or may not have happened; every call is safe to repeat.
"""

from __future__ import annotations

import random
import time

from tickwire.matchmaking.clock import FleetClock
from tickwire.matchmaking.directory import Directory
from tickwire.matchmaking.handoffs import Handoffs
from tickwire.matchmaking.leases import Leases
from tickwire.matchmaking.placement import RoomPlacement
from tickwire.matchmaking.redis_client import Client, address_of, client_of
from tickwire.matchmaking.script_runner import ScriptRunner
from tickwire.matchmaking.session_handoffs import SessionHandoffs
from tickwire.matchmaking.ttls import Ttls


class Matchmaker:
    """A shard's door to Redis.

    Args:
        client: answers in bytes (`decode_responses=False`); closed with the matchmaker.
        namespace: prefix of all keys, for fleets that share a Redis.
        ttls: how long things last.
        deadline_s: the longest that one call may take.
        address: of Redis, for operators.
        chance: which shards are looked at for new rooms.

    Attributes:
        directory: shards and open rooms.
        places: join or create.
        leases: who owns which room, who is seated.
        handovers: rooms that go from one shard to another.
        parcels: what one shard leaves for another.
        clock: the same on all shards.
    """

    def __init__(
        self,
        client: Client,
        *,
        namespace: str = "tickwire",
        ttls: Ttls | None = None,
        deadline_s: float = 2.0,
        address: str = "",
        chance: random.Random | None = None,
    ) -> None:
        self.ttls = ttls or Ttls()
        self.client = client
        self.namespace = namespace
        self.deadline_s = deadline_s
        self.address = address
        self.calls = self.script_runner(namespace)
        self.clock = FleetClock(time.monotonic, time.time)
        self.directory = Directory(self.calls, self.ttls, self.clock)
        self.leases = Leases(self.calls, self.ttls)
        self.handovers = Handoffs(self.calls, self.ttls)
        self.parcels = SessionHandoffs(self.calls)
        spread = chance or random.Random()  # noqa: S311 - spreads load, keeps no secret
        self.places = RoomPlacement(self.calls, self.ttls, spread)

    @classmethod
    def from_url(
        cls, url: str, *, namespace: str = "tickwire", ttls: Ttls | None = None, deadline_s: float = 2.0
    ) -> Matchmaker:
        """A matchmaker on a Redis given by URL; see matchmaking/redis_client.py.

        Raises:
            ValueError: the URL is none of Redis's.
        """
        return cls(
            client_of(url, deadline_s=deadline_s),
            namespace=namespace,
            ttls=ttls,
            deadline_s=deadline_s,
            address=address_of(url),
        )

    def script_runner(self, slot: str) -> ScriptRunner:
        """Runs scripts on the keys of one slot: those that begin with {SLOT}."""
        return ScriptRunner(self.client, prefix=f"{{{slot}}}", deadline_s=self.deadline_s, address=self.address)

    async def aclose(self) -> None:
        """Closes all connections."""
        await self.calls.aclose()
        await self.client.aclose()

    async def ping(self) -> None:
        """Returns when Redis answers.

        Raises:
            MatchmakerUnavailable: it does not.
        """
        await self.calls.ping()
