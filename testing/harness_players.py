"""The simulated players of a harness: it connects them to its shards, and finds their seats in the rooms."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tickwire.client.options import JoinOptions
from tickwire.client.world_cache import SharedWorlds
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat
from tickwire.testing.harness_client import HarnessClient
from tickwire.testing.harness_shell import ClientContext
from tickwire.testing.room_owner import RoomOwner
from tickwire.testing.schedule import Schedule
from tickwire.testing.simulated_connection import SimulatedConnection
from tickwire.testing.simulated_network import Network
from tickwire.testing.virtual_loop import VirtualLoop

BALANCER_URL = "fleet"
"""The address of all shards: it leads to the one that has the room."""


class HarnessPlayers:
    """The players of a harness.

    Args:
        loop: the clock.
        seed: the seed of the run.
        schedule: the chance of the network.
        owner: the shards.

    Attributes:
        clients: the clients by name.
    """

    def __init__(self, loop: VirtualLoop, seed: int, schedule: Schedule, owner: RoomOwner) -> None:
        self.clients: dict[str, HarnessClient] = {}
        self._loop = loop
        self._seed = seed
        self._schedule = schedule
        self._owner = owner
        self._worlds = SharedWorlds()

    def add(self, name: str, room_type: str, request: JoinOptions, network: Network) -> HarnessClient:
        """Connect a new client, which joins a room of this type; of none if it is empty.

        Raises:
            ValueError: there is a client of this name.
        """
        if name in self.clients:
            raise ValueError(f"there is a client {name!r} already")
        number = len(self.clients) + 1
        context = ClientContext(
            self._loop,
            random.Random(f"{self._seed}/client {number}"),  # noqa: S311 the chance of a test
            self._schedule,
            self._connect,
            BALANCER_URL,
            self._worlds,
        )
        client = self.clients[name] = HarnessClient(name, room_type, request, network, context)
        client.start()
        return client

    def _connect(self, url: str, network: Network, client: HarnessClient) -> SimulatedConnection | None:
        shard = self._owner.shard if url == BALANCER_URL else self._owner.shards.get(url)
        return None if shard is None or not shard.is_up else shard.connect(network, client)

    def find_seat(self, client: HarnessClient) -> tuple[RoomRuntime, Seat] | None:
        """Return the room and the seat of a client; None without one."""
        seats = ((runtime, seat) for runtime in self.runtimes() for seat in runtime.seats)
        return next((found for found in seats if found[1].player_id == client.name), None)

    def runtimes(self) -> Iterator[RoomRuntime]:
        """Yield the rooms of all shards."""
        return (runtime for shard in self._owner.shards.values() if shard.is_up for runtime in shard.host)
