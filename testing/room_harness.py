"""Runs a room with simulated players, without sockets, stores and sleeps: `RoomHarness`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from tickwire.client.errors import Refused
from tickwire.client.options import JoinOptions
from tickwire.matchmaking import Mode
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.seat import Seat
from tickwire.testing.convergence import NotConverged
from tickwire.testing.convergence_check import find_differences, is_behind
from tickwire.testing.harness_client import HarnessClient
from tickwire.testing.harness_players import HarnessPlayers
from tickwire.testing.harness_setup import RoomSetup
from tickwire.testing.random_play import Action, play_randomly
from tickwire.testing.simulated_network import PERFECT, Network
from tickwire.testing.simulated_room import R, SimulatedRoom

S = TypeVar("S", bound=Room)
JOIN_S_MAX = 30.0
"""How long a client may take to join, in simulated time."""
CONVERGE_TICKS_MAX = 600
"""The most ticks that `check_convergence` waits for clients that reconnect."""


class RoomHarness(SimulatedRoom[R]):
    """A room with simulated players, on a clock that jumps.

        with RoomHarness(Arena, seed=7) as room:
            ann, bob = room.join("ann"), room.join("bob", network=Network(latency_ms=(20, 90), loss=0.02))
            ann.input(fire=True)
            room.run(seconds=3)
            assert bob.world.ships[bob.entity].hp == 80
            room.check_convergence()

    The room, its host, the sessions, the codec and the client core are the real ones; only sockets and stores are
    replaced. Time advances in `run`, and in calls that must wait for a client, such as `join`. All chance depends on
    `seed`: the room's random numbers, ids, tokens and the network. Two runs with one seed are equal, if the game uses
    no other source of chance or time.

    An exception of a hook ends the call in which it was raised, and is raised there, unless `raise_errors` is False.
    Coroutines of the room (`self.run`) run on the simulated time: `asyncio.sleep` takes none.

    Args:
        room_class: the class of the room.
        seed: the seed of the run.
        options: the options for `on_create`.
        name: the name of the room; a durable room needs one. By default the room type.
        network: the network of clients that join without one of their own.
        raise_errors: whether exceptions of hooks are raised; otherwise they are in `errors`.
        holdings: the items that players own at first, by player and item.
        profiles: the profiles that players have at first, by player.
        rooms: the classes of other rooms, which joins, matches and `move_to` create.
        modes: the modes in whose queues clients can wait for a match.

    Attributes:
        seed: the seed.
        clients: the clients by name.
        errors: the exceptions of hooks that were not raised.
        ledger: the transactions and the records of players. It can be made to fail.
        schedule: the chance of the network.
    """

    def __init__(  # noqa: PLR0913 a test names the few that it sets
        self,
        room_class: type[R],
        *,
        seed: int = 1,
        options: Mapping[str, Any] | None = None,
        name: str | None = None,
        network: Network = PERFECT,
        raise_errors: bool = True,
        holdings: Mapping[str, Mapping[str, int]] | None = None,
        profiles: Mapping[str, Mapping[str, Any]] | None = None,
        rooms: Sequence[type[Room]] = (),
        modes: Sequence[Mode] = (),
    ) -> None:
        if not (isinstance(room_class, type) and issubclass(room_class, Room)):
            raise TypeError(f"RoomHarness: pass the class of a room, as in RoomHarness(Arena); got {room_class!r}")
        self.network = network
        setup = RoomSetup(seed, options or {}, name, raise_errors, holdings or {}, profiles or {}, rooms, modes)
        super().__init__(room_class, setup)
        self._players = HarnessPlayers(self._time.loop, seed, self.schedule, self._owner)
        self.clients = self._players.clients

    # -- clients --------------------------------------------------------------------------------------------

    def join(
        self,
        name: str,
        *,
        network: Network | None = None,
        options: Mapping[str, Any] | None = None,
        room_class: type[Room] | None = None,
        request: JoinOptions | None = None,
    ) -> HarnessClient:
        """Connect a new client, join the room, and run until it has its seat.

        Args:
            name: the name of the client, which is the id of its player.
            network: its network; by default that of the harness.
            options: the options for `on_join`.
            room_class: the class of another room to join.
            request: which room of the class, by name, code, labels or party; by default the room of the harness, or
                any open room of another class.

        Raises:
            Refused: the server refused the join.
            AssertionError: the client has no seat after JOIN_S_MAX of simulated time.
        """
        client = self.connect(name, network=network, options=options, room_class=room_class, request=request)
        self._time.run(JOIN_S_MAX, lambda: client.is_seated or client.last_error is not None)
        if not client.is_seated:
            if client.last_error is not None:
                raise Refused(client.last_error)
            raise AssertionError(f"{name!r} has no seat after {JOIN_S_MAX:g} s")
        return client

    def connect(
        self,
        name: str,
        *,
        network: Network | None = None,
        options: Mapping[str, Any] | None = None,
        room_class: type[Room] | None = None,
        request: JoinOptions | None = None,
    ) -> HarnessClient:
        """Connect a new client that joins a room as in `join`, and return at once: `run` delivers its messages."""
        if request is None:
            is_other = room_class not in (None, self._room_class)
            request = JoinOptions() if is_other else JoinOptions(name=self.room.name)
        if options is not None:
            request = msgspec.structs.replace(request, options=dict(options))
        return self._players.add(name, (room_class or self._room_class).room_type, request, network or self.network)

    def open_session(self, name: str, *, network: Network | None = None) -> HarnessClient:
        """Connect a new client that joins no room yet, and run until it is connected. It may list rooms and match.

        Args:
            name: the name of the client, which is the id of its player.
            network: its network; by default that of the harness.

        Raises:
            AssertionError: the client is not connected after JOIN_S_MAX of simulated time.
        """
        client = self._players.add(name, "", JoinOptions(), network or self.network)
        self._time.run(JOIN_S_MAX, lambda: client.is_connected)
        if not client.is_connected:
            raise AssertionError(f"{name!r} is not connected after {JOIN_S_MAX:g} s")
        return client

    def seat_of(self, client: HarnessClient) -> Seat | None:
        """Return the seat of a client in any room; None without one."""
        found = self._players.find_seat(client)
        return None if found is None else found[1]

    def room_of(self, client: HarnessClient) -> Room | None:
        """Return the room in which a client has its seat; None without one."""
        found = self._players.find_seat(client)
        return None if found is None else found[0].room

    def rooms_of(self, room_class: type[S]) -> list[S]:
        """Return the running rooms of a class, the oldest first."""
        return [runtime.room for runtime in self._players.runtimes() if isinstance(runtime.room, room_class)]

    # -- faults of shards -----------------------------------------------------------------------------------

    def migrate(self) -> None:
        """Move the room to another shard, as when its shard stops for a deploy.

        The room is encoded and decoded as for a real move, with its attributes, random state, timers and sessions.
        Connected clients are redirected: they resume their sessions on the new shard as the time advances.

        Raises:
            AssertionError: the room cannot migrate now.
            Exception: a hook of the room raised it.
        """
        self._time.call(self._owner.migrate)

    def crash_and_restore(self) -> None:
        """Lose the room's memory, and continue the room.

        A durable room loses its shard: all connections break, and another shard restores the room and its sessions
        from the last save, which is up to half a second old. A room that was never saved is created again.

        Any other room restarts on its shard, and its players stay connected. With `error_policy = "restore"` it
        continues from the newest restart point, up to a second old, as after an exception in a tick; a second time
        within ten seconds, and without that policy, from its state now, as after a reload of code.

        Raises:
            Exception: a hook of the room raised it.
        """
        if self.runtime.is_durable:
            self._time.call(self._owner.crash)
        else:
            self._time.call(self._owner.restart)

    def random_play(self, actions: Sequence[Action] | Mapping[Action, float], *, steps: int = 200) -> None:
        """Run random actions of random clients, each followed by 1 to 3 ticks.

            def steer(client, rng):
                client.input(thrust=rng.uniform(-1, 1))

            room.random_play({random_input: 10, steer: 5, disconnect_or_reconnect: 1}, steps=500)

        Each action is a choice of the schedule: a failed test with `@seeds` lists the actions that its failure needs.

        Args:
            actions: functions that receive a client and random numbers; a mapping has their weights.
            steps: the number of actions.

        Raises:
            ValueError: the actions or the clients are missing.
            Exception: an action or a hook of the room raised it.
        """
        play_randomly(self, actions, steps)

    # -- checks ---------------------------------------------------------------------------------------------

    def check_convergence(self) -> None:
        """Check that the world of each client equals what its player may see of the server's tables.

        Runs at least one tick, and more while a client reconnects, up to CONVERGE_TICKS_MAX. Then all messages in
        flight are delivered at once, without regard to the latency. The values are compared as they are sent:
        quantised, in the channels and grid cells of each player. Clients that the test has disconnected, and those
        that have left or lost their seat, are not compared.

        Raises:
            NotConverged: a world differs; the error names the tick, client, table, entity and field.
        """
        for _ in range(CONVERGE_TICKS_MAX):
            self.run(ticks=1)
            if not is_behind(self._players):
                break
        self._deliveries.flush()
        self.run_until_idle()
        self._deliveries.flush()
        for difference in find_differences(self._players, self.tick):
            raise NotConverged(difference)
