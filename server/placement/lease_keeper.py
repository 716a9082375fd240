"""Keeps the directory's entries of this shard and the leases of its rooms equal to the state of the shard.

    once a second     a heartbeat (after registering, if the directory has no entry), then all leases in one call
    lease lost        the room is closed: another shard owns it
    room changed      its record is published (server/placement/directory_publisher.py)
    room ended        its lease is released after its final save, so that the next owner reads that save

While Redis is unavailable rooms keep running; everything is published when Redis answers again.
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
    MatchmakingError,
    ShardInfo,
)
from tickwire.server.placement.directory_publisher import DirectoryPublisher
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.runtime import RoomRuntime

log = structlog.get_logger(__name__)


class LeaseKeeper:
    """Registers a shard, renews and releases the leases of its rooms, and has changed rooms published.

    Args:
        shard: the shard's entry in the directory.
        matchmaker: the directory and the leases, in Redis.
        host: the rooms of the shard.
        publisher: publishes the rooms.
        wait_saved: returns when the final save of an ended room is written.

    Attributes:
        publisher: as passed.
        leases_lost: rooms that were closed because another shard owns them.
    """

    def __init__(
        self,
        shard: ShardInfo,
        matchmaker: Matchmaker,
        host: RoomHost,
        publisher: DirectoryPublisher,
        wait_saved: Callable[[RoomRuntime], Awaitable[None]],
    ) -> None:
        self.shard = shard
        self.leases_lost = 0
        self._matchmaker = matchmaker
        self._host = host
        self._wait_saved = wait_saved
        self.publisher = publisher
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

    async def raise_epoch(self, room_id: str, epoch: int, above: int) -> int:
        """Return a new epoch for a room that this shard owns, because the store has seen a greater one.

        Raises:
            StaleLease: another shard owns the room.
            MatchmakerUnavailable: Redis does not answer.
        """
        return await self._matchmaker.leases.raise_epoch(
            room_id, shard_id=self.shard.shard_id, epoch=epoch, above=above
        )

    def set_url(self, url: str) -> None:
        """Set the URL that other shards redirect clients to; it is known once the port is open."""
        self.shard = msgspec.structs.replace(self.shard, url=url)

    def set_room_types(self, room_types: tuple[str, ...]) -> None:
        """Set the room types that the directory lists for this shard; the next heartbeat registers them."""
        self.shard = msgspec.structs.replace(self.shard, room_types=room_types)
        self._is_registered = False

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
        due = [one for one in self._host if one.room.room_id in renewal.gone or self.publisher.needs_publish(one)]
        if due:
            await asyncio.gather(*(self._publish(runtime) for runtime in due))

    async def _publish(self, runtime: RoomRuntime) -> None:
        if not await self.publisher.publish(runtime):
            self._close_lost_room(runtime.room.room_id)

    def _close_lost_room(self, room_id: str) -> None:
        runtime = self._host.get(room_id)
        if runtime is not None and not runtime.is_frozen:  # a frozen room is left to its migration
            self.leases_lost += 1
            log.warning("lease_lost", room_id=room_id)
            # The new owner has restored a durable room, and its players, from the last save.
            reason = "another shard owns the room now"
            self._host.close(room_id, reason, has_moved=runtime.is_durable)

    # -- ended rooms -------------------------------------------------------------------------------------

    def room_closed(self, runtime: RoomRuntime) -> None:
        """Release the lease of a room that has ended, after its final save."""
        room_id = runtime.room.room_id
        self.publisher.evict(room_id)
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
        self.publisher.evict(room_id)

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
                await self.publisher.join()
        except TimeoutError:
            log.warning(
                "directory_flush_timed_out", rooms=len(self._releasing), updates=self.publisher.queued_updates
            )
        for task in releasing:
            task.cancel()
        await asyncio.gather(*releasing, return_exceptions=True)

    async def deregister(self) -> None:
        """Remove this shard from the directory.

        Raises:
            MatchmakerUnavailable: Redis does not answer; the entry expires.
        """
        await self._matchmaker.directory.deregister(self.shard.shard_id)
