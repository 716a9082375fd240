"""The rooms of one shard: made, ticked on time, ended.

Rooms share tick groups (server/rooms/tick_loop.py). The groups of a shard are spread over the tick interval, so
that a hundred rooms are many small pieces of work and not one burst. An exception of one room's code ends that room
alone. An empty room ends after its `linger_s`, which is time: how slow its shard is does not matter.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Any

import structlog

from tickwire.schemas.messages import Redirect
from tickwire.server.errors import Internal, NoSuchRoom, NoSuchRoomType, RoomClosed
from tickwire.server.rooms.attributes import AttributeReport
from tickwire.server.rooms.checkpoint import RoomCheckpoint
from tickwire.server.rooms.containment import RoomCodeRaised, UnmadeRoom, contain
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.factory import create, restore_error
from tickwire.server.rooms.ports import SessionSource, Subscriber
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.salvage import salvaged
from tickwire.server.rooms.seat import Seat, SeatEnded
from tickwire.server.rooms.tick_loop import TickGroup, TickObserver
from tickwire.server.rooms.transactions import RecordVersion

log = structlog.get_logger(__name__)

STALLED_S_MAX = 5.0
"""A tick that is due for longer, while the event loop runs, will never come."""
_GOLDEN = (math.sqrt(5) - 1) / 2


class TicksStalled(Internal):
    """A tick group's timer has stopped: its rooms stand still for good."""


def _ignore(duration_s: float, lateness_s: float) -> None:
    pass


class RoomHost:
    """Owns the rooms of a shard; used on the loop's thread only.

    Args:
        room_types: what this shard can host, by name.
        on_closed: told after a room has ended, with the reason; its state can still be read.
        observe_tick: told of every tick.

    Attributes:
        tune: gives a room that is made the tuning that is meant for it.
        tick_groups: the timers of the rooms.
    """

    def __init__(
        self,
        room_types: Mapping[str, type[Room]],
        *,
        on_closed: Callable[[RoomRuntime, str], None],
        observe_tick: TickObserver = _ignore,
    ) -> None:
        self.room_types = dict(room_types)
        self.counters = RoomCounters()
        self.tune: Callable[[Room], None] = lambda room: None
        self._on_closed = on_closed
        self._observe_tick = observe_tick
        self._rooms: dict[str, RoomRuntime] = {}
        self.tick_groups: list[TickGroup] = []
        self._groups_made = 0
        self._checked: set[tuple[type[Room], frozenset[str]]] = set()
        self._reported: set[tuple[type[Room], AttributeReport]] = set()

    def __len__(self) -> int:
        return len(self._rooms)

    def __iter__(self) -> Iterator[RoomRuntime]:
        return iter(list(self._rooms.values()))

    def get(self, room_id: str) -> RoomRuntime | None:
        """The room, if it is here."""
        return self._rooms.get(room_id)

    def bytes_of(self, room_id: str) -> dict[str, Any] | None:
        """Which field of a room costs what, and advice; None when it is not here."""
        simulation = self.get(room_id)
        if simulation is None:
            return None
        weights = simulation.weights
        return {
            "room_id": room_id,
            "room_type": simulation.room.room_type,
            "sampled_ticks": weights.samples,
            "sampled_client_ticks": weights.client_ticks,
            "fields": weights.report(simulation.clamped()),
        }

    def type_of(self, room_type: str) -> type[Room]:
        """The class of a room type.

        Raises:
            NoSuchRoomType: this build does not host it.
        """
        try:
            return self.room_types[room_type]
        except KeyError:
            known = ", ".join(sorted(self.room_types)) or "none"
            raise NoSuchRoomType(f"room type {room_type!r} is not hosted here; known are: {known}") from None

    def create(
        self,
        *,
        room_id: str,
        room_type: str,
        name: str,
        epoch: int,
        options: Mapping[str, Any],
        saved: RoomCheckpoint | None,
        code: str = "",
        labels: Mapping[str, str] | None = None,
        mode: str = "",
        reviver: SessionSource | None = None,
        on_ended: SeatEnded = lambda seat: None,
        records: Mapping[str, RecordVersion] | None = None,
    ) -> RoomRuntime:
        """Makes a room and starts its ticks.

        Args:
            code: opens it, when it is private.
            labels, mode: what it is made for.
            reviver, on_ended, records: as `tickwire.server.rooms.runtime.create`.

        Raises:
            NoSuchRoomType: this build does not host it.
            RoomClosed: the game's code raised while it was made, or the room exists already.
        """
        room_class = self.type_of(room_type)
        if room_id in self._rooms:
            raise RoomClosed("the room exists already")
        simulation = create(
            room_class,
            room_id=room_id,
            name=name,
            epoch=epoch,
            seed=secrets.randbits(64),
            counters=self.counters,
            options=options,
            saved=saved,
            code=code,
            labels=labels,
            mode=mode,
            reviver=reviver,
            on_ended=on_ended,
            records=records,
            tune=self.tune,
            now_s=monotonic,
        )
        self._rooms[room_id] = simulation
        self._start_ticks(simulation)
        log.info(
            "room_created",
            room_id=room_id,
            room_type=room_type,
            room_name=name,
            epoch=epoch,
            restored=bool(saved),
            **_members(simulation),
        )
        self._check_attributes(simulation)
        return simulation

    def salvage(self, room_type: str, room_id: str, state: RoomCheckpoint) -> RoomCheckpoint:
        """Return a stored state without the parts that did not fit when they were saved; these are in `rejected`.

        Raises:
            NoSuchRoomType: this build does not host it.
            RoomFailed, NotSavable, Unavailable: as `tickwire.server.rooms.factory.create`.
        """
        room = UnmadeRoom(room_type, room_id)
        try:
            with contain("restore", room, self.counters):
                return salvaged(self.type_of(room_type).saves, state)
        except RoomCodeRaised as error:
            raise restore_error(error, room) from error

    def prepare(
        self,
        *,
        room_id: str,
        room_type: str,
        name: str,
        saved: RoomCheckpoint,
        code: str,
        mode: str,
        reviver: SessionSource,
        on_ended: SeatEnded,
        records: Mapping[str, RecordVersion],
    ) -> RoomRuntime:
        """Makes a room that comes from elsewhere; it is not of this host until `adopt`.

        Raises:
            NoSuchRoomType, RoomClosed: as `create`.
        """
        simulation = create(
            self.type_of(room_type),
            room_id=room_id,
            name=name,
            epoch=0,
            seed=secrets.randbits(64),
            counters=self.counters,
            options={},
            saved=saved,
            code=code,
            mode=mode,
            reviver=reviver,
            on_ended=on_ended,
            records=records,
            tune=self.tune,
            now_s=monotonic,
        )
        simulation.has_gone_back = False  # it has stood still since it was sent
        return simulation

    def seat(
        self,
        room_id: str,
        subscriber: Subscriber,
        player_id: str,
        options: Mapping[str, Any],
        on_ended: SeatEnded,
        *,
        team: int = 0,
        skill: float = 0.0,
        record: RecordVersion | None = None,
    ) -> Seat:
        """Seats a player in a room that is here; `Joined` is sent.

        Raises:
            NoSuchRoom: it is not here.
            RoomFull, RoomClosed: as `RoomRuntime.seat`.
        """
        simulation = self.get(room_id)
        if simulation is None:
            raise NoSuchRoom("the room has ended")
        return simulation.seat(subscriber, player_id, options, on_ended, team=team, skill=skill, record=record)

    def close(self, room_id: str, reason: str, *, has_moved: bool = False) -> None:
        """Ends a room; see `RoomRuntime.close`. Idempotent."""
        simulation = self._rooms.pop(room_id, None)
        if simulation is None:
            return
        if not simulation.is_frozen:
            self._stop_ticks(simulation)
        self._check_attributes(simulation)
        members = _members(simulation)
        simulation.close(reason, has_moved=has_moved)
        log.info("room_closed", room_id=room_id, reason=reason, tick=simulation.tick, **members)
        self._on_closed(simulation, reason)

    def freeze(self, simulation: RoomRuntime) -> None:
        """Stops a room's ticks; see `RoomRuntime.freeze`."""
        simulation.freeze()
        self._stop_ticks(simulation)

    def thaw(self, simulation: RoomRuntime) -> None:
        """A frozen room goes on."""
        simulation.thaw()
        self._start_ticks(simulation)

    def adopt(self, simulation: RoomRuntime) -> None:
        """A room that was made elsewhere in this process ticks here from now on.

        Raises:
            RoomClosed: the room exists already.
        """
        room = simulation.room
        if room.room_id in self._rooms:
            raise RoomClosed("the room exists already")
        self._rooms[room.room_id] = simulation
        self._start_ticks(simulation)
        log.info(
            "room_adopted",
            room_id=room.room_id,
            room_type=room.room_type,
            epoch=simulation.epoch,
            **_members(simulation),
        )

    def let_go(self, simulation: RoomRuntime, redirect: Redirect) -> None:
        """A frozen room goes on elsewhere: it ends here, without a save."""
        del self._rooms[simulation.room.room_id]
        members = _members(simulation)
        simulation.let_go(redirect)
        log.info("room_moved", room_id=simulation.room.room_id, tick=simulation.tick, to=redirect.url, **members)

    def close_all(self, reason: str) -> None:
        """Ends every room."""
        for room_id in list(self._rooms):
            self.close(room_id, reason)

    async def watch_ticks(self) -> None:
        """Run until it is cancelled, or until a tick group stands still although the event loop does not.

        Raises:
            TicksStalled: a tick has been due for too long, at two looks: only a restart helps.
        """
        looks_overdue = 0
        while looks_overdue < 2:
            await asyncio.sleep(STALLED_S_MAX / 5)
            overdue_s = max((group.overdue_s() for group in self.tick_groups), default=0.0)
            looks_overdue = looks_overdue + 1 if overdue_s > STALLED_S_MAX else 0
        raise TicksStalled(f"a tick has been due for {overdue_s:.1f} s")

    def find_lost_attributes(self, simulation: RoomRuntime) -> AttributeReport:
        """Find the attributes that a move of the room would lose; said once for each class."""
        found = simulation.find_lost_attributes()
        kind = type(simulation.room)
        if (found.reset or found.missing) and (kind, found) not in self._reported:
            self._reported.add((kind, found))
            log.warning(
                "room_attributes_not_moved",
                room_type=kind.room_type,
                room_class=kind.__qualname__,
                reset=found.reset,
                missing=found.missing,
                advice=f"a move to another shard resets or lacks them: set them in {kind.__qualname__}.restore",
            )
        return found

    def _check_attributes(self, simulation: RoomRuntime) -> None:
        """Look at each set of attributes of a class once: when its room is made, and when it ends."""
        names = type(simulation.room), simulation.game_attributes
        if names not in self._checked:
            self._checked.add(names)
            self.find_lost_attributes(simulation)

    def _stop_ticks(self, simulation: RoomRuntime) -> None:
        group = next((group for group in self.tick_groups if simulation in group.simulations), None)
        if group is None:
            return
        group.remove(simulation)
        if not group.simulations:
            self.tick_groups.remove(group)

    def _start_ticks(self, simulation: RoomRuntime) -> None:
        """Put a room into a group that has room for it, or into a new one."""
        for group in self.tick_groups:
            if group.has_room_for(simulation):
                break
        else:
            # Multiples of the golden ratio spread any number of groups evenly, without moving those that run.
            self._groups_made += 1
            phase = (self._groups_made * _GOLDEN) % 1.0
            group = TickGroup(simulation.dt, phase, self._tick_done, self._observe_tick)
            self.tick_groups.append(group)
        group.add(simulation)

    def _tick_done(self, simulation: RoomRuntime, failed: bool) -> None:
        room, now_s = simulation.room, monotonic()
        if failed:
            self.close(room.room_id, "the room's code failed")
        elif simulation.seats:
            simulation.closes_at_s = math.inf
        elif simulation.closes_at_s == math.inf:
            simulation.closes_at_s = now_s + room.linger_s
        elif now_s >= simulation.closes_at_s:
            self.close(room.room_id, "empty")


def _members(simulation: RoomRuntime) -> dict[str, list[str]]:
    """Return who is in a room, for the line that says what became of it: players and sessions in the same order."""
    seats = simulation.seats
    return {
        "players": [seat.player_id for seat in seats],
        "sessions": [seat.subscriber.session_id for seat in seats],
    }
