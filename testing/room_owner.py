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
from typing import Any

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
from tickwire.testing.harness_shard import HarnessShard
from tickwire.testing.memory_ledger import MemoryLedger


class RoomOwner:
    """The shard that has the room, and all shards so far.

    Args:
        create_shard: creates a shard with this URL.
        spec: the identity of the room.
        ledger: refuses the transactions of a shard that has lost the room.

    Attributes:
        shards: all shards by URL; one that has crashed is not up.
        shard: the shard that has the room.
    """

    def __init__(self, create_shard: Callable[[str], HarnessShard], spec: RoomSpec, ledger: MemoryLedger) -> None:
        self.shards: dict[str, HarnessShard] = {}
        self._create_shard = create_shard
        self._spec = spec
        self._ledger = ledger
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
        """Move the room to a new shard, as a shard does that stops.

        Raises:
            AssertionError: the room cannot migrate now.
        """
        runtime, source = self.runtime, self.shard
        missing = source.host.find_lost_attributes(runtime).missing
        if missing:
            raise AssertionError(f"the room cannot migrate: its attributes {', '.join(missing)} cannot be copied")
        if not runtime.can_migrate():
            raise AssertionError("the room cannot migrate now: can_migrate returned False")
        source.host.freeze(runtime)
        await _wait_settled(source, runtime)
        runtime.seal()
        transfer, checkpoint = decode_room(encode_room(runtime))
        target, world = self._add_shard(), transfer.world
        spec = RoomSpec(world.room_id, world.room_type, world.name, transfer.code, mode=transfer.mode)
        sessions = _MovedSessions(target)
        moved = target.host.prepare(spec, await self._create_restore_request(target, checkpoint, sessions))
        moved.room.access = transfer.access
        moved.epoch = self._next_epoch(runtime)
        self._raise_fence(runtime, moved.epoch)
        target.host.attach(moved)
        sessions.settle()
        self.shard = target
        redirect = Redirect(target.url, room_type=spec.room_type, room_name=spec.name, is_resume=True)
        source.host.release(runtime, redirect)

    async def crash(self) -> None:
        """Stop the shard of a durable room at once, and restore the room on a new shard from its last save.

        A room that was never saved is created again.

        Raises:
            Unavailable: the ledger does not answer, so that no shard could restore the room.
        """
        runtime = self.runtime
        self._ledger.check_available()
        epoch = self._next_epoch(runtime)
        self.shard.stop()
        target = self.shard = self._add_shard()
        self._spec = msgspec.structs.replace(self._spec, epoch=epoch)
        self._raise_fence(runtime, epoch)
        if self._saved is None:
            target.host.create(self._spec, self._options)
            return
        room = runtime.room
        saved = recover_world(encode_world(room.room_type, room.name, room.room_id, self._saved))
        sessions = _MovedSessions(target)
        try:
            target.host.restore(self._spec, await self._create_restore_request(target, saved, sessions))
        finally:
            sessions.settle()

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

    def _next_epoch(self, runtime: RoomRuntime) -> int:
        return runtime.epoch + 1

    def _raise_fence(self, runtime: RoomRuntime, epoch: int) -> None:
        """Claim the world of a durable room, as the shard does that restores it."""
        if runtime.is_durable:
            self._ledger.raise_fence(fence_key(runtime), epoch)

    async def _create_restore_request(
        self, shard: HarnessShard, checkpoint: RoomCheckpoint, sessions: _MovedSessions
    ) -> RestoreRequest:
        """Prepare a checkpoint for the host, with the records and the stored replies of its players."""
        checkpoint = shard.host.salvage(self._spec.room_type, self._spec.room_id, checkpoint)
        records: Mapping[str, RecordVersion] = {}
        if shard.host.get_room_class(self._spec.room_type).uses_ledger:
            records = await shard.transactions.load([seat.player_id for seat in checkpoint.seats])
            seats = await shard.transactions.add_replies(checkpoint.seats)
            checkpoint = msgspec.structs.replace(checkpoint, seats=seats)
        return RestoreRequest(checkpoint, sessions, lambda seat: None, records)


async def _wait_settled(shard: HarnessShard, runtime: RoomRuntime) -> None:
    """Wait for the transaction in flight of a frozen room.

    Raises:
        AssertionError: its outcome stays unknown. The room continues on its shard.
    """
    try:
        async with asyncio.timeout(TRANSACTIONS_TIMEOUT_S):
            await shard.transactions.wait_settled(runtime)
    except (TimeoutError, Unavailable) as error:
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
