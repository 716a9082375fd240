"""The matchmaker: assigns players to shards and rooms, and records the owner and the seats of each room, in Redis.

Tests of rooms run it on the in-process store of `tickwire.testing` instead.

All keys of a fleet carry one hash tag, so that they are in one slot of a Redis Cluster. Each queue has a hash tag of
its own (matchmaking/queue), and presence has several (matchmaking/presence.py). Every call ends within the deadline.
If Redis does not reply by then, the call raises MatchmakerUnavailable, and its change may or may not have been made;
every call is safe to repeat.
"""

from __future__ import annotations

from collections.abc import Callable

from tickwire.matchmaking.clock import FleetClock
from tickwire.matchmaking.directory import Directory
from tickwire.matchmaking.environment import MatchmakerEnvironment
from tickwire.matchmaking.handoffs import Handoffs
from tickwire.matchmaking.leases import Leases
from tickwire.matchmaking.placement import RoomPlacement
from tickwire.matchmaking.presence import Presence
from tickwire.matchmaking.redis_connection import RedisConnection
from tickwire.matchmaking.scripts import ScriptConnection
from tickwire.matchmaking.session_handoffs import SessionHandoffs
from tickwire.matchmaking.ttls import Ttls


class Matchmaker:
    """The connection of a shard to the matchmaker in Redis.

    Args:
        connection: closed with the matchmaker.
        namespace: the prefix of all keys, for fleets that share a Redis.
        ttls: the lifetimes of entries.
        environment: the clocks and the chance; by default those of this machine.

    Attributes:
        scripts: runs scripts on the fleet's keys.
        directory: lists shards and open rooms.
        placement: finds or creates rooms.
        leases: the owners and seats of rooms.
        handoffs: transfers rooms from one shard to another.
        session_handoffs: stores sessions on their way from one shard to another.
        presence: the shard and the session of each player.
        clock: shows the same time on all shards.
        environment: the clocks and the chance.
    """

    def __init__(
        self,
        connection: ScriptConnection,
        *,
        namespace: str = "tickwire",
        ttls: Ttls | None = None,
        environment: MatchmakerEnvironment | None = None,
    ) -> None:
        self.connection = connection
        self.namespace = namespace
        self.ttls = ttls or Ttls()
        self.environment = environment or MatchmakerEnvironment()
        self.scripts = connection.create_script_runner(namespace)
        self.clock = FleetClock(self.environment.monotonic_s, self.environment.wall_s)
        self.directory = Directory(self.scripts, self.ttls, self.clock)
        self.leases = Leases(self.scripts, self.ttls)
        self.handoffs = Handoffs(self.scripts, self.ttls)
        self.session_handoffs = SessionHandoffs(self.scripts)
        self.placement = RoomPlacement(self.scripts, self.ttls, self.environment)
        self.presence = Presence(connection, namespace, self.ttls)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        namespace: str = "tickwire",
        ttls: Ttls | None = None,
        deadline_s: float = 2.0,
        observe: Callable[[float], object] = lambda seconds: None,
    ) -> Matchmaker:
        """Return a matchmaker for a Redis URL; see matchmaking/redis_client.py.

        Raises:
            ValueError: the URL is not a valid URL of Redis.
        """
        connection = RedisConnection.from_url(url, deadline_s=deadline_s, observe=observe)
        return cls(connection, namespace=namespace, ttls=ttls)

    async def aclose(self) -> None:
        """Close all connections."""
        await self.scripts.aclose()
        await self.presence.aclose()
        await self.connection.aclose()

    async def ping(self) -> None:
        """Check that Redis answers.

        Raises:
            MatchmakerUnavailable: Redis does not answer.
        """
        await self.scripts.ping()
