"""Receives rooms from draining shards; see server/migration/migration_context.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec
import structlog

from tickwire.matchmaking import HandoffOffer, MatchmakingError
from tickwire.server.errors import TickwireError
from tickwire.server.migration.migrating_players import MigratingPlayers
from tickwire.server.migration.migration_context import MigrationContext
from tickwire.server.migration.room_codec import decode_room
from tickwire.server.persistence.saver import RoomSaver
from tickwire.server.placement.hosted_rooms import HostedRooms
from tickwire.server.placement.join_service import JoinService
from tickwire.server.rooms.factory import RoomSpec
from tickwire.server.rooms.runtime import RoomRuntime

log = structlog.get_logger(__name__)


class RoomReceiver:
    """Receives the rooms that other shards send to this one.

    Args:
        context: the shard and its handoffs.
        join_service: knows whether the shard is draining itself.
        rooms: restores rooms.
        saver: claims durable rooms in the store.
        players: restores what players have outside of their rooms.

    Attributes:
        results: migrations by result: claimed, failed.
    """

    def __init__(
        self,
        context: MigrationContext,
        join_service: JoinService,
        rooms: HostedRooms,
        saver: RoomSaver,
        players: MigratingPlayers,
    ) -> None:
        self.results: Counter[str] = Counter()
        self._host = context.host
        self._handoffs = context.handoffs
        self._spawn = context.spawn
        self._join_service = join_service
        self._rooms = rooms
        self._saver = saver
        self._players = players

    async def accept(self) -> None:
        """Accept or refuse the rooms that are offered to this shard, and start to receive the accepted ones.

        Raises:
            MatchmakingError: Redis does not answer.
        """
        for offer in await self._handoffs.poll_offers():
            accepts = not self._join_service.is_draining and offer.room_type in self._host.room_types
            if await self._handoffs.respond(offer.room_id, accepts=accepts) and accepts:
                self._spawn(self._receive(offer), f"receive {offer.room_id}")

    async def _receive(self, offer: HandoffOffer) -> None:
        """Receive one room: fetch its state, restore it, and claim it."""
        runtime: RoomRuntime | None = None
        self._rooms.incoming_rooms.add(offer.room_id)
        try:
            data = await self._handoffs.fetch(offer.room_id)
            if not data:
                return  # its owner has cancelled the handover
            transfer, state = decode_room(data)
            world = transfer.world
            spec = RoomSpec(world.room_id, world.room_type, world.name, transfer.code, mode=transfer.mode)
            runtime = await self._rooms.prepare(spec, state)
            runtime.room.access = transfer.access
            runtime.epoch = await self._handoffs.claim(offer.room_id)
            await self._attach(runtime, transfer.positions)
            self.results["claimed"] += 1
        except (MatchmakingError, TickwireError, ValueError) as error:
            self.results["failed"] += 1
            log.warning("room_claim_failed", room_id=offer.room_id, error=str(error))
            if runtime is not None and self._host.get(offer.room_id) is not runtime:
                runtime.close("the room was not claimed", has_moved=True)
        finally:
            self._rooms.incoming_rooms.discard(offer.room_id)

    async def _attach(self, runtime: RoomRuntime, positions: Mapping[str, msgspec.Raw]) -> None:
        """Start a room that was claimed. It ticks at once; the claim in the store runs in the background."""
        self._host.attach(runtime)
        self._rooms.settle_sessions(runtime)
        self._spawn(self._players.restore_positions(runtime, positions), f"positions of {runtime.room.room_id}")
        self._spawn(self._players.end_leavers(runtime.room.room_id), f"leavers of {runtime.room.room_id}")
        room = runtime.room
        if runtime.is_durable:
            self._spawn(self._claim_world(room.room_type, room.name, runtime.epoch), f"claim {room.room_id}")

    async def _claim_world(self, room_type: str, name: str, epoch: int) -> None:
        try:
            await self._saver.claim(room_type, name, epoch)
        except TickwireError as error:
            log.warning("migrated_world_claim_failed", room_type=room_type, room_name=name, error=str(error))
