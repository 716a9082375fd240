"""The shards of a harness, and the moves of its room between them.

    migrate    to a new shard: see `room_move`
    crash      the shard and its memory are gone -> the last save -> restored on a new shard
    restart    a new room object takes over on the same shard, from a restart point

A durable room is saved every SAVE_INTERVAL_S of simulated time, as on a real shard, and read with the codec of the
store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from tickwire.server.persistence.saver import SAVE_INTERVAL_S
from tickwire.server.persistence.world_codec import encode_world, recover_world
from tickwire.server.rooms.checkpoint import RoomCheckpoint
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.factory import RoomSpec
from tickwire.server.rooms.room_restart import create_restart_point
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.testing.harness_placement import HarnessFleet
from tickwire.testing.harness_shard import HarnessShard
from tickwire.testing.memory_ledger import MemoryLedger
from tickwire.testing.restored_room import MovedSessions, create_restore_request, raise_fence
from tickwire.testing.room_move import check_movable, move_room, move_sessions


class HarnessStores(NamedTuple):
    """The stores of a harness.

    Args:
        ledger: the items of the players.
        fleet: the matchmaker, which has the leases of rooms.
    """

    ledger: MemoryLedger
    fleet: HarnessFleet


class RoomOwner:
    """The shard that has the room, and all shards so far.

    Args:
        create_shard: creates a shard with this URL.
        spec: the identity of the room.
        stores: the ledger, which refuses the transactions of a shard that has lost the room, and the matchmaker.

    Attributes:
        shards: all shards by URL; one that has crashed is not up.
        shard: the shard that has the room.
    """

    def __init__(self, create_shard: Callable[[str], HarnessShard], spec: RoomSpec, stores: HarnessStores) -> None:
        self.shards: dict[str, HarnessShard] = {}
        self._create_shard = create_shard
        self._spec = spec
        self._ledger, self._fleet = stores
        self._options: Mapping[str, Any] = {}
        self._saved: RoomCheckpoint | None = None
        self._saved_s = 0.0
        self.shard = self._add_shard()

    def _add_shard(self) -> HarnessShard:
        shard = self._create_shard(f"shard-{len(self.shards) + 1}")
        self.shards[shard.url] = shard
        return shard

    @property
    def runtime(self) -> RoomRuntime:
        """The running room.

        Raises:
            AssertionError: the room has closed.
        """
        runtime = self.shard.host.get(self._spec.room_id)
        if runtime is None:
            raise AssertionError("the room has closed")
        return runtime

    def create(self, options: Mapping[str, Any]) -> None:
        """Create the room with these options.

        Raises:
            TickwireError: the options are invalid, or the room's code raised an exception.
        """
        self._options = options
        self.shard.host.create(self._spec, options)
        self.shard.placement.publish(self.runtime)

    # -- saves ----------------------------------------------------------------------------------------------

    def save_due(self, now_s: float) -> None:
        """Save a durable room after a tick, if its last save is old enough."""
        runtime = self.shard.host.get(self._spec.room_id)
        if now_s - self._saved_s < SAVE_INTERVAL_S or runtime is None or not runtime.is_durable or runtime.is_frozen:
            return
        self._saved_s = now_s
        try:
            self._saved = runtime.checkpoint()
        except RoomCodeRaised:
            return  # the last save stays; the harness raises the exception

    # -- moves ----------------------------------------------------------------------------------------------

    async def migrate(self) -> None:
        """Move all rooms and sessions of the shard to a new one, as a shard does that stops.

        Raises:
            AssertionError: a room cannot migrate now.
        """
        source = self.shard
        runtimes = list(source.host)
        for runtime in runtimes:
            check_movable(source, runtime)
        target = self._add_shard()
        for runtime in runtimes:
            if runtime.is_open:  # otherwise it has closed meanwhile
                await move_room(runtime, source, target, self._ledger)
        self.shard = target
        source.placement.drain()
        await move_sessions(source, target)

    async def crash(self) -> None:
        """Stop the shard of a durable room at once, and restore the room on a new shard from its last save.

        A room that was never saved is created again. The other rooms of the shard are lost.

        Raises:
            Unavailable: the ledger does not answer, so that no shard could restore the room.
        """
        runtime = self.runtime
        self._ledger.check_available()
        self.shard.stop()
        self._fleet.end_shard(self.shard.url)
        target = self.shard = self._add_shard()
        epoch = self._fleet.next_epoch()
        self._spec = msgspec.structs.replace(self._spec, epoch=epoch)
        raise_fence(self._ledger, runtime, epoch)
        if self._saved is None:
            target.host.create(self._spec, self._options)
            target.placement.publish(self.runtime)
            return
        room = runtime.room
        saved = recover_world(encode_world(room.room_type, room.name, room.room_id, self._saved))
        sessions = MovedSessions(target)
        try:
            target.host.restore(self._spec, await create_restore_request(target, self._spec, saved, sessions))
        finally:
            sessions.settle()
        target.placement.publish(self.runtime)

    def restart(self) -> None:
        """Replace the room object by a new one on the same shard.

        The new one continues from the newest restart point, if the room's `error_policy` is to restore it; otherwise
        from its state now.
        """
        runtime, host = self.runtime, self.shard.host
        point = host.take_restart_point(self._spec.room_id)
        if point is None:
            runtime.cancel_work("the room restarts")
            point = create_restart_point(runtime)
        host.restart(runtime, type(runtime.room), point)
