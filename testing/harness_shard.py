"""One simulated shard: a real RoomHost, session registry and handshake, without sockets and stores."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple

from tickwire.schemas.messages import Redirect
from tickwire.server.edge.auth.authenticator import Identity
from tickwire.server.edge.context import SessionContext
from tickwire.server.edge.counters import EdgeCounters
from tickwire.server.edge.handshake import SessionHandshake
from tickwire.server.edge.resume_tokens import ResumeTokens
from tickwire.server.edge.session_registry import SessionRegistry
from tickwire.server.edge.session_token import TokenPolicy
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.persistence.room_transactions import RoomTransactionService
from tickwire.server.persistence.transactions import TransactionService
from tickwire.server.rooms.host import HostCallbacks, RoomHost
from tickwire.server.rooms.room import Room
from tickwire.testing.harness_placement import HarnessFleet, PlayerSources, ShardPlacement
from tickwire.testing.memory_ledger import MemoryLedger
from tickwire.testing.raised_errors import RaisedError, RaisedErrors
from tickwire.testing.simulated_connection import ConnectionUser, NetworkContext, SimulatedConnection
from tickwire.testing.simulated_network import Network
from tickwire.testing.virtual_loop import VirtualLoop, VirtualTimers

SWEEP_INTERVAL_S = 1.0
"""How often the time limits of connections and sessions are checked, as on a real shard."""
TRANSACTION_TIMEOUT_S = 5.0
"""The longest time of a transaction, in simulated time, as on a real shard."""
SETTINGS = EdgeSettings(joins_per_minute_max=10**6)
"""A test may join more often than a player does."""


class ShardContext(NamedTuple):
    """The parts that all shards of a harness share.

    Args:
        loop: the clock and the tasks.
        network: the parts that all connections share.
        rng: the seeds of rooms and the ids of sessions.
        raised: receives the exceptions of the rooms' hooks.
        on_tick: called after each tick of each room.
        find_session: finds the shard of a session; see `SessionLocator.find`, whose first arguments it has.
        ledger: the transactions and the records of players.
        fleet: the matchmaker.
    """

    loop: VirtualLoop
    network: NetworkContext
    rng: random.Random
    raised: list[RaisedError]
    on_tick: Callable[[], None]
    find_session: Callable[[HarnessShard, str, str], Redirect | None]
    ledger: MemoryLedger
    fleet: HarnessFleet


class NameAuthenticator:
    """Authenticates each client as the player with its name."""

    async def authenticate(self, token: str) -> Identity:
        """Return the player whose name is the token."""
        return Identity(token, is_guest=False)


class EmptyBanList:
    """A ban list without players."""

    def check(self, player_id: str, /) -> None:
        """Do nothing: no player is banned."""


class HarnessShard:
    """A shard of a harness. Implements `SessionLocator`.

    Args:
        url: its address.
        room_types: the room classes by type.
        context: the parts that all shards share.

    Attributes:
        url: its address.
        host: its rooms.
        registry: its sessions.
        transactions: commits the transactions of its rooms.
        connections: its open connections.
        is_up: whether clients can connect.
        placement: its joins, leases and queues.
    """

    def __init__(self, url: str, room_types: Mapping[str, type[Room]], context: ShardContext) -> None:
        self.url = url
        self.connections: list[SimulatedConnection] = []
        self.is_up = True
        self._context = context
        self._tasks: set[asyncio.Task[None]] = set()
        self.transactions = TransactionService(
            context.ledger,
            context.ledger,
            on_fenced=lambda key: None,  # a room has a newer owner only after this shard has lost it
            timeout_s=TRANSACTION_TIMEOUT_S,
        )
        self.room_transactions = RoomTransactionService(self.transactions, context.loop.time)
        self.host = RoomHost(
            room_types,
            HostCallbacks(
                on_closed=lambda runtime, reason: self.placement.room_closed(runtime),
                tune=lambda room: None,
                observe_tick=lambda duration_s, lateness_s: context.on_tick(),
                commit=self.room_transactions.commit,
            ),
            clock=VirtualTimers(context.loop),
            create_seed=lambda: context.rng.getrandbits(64),
        )
        self.host.counters.recent_errors = RaisedErrors(context.raised)
        tokens = ResumeTokens({"harness": b"the key of a test"}, "harness", url)
        counters = EdgeCounters()
        self.registry = SessionRegistry(SETTINGS, counters, tokens, get_context=lambda: self.session_context)
        self.placement = ShardPlacement(
            url, self.host, self.registry, context.fleet, PlayerSources(self.transactions, context.ledger)
        )
        self.session_context = SessionContext(
            settings=SETTINGS,
            counters=counters,
            tokens=tokens,
            registry=self.registry,
            join_service=self.placement.join_service,
            queue=self.placement.queue,
            transactions=self.transactions,
            session_locator=self,
            bans=EmptyBanList(),
            now_s=context.loop.time,
            now_us=context.fleet.now_us,
            spawn=self._spawn,
            authenticator=NameAuthenticator(),
            token_policy=TokenPolicy(),
            create_session_id=lambda: f"{context.rng.getrandbits(72):018x}",
        )
        self._sweep_timer = context.loop.call_later(SWEEP_INTERVAL_S, self._sweep)
        self.placement.start(self._spawn)

    def connect(self, network: Network, client: ConnectionUser) -> SimulatedConnection:
        """Accept the connection of a client."""
        connection = SimulatedConnection(self._context.network, network, client, self.connections.remove)
        connection.receiver = SessionHandshake(
            connection.as_connection(),
            token="",
            authenticator=self.session_context.authenticator,
            sessions=self.registry,
            context=self.session_context,
        )
        self.connections.append(connection)
        return connection

    async def find(self, room_id: str, session_id: str, shard_id: str) -> Redirect | None:
        """See `SessionLocator.find`."""
        return self._context.find_session(self, room_id, session_id)

    def stop(self) -> None:
        """Stop at once, as a process that is killed: rooms, sessions and connections are gone."""
        self.is_up = False
        self._sweep_timer.cancel()
        self.room_transactions.cancel()
        for task in list(self._tasks):
            task.cancel()
        for runtime in self.host:
            runtime.is_open = False
            runtime.room.tasks.stop("the shard has stopped")
            self.host.tick_scheduler.remove(runtime)
        for connection in list(self.connections):
            connection.break_off()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self._context.loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _sweep(self) -> None:
        now_s = self._context.loop.time()
        self._sweep_timer = self._context.loop.call_later(SWEEP_INTERVAL_S, self._sweep)
        for connection in list(self.connections):
            connection.check_timeouts(now_s)
        self.registry.expire(now_s)
