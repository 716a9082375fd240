"""The placement of a shard of a harness: the join service, leases and queues of a real shard, without stores.

    HarnessFleet      the in-process matchmaker, which all shards of the harness share
    ShardPlacement    the parts of one shard: its directory entry and leases, renewed once a second; joins by type,
                      name, id, code, labels and party; tickets; the queues of the modes, and backfill

A durable room that a join creates begins new: only the room of the harness is saved.
"""

from __future__ import annotations

import asyncio
import datetime
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from tickwire.matchmaking import HandoffOffer, Matchmaker, Mode, ShardInfo, TicketKeys
from tickwire.matchmaking.queue import Queues
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.placement.backfill import BackfillService
from tickwire.server.placement.directory_publisher import DirectoryPublisher
from tickwire.server.placement.hosted_rooms import HostedRooms, RecordSource
from tickwire.server.placement.join_service import JoinService
from tickwire.server.placement.lease_keeper import LeaseKeeper
from tickwire.server.placement.queue_service import QueueService
from tickwire.server.placement.room_quota import RoomQuota
from tickwire.server.placement.skill_lookup import ProfileReader, SkillLookups
from tickwire.server.placement.ticket_service import TicketService
from tickwire.server.rooms.checkpoint import RoomCheckpoint
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.ports import SessionRestorer
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat
from tickwire.server.shard_identity import ShardIdentity
from tickwire.testing.matchmaking import MemoryConnection, create_matchmaker
from tickwire.testing.virtual_loop import VirtualLoop

T = TypeVar("T")

SYNC_INTERVAL_S = 1.0
"""How often a shard sends a heartbeat and renews its leases, as a real one does."""
EPOCH = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
"""The wall clock of a harness begins then."""
EPOCH_US = int(EPOCH.timestamp()) * 1_000_000
NAMESPACE = "harness"
ROOMS_PER_MINUTE_MAX = 10**6
"""A test may create more rooms than a player may."""


class NewWorlds:
    """Durable rooms without a saved state. Implements `WorldSource`."""

    async def claim(self, room_type: str, name: str, epoch: int) -> RoomCheckpoint | None:
        """Return None: the room is new."""
        return None

    async def quarantine(self, key: str, epoch: int, state: RoomCheckpoint) -> RoomCheckpoint:
        """Return the checkpoint as it is."""
        return state


class PlayerSources(NamedTuple):
    """The stores of the players of a shard.

    Args:
        records: the records of the players of rooms that use the ledger.
        profiles: the profiles of players whose skill a mode looks up.
    """

    records: RecordSource
    profiles: ProfileReader


class HarnessFleet:
    """The in-process matchmaker of a harness.

    Args:
        loop: the simulated time.
        rng: the ids of rooms and matches, the choice of shards, and the match functions.
        modes: the modes, with the number of seats of the room type of each.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        rng: random.Random,
        modes: Sequence[tuple[Mode, int]] = (),
    ) -> None:
        self.loop = loop
        self.rng = rng
        self.modes = modes
        self.connection = MemoryConnection(self.now_us)
        self.keys = TicketKeys({"harness": rng.randbytes(32)}, "harness")

    def now_us(self) -> int:
        """Return UTC in the simulation, microseconds since 1970."""
        return EPOCH_US + int(self.loop.time() * 1e6)

    def create_matchmaker(self) -> Matchmaker:
        """Return the matchmaker of a shard."""
        return create_matchmaker(self.now_us, connection=self.connection, namespace=NAMESPACE, rng=self.rng)

    def end_shard(self, shard_id: str) -> None:
        """End the entry and the leases of a shard that has crashed, as the passing of time does."""
        state = self.connection.fleets[NAMESPACE]
        state.shards.pop(shard_id)
        for room in list(state.rooms):
            if room.shard_id == shard_id:
                state.rooms.pop(room.room_id)

    def next_epoch(self) -> int:
        """Return an epoch greater than all before."""
        return self.connection.fleets[NAMESPACE].next_epoch()


class ShardPlacement:
    """The placement of one shard.

    Args:
        shard_id: the id of the shard, which is its URL too.
        host: its rooms.
        sessions: restores its sessions.
        fleet: the matchmaker.
        players: the stores of its players.

    Attributes:
        join_service: seats sessions.
        queue: the queued sessions.
    """

    def __init__(
        self,
        shard_id: str,
        host: RoomHost,
        sessions: SessionRestorer,
        fleet: HarnessFleet,
        players: PlayerSources,
    ) -> None:
        self.shard_id = shard_id
        now_s = fleet.loop.time
        matchmaker = self._matchmaker = fleet.create_matchmaker()
        isolation = FaultIsolation()
        self._publisher = DirectoryPublisher(matchmaker.leases, shard_id, isolation=isolation, now_s=now_s)
        info = ShardInfo(
            shard_id, shard_id, "harness", room_types=tuple(host.room_types), rooms_max=10**6, load_max=10.0**9
        )
        self._lease_keeper = LeaseKeeper(info, matchmaker, host, self._publisher, wait_saved=_wait_saved)
        self._tickets = TicketService(
            shard_id,
            fleet.keys,
            reservation_s=matchmaker.ttls.reservation_ms / 1000,
            now_s=matchmaker.clock.now_s,
        )
        quota = RoomQuota(per_player=ROOMS_PER_MINUTE_MAX, per_address=ROOMS_PER_MINUTE_MAX, now_s=now_s)
        rooms = HostedRooms(host, self._lease_keeper, NewWorlds(), players.records, sessions)
        identity = ShardIdentity(shard_id, "", "harness")
        self.join_service = JoinService(identity, matchmaker, rooms, self._tickets, quota)
        self._queues = Queues(fleet.modes, matchmaker, shard_id=shard_id, region="")
        self.queue = QueueService(
            queues=self._queues,
            join_service=self.join_service,
            quota=quota,
            skills=SkillLookups(players.profiles),
            now_s=matchmaker.clock.now_s,
        )
        self._backfill = BackfillService(
            region="", queues=self._queues, host=host, isolation=isolation, now_s=matchmaker.clock.now_s
        )

    def start(self, spawn: Callable[[Coroutine[Any, Any, None], str], object]) -> None:
        """Register the shard, and start its tasks."""
        complete(self._lease_keeper.sync(0.0))
        spawn(self._run(), "leases")
        spawn(self._publisher.run(), "directory")
        if self._queues.modes:
            spawn(self._queues.run(), "queues")

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(SYNC_INTERVAL_S)
            await self._lease_keeper.sync(0.0)
            self._backfill.update()

    # -- rooms that no join creates or ends -----------------------------------------------------------------

    def publish(self, runtime: RoomRuntime) -> None:
        """Publish a room that this shard has created or restored.

        Raises:
            AssertionError: another shard owns the room.
        """
        assert complete(self._publisher.publish(runtime)), "another shard owns the room"

    def room_closed(self, runtime: RoomRuntime) -> None:
        """Release the lease of a room that has ended."""
        self._lease_keeper.room_closed(runtime)
        self._tickets.room_closed(runtime)

    def seat_ended(self, seat: Seat) -> None:
        """Publish that a seat of a restored room is free."""
        self._publisher.seat_released(seat.room_id, seat.player_id, seat.runtime.epoch)

    def claim(self, runtime: RoomRuntime, source: ShardPlacement) -> int:
        """Make this shard the owner of a room of another one, and return the new epoch."""
        room_id, handoffs = runtime.room.room_id, self._matchmaker.handoffs
        offer = HandoffOffer(room_id, runtime.room.room_type, source.shard_id, "harness", len(runtime.seats))
        complete(handoffs.offer(offer, epoch=runtime.epoch, to=self.shard_id))
        complete(handoffs.respond(room_id, self.shard_id, accepts=True))
        complete(handoffs.send(room_id, source.shard_id, b"\xc0"))
        return complete(handoffs.claim(room_id, self.shard_id))

    def room_moved(self, runtime: RoomRuntime) -> None:
        """Forget a room that another shard has claimed."""
        self._lease_keeper.room_moved(runtime.room.room_id)
        self._tickets.room_moved(runtime)

    def drain(self) -> None:
        """Accept no new rooms and players."""
        self.join_service.is_draining = True
        complete(self._lease_keeper.drain())


def find_mode_seats(modes: Sequence[Mode], room_types: Mapping[str, type[Room]]) -> list[tuple[Mode, int]]:
    """Return each mode, and the number of seats of its room type.

    Raises:
        ValueError: the harness has no such room type, or it has too few seats.
    """
    found = []
    for mode in modes:
        room_class = room_types.get(mode.rules.room_type)
        if room_class is None:
            raise ValueError(f"mode {mode.name!r} needs the room type {mode.rules.room_type!r}: add it to `rooms`")
        if room_class.max_players < mode.rules.players_max:
            raise ValueError(
                f"mode {mode.name!r} needs {mode.rules.players_max} seats; "
                f"the room type {room_class.room_type!r} has {room_class.max_players}"
            )
        found.append((mode, room_class.max_players))
    return found


def complete(call: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing to its end: a call of the in-process matchmaker does not.

    Raises:
        RuntimeError: the coroutine waits.
    """
    try:
        call.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    call.close()
    raise RuntimeError(f"{call} waits")


async def _wait_saved(runtime: RoomRuntime) -> None:
    """Return at once: a harness saves its room on its own."""
