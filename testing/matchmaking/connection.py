"""The connection to the in-process store: runs the matchmaker's scripts as functions, without I/O and without a task.

A request and its reply are encoded and decoded as for Redis, so that the caller and the store share no object. A call
never waits: a coroutine that calls a script does not suspend.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from tickwire.matchmaking import Matchmaker, MatchmakerUnavailable, MatchmakingError, Ttls
from tickwire.matchmaking.environment import MatchmakerEnvironment
from tickwire.matchmaking.room_ids import RoomIds
from tickwire.matchmaking.scripts import CallCounters
from tickwire.testing.matchmaking.directory import (
    HeartbeatArguments,
    MemoryDirectory,
    QueryArguments,
    RegisterArguments,
    ShardArguments,
)
from tickwire.testing.matchmaking.fleet import MemoryFleet
from tickwire.testing.matchmaking.handoffs import (
    HandoverArguments,
    MemoryHandoffs,
    SessionHandoffArguments,
    StoredHandoffs,
)
from tickwire.testing.matchmaking.leases import (
    MemoryLeases,
    OwnerArguments,
    PublishArguments,
    RenewArguments,
    SeatArguments,
)
from tickwire.testing.matchmaking.placement import MemoryPlacement, PlaceArguments
from tickwire.testing.matchmaking.presence import (
    ClaimArguments,
    MemoryPresence,
    NotifyArguments,
    PlayersArguments,
    PresenceReleaseArguments,
    PresenceRenewArguments,
)
from tickwire.testing.matchmaking.queue_matches import (
    AssignArguments,
    CommitArguments,
    InspectArguments,
    LeaderArguments,
    MemoryLeaders,
    ReadArguments,
    SweepArguments,
)
from tickwire.testing.matchmaking.queue_state import MemoryQueue
from tickwire.testing.matchmaking.queue_sync import MemoryAgents, ReassignArguments, SyncArguments

A = TypeVar("A")
T = TypeVar("T")

PackedScript = Callable[[bytes, Sequence[bytes]], bytes]
"""A script whose request and reply are packed."""


class MemoryScripts:
    """Runs scripts on one slot. Implements `Scripts`.

    Args:
        functions: the scripts, by name.
    """

    def __init__(self, functions: Mapping[str, PackedScript]) -> None:
        self.counters = CallCounters()
        self.address = "memory"
        self._functions = functions
        self._is_closed = False

    async def run(
        self,
        script: str,
        request: Mapping[str, Any] | msgspec.Struct,
        reply_type: type[T],
        packed: Sequence[bytes] = (),
    ) -> T:
        """See `tickwire.matchmaking.scripts.Scripts.run`."""
        await self.ping()
        self.counters.calls += 1
        reply = self._functions[script](msgspec.msgpack.encode(request), packed)
        try:
            return msgspec.msgpack.decode(reply, type=reply_type)
        except msgspec.DecodeError as error:
            self.counters.failures["script"] += 1
            raise MatchmakingError(f"{script} returned an invalid reply: {error}") from error

    async def ping(self) -> None:
        """See `tickwire.matchmaking.scripts.Scripts.ping`."""
        if self._is_closed:
            raise MatchmakerUnavailable("the connection to the store is closed")

    async def aclose(self) -> None:
        """See `tickwire.matchmaking.scripts.Scripts.aclose`."""
        self._is_closed = True


class MemoryConnection:
    """The in-process store of all fleets of a test. Implements `ScriptConnection`.

    Args:
        now_us: the clock of the store, UTC, microseconds since 1970.

    Attributes:
        fleets: the rooms of each slot that has some.
        queues: the queue of each slot that has one.
        presence: the presence of the players of each slot that has some.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self.fleets: dict[str, MemoryFleet] = {}
        self.queues: dict[str, MemoryQueue] = {}
        self.presence: dict[str, MemoryPresence] = {}
        self._now_us = now_us
        self._functions: dict[str, dict[str, PackedScript]] = {}

    def create_script_runner(self, slot: str) -> MemoryScripts:
        """See `tickwire.matchmaking.scripts.ScriptConnection.create_script_runner`."""
        if slot not in self._functions:
            self.fleets[slot] = MemoryFleet(self._now_us)
            self.queues[slot] = MemoryQueue(self._now_us)
            self.presence[slot] = MemoryPresence(self._now_us)
            self._functions[slot] = (
                _room_scripts(self.fleets[slot])
                | _queue_scripts(self.queues[slot])
                | _presence_scripts(self.presence[slot])
            )
        return MemoryScripts(self._functions[slot])

    async def aclose(self) -> None:
        """Do nothing: the state lasts as long as the connection."""


def create_matchmaker(
    now_us: Callable[[], int],
    *,
    connection: MemoryConnection | None = None,
    namespace: str = "tickwire",
    ttls: Ttls | None = None,
    rng: random.Random | None = None,
) -> Matchmaker:
    """Create a matchmaker on an in-process store.

    Args:
        now_us: the clock, UTC, microseconds since 1970.
        connection: the store; by default a new one. The shards of a fleet share it.
        namespace: the prefix of the slots, for several fleets in one store.
        ttls: the lifetimes of entries.
        rng: picks the shards that are compared for a new room, seeds match functions, and creates ids and codes.
    """
    chance = rng or random.Random()  # noqa: S311 - the store of a test keeps no secret

    def now_s() -> float:
        return now_us() / 1e6

    return Matchmaker(
        connection or MemoryConnection(now_us),
        namespace=namespace,
        ttls=ttls,
        environment=MatchmakerEnvironment(now_s, now_s, chance, RoomIds(chance.randbytes)),
    )


def _pack(arguments: type[A], function: Callable[[A, Sequence[bytes]], object]) -> PackedScript:
    def run(request: bytes, packed: Sequence[bytes]) -> bytes:
        return msgspec.msgpack.encode(function(msgspec.msgpack.decode(request, type=arguments), packed))

    return run


def _room_scripts(fleet: MemoryFleet) -> dict[str, PackedScript]:
    handoff_state = StoredHandoffs(fleet)
    handoffs = MemoryHandoffs(fleet, handoff_state)
    directory, leases = MemoryDirectory(fleet, handoff_state), MemoryLeases(fleet)
    return {
        "rooms/deregister": _pack(ShardArguments, directory.deregister),
        "rooms/handover": _pack(HandoverArguments, handoffs.run),
        "rooms/heartbeat": _pack(HeartbeatArguments, directory.heartbeat),
        "rooms/place": _pack(PlaceArguments, MemoryPlacement(fleet).place),
        "rooms/publish_room": _pack(PublishArguments, leases.publish),
        "rooms/query": _pack(QueryArguments, directory.query),
        "rooms/raise_epoch": _pack(OwnerArguments, leases.raise_epoch),
        "rooms/register": _pack(RegisterArguments, directory.register),
        "rooms/release": _pack(OwnerArguments, leases.release),
        "rooms/renew": _pack(RenewArguments, leases.renew),
        "rooms/request_drain": _pack(ShardArguments, directory.request_drain),
        "rooms/session_handoff": _pack(SessionHandoffArguments, handoffs.run_session),
        "rooms/set_seat": _pack(SeatArguments, leases.set_seat),
    }


def _queue_scripts(queue: MemoryQueue) -> dict[str, PackedScript]:
    leaders, agents = MemoryLeaders(queue), MemoryAgents(queue)
    return {
        "queue/acquire_leadership": _pack(LeaderArguments, leaders.acquire),
        "queue/assign": _pack(AssignArguments, leaders.assign),
        "queue/commit": _pack(CommitArguments, leaders.commit),
        "queue/inspect": _pack(InspectArguments, leaders.inspect),
        "queue/read": _pack(ReadArguments, leaders.read),
        "queue/reassign_agent": _pack(ReassignArguments, agents.reassign),
        "queue/resign": _pack(LeaderArguments, leaders.resign),
        "queue/sweep": _pack(SweepArguments, leaders.sweep),
        "queue/sync": _pack(SyncArguments, agents.sync),
    }


def _presence_scripts(presence: MemoryPresence) -> dict[str, PackedScript]:
    return {
        "presence/claim": _pack(ClaimArguments, presence.claim),
        "presence/get": _pack(PlayersArguments, presence.get),
        "presence/notify": _pack(NotifyArguments, presence.notify),
        "presence/release": _pack(PresenceReleaseArguments, presence.release),
        "presence/renew": _pack(PresenceRenewArguments, presence.renew),
    }
