"""What a shard of a harness needs to restore a room: its sessions, the records of its players, and the fence."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tickwire.server.persistence.attempts import fence_key
from tickwire.server.rooms.checkpoint import RoomCheckpoint, SessionCheckpoint
from tickwire.server.rooms.factory import RestoreRequest, RoomSpec
from tickwire.server.rooms.ports import RestoredSubscriber
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.transactions import RecordVersion
from tickwire.testing.harness_shard import HarnessShard
from tickwire.testing.memory_ledger import MemoryLedger


class MovedSessions(list[RestoredSubscriber]):
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


async def create_restore_request(
    shard: HarnessShard, spec: RoomSpec, checkpoint: RoomCheckpoint, sessions: MovedSessions
) -> RestoreRequest:
    """Prepare a checkpoint for the host, with the records and the stored replies of its players."""
    checkpoint = shard.host.salvage(spec.room_type, spec.room_id, checkpoint)
    records: Mapping[str, RecordVersion] = {}
    if shard.host.get_room_class(spec.room_type).uses_ledger:
        records = await shard.transactions.load([seat.player_id for seat in checkpoint.seats])
        seats = await shard.transactions.add_replies(checkpoint.seats)
        checkpoint = msgspec.structs.replace(checkpoint, seats=seats)
    return RestoreRequest(checkpoint, sessions, shard.placement.seat_ended, records)


def raise_fence(ledger: MemoryLedger, runtime: RoomRuntime, epoch: int) -> None:
    """Claim the world of a durable room, as the shard does that restores it."""
    if runtime.is_durable:
        ledger.raise_fence(fence_key(runtime), epoch)
