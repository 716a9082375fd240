"""Runs a room with simulated players, without sockets, stores and sleeps: `RoomHarness`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from tickwire.client.errors import Refused
from tickwire.client.options import JoinOptions
from tickwire.client.world_cache import SharedWorlds
from tickwire.matchmaking import Mode
from tickwire.schemas.messages import Redirect
from tickwire.server.recording.recorder import RoomRecorder
from tickwire.server.rooms.factory import RoomSpec
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat
from tickwire.testing import test_run
from tickwire.testing.convergence import Difference, NotConverged, find_difference
from tickwire.testing.harness_client import ClientContext, HarnessClient
from tickwire.testing.harness_placement import EPOCH, HarnessFleet, find_mode_seats
from tickwire.testing.harness_shard import HarnessShard, ShardContext
from tickwire.testing.memory_ledger import MemoryLedger
from tickwire.testing.raised_errors import RaisedError
from tickwire.testing.random_play import Action, play_randomly
from tickwire.testing.replayed_room import record_room
from tickwire.testing.room_owner import HarnessStores, RoomOwner
from tickwire.testing.simulated_connection import NetworkContext, SimulatedConnection
from tickwire.testing.simulated_network import PERFECT, Deliveries, Network
from tickwire.testing.virtual_loop import create_virtual_loop

R = TypeVar("R", bound=Room)
S = TypeVar("S", bound=Room)
ROOM_ID = "room"
BALANCER_URL = "fleet"
"""The address of all shards: it leads to the one that has the room."""
CALL_S_MAX = 60.0
"""How long a call such as `migrate` may take in simulated time; each has a deadline of its own."""
JOIN_S_MAX = 30.0
"""How long a client may take to join, in simulated time."""
CONVERGE_TICKS_MAX = 600
"""The most ticks that `check_convergence` waits for clients that reconnect."""


class RoomHarness(Generic[R]):
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
        self.seed = seed
        self.schedule = test_run.register(self, seed)
        self.clients: dict[str, HarnessClient] = {}
        self.errors: list[RaisedError] = []
        self.network = network
        self._raise_errors = raise_errors
        self._room_class = room_class
        self._raised: list[RaisedError] = []
        self._faults: list[dict[str, Any]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._recorders: list[RoomRecorder] = []
        self._is_closed = False
        self._loop = create_virtual_loop()
        self._loop.set_exception_handler(lambda loop, context: self._faults.append(context))
        self._deliveries = Deliveries(self._loop)
        self._worlds = SharedWorlds()
        self._loop.run_until(0.5 / room_class.tick_rate_hz)  # the first tick is due at the end of the interval
        self.ledger = MemoryLedger(
            lambda: EPOCH + timedelta(seconds=self._loop.time()), self.schedule.stream("ledger")
        )
        self.ledger.set_records(holdings or {}, profiles or {})
        rng = random.Random(f"{seed}/server")  # noqa: S311 the chance of a test
        room_types: dict[str, type[Room]] = {room_class.room_type: room_class}
        room_types |= {each.room_type: each for each in rooms}
        chance = random.Random(f"{seed}/fleet")  # noqa: S311 the chance of a test
        fleet = HarnessFleet(self._loop, chance, find_mode_seats(modes, room_types))
        context = ShardContext(
            self._loop,
            NetworkContext(self._loop, self._deliveries, self.schedule),
            rng,
            self._raised,
            self._ticked,
            self._find_session,
            self.ledger,
            fleet,
        )
        room_name = room_class.room_type if name is None else name
        spec = RoomSpec(ROOM_ID, room_class.room_type, room_name, epoch=1)
        stores = HarnessStores(self.ledger, fleet)
        self._owner = RoomOwner(lambda url: HarnessShard(url, room_types, context), spec, stores)
        try:
            self._in_loop(lambda: self._owner.create(options or {}))
        except BaseException:
            self.close()
            raise

    # -- the room -------------------------------------------------------------------------------------------

    @property
    def shard(self) -> HarnessShard:
        """The shard that has the room now."""
        return self._owner.shard

    @property
    def shards(self) -> dict[str, HarnessShard]:
        """All shards so far by URL."""
        return self._owner.shards

    @property
    def host(self) -> RoomHost:
        """The rooms of the shard that has the room now."""
        return self.shard.host

    @property
    def runtime(self) -> RoomRuntime:
        """The runtime of the room, also after a migration or a restart.

        Raises:
            AssertionError: the room has closed.
        """
        return self._owner.runtime

    @property
    def room(self) -> R:
        """The game's room, also after a migration or a restart.

        Raises:
            AssertionError: the room has closed.
        """
        room = self.runtime.room
        assert isinstance(room, self._room_class)
        return room

    @property
    def is_open(self) -> bool:
        """Whether the room exists. It closes when it is empty for long, when the game closes it, or on an error."""
        return self.host.get(ROOM_ID) is not None

    @property
    def tick(self) -> int:
        """The number of the room's last tick; 0 if the room has closed."""
        runtime = self.host.get(ROOM_ID)
        return 0 if runtime is None else runtime.tick

    @property
    def now_s(self) -> float:
        """The simulated time in seconds since the harness was created."""
        return self._loop.time()

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
        self._run_until(JOIN_S_MAX, lambda: client.is_seated or client.last_error is not None)
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
        return self._add_client(name, (room_class or self._room_class).room_type, request, network)

    def open_session(self, name: str, *, network: Network | None = None) -> HarnessClient:
        """Connect a new client that joins no room yet, and run until it is connected. It may list rooms and match.

        Args:
            name: the name of the client, which is the id of its player.
            network: its network; by default that of the harness.

        Raises:
            AssertionError: the client is not connected after JOIN_S_MAX of simulated time.
        """
        client = self._add_client(name, "", JoinOptions(), network)
        self._run_until(JOIN_S_MAX, lambda: client.is_connected)
        if not client.is_connected:
            raise AssertionError(f"{name!r} is not connected after {JOIN_S_MAX:g} s")
        return client

    def _add_client(self, name: str, room_type: str, request: JoinOptions, network: Network | None) -> HarnessClient:
        if name in self.clients:
            raise ValueError(f"there is a client {name!r} already")
        number = len(self.clients) + 1
        context = ClientContext(
            self._loop,
            random.Random(f"{self.seed}/client {number}"),  # noqa: S311 the chance of a test
            self.schedule,
            self._connect,
            BALANCER_URL,
            self._worlds,
        )
        client = HarnessClient(name, room_type, request, self.network if network is None else network, context)
        self.clients[name] = client
        client.start()
        return client

    def _connect(self, url: str, network: Network, client: HarnessClient) -> SimulatedConnection | None:
        shard = self.shard if url == BALANCER_URL else self.shards.get(url)
        return None if shard is None or not shard.is_up else shard.connect(network, client)

    def _find_session(self, shard: HarnessShard, room_id: str, session_id: str) -> Redirect | None:
        """Redirect a client whose room is on another shard."""
        if shard is self.shard or not room_id:
            return None
        return Redirect(self.shard.url, is_resume=True)

    def seat_of(self, client: HarnessClient) -> Seat | None:
        """Return the seat of a client in any room; None without one."""
        found = self._find_seat(client)
        return None if found is None else found[1]

    def room_of(self, client: HarnessClient) -> Room | None:
        """Return the room in which a client has its seat; None without one."""
        found = self._find_seat(client)
        return None if found is None else found[0].room

    def _find_seat(self, client: HarnessClient) -> tuple[RoomRuntime, Seat] | None:
        seats = ((runtime, seat) for runtime in self._runtimes() for seat in runtime.seats)
        return next((found for found in seats if found[1].player_id == client.name), None)

    def rooms_of(self, room_class: type[S]) -> list[S]:
        """Return the running rooms of a class, the oldest first."""
        return [runtime.room for runtime in self._runtimes() if isinstance(runtime.room, room_class)]

    def _runtimes(self) -> list[RoomRuntime]:
        return [runtime for shard in self.shards.values() if shard.is_up for runtime in shard.host]

    # -- time -----------------------------------------------------------------------------------------------

    def run(self, *, ticks: int = 0, seconds: float = 0.0) -> None:
        """Advance the time: messages arrive, timers run, and the room ticks.

        Args:
            ticks: the number of ticks of the room; the time then is between two ticks.
            seconds: the time in seconds, after the ticks.

        Raises:
            Exception: a hook of the room raised it.
        """
        if ticks:
            self._run_until(self._ticks_s(ticks))
        if seconds:
            self._run_until(seconds)

    def _ticks_s(self, ticks: int) -> float:
        """Return the time of a number of ticks of the room, and half an interval more. It may have closed."""
        runtime, interval_s = self.host.get(ROOM_ID), 1 / self._room_class.tick_rate_hz
        groups = self.host.tick_scheduler.groups
        due_s = next((group.due_s for group in groups if runtime in group.runtimes), self._loop.time() + interval_s)
        return due_s + (ticks - 0.5) * interval_s - self._loop.time()

    def run_until_idle(self) -> None:
        """Run everything that is due now, without advancing the time."""
        self._run_until(0.0)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Start a coroutine on the event loop of the harness; it runs in `run`."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _run_until(self, seconds: float, is_done: Any = None) -> None:
        self._check_open()
        self._loop.run_until(self._loop.time() + seconds, is_done)
        self._raise_faults()

    def _in_loop(self, call: Callable[[], Coroutine[Any, Any, None] | None]) -> None:
        """Call a function on the event loop, and run until it has ended, and everything that is due then."""
        self._check_open()
        task = self._loop.create_task(_call(call))
        self._loop.run_until(self._loop.time())
        if not task.done():
            self._loop.run_until(self._loop.time() + CALL_S_MAX, task.done)
        error = task.exception()
        if not isinstance(error, AssertionError):
            self._raise_faults()
        task.result()

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeError("the harness is closed")

    def _raise_faults(self) -> None:
        """Raise the first exception of a hook since the last call."""
        faults, self._faults[:] = list(self._faults), []
        raised, self._raised[:] = list(self._raised), []
        if raised and not self._raise_errors:
            self.errors += raised
        elif raised:
            raised[0].error.add_note(str(raised[0]))
            raise raised[0].error
        for fault in faults:
            raise fault.get("exception") or RuntimeError(fault["message"])

    def _ticked(self) -> None:
        self._owner.save_due(self._loop.time())
        test_run.tick_done(self)

    # -- faults of shards -----------------------------------------------------------------------------------

    def migrate(self) -> None:
        """Move the room to another shard, as when its shard stops for a deploy.

        The room is encoded and decoded as for a real move, with its attributes, random state, timers and sessions.
        Connected clients are redirected: they resume their sessions on the new shard as the time advances.

        Raises:
            AssertionError: the room cannot migrate now.
            Exception: a hook of the room raised it.
        """
        self._in_loop(self._owner.migrate)

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
            self._in_loop(self._owner.crash)
        else:
            self._in_loop(self._owner.restart)

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

    def record(self, path: Path | str) -> None:
        """Record the room to a file from now on; see `tickwire.testing.replay`.

        The recording ends when the room closes, migrates or restarts, and with the harness.

        Args:
            path: the file, which is replaced.

        Raises:
            ValueError: the room is recorded already.
        """
        if self.runtime.recorder is not None:
            raise ValueError("the room is recorded already")
        self._recorders.append(record_room(self.runtime, Path(path)))

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
            if not any(self._is_behind(client) for client in self.clients.values()):
                break
        self._deliveries.flush()
        self.run_until_idle()
        self._deliveries.flush()
        for difference in self._differences():
            raise NotConverged(difference)

    def _is_behind(self, client: HarnessClient) -> bool:
        """Return whether a client with a seat has yet to connect, or to be sent its first frame."""
        if client.is_away:
            return False
        seat = self.seat_of(client)
        return not client.is_connected or (seat is not None and seat.view is None)

    def _differences(self) -> Iterator[Difference]:
        for name, client in self.clients.items():
            seat, world = self._find_seat(client), client.core.world
            if client.is_away or (seat is None and world is None):
                continue
            if not client.is_connected:
                yield Difference(self.tick, name, client_value="the client cannot connect")
            elif seat is None or world is None:
                text = "the client has no seat" if seat is not None else "the room has no seat for the client"
                yield Difference(self.tick, name, client_value=text)
            else:
                found = find_difference(*seat, name, world)
                if found is not None:
                    yield found

    # -- the end --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the room and its tasks. Idempotent; `with` calls it."""
        if self._is_closed:
            return
        test_run.closing(self)
        self._is_closed = True
        for recorder in self._recorders:
            recorder.stop("the harness has closed")
        for shard in self.shards.values():
            shard.stop()
        self._loop.end()

    def __enter__(self) -> RoomHarness[R]:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


async def _call(call: Callable[[], Coroutine[Any, Any, None] | None]) -> None:
    result = call()
    if result is not None:
        await result
