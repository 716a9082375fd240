"""Migrates rooms to other shards between two ticks, with all their players.

    source   offer -> accepted? -> freeze the room -> send its state -> claimed? -> redirect its players
    target            accept       ------------------> restore it  -> claim it   -> tick it; its players resume

The room has one owner at any time: `claim` and `cancel` run one Lua script each, and the first one decides
(matchmaking/handoffs.py). If no shard claims the room, or the target fails, the room resumes on the source. A frozen
room runs no commands: clients retry them on the shard that has the room afterwards. Transactions in flight are
completed first.

Once its state is sent the room does not change: disconnects, resumes and ended sessions are applied when its owner is
known. The new owner receives the list of the sessions that have ended since.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from tickwire.matchmaking import HandoffOffer, Matchmaker, MatchmakerUnavailable, MatchmakingError, ShardStatus
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import Redirect
from tickwire.schemas.payloads import decode_payload
from tickwire.server.errors import TickwireError
from tickwire.server.migration.reconnect_pace import RECONNECTS_PER_S, ReconnectPace
from tickwire.server.migration.room_codec import RoomTooLarge, decode_room, encode_room
from tickwire.server.migration.session_transfer import SessionTransfer
from tickwire.server.observability.traces import span
from tickwire.server.persistence.saver import RoomSaver
from tickwire.server.persistence.transactions import TransactionService
from tickwire.server.placement.join_service import JoinService
from tickwire.server.placement.queue_service import QueueService, TransferredPosition
from tickwire.server.placement.ready_shards import ReadyShards
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.factory import RoomSpec
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.runtime import RoomRuntime

log = structlog.get_logger(__name__)

ACCEPT_TIMEOUT_S = 4.0
"""A shard receives offers with its heartbeat, once a second."""
CLAIM_TIMEOUT_S = 3.0
"""How long the source waits for the target to claim a room that was sent. The room is frozen meanwhile."""
RECEIVE_TIMEOUT_S = 6.0
"""How long the target waits for the state of a room that it has accepted."""
OFFER_POLL_INTERVAL_S, ROOM_POLL_INTERVAL_S = 0.1, 0.02
TRANSACTIONS_TIMEOUT_S = 2.0
"""How long a frozen room waits for its transactions in flight."""
OUTCOME_TIMEOUT_S = 6.0
"""How long a shard retries to learn whether the target has claimed a room. After that the source resumes the room; if
the target did claim it, the next lease renewal fails and the room is closed."""
CONCURRENT_MIGRATIONS_MAX = 4
"""Concurrent migrations, so that the players of all rooms do not reconnect at once."""
PACE_DELAY_S_MAX = 2.0
"""The longest delay of a room for `ReconnectPace`: the target waits for its state only for RECEIVE_TIMEOUT_S."""
RETRY_INTERVAL_S = 0.5
LEAVERS_TTL_MS = 30_000
"""How long the list of ended sessions is kept for the new owner of a room."""
LEAVERS_POLL_DELAYS_S = (0.2, 0.8, 2.0)
"""The pauses before each attempt of the new owner to fetch the list of ended sessions."""


class RoomMigrator:
    """Sends and receives room migrations for one shard.

    Args:
        shard_id: the id of this shard.
        region: the region of this shard.
        build: the build of this shard; rooms prefer shards of another build.
        host: the rooms of this shard.
        matchmaker: has the handovers, and locates rooms.
        join_service: restores rooms.
        saver: claims durable rooms in the store.
        transactions: completes transactions in flight.
        queue_service: has the queue positions of the players in a room.
        session_transfer: publishes the locations of sessions.
        spawn: runs a coroutine as a task of the shard.
        on_moved: called with each room that another shard has claimed.

    Attributes:
        results: migrations by result. On the source: moved, refused, stayed, kept; on the target: taken, failed.
    """

    def __init__(
        self,
        *,
        shard_id: str,
        region: str,
        build: str,
        host: RoomHost,
        matchmaker: Matchmaker,
        join_service: JoinService,
        saver: RoomSaver,
        transactions: TransactionService,
        queue_service: QueueService,
        session_transfer: SessionTransfer,
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
        on_moved: Callable[[RoomRuntime], None],
    ) -> None:
        self.results: Counter[str] = Counter()
        self._shard_id = shard_id
        self._build = build
        self._host = host
        self._matchmaker = matchmaker
        self._handoffs = matchmaker.handoffs
        self._ready_shards = ReadyShards(matchmaker, shard_id=shard_id, region=region)
        self._pace = ReconnectPace()
        self._join_service = join_service
        self._saver = saver
        self._transactions = transactions
        self._queue_service = queue_service
        self._session_transfer = session_transfer
        self._spawn = spawn
        self._on_moved = on_moved

    # -- source ---------------------------------------------------------------------------------------------

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
        offer = HandoffOffer(room.room_id, room.room_type, self._shard_id, self._build, len(runtime.seats))
        try:
            await self._handoffs.offer(offer, epoch=runtime.epoch, to=to)
            if not await self._wait_for_state(room.room_id, "accepted", ACCEPT_TIMEOUT_S, OFFER_POLL_INTERVAL_S):
                self.results["refused"] += 1
                await self._handoffs.cancel(room.room_id, self._shard_id)
                return False
            await self._wait_for_pace(runtime)
            if not runtime.is_open or not self._can_migrate(runtime):  # the room has ticked since the first check
                self.results["postponed"] += 1
                await self._handoffs.cancel(room.room_id, self._shard_id)
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
            runtime.handover.seal()
            positions = self._find_positions(runtime)
            await self._publish_locations(runtime, target.info.shard_id)
            encoded = {session_id: msgspec.msgpack.encode(position) for session_id, position in positions.items()}
            await self._handoffs.send(room_id, self._shard_id, encode_room(runtime, encoded))
            is_claimed = await self._is_claimed(room_id)
            if is_claimed:  # again, for players who have disconnected since
                await self._publish_locations(runtime, target.info.shard_id)
        except (MatchmakingError, TickwireError, RoomCodeRaised, RoomTooLarge, TimeoutError) as error:
            log.warning("room_migration_failed", room_id=room_id, to=target.info.shard_id, error=str(error))
            is_claimed = not await self._cancel(room_id)
        except asyncio.CancelledError:  # the drain's deadline: the current owner keeps the room
            is_claimed = not await asyncio.shield(self._cancel(room_id))
            raise
        finally:
            if is_claimed:
                self.results["completed"] += 1
                room = runtime.room
                redirect = Redirect(target.info.url, room_type=room.room_type, room_name=room.name, is_resume=True)
                if runtime.handover.leavers:
                    self._spawn(
                        self._publish_leavers(room_id, tuple(runtime.handover.leavers)), f"leavers of {room_id}"
                    )
                self._release_positions(runtime, positions)
                self._host.release(runtime, redirect)
                self._on_moved(runtime)
            else:
                self.results["unclaimed"] += 1
                self._host.unfreeze(runtime)
                self._spawn(self._restore_locations(runtime), f"locations of {room_id}")
        return is_claimed

    async def _publish_locations(self, runtime: RoomRuntime, shard_id: str) -> None:
        """Publish where disconnected players move: the client of a new player may not know the room's id yet."""
        disconnected = [seat.subscriber.session_id for seat in runtime.seats if seat.connection is None]
        await asyncio.gather(*(self._session_transfer.publish_location(each, shard_id) for each in disconnected))

    async def _restore_locations(self, runtime: RoomRuntime) -> None:
        try:
            await self._publish_locations(runtime, self._shard_id)
        except MatchmakingError as error:  # the locations expire
            log.warning("session_location_publish_failed", room_id=runtime.room.room_id, error=str(error))

    def _find_positions(self, runtime: RoomRuntime) -> dict[str, TransferredPosition]:
        """Return the queue positions of a room's players, by session."""
        sessions = [seat.subscriber for seat in runtime.seats]
        found = {session.session_id: self._queue_service.find_position(session) for session in sessions}
        return {session_id: position for session_id, position in found.items() if position is not None}

    def _release_positions(self, runtime: RoomRuntime, sent: Mapping[str, TransferredPosition]) -> None:
        """Release the positions that were sent to the new owner. A position that has changed since stays here."""
        for seat in runtime.seats:
            session = seat.subscriber
            position = sent.get(session.session_id)
            if position is not None and self._queue_service.find_position(session) == position:
                self._queue_service.release_position(session)

    async def _publish_leavers(self, room_id: str, session_ids: Sequence[str]) -> None:
        """Publish the sessions that have ended since the room's state was sent, for its new owner."""
        try:
            await self._matchmaker.session_handoffs.put(
                _leavers_key(room_id), msgspec.msgpack.encode(session_ids), ttl_ms=LEAVERS_TTL_MS
            )
        except MatchmakingError as error:  # the sessions expire on the new owner
            log.warning("leavers_publish_failed", room_id=room_id, sessions=len(session_ids), error=str(error))

    async def _is_claimed(self, room_id: str) -> bool:
        if await self._wait_for_state(room_id, "", CLAIM_TIMEOUT_S, ROOM_POLL_INTERVAL_S):
            return True
        return not await self._cancel(room_id)

    async def _cancel(self, room_id: str) -> bool:
        """Cancel a handover, and retry until Redis has decided.

        Returns:
            Whether the room stays on this shard; also True if Redis does not answer for OUTCOME_TIMEOUT_S.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + OUTCOME_TIMEOUT_S
        while loop.time() < until_s:
            try:
                if await self._handoffs.cancel(room_id, self._shard_id):
                    return True
                location = await self._matchmaker.directory.locate_room(room_id)
                return location is None or location.shard_id == self._shard_id
            except MatchmakerUnavailable:
                await asyncio.sleep(RETRY_INTERVAL_S)
        return True

    async def _wait_for_state(self, room_id: str, state: str, timeout_s: float, pause_s: float) -> bool:
        """Wait until a handover is in a state. Return False if it has ended otherwise, or after a timeout."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        while loop.time() < until_s:
            current = await self._handoffs.get_state(room_id)
            if current == state:
                return True
            if current in ("", "refused"):
                return False
            await asyncio.sleep(pause_s)
        return False

    def _can_migrate(self, runtime: RoomRuntime) -> bool:
        if any(self._queue_service.is_bound(seat.subscriber) for seat in runtime.seats):
            return False  # a player's match or cancel is not completed yet
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
                shard.info.build == self._build,
                shard.rooms + assigned[shard.info.shard_id],
                shard.info.shard_id,
            ),
            default=None,
        )

    # -- target ---------------------------------------------------------------------------------------------

    async def accept(self) -> None:
        """Accept or refuse the rooms that are offered to this shard, and start to receive the accepted ones.

        Raises:
            MatchmakingError: Redis does not answer.
        """
        for offer in await self._handoffs.poll_offers(self._shard_id):
            accepts = not self._join_service.is_draining and offer.room_type in self._host.room_types
            if await self._handoffs.respond(offer.room_id, self._shard_id, accepts=accepts) and accepts:
                self._spawn(self._receive(offer), f"receive {offer.room_id}")

    async def _receive(self, offer: HandoffOffer) -> None:
        """Receive one room: fetch its state, restore it, and claim it."""
        runtime: RoomRuntime | None = None
        self._join_service.incoming_rooms.add(offer.room_id)
        try:
            data = await self._fetch(offer.room_id)
            if not data:
                return  # its owner has cancelled the handover
            transfer, state = decode_room(data)
            world = transfer.world
            spec = RoomSpec(world.room_id, world.room_type, world.name, transfer.code, mode=transfer.mode)
            runtime = await self._join_service.prepare_room(spec, state)
            runtime.room.access = transfer.access
            runtime.epoch = await self._claim_room(offer.room_id)
            await self._attach(runtime, transfer.positions)
            self.results["claimed"] += 1
        except (MatchmakingError, TickwireError, ValueError) as error:
            self.results["failed"] += 1
            log.warning("room_claim_failed", room_id=offer.room_id, error=str(error))
            if runtime is not None and self._host.get(offer.room_id) is not runtime:
                runtime.close("the room was not claimed", has_moved=True)
        finally:
            self._join_service.incoming_rooms.discard(offer.room_id)

    async def _claim_room(self, room_id: str) -> int:
        """Claim a room, and return its epoch. If an answer of Redis is lost, read the room's owner first.

        Raises:
            MatchmakingError: another shard owns the room, or Redis does not answer for OUTCOME_TIMEOUT_S.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + OUTCOME_TIMEOUT_S
        is_lost = False
        while True:
            try:
                location = await self._matchmaker.directory.locate_room(room_id) if is_lost else None
                if location is not None and location.shard_id == self._shard_id:
                    return location.epoch
                return await self._handoffs.claim(room_id, self._shard_id)
            except MatchmakerUnavailable:
                if loop.time() > until_s:
                    raise
                is_lost = True
                await asyncio.sleep(OFFER_POLL_INTERVAL_S)

    async def _attach(self, runtime: RoomRuntime, positions: Mapping[str, msgspec.Raw]) -> None:
        """Start a room that was claimed. It ticks at once; the claim in the store runs in the background."""
        self._host.attach(runtime)
        self._join_service.settle_sessions(runtime)
        self._spawn(self._restore_positions(runtime, positions), f"positions of {runtime.room.room_id}")
        self._spawn(self._end_leavers(runtime.room.room_id), f"leavers of {runtime.room.room_id}")
        room = runtime.room
        if runtime.is_durable:
            self._spawn(self._claim_world(room.room_type, room.name, runtime.epoch), f"claim {room.room_id}")

    async def _restore_positions(self, runtime: RoomRuntime, positions: Mapping[str, msgspec.Raw]) -> None:
        """Continue the queue positions of the room's players."""
        for seat in list(runtime.seats):
            encoded = positions.get(seat.subscriber.session_id)
            if encoded is None:
                continue
            try:
                position = decode_payload(bytes(encoded), TransferredPosition)
            except MalformedMessage as error:  # encoded by another build: the client requests a match again
                log.warning("queue_position_lost", session_id=seat.subscriber.session_id, error=str(error))
                continue
            await self._queue_service.accept_position(seat.subscriber, position)

    async def _end_leavers(self, room_id: str) -> None:
        """End the sessions that have ended on the source after the room's state was sent.

        The source learns that the room was claimed, and publishes the list, some milliseconds after the claim.
        """
        for pause_s in LEAVERS_POLL_DELAYS_S:
            await asyncio.sleep(pause_s)
            try:
                data = await self._matchmaker.session_handoffs.take(_leavers_key(room_id))
                session_ids = decode_payload(data, list[str]) if data is not None else None
            except (MatchmakingError, MalformedMessage) as error:  # the sessions expire
                log.warning("leavers_fetch_failed", room_id=room_id, error=str(error))
                return
            if session_ids is not None:
                for session_id in session_ids:
                    self._join_service.session_restorer.drop(session_id, room_id)
                return

    async def _claim_world(self, room_type: str, name: str, epoch: int) -> None:
        try:
            await self._saver.claim(room_type, name, epoch)
        except TickwireError as error:
            log.warning("migrated_world_claim_failed", room_type=room_type, room_name=name, error=str(error))

    async def _fetch(self, room_id: str) -> bytes:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + RECEIVE_TIMEOUT_S
        while loop.time() < until_s:
            state, data = await self._handoffs.fetch(room_id, self._shard_id)
            if state == "sent":
                return data
            if state != "accepted":
                return b""
            await asyncio.sleep(ROOM_POLL_INTERVAL_S)
        return b""


def _leavers_key(room_id: str) -> str:
    return f"leavers {room_id}"
