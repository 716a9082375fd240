"""Publishes the rooms of this shard, and their seats, to the directory.

    room changed      its whole record is published; also if the directory lacks an entry of it, if an update was
                      lost, and every REPUBLISH_INTERVAL_S, which repairs any other loss
    seat              published in the background when it is taken or released

While Redis is unavailable updates are lost; the rooms are published as a whole when Redis answers again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from tickwire.matchmaking import Leases, MatchmakerUnavailable, MatchmakingError, RoomRecord, StaleLease
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat

log = structlog.get_logger(__name__)

UPDATES_MAX = 10_000
"""Queued updates. An update above this is dropped, and the whole record of its room is published later."""
UPDATE_WORKERS = 64
"""Tasks that send queued updates; each sends one at a time."""
REPUBLISH_INTERVAL_S = 30.0
"""The longest time between two publications of a room's record."""
Facts = tuple[object, ...]


class DirectoryPublisher:
    """Publishes the rooms and seats of one shard.

    Args:
        leases: the leases and room records, in Redis.
        shard_id: the id of the shard.
        isolation: contains faults while one room is published.
        now_s: a monotonic clock.

    Attributes:
        updates_lost: background updates that were dropped or that failed.
    """

    def __init__(
        self, leases: Leases, shard_id: str, *, isolation: FaultIsolation, now_s: Callable[[], float]
    ) -> None:
        self.updates_lost = 0
        self._leases = leases
        self._shard_id = shard_id
        self._isolation = isolation
        self._now_s = now_s
        self._published: dict[str, tuple[Facts, float]] = {}  # by room id: last published, and when
        self._updates: asyncio.Queue[tuple[str, Callable[[], Awaitable[None]]]] = asyncio.Queue(UPDATES_MAX)

    @property
    def queued_updates(self) -> int:
        """The number of updates that were not sent yet."""
        return self._updates.qsize()

    # -- rooms ----------------------------------------------------------------------------------------------

    def needs_publish(self, runtime: RoomRuntime) -> bool:
        """Return whether a room has changed since it was last published, or was published too long ago."""
        facts, published_s = self._published.get(runtime.room.room_id, ((), 0.0))
        return self._now_s() - published_s > REPUBLISH_INTERVAL_S or facts != _to_facts(runtime)

    async def publish(self, runtime: RoomRuntime) -> bool:
        """Publish a room's record.

        Returns:
            False if another shard owns the room.

        Raises:
            MatchmakerUnavailable: Redis does not answer.
        """
        room_id = runtime.room.room_id
        with self._isolation.guard("upkeep", room_id, passes=(MatchmakerUnavailable,)):
            facts = _to_facts(runtime)
            try:
                await self._leases.publish(to_room_record(runtime), self._shard_id)
            except StaleLease:
                return False
            self._published[room_id] = (facts, self._now_s())
        return True

    def evict(self, room_id: str) -> None:
        """Forget a room that has ended or moved; or publish it again, if it runs on this shard."""
        self._published.pop(room_id, None)

    # -- seats ----------------------------------------------------------------------------------------------

    def seat_taken(self, seat: Seat, epoch: int) -> None:
        """Publish in the background that a player with a ticket has taken its seat."""
        leases, shard_id = self._leases, self._shard_id
        room_id, player_id = seat.room_id, seat.player_id
        self._enqueue(room_id, lambda: leases.confirm_seat(room_id, player_id, shard_id=shard_id, epoch=epoch))

    def seat_released(self, room_id: str, player_id: str, epoch: int) -> None:
        """Publish in the background that a seat or a reservation is free again."""
        leases, shard_id = self._leases, self._shard_id
        self._enqueue(room_id, lambda: leases.release_seat(room_id, player_id, shard_id=shard_id, epoch=epoch))

    def _enqueue(self, room_id: str, call: Callable[[], Awaitable[None]]) -> None:
        try:
            self._updates.put_nowait((room_id, call))
        except asyncio.QueueFull:
            self._update_lost(room_id)

    def _update_lost(self, room_id: str) -> None:
        self.updates_lost += 1
        self.evict(room_id)  # publishes the whole room, with the lost update

    async def run(self) -> None:
        """Send queued updates to the directory, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(UPDATE_WORKERS):
                group.create_task(self._run())

    async def _run(self) -> None:
        while True:
            room_id, call = await self._updates.get()
            try:
                with self._isolation.guard("directory calls", room_id, passes=(MatchmakingError,)):
                    await call()
            except StaleLease:
                pass  # the room has ended, or its next renewal finds the lease lost
            except MatchmakingError as error:
                log.warning("directory_update_lost", room_id=room_id, error=error.detail)
                self._update_lost(room_id)
            finally:
                self._updates.task_done()

    async def join(self) -> None:
        """Wait until all queued updates were sent."""
        await self._updates.join()


def to_room_record(runtime: RoomRuntime) -> RoomRecord:
    """Return the directory's record of a room."""
    room = runtime.room
    return RoomRecord(
        room_id=room.room_id,
        room_type=room.room_type,
        epoch=runtime.epoch,
        seats=room.max_players,
        name=room.name,
        access=room.access,
        code=room.code,
        labels=room.labels,
        players=tuple(room.players),
    )


def _to_facts(runtime: RoomRuntime) -> Facts:
    """Return the values whose change requires a publication of the room; seats are published one by one."""
    room = runtime.room
    return (runtime.epoch, room.access, room.code, room.labels)
