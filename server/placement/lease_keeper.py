"""Keeps the directory's entries of this shard and the leases of its rooms equal to the state of the shard.

    once a second     a heartbeat (after registering, if the directory has no entry), then all leases in one call
    lease lost        the room is closed: another shard owns it
    room changed      its whole record is published; also if the directory lacks an entry of it, if an update was
                      lost, and every REPUBLISH_INTERVAL_S, which repairs any other loss
    seat              published in the background when it is taken or released
    room ended        its lease is released after its final save, so that the next owner reads that save

While Redis is unavailable rooms keep running and updates are lost; everything is published when Redis answers again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
import structlog

from tickwire.matchmaking import (
    HeartbeatReply,
    Matchmaker,
    MatchmakerUnavailable,
    MatchmakingError,
    RoomRecord,
    ShardInfo,
    StaleLease,
)
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.rooms.host import RoomHost
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


class LeaseKeeper:
    """Registers a shard, renews the leases of its rooms, and publishes rooms and seats to the directory.

    Args:
        shard: the shard's entry in the directory.
        matchmaker: the directory and the leases, in Redis.
        host: the rooms of the shard.
        wait_saved: returns when the final save of an ended room is written.
        isolation: contains faults while one room is published.
        now_s: a monotonic clock.

    Attributes:
        leases_lost: rooms that were closed because another shard owns them.
        updates_lost: background updates that were dropped or that failed.
    """

    def __init__(
        self,
        shard: ShardInfo,
        matchmaker: Matchmaker,
        host: RoomHost,
        *,
        wait_saved: Callable[[RoomRuntime], Awaitable[None]],
        isolation: FaultIsolation,
        now_s: Callable[[], float],
    ) -> None:
        self.shard = shard
        self.leases_lost = self.updates_lost = 0
        self._matchmaker = matchmaker
        self._host = host
        self._wait_saved = wait_saved
        self._isolation = isolation
        self._now_s = now_s
        self._published: dict[str, tuple[Facts, float]] = {}  # by room id: last published, and when
        self._updates: asyncio.Queue[tuple[str, Callable[[], Awaitable[None]]]] = asyncio.Queue(UPDATES_MAX)
        self._releasing: dict[str, tuple[asyncio.Task[None], int]] = {}
        self._is_registered = self._was_registered = False

    # -- upkeep ---------------------------------------------------------------------------------------------

    async def sync(self, load: float) -> HeartbeatReply:
        """Send a heartbeat, renew all leases, and publish the rooms that have changed.

        Args:
            load: the share of time that ticks take, 0 to 1.

        Returns:
            The directory's reply to the heartbeat.

        Raises:
            MatchmakerUnavailable: Redis does not answer.
        """
        try:
            reply = await self._heartbeat(load)
            await self._renew_leases()
            return reply
        except MatchmakingError:
            self._is_registered = False
            raise

    async def drain(self) -> None:
        """Mark the shard as draining in the directory, so that no new players are placed on it.

        Raises:
            MatchmakerUnavailable: Redis does not answer; the next `sync` marks it.
        """
        self.shard = msgspec.structs.replace(self.shard, state="draining")
        self._is_registered = False
        await self._matchmaker.directory.register(self.shard, was_registered=self._was_registered)
        self._is_registered = True

    async def _heartbeat(self, load: float) -> HeartbeatReply:
        directory = self._matchmaker.directory
        if not self._is_registered:
            await directory.register(self.shard, was_registered=self._was_registered)
            self._is_registered = self._was_registered = True
        players = sum(len(runtime.seats) for runtime in self._host)
        heartbeat = partial(
            directory.heartbeat, self.shard.shard_id, load=load, players=players, rooms=len(self._host)
        )
        reply = await heartbeat()
        if not reply.is_known:
            await directory.register(self.shard, was_registered=True)
            reply = await heartbeat()
        return reply

    async def _renew_leases(self) -> None:
        owned = [(runtime.room.room_id, runtime.epoch) for runtime in self._host]
        owned += [(room_id, epoch) for room_id, (_, epoch) in self._releasing.items()]
        players = {runtime.room.room_id: len(runtime.room.players) for runtime in self._host}
        renewal = await self._matchmaker.leases.renew(owned, self.shard.shard_id, players=players)
        for room_id in renewal.lost:
            self._close_lost_room(room_id)
        due = [one for one in self._host if one.room.room_id in renewal.gone or self._needs_publish(one)]
        await asyncio.gather(*(self._publish(runtime) for runtime in due))

    def _needs_publish(self, runtime: RoomRuntime) -> bool:
        """Return whether a room has changed since it was last published, or was published too long ago."""
        facts, published_s = self._published.get(runtime.room.room_id, ((), 0.0))
        return self._now_s() - published_s > REPUBLISH_INTERVAL_S or facts != _to_facts(runtime)

    async def _publish(self, runtime: RoomRuntime) -> None:
        room_id = runtime.room.room_id
        with self._isolation.guard("upkeep", room_id, passes=(MatchmakerUnavailable,)):
            facts = _to_facts(runtime)
            try:
                await self._matchmaker.leases.publish(to_room_record(runtime), self.shard.shard_id)
            except StaleLease:
                self._close_lost_room(room_id)
            else:
                self._published[room_id] = (facts, self._now_s())

    def _close_lost_room(self, room_id: str) -> None:
        runtime = self._host.get(room_id)
        if runtime is not None and not runtime.is_frozen:  # a frozen room is left to its migration
            self.leases_lost += 1
            log.warning("lease_lost", room_id=room_id)
            # The new owner has restored a durable room, and its players, from the last save.
            reason = "another shard owns the room now"
            self._host.close(room_id, reason, has_moved=runtime.is_durable)

    # -- ended rooms, seats ------------------------------------------------------------------------------

    def room_closed(self, runtime: RoomRuntime) -> None:
        """Release the lease of a room that has ended, after its final save."""
        room_id = runtime.room.room_id
        self._published.pop(room_id, None)
        task = asyncio.create_task(self._release(runtime), name=f"release {room_id}")
        self._releasing[room_id] = (task, runtime.epoch)
        task.add_done_callback(lambda done: self._released(room_id, done))

    async def _release(self, runtime: RoomRuntime) -> None:
        await self._wait_saved(runtime)
        room_id = runtime.room.room_id
        try:
            await self._matchmaker.leases.release(room_id, shard_id=self.shard.shard_id, epoch=runtime.epoch)
        except MatchmakingError as error:
            log.warning("lease_release_failed", room_id=room_id, error=error.detail)  # the lease expires

    def _released(self, room_id: str, task: asyncio.Task[None]) -> None:
        del self._releasing[room_id]
        if not task.cancelled() and task.exception() is not None:
            log.critical("task_failed", task=task.get_name(), exc_info=task.exception())

    def room_moved(self, room_id: str) -> None:
        """Forget a room that another shard has claimed, with its lease."""
        self._published.pop(room_id, None)

    def seat_taken(self, seat: Seat, epoch: int) -> None:
        """Publish in the background that a player with a ticket has taken its seat."""
        leases, shard_id = self._matchmaker.leases, self.shard.shard_id
        room_id, player_id = seat.room_id, seat.player_id
        self._enqueue_update(room_id, lambda: leases.confirm_seat(room_id, player_id, shard_id=shard_id, epoch=epoch))

    def seat_released(self, room_id: str, player_id: str, epoch: int) -> None:
        """Publish in the background that a seat or a reservation is free again."""
        leases, shard_id = self._matchmaker.leases, self.shard.shard_id
        self._enqueue_update(room_id, lambda: leases.release_seat(room_id, player_id, shard_id=shard_id, epoch=epoch))

    def _enqueue_update(self, room_id: str, call: Callable[[], Awaitable[None]]) -> None:
        try:
            self._updates.put_nowait((room_id, call))
        except asyncio.QueueFull:
            self._update_lost(room_id)

    def _update_lost(self, room_id: str) -> None:
        self.updates_lost += 1
        self._published.pop(room_id, None)  # publishes the whole room, with the lost update

    async def run_updates(self) -> None:
        """Send queued updates to the directory, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(UPDATE_WORKERS):
                group.create_task(self._run_updates())

    async def _run_updates(self) -> None:
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

    # -- shutdown -------------------------------------------------------------------------------------------

    async def flush(self, timeout_s: float) -> None:
        """Wait until the leases of all ended rooms are released and all updates are sent; give up after a timeout.

        Args:
            timeout_s: the longest time to wait; releases that are still pending then are cancelled.
        """
        releasing = [task for task, _ in self._releasing.values()]
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*releasing, return_exceptions=True)
                await self._updates.join()
        except TimeoutError:
            log.warning("directory_flush_timed_out", rooms=len(self._releasing), updates=self._updates.qsize())
        for task in releasing:
            task.cancel()
        await asyncio.gather(*releasing, return_exceptions=True)

    async def deregister(self) -> None:
        """Remove this shard from the directory.

        Raises:
            MatchmakerUnavailable: Redis does not answer; the entry expires.
        """
        await self._matchmaker.directory.deregister(self.shard.shard_id)


def to_room_record(runtime: RoomRuntime) -> RoomRecord:
    """Return the directory's record of a room."""
    room = runtime.room
    return RoomRecord(
        room_id=room.room_id,
        room_type=room.room_type,
        epoch=runtime.epoch,
        seats=room.seats,
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
