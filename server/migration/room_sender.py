"""Sends the rooms of a draining shard to other shards; see server/migration/migration_context.py."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import msgspec
import structlog

from tickwire.matchmaking import HandoffOffer, MatchmakingError, ShardStatus
from tickwire.schemas.messages import Redirect
from tickwire.server.errors import TickwireError
from tickwire.server.migration.migrating_players import MigratingPlayers
from tickwire.server.migration.migration_context import MigrationContext
from tickwire.server.migration.reconnect_pace import RECONNECTS_PER_S, ReconnectPace
from tickwire.server.migration.room_codec import RoomTooLarge, encode_room
from tickwire.server.observability.traces import span
from tickwire.server.persistence.transactions import TransactionService
from tickwire.server.placement.queued_session import TransferredPosition
from tickwire.server.placement.ready_shards import ReadyShards
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.runtime import RoomRuntime

log = structlog.get_logger(__name__)

TRANSACTIONS_TIMEOUT_S = 2.0
"""How long a frozen room waits for its transactions in flight."""
CONCURRENT_MIGRATIONS_MAX = 4
"""Concurrent migrations, so that the players of all rooms do not reconnect at once."""
PACE_DELAY_S_MAX = 2.0
"""The longest delay of a room for `ReconnectPace`: the target waits for its state only for RECEIVE_TIMEOUT_S."""
RETRY_INTERVAL_S = 0.5


class RoomSender:
    """Migrates the rooms of one shard to others.

    Args:
        context: the shard and its handoffs.
        ready_shards: finds the shards that may receive rooms.
        transactions: completes transactions in flight.
        players: transfers what players have outside of their rooms.
        on_moved: called with each room that another shard has claimed.

    Attributes:
        results: migrations by result: completed, refused, postponed, unclaimed.
    """

    def __init__(
        self,
        context: MigrationContext,
        ready_shards: ReadyShards,
        transactions: TransactionService,
        players: MigratingPlayers,
        on_moved: Callable[[RoomRuntime], None],
    ) -> None:
        self.results: Counter[str] = Counter()
        self._shard = context.shard
        self._host = context.host
        self._handoffs = context.handoffs
        self._spawn = context.spawn
        self._ready_shards = ready_shards
        self._pace = ReconnectPace()
        self._transactions = transactions
        self._players = players
        self._on_moved = on_moved

    async def migrate_all(self, timeout_s: float) -> int:
        """Migrate all rooms to other shards, and retry those that could not be migrated.

        While no other shard is ready, rooms with players wait for one.

        Args:
            timeout_s: the longest time to take.

        Returns:
            How many rooms are left.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        slots = asyncio.Semaphore(CONCURRENT_MIGRATIONS_MAX)
        assigned: Counter[str] = Counter()
        stuck: set[str] = set()
        players = sum(len(runtime.seats) for runtime in self._host)
        # Players reconnect in half of the time; the other half is for offers and retries.
        self._pace = ReconnectPace(max(RECONNECTS_PER_S, 2 * players / max(timeout_s, 1e-3)))

        async def migrate_one(runtime: RoomRuntime, shards: list[ShardStatus]) -> None:
            async with slots:
                target = self._choose_target(runtime, shards, assigned)
                if target is not None and runtime.is_open:
                    assigned[target.info.shard_id] += 1
                    await self.migrate(runtime, target)

        try:
            async with asyncio.timeout(timeout_s):
                while rooms := [room for room in self._host if self._is_transferable(room, stuck)]:
                    shards = await self._ready_shards.wait(self._has_players)
                    if not shards or loop.time() + RETRY_INTERVAL_S > until_s:
                        break
                    await asyncio.gather(*(migrate_one(room, shards) for room in rooms))
                    await asyncio.sleep(RETRY_INTERVAL_S if len(self._host) else 0)
        except TimeoutError:
            pass  # the caller receives how many are left
        return len(self._host)

    def _has_players(self) -> bool:
        return any(runtime.seats for runtime in self._host)

    async def migrate(self, runtime: RoomRuntime, target: ShardStatus) -> bool:
        """Migrate a room to a shard.

        Returns:
            Whether the shard has claimed the room; otherwise it continues here.
        """
        room = runtime.room
        with span("migrate", room_type=room.room_type, room_id=room.room_id, to=target.info.shard_id):
            return await self._offer_and_send(runtime, target)

    async def _offer_and_send(self, runtime: RoomRuntime, target: ShardStatus) -> bool:
        room, to = runtime.room, target.info.shard_id
        if not self._can_migrate(runtime):
            self.results["postponed"] += 1
            return False
        offer = HandoffOffer(
            room.room_id, room.room_type, self._shard.shard_id, self._shard.build, len(runtime.seats)
        )
        try:
            if not await self._handoffs.offer(offer, epoch=runtime.epoch, to=to):
                self.results["refused"] += 1
                await self._handoffs.withdraw(room.room_id)
                return False
            await self._wait_for_pace(runtime)
            if not runtime.is_open or not self._can_migrate(runtime):  # the room has ticked since the first check
                self.results["postponed"] += 1
                await self._handoffs.withdraw(room.room_id)
                return False
        except MatchmakingError as error:
            log.warning("room_offer_failed", room_id=room.room_id, to=to, error=error.detail)
            self.results["refused"] += 1
            return False
        return await self._send(runtime, target)

    async def _wait_for_pace(self, runtime: RoomRuntime) -> None:
        """Wait until the players of earlier rooms have had time to reconnect; the room ticks in the meantime."""
        players = sum(seat.connection is not None for seat in runtime.seats)
        delay_s = self._pace.delay_s(players, asyncio.get_running_loop().time())
        await asyncio.sleep(min(delay_s, PACE_DELAY_S_MAX))

    async def _send(self, runtime: RoomRuntime, target: ShardStatus) -> bool:
        room_id = runtime.room.room_id
        self._host.freeze(runtime)
        is_claimed = False
        positions: dict[str, TransferredPosition] = {}
        try:
            async with asyncio.timeout(TRANSACTIONS_TIMEOUT_S):
                await self._transactions.wait_settled(runtime)
            runtime.seal()
            positions = self._players.find_positions(runtime)
            await self._players.publish_locations(runtime, target.info.shard_id)
            encoded = {session_id: msgspec.msgpack.encode(position) for session_id, position in positions.items()}
            await self._handoffs.send(room_id, encode_room(runtime, encoded))
            is_claimed = await self._handoffs.is_claimed(room_id)
            if is_claimed:  # again, for players who have disconnected since
                await self._players.publish_locations(runtime, target.info.shard_id)
        except (MatchmakingError, TickwireError, RoomCodeRaised, RoomTooLarge, TimeoutError) as error:
            log.warning("room_migration_failed", room_id=room_id, to=target.info.shard_id, error=str(error))
            is_claimed = not await self._handoffs.cancel(room_id)
        except asyncio.CancelledError:  # the drain's deadline: the current owner keeps the room
            is_claimed = not await asyncio.shield(self._handoffs.cancel(room_id))
            raise
        finally:
            if is_claimed:
                self.results["completed"] += 1
                room = runtime.room
                redirect = Redirect(target.info.url, room_type=room.room_type, room_name=room.name, is_resume=True)
                if runtime.handover.leavers:
                    leavers = tuple(runtime.handover.leavers)
                    self._spawn(self._players.publish_leavers(room_id, leavers), f"leavers of {room_id}")
                self._players.release_positions(runtime, positions)
                self._host.release(runtime, redirect)
                self._on_moved(runtime)
            else:
                self.results["unclaimed"] += 1
                self._host.unfreeze(runtime)
                self._spawn(self._players.restore_locations(runtime), f"locations of {room_id}")
        return is_claimed

    def _can_migrate(self, runtime: RoomRuntime) -> bool:
        if self._players.are_bound(runtime) or runtime.room.close_reason is not None:
            return False
        return self._is_transferable(runtime, set()) and runtime.can_migrate()

    def _is_transferable(self, runtime: RoomRuntime, reported: set[str]) -> bool:
        """Return whether a room can be copied completely. Attributes that cannot are logged once for each room."""
        missing = self._host.find_lost_attributes(runtime).missing
        room_id = runtime.room.room_id
        if missing and room_id not in reported:
            reported.add(room_id)
            log.warning("room_migration_blocked", room_id=room_id, room_type=runtime.room.room_type, missing=missing)
        return not missing

    def _choose_target(
        self, runtime: RoomRuntime, shards: list[ShardStatus], assigned: Counter[str]
    ) -> ShardStatus | None:
        """Choose a shard for a room, or None: first of another build, for a deploy; then with the fewest rooms."""
        candidates = [
            shard
            for shard in shards
            if runtime.room.room_type in shard.info.room_types
            and shard.rooms + assigned[shard.info.shard_id] < shard.info.rooms_max
            and shard.load < shard.info.load_max
        ]
        return min(
            candidates,
            key=lambda shard: (
                shard.info.build == self._shard.build,
                shard.rooms + assigned[shard.info.shard_id],
                shard.info.shard_id,
            ),
            default=None,
        )
