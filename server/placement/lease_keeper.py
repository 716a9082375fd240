"""Keeps this shard in the directory and its rooms leased: what Redis knows of them is what is true here.

    once a second   heartbeat (registering when the directory has lost us), then all leases in one call
    a lease lost    the room is closed: another shard owns it
    gone, changed,  the directory is told all of the room anew, also when it has lost one of its entries; so too every
    or a call lost  TELL_AGAIN_S, which heals whatever was lost on the way
    a seat          is told when it is taken or given back, in the background
    a room's end    its lease is let go, but only when its last state is written: whoever has it next reads that

Redis away: rooms go on, calls are lost, and everything is told again when it is back.
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
from tickwire.server.persistence.saver import is_durable
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat

log = structlog.get_logger(__name__)

CALLS_MAX = 10_000
"""Above this a call is dropped, and its room told anew later."""
CALLS_AT_ONCE = 64
TELL_AGAIN_S = 30.0
Facts = tuple[object, ...]


class LeaseKeeper:
    """The shard's side of directory and leases.

    Args:
        shard: as it registers.
        matchmaker: the door to Redis.
        host: the rooms.
        wait_saved: returns once nothing of a room that has ended waits to be written.
        isolation: guards what is told of each room.
        now_s: a monotonic clock.
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
        self.leases_lost = self.calls_lost = 0
        self._matchmaker = matchmaker
        self._host = host
        self._wait_saved = wait_saved
        self._isolation = isolation
        self._now_s = now_s
        self._told: dict[str, tuple[Facts, float]] = {}  # what the directory was told of a room last, and when
        self._calls: asyncio.Queue[tuple[str, Callable[[], Awaitable[None]]]] = asyncio.Queue(CALLS_MAX)
        self._releasing: dict[str, tuple[asyncio.Task[None], int]] = {}
        self._is_registered = self._was_registered = False

    # -- upkeep ---------------------------------------------------------------------------------------------

    async def beat(self, load: float) -> HeartbeatReply:
        """One round of upkeep; gives what was heard.

        Raises:
            MatchmakerUnavailable: Redis does not answer.
        """
        try:
            heard = await self._be_registered(load)
            await self._renew()
            return heard
        except MatchmakingError:
            self._is_registered = False
            raise

    async def drain(self) -> None:
        """Nobody is sent here any more.

        Raises:
            MatchmakerUnavailable: Redis does not answer; the next beat says it.
        """
        self.shard = msgspec.structs.replace(self.shard, state="draining")
        self._is_registered = False
        await self._matchmaker.directory.register(self.shard, is_again=self._was_registered)
        self._is_registered = True

    async def _be_registered(self, load: float) -> HeartbeatReply:
        directory = self._matchmaker.directory
        if not self._is_registered:
            await directory.register(self.shard, is_again=self._was_registered)
            self._is_registered = self._was_registered = True
        players = sum(len(simulation.seats) for simulation in self._host)
        beat = partial(directory.heartbeat, self.shard.shard_id, load=load, players=players, rooms=len(self._host))
        heard = await beat()
        if not heard.is_known:
            await directory.register(self.shard, is_again=True)
            heard = await beat()
        return heard

    async def _renew(self) -> None:
        owned = [(simulation.room.room_id, simulation.epoch) for simulation in self._host]
        owned += [(room_id, epoch) for room_id, (_, epoch) in self._releasing.items()]
        players = {simulation.room.room_id: len(simulation.room.players) for simulation in self._host}
        renewal = await self._matchmaker.leases.renew(owned, self.shard.shard_id, players=players)
        for room_id in renewal.lost:
            self._lose(room_id)
        due = [s for s in self._host if s.room.room_id in renewal.gone or self._is_news(s)]
        await asyncio.gather(*(self._tell(simulation) for simulation in due))

    def _is_news(self, simulation: RoomRuntime) -> bool:
        """Whether the directory has not heard of this room for long, or not of what it is now."""
        facts, told_s = self._told.get(simulation.room.room_id, ((), 0.0))
        return self._now_s() - told_s > TELL_AGAIN_S or facts != _facts_of(simulation)

    async def _tell(self, simulation: RoomRuntime) -> None:
        room_id = simulation.room.room_id
        with self._isolation.guard("upkeep", room_id, passes=(MatchmakerUnavailable,)):
            facts = _facts_of(simulation)
            try:
                await self._matchmaker.leases.tell(record_of(simulation), self.shard.shard_id)
            except StaleLease:
                self._lose(room_id)
            else:
                self._told[room_id] = (facts, self._now_s())

    def _lose(self, room_id: str) -> None:
        simulation = self._host.get(room_id)
        if simulation is not None and not simulation.is_frozen:  # else it is moving, and is seen to by who moves it
            self.leases_lost += 1
            log.warning("lease_lost", room_id=room_id)
            # A durable room was made again from its last save, and those who are in it with it.
            reason = "another shard owns the room now"
            self._host.close(room_id, reason, has_moved=is_durable(simulation))

    # -- rooms that end, seats that change hands ------------------------------------------------------------

    def room_closed(self, simulation: RoomRuntime) -> None:
        """A room has ended here: its lease is let go when it is saved."""
        room_id = simulation.room.room_id
        self._told.pop(room_id, None)
        task = asyncio.create_task(self._release(simulation), name=f"release {room_id}")
        self._releasing[room_id] = (task, simulation.epoch)
        task.add_done_callback(lambda done: self._released(room_id, done))

    async def _release(self, simulation: RoomRuntime) -> None:
        await self._wait_saved(simulation)
        room_id = simulation.room.room_id
        try:
            await self._matchmaker.leases.release(room_id, shard_id=self.shard.shard_id, epoch=simulation.epoch)
        except MatchmakingError as error:
            log.warning("lease_not_released", room_id=room_id, error=error.detail)  # it runs out

    def _released(self, room_id: str, task: asyncio.Task[None]) -> None:
        del self._releasing[room_id]
        if not task.cancelled() and task.exception() is not None:
            log.critical("task_failed", task=task.get_name(), exc_info=task.exception())

    def room_moved(self, room_id: str) -> None:
        """Another shard has the room, and its lease."""
        self._told.pop(room_id, None)

    def seated(self, seat: Seat, epoch: int) -> None:
        """A ticket's player has its seat: the directory is told in the background."""
        leases, shard_id = self._matchmaker.leases, self.shard.shard_id
        room_id, player_id = seat.room_id, seat.player_id
        self._later(room_id, lambda: leases.seated(room_id, player_id, shard_id=shard_id, epoch=epoch))

    def unseated(self, room_id: str, player_id: str, epoch: int) -> None:
        """A seat or a reservation is free again: the directory is told in the background."""
        leases, shard_id = self._matchmaker.leases, self.shard.shard_id
        self._later(room_id, lambda: leases.unseated(room_id, player_id, shard_id=shard_id, epoch=epoch))

    def _later(self, room_id: str, call: Callable[[], Awaitable[None]]) -> None:
        try:
            self._calls.put_nowait((room_id, call))
        except asyncio.QueueFull:
            self._call_lost(room_id)

    def _call_lost(self, room_id: str) -> None:
        self.calls_lost += 1
        self._told.pop(room_id, None)  # the room is told anew, and with it what was lost

    async def make_calls(self) -> None:
        """The task that tells the directory of seats. Runs until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLS_AT_ONCE):
                group.create_task(self._make_calls())

    async def _make_calls(self) -> None:
        while True:
            room_id, call = await self._calls.get()
            try:
                with self._isolation.guard("directory calls", room_id, passes=(MatchmakingError,)):
                    await call()
            except StaleLease:
                pass  # the room has ended, or its next renewal finds that it is lost
            except MatchmakingError as error:
                log.warning("directory_call_lost", room_id=room_id, error=error.detail)
                self._call_lost(room_id)
            finally:
                self._calls.task_done()

    # -- the end --------------------------------------------------------------------------------------------

    async def settle(self, deadline_s: float) -> None:
        """Returns once every room that has ended is released and every call made, or the time is over; what is not
        done then is given up."""
        releasing = [task for task, _ in self._releasing.values()]
        try:
            async with asyncio.timeout(deadline_s):
                await asyncio.gather(*releasing, return_exceptions=True)
                await self._calls.join()
        except TimeoutError:
            log.warning("directory_not_settled", rooms=len(self._releasing), calls=self._calls.qsize())
        for task in releasing:
            task.cancel()
        await asyncio.gather(*releasing, return_exceptions=True)

    async def leave(self) -> None:
        """Takes this shard out of the directory.

        Raises:
            MatchmakerUnavailable: Redis does not answer; the entry runs out.
        """
        await self._matchmaker.directory.deregister(self.shard.shard_id)


def record_of(simulation: RoomRuntime) -> RoomRecord:
    """What the directory must know of a room that runs here."""
    room = simulation.room
    return RoomRecord(
        room_id=room.room_id,
        room_type=room.room_type,
        epoch=simulation.epoch,
        seats=room.seats,
        name=room.name,
        access=room.access,
        code=room.code,
        labels=room.labels,
        players=tuple(room.players),
    )


def _facts_of(simulation: RoomRuntime) -> Facts:
    """What the directory is told anew when it changes; seats are told one by one."""
    room = simulation.room
    return (simulation.epoch, room.access, room.code, room.labels)
