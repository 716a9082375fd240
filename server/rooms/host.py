"""The rooms of one shard: creates them, ticks them on time and closes them.

Rooms share tick groups, which are small and spread over the tick interval (server/rooms/tick_scheduler.py), so that
the load of a hundred rooms is many small pieces instead of one burst. An exception in the tick of one room affects
that room only: it closes, or restarts if its `error_policy` says so. An empty room closes after its
`empty_timeout_s`, measured in time: a slow shard does not delay it.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import structlog

from tickwire.schemas.messages import Redirect
from tickwire.server.errors import Internal, NoSuchRoom, NoSuchRoomType, RoomClosed, TickwireError
from tickwire.server.rooms.attributes import AttributeReport
from tickwire.server.rooms.checkpoint import RoomCheckpoint
from tickwire.server.rooms.containment import PendingRoom, RoomCodeRaised, contain
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.factory import (
    RestoreRequest,
    RoomContext,
    RoomSpec,
    create_room,
    restore_error,
    restore_room,
)
from tickwire.server.rooms.options_types import parse_options
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.room_observer import NoRoomObserver, RoomObserver
from tickwire.server.rooms.room_restart import (
    LEFT_REASON,
    RestartPoint,
    RestartPoints,
    connect_players,
    create_restart_point,
    restart_room,
)
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.salvage import salvage_checkpoint
from tickwire.server.rooms.seat import Seat, SeatEnded, SeatRequest
from tickwire.server.rooms.task_runner import TaskRunner
from tickwire.server.rooms.tick_loop import LoopTimers, TickObserver, TickTimers
from tickwire.server.rooms.tick_scheduler import TickScheduler

log = structlog.get_logger(__name__)

STALLED_S_MAX = 5.0
"""A tick that has been due for longer than this, while the event loop runs, will never start."""


def create_seed() -> int:
    """Return a seed that cannot be guessed."""
    return secrets.randbits(64)


class TicksStalled(Internal):
    """The timer of a tick group has stopped, so that its rooms no longer tick."""


class HostCallbacks(NamedTuple):
    """The parts of a shard that rooms reach through their host.

    Args:
        on_closed: called with the reason after a room has closed; the room's state can still be read.
        tune: sets the tuning values of a new room.
        observe_tick: called for every tick, for histograms.
        commit: starts to commit the pending transactions of a room. Called again for each new one.
        observer: receives the events of all rooms, for recordings.
    """

    on_closed: Callable[[RoomRuntime, str], None]
    tune: Callable[[Room], None]
    observe_tick: TickObserver
    commit: Callable[[RoomRuntime], None]
    observer: RoomObserver = NoRoomObserver()


class RoomHost:
    """Owns the rooms of a shard. Used on the event loop's thread only.

    Args:
        room_types: the room classes that this shard hosts, by room type.
        callbacks: the parts of the shard that rooms reach through the host.
        clock: the clock and the timers of the ticks; None: those of the running event loop.
        create_seed: returns a seed for the random numbers of a room.

    Attributes:
        tick_scheduler: runs the ticks of the rooms.
        tasks: runs the tasks of the rooms, also those of closed rooms until they have ended.
    """

    def __init__(
        self,
        room_types: Mapping[str, type[Room]],
        callbacks: HostCallbacks,
        *,
        clock: TickTimers | None = None,
        create_seed: Callable[[], int] = create_seed,
    ) -> None:
        self.room_types = dict(room_types)
        self._create_seed = create_seed
        self._on_closed = callbacks.on_closed
        self._tune = callbacks.tune
        self._commit = callbacks.commit
        self._observer = callbacks.observer
        self._rooms: dict[str, RoomRuntime] = {}
        self._clock: TickTimers = clock or LoopTimers()
        self.counters = RoomCounters(self._clock.now_s)
        self.tasks = TaskRunner(self.counters)
        self._restart_points = RestartPoints()
        self.tick_scheduler = TickScheduler(self._clock, self._tick_done, callbacks.observe_tick)
        self._checked: set[tuple[type[Room], frozenset[str]]] = set()
        self._reported: set[tuple[type[Room], AttributeReport]] = set()

    def __len__(self) -> int:
        return len(self._rooms)

    def __iter__(self) -> Iterator[RoomRuntime]:
        return iter(list(self._rooms.values()))

    def get(self, room_id: str) -> RoomRuntime | None:
        """Return the room with this id, or None if it does not run on this shard."""
        return self._rooms.get(room_id)

    def bandwidth_report(self, room_id: str) -> dict[str, Any] | None:
        """Return the bandwidth of each field of a room, with advice; None if the room does not run on this shard."""
        runtime = self.get(room_id)
        if runtime is None:
            return None
        profile = runtime.bandwidth.profile
        return {
            "room_id": room_id,
            "room_type": runtime.room.room_type,
            "sampled_ticks": profile.samples,
            "sampled_client_ticks": profile.client_ticks,
            "fields": profile.report(runtime.bandwidth.clamped_counts()),
        }

    def get_room_class(self, room_type: str) -> type[Room]:
        """Return the class of a room type.

        Raises:
            NoSuchRoomType: this build does not host it.
        """
        try:
            return self.room_types[room_type]
        except KeyError:
            known = ", ".join(sorted(self.room_types)) or "none"
            raise NoSuchRoomType(f"room type {room_type!r} is not hosted here; known are: {known}") from None

    def check_options(self, room_type: str, options: Mapping[str, Any], *, may_create: bool) -> None:
        """Check the options of a player before it is placed.

        Args:
            room_type: the type of the room.
            options: as the client has sent them.
            may_create: whether the player may have to create the room with them.

        Raises:
            NoSuchRoomType: this build does not host it.
            InvalidArgument: they do not have the types that `on_join` and, if `may_create`, `on_create` declare.
            RoomFailed: the code of these types raised an exception.
        """
        room_class, pending = self.get_room_class(room_type), PendingRoom(room_type, "")
        parse_options("on_join", room_class.options_type, options, pending, self.counters)
        if may_create:
            parse_options("on_create", room_class.create_options_type, options, pending, self.counters)

    def create(self, spec: RoomSpec, options: Mapping[str, Any]) -> RoomRuntime:
        """Create a new room and start its ticks.

        Args:
            spec: the identity of the room, and the epoch under which this shard owns it.
            options: the options of the Join that creates it.

        Raises:
            NoSuchRoomType: this build does not host it.
            RoomClosed: the game's code raised an exception, or the room exists already.
        """
        room_class = self._check_new(spec)
        runtime = create_room(room_class, spec, self._context(), options, seed=self._create_seed())
        self._add_created(runtime, is_restored=False)
        return runtime

    def restore(self, spec: RoomSpec, request: RestoreRequest) -> RoomRuntime:
        """Restore a room from a save and start its ticks.

        Raises:
            NoSuchRoomType: this build does not host it.
            RoomClosed: the game's code raised an exception, or the room exists already.
            NotSavable, Unavailable: see `tickwire.server.rooms.factory.restore_room`.
        """
        room_class = self._check_new(spec)
        runtime = restore_room(room_class, spec, self._context(), request, seed=self._create_seed())
        self._add_created(runtime, is_restored=True)
        return runtime

    def prepare(self, spec: RoomSpec, request: RestoreRequest) -> RoomRuntime:
        """Restore a room that moves to this shard. It does not tick and does not belong to this host until `attach`.

        Raises:
            NoSuchRoomType, RoomClosed, NotSavable, Unavailable: see `restore`.
        """
        room_class = self.get_room_class(spec.room_type)
        runtime = restore_room(room_class, spec, self._context(), request, seed=self._create_seed())
        runtime.has_rolled_back = False  # it was frozen when its state was sent
        return runtime

    def _check_new(self, spec: RoomSpec) -> type[Room]:
        room_class = self.get_room_class(spec.room_type)
        if spec.room_id in self._rooms:
            raise RoomClosed("the room exists already")
        return room_class

    def _context(self) -> RoomContext:
        return RoomContext(self.counters, self._tune, self._clock.now_s)

    def _add_created(self, runtime: RoomRuntime, *, is_restored: bool) -> None:
        room = runtime.room
        self._rooms[room.room_id] = runtime
        self.tick_scheduler.add(runtime)
        self._observer.room_started(runtime)
        log.info(
            "room_created",
            room_id=room.room_id,
            room_type=room.room_type,
            room_name=room.name,
            epoch=runtime.epoch,
            restored=is_restored,
            **_members(runtime),
        )
        self._check_attributes(runtime)
        runtime.start(self._commit, self.tasks)

    def salvage(self, room_type: str, room_id: str, checkpoint: RoomCheckpoint) -> RoomCheckpoint:
        """Return a checkpoint without the values that did not fit when they were saved; these are in `rejected`.

        Raises:
            NoSuchRoomType: this build does not host it.
            RoomFailed, NotSavable, Unavailable: see `tickwire.server.rooms.factory.restore_room`.
        """
        room = PendingRoom(room_type, room_id)
        try:
            with contain("restore", room, self.counters):
                return salvage_checkpoint(self.get_room_class(room_type).save_type, checkpoint)
        except RoomCodeRaised as error:
            raise restore_error(error, room) from error

    def seat(self, room_id: str, request: SeatRequest, on_ended: SeatEnded) -> Seat:
        """Seat a player in a room of this shard and send `Joined`.

        Raises:
            NoSuchRoom: the room does not run on this shard.
            RoomFull, RoomClosed: see `RoomRuntime.seat`.
        """
        runtime = self.get(room_id)
        if runtime is None:
            raise NoSuchRoom("the room has ended")
        return runtime.seat(request, on_ended)

    def restart(self, old: RoomRuntime, room_class: type[Room], point: RestartPoint) -> bool:
        """Restart a room in this process; see server/rooms/room_restart.py. A room that cannot restart closes.

        Args:
            old: the room, which is not frozen.
            room_class: the class of the room that takes over.
            point: the state that it continues from.

        Returns:
            Whether the room has restarted.
        """
        room_id = old.room.room_id
        try:
            new = restart_room(old, room_class, point, self._context(), seed=self._create_seed())
        except TickwireError as error:
            log.error("room_restart_failed", room_id=room_id, room_type=old.room.room_type, error=error.detail)
            self.close(room_id, "the room could not restart")
            return False
        self.tick_scheduler.remove(old)
        self._observer.room_ended(old)
        self._rooms[room_id] = new
        self.tick_scheduler.add(new)
        self._observer.room_started(new)
        old.discard(new, LEFT_REASON)
        new.start(self._commit, self.tasks)
        connect_players(new)
        log.warning(
            "room_restarted",
            room_id=room_id,
            room_type=new.room.room_type,
            tick=old.tick,
            restored_tick=new.tick,
            **_members(new),
        )
        return True

    def take_restart_point(self, room_id: str) -> RestartPoint | None:
        """Return the newest restart point of a room; see `RestartPoints.take`."""
        return self._restart_points.take(room_id, self._clock.now_s())

    def reload(self, room_types: Mapping[str, type[Room]]) -> tuple[int, int]:
        """Restart all rooms with new classes of their types, from their current state.

        A room whose type no longer exists closes, as does one that cannot restart. A room that is migrating keeps
        its class.

        Returns:
            The numbers of rooms that have restarted and that have closed.
        """
        self.room_types = dict(room_types)
        runtimes = [runtime for runtime in self if not runtime.is_frozen]
        restarted = sum(self._reload_room(runtime) for runtime in runtimes)
        return restarted, len(runtimes) - restarted

    def _reload_room(self, runtime: RoomRuntime) -> bool:
        room = runtime.room
        room_class = self.room_types.get(room.room_type)
        if room_class is None or room.close_reason is not None:
            self.close(room.room_id, room.close_reason or "the room type no longer exists")
            return False
        self.find_lost_attributes(runtime)
        runtime.cancel_work("the room restarts with new code")
        try:
            point = create_restart_point(runtime)
        except RoomCodeRaised:
            self.close(room.room_id, "the room could not restart")
            return False
        return self.restart(runtime, room_class, point)

    def close(self, room_id: str, reason: str, *, has_moved: bool = False) -> None:
        """Close a room; see `RoomRuntime.close`. Idempotent."""
        runtime = self._rooms.pop(room_id, None)
        if runtime is None:
            return
        self._restart_points.discard(room_id)
        if not runtime.is_frozen:
            self.tick_scheduler.remove(runtime)
        self._check_attributes(runtime)
        self._observer.room_ended(runtime)
        members = _members(runtime)
        runtime.close(reason, has_moved=has_moved)
        log.info("room_closed", room_id=room_id, reason=reason, tick=runtime.tick, **members)
        self._on_closed(runtime, reason)

    def freeze(self, runtime: RoomRuntime) -> None:
        """Stop the ticks of a room; see `RoomRuntime.freeze`."""
        runtime.freeze()
        self.tick_scheduler.remove(runtime)

    def unfreeze(self, runtime: RoomRuntime) -> None:
        """Resume the ticks of a frozen room."""
        runtime.start(self._commit, self.tasks)  # first: hooks that were postponed may run tasks
        runtime.unfreeze()
        self.tick_scheduler.add(runtime)

    def attach(self, runtime: RoomRuntime) -> None:
        """Add a room that `prepare` has restored, and start its ticks.

        Raises:
            RoomClosed: the room exists already.
        """
        room = runtime.room
        if room.room_id in self._rooms:
            raise RoomClosed("the room exists already")
        self._rooms[room.room_id] = runtime
        self.tick_scheduler.add(runtime)
        self._observer.room_started(runtime)
        log.info(
            "room_attached",
            room_id=room.room_id,
            room_type=room.room_type,
            epoch=runtime.epoch,
            **_members(runtime),
        )
        runtime.start(self._commit, self.tasks)

    def release(self, runtime: RoomRuntime, redirect: Redirect) -> None:
        """Close a frozen room that another shard has taken over, without a save.

        Args:
            runtime: the room.
            redirect: where its players are sent.
        """
        del self._rooms[runtime.room.room_id]
        self._restart_points.discard(runtime.room.room_id)
        self._observer.room_ended(runtime)
        members = _members(runtime)
        runtime.release(redirect)
        log.info("room_moved", room_id=runtime.room.room_id, tick=runtime.tick, to=redirect.url, **members)

    def close_all(self, reason: str) -> None:
        """Close all rooms."""
        for room_id in list(self._rooms):
            self.close(room_id, reason)

    async def monitor_ticks(self) -> None:
        """Run until cancelled, or until a tick group has stopped although the event loop runs.

        Raises:
            TicksStalled: a tick was overdue by more than STALLED_S_MAX at two successive checks; restart the process.
        """
        checks_overdue = 0
        while checks_overdue < 2:
            await asyncio.sleep(STALLED_S_MAX / 5)
            overdue_s = self.tick_scheduler.overdue_s()
            checks_overdue = checks_overdue + 1 if overdue_s > STALLED_S_MAX else 0
        raise TicksStalled(f"a tick has been due for {overdue_s:.1f} s")

    def find_lost_attributes(self, runtime: RoomRuntime) -> AttributeReport:
        """Find the attributes that a move of the room would lose; logged once for each class."""
        found = runtime.attributes.find_lost()
        kind = type(runtime.room)
        if (found.reset or found.missing) and (kind, found) not in self._reported:
            self._reported.add((kind, found))
            log.warning(
                "room_attributes_lost",
                room_type=kind.room_type,
                room_class=kind.__qualname__,
                reset=found.reset,
                missing=found.missing,
                advice=f"a move to another shard resets or lacks them: set them in {kind.__qualname__}.restore",
            )
        return found

    def _check_attributes(self, runtime: RoomRuntime) -> None:
        """Check each set of attributes of a class once: when its room is created, and when it closes."""
        names = type(runtime.room), runtime.attributes.names
        if names not in self._checked:
            self._checked.add(names)
            self.find_lost_attributes(runtime)

    def _tick_done(self, runtime: RoomRuntime, failed: bool) -> None:
        room, now_s = runtime.room, self._clock.now_s()
        if failed:
            self._observer.room_failed(runtime)
            self._tick_failed(runtime, now_s)
            return
        self._observer.room_ticked(runtime)
        if room.error_policy == "restore":
            self._restart_points.update(runtime, now_s)
        if room.close_reason is not None:
            self.close(room.room_id, room.close_reason)
        elif runtime.seats:
            runtime.closes_at_s = math.inf
        elif runtime.closes_at_s == math.inf:
            runtime.closes_at_s = now_s + room.empty_timeout_s
        elif now_s >= runtime.closes_at_s:
            self.close(room.room_id, "empty")

    def _tick_failed(self, runtime: RoomRuntime, now_s: float) -> None:
        """Restart a room whose tick has failed if its policy is to restore it, or close it."""
        room = runtime.room
        if room.error_policy == "restore":
            point = self._restart_points.take(room.room_id, now_s)
            if point is not None and self.restart(runtime, type(room), point):
                self.counters.tick_failures["restored"] += 1
                return
        self.counters.tick_failures["closed"] += 1
        self.close(room.room_id, "the room's code failed")


def _members(runtime: RoomRuntime) -> dict[str, list[str]]:
    """Return the players and sessions of a room, in the same order, for log events about the room."""
    seats = runtime.seats
    return {
        "players": [seat.player_id for seat in seats],
        "sessions": [seat.subscriber.session_id for seat in seats],
    }
