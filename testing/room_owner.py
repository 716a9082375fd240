"""The shards of a harness, and the moves of its room between them.

    migrate    frozen, sealed -> encode_room -> decode_room -> prepared on a new shard -> released on the old one
    crash      the shard and its memory are gone -> the last save -> restored on a new shard
    restart    a new room object takes over on the same shard, from a restart point

A durable room is saved every SAVE_INTERVAL_S of simulated time, as on a real shard, and read with the codec of the
store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from tickwire.schemas.messages import Redirect
from tickwire.server.errors import Unavailable
from tickwire.server.migration.room_codec import decode_room, encode_room
from tickwire.server.migration.room_sender import TRANSACTIONS_TIMEOUT_S
from tickwire.server.persistence.attempts import fence_key
from tickwire.server.persistence.saver import SAVE_INTERVAL_S
from tickwire.server.persistence.world_codec import encode_world, recover_world
from tickwire.server.rooms.checkpoint import RoomCheckpoint, SessionCheckpoint
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.factory import RestoreRequest, RoomSpec
from tickwire.server.rooms.ports import RestoredSubscriber
from tickwire.server.rooms.room_restart import create_restart_point
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.transactions import RecordVersion
from tickwire.testing.harness_placement import HarnessFleet
from tickwire.testing.harness_shard import HarnessShard
from tickwire.testing.memory_ledger import MemoryLedger


class HarnessStores(NamedTuple):
    """The stores of a harness.

    Args:
        ledger: what the players own.
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
        """Move all rooms of the shard to a new one, as a shard does that stops.

        Raises:
            AssertionError: a room cannot migrate now.
        """
        source = self.shard
        runtimes = list(source.host)
        for runtime in runtimes:
            _check_movable(source, runtime)
        target = self._add_shard()
        for runtime in runtimes:
            if runtime.is_open:  # otherwise it has closed meanwhile
                await self._move(runtime, source, target)
        self.shard = target
        source.placement.drain()

    async def _move(self, runtime: RoomRuntime, source: HarnessShard, target: HarnessShard) -> None:
        source.host.freeze(runtime)
        await _wait_settled(source, runtime)
        runtime.seal()
        transfer, checkpoint = decode_room(encode_room(runtime))
        world = transfer.world
        spec = RoomSpec(world.room_id, world.room_type, world.name, transfer.code, mode=transfer.mode)
        sessions = _MovedSessions(target)
        moved = target.host.prepare(spec, await _create_restore_request(target, spec, checkpoint, sessions))
        moved.room.access = transfer.access
        moved.epoch = target.placement.claim(runtime, source.placement)
        self._raise_fence(runtime, moved.epoch)
        target.host.attach(moved)
        sessions.settle()
        await _move_positions(runtime, source, target)
        source.placement.room_moved(runtime)
        redirect = Redirect(target.url, room_type=spec.room_type, room_name=spec.name, is_resume=True)
        source.host.release(runtime, redirect)

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
        self._raise_fence(runtime, epoch)
        if self._saved is None:
            target.host.create(self._spec, self._options)
            target.placement.publish(self.runtime)
            return
        room = runtime.room
        saved = recover_world(encode_world(room.room_type, room.name, room.room_id, self._saved))
        sessions = _MovedSessions(target)
        try:
            target.host.restore(self._spec, await _create_restore_request(target, self._spec, saved, sessions))
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

    def _raise_fence(self, runtime: RoomRuntime, epoch: int) -> None:
        """Claim the world of a durable room, as the shard does that restores it."""
        if runtime.is_durable:
            self._ledger.raise_fence(fence_key(runtime), epoch)


def _check_movable(shard: HarnessShard, runtime: RoomRuntime) -> None:
    """Check that a room can migrate now.

    Raises:
        AssertionError: it cannot.
    """
    missing = shard.host.find_lost_attributes(runtime).missing
    if missing:
        raise AssertionError(f"the room cannot migrate: its attributes {', '.join(missing)} cannot be copied")
    if not runtime.can_migrate():
        raise AssertionError("the room cannot migrate now: can_migrate returned False")
    if any(shard.placement.queue.is_bound(seat.subscriber) for seat in runtime.seats):
        raise AssertionError("the room cannot migrate now: a player has a match and has not taken its seat yet")


async def _create_restore_request(
    shard: HarnessShard, spec: RoomSpec, checkpoint: RoomCheckpoint, sessions: _MovedSessions
) -> RestoreRequest:
    """Prepare a checkpoint for the host, with the records and the stored replies of its players."""
    checkpoint = shard.host.salvage(spec.room_type, spec.room_id, checkpoint)
    records: Mapping[str, RecordVersion] = {}
    if shard.host.get_room_class(spec.room_type).uses_ledger:
        records = await shard.transactions.load([seat.player_id for seat in checkpoint.seats])
        seats = await shard.transactions.add_replies(checkpoint.seats)
        checkpoint = msgspec.structs.replace(checkpoint, seats=seats)
    return RestoreRequest(checkpoint, sessions, shard.placement.seat_ended, records)


async def _move_positions(runtime: RoomRuntime, source: HarnessShard, target: HarnessShard) -> None:
    """Move the queue positions of a room's players to its new shard."""
    for seat in runtime.seats:
        position = source.placement.queue.find_position(seat.subscriber)
        session = target.registry.get(seat.subscriber.session_id)
        if position is not None and session is not None:
            source.placement.queue.release_position(seat.subscriber)
            await target.placement.queue.accept_position(session, position)


async def _wait_settled(shard: HarnessShard, runtime: RoomRuntime) -> None:
    """Wait for the transaction in flight of a frozen room, and repeat it as a shard repeats a failed move.

    Raises:
        AssertionError: its outcome stays unknown. The room continues on its shard.
    """
    error: Exception | None = None
    try:
        async with asyncio.timeout(TRANSACTIONS_TIMEOUT_S):
            while True:
                try:
                    return await shard.transactions.wait_settled(runtime)
                except Unavailable as unavailable:
                    error = unavailable
                    await asyncio.sleep(unavailable.retry_after_ms / 1000)
    except TimeoutError:
        shard.host.unfreeze(runtime)
        raise AssertionError("the room cannot migrate now: a transaction has an unknown outcome") from error


class _MovedSessions(list[RestoredSubscriber]):
    """Restores the sessions of a room on a shard, and collects them to activate them afterwards."""

    def __init__(self, shard: HarnessShard) -> None:
        super().__init__()
        self._registry = shard.registry

    def restore(self, checkpoint: SessionCheckpoint, /) -> RestoredSubscriber | None:
        """See `SessionSource.restore`."""
        session = self._registry.restore(checkpoint)
        if session is not None:
            self.append(session)
        return session

    def settle(self) -> None:
        """Activate the sessions."""
        for session in self:
            self._registry.settle(session)
