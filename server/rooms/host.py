"""The rooms of one shard: made, ticked on time, ended.

Each room ticks on its own fixed beat. The beats of a shard's rooms are spread over the tick interval, so that a
hundred rooms are a hundred small pieces of work and not one burst. A tick that cannot start in time is late; a
room that is behind by more than CATCH_UP_TICKS_MAX skips the rest and says so in a counter. An exception of one
room's code ends that room alone.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Any, Protocol

import structlog

from server.errors import NoSuchRoom, NoSuchRoomType, RoomClosed
from server.rooms.counters import RoomCounters
from server.rooms.ports import Subscriber
from server.rooms.room import Room
from server.rooms.seat import Seat, SeatEnded
from server.rooms.simulation import RoomCodeRaised, RoomState, Simulation, create

log = structlog.get_logger(__name__)

CATCH_UP_TICKS_MAX = 3
LATE_SHARE = 0.5
"""A tick that starts later than this share of its interval is late."""
_GOLDEN = (math.sqrt(5) - 1) / 2


class TickObserver(Protocol):
    """Told of every tick: for histograms."""

    def __call__(self, duration_s: float, lateness_s: float) -> None: ...


def _ignore(duration_s: float, lateness_s: float) -> None:
    pass


class RoomHost:
    """Owns the rooms of a shard; used on the loop's thread only.

    Args:
        room_types: what this shard can host, by name.
        on_closed: told after a room has ended, with the reason; its state can still be read.
        observe_tick: told of every tick.
    """

    def __init__(
        self,
        room_types: Mapping[str, type[Room]],
        *,
        on_closed: Callable[[Simulation, str], None],
        observe_tick: TickObserver = _ignore,
    ) -> None:
        self.room_types = dict(room_types)
        self.counters = RoomCounters()
        self._on_closed = on_closed
        self._observe_tick = observe_tick
        self._rooms: dict[str, _Beat] = {}
        self._made = 0

    def __len__(self) -> int:
        return len(self._rooms)

    def __iter__(self) -> Iterator[Simulation]:
        return (beat.simulation for beat in list(self._rooms.values()))

    def get(self, room_id: str) -> Simulation | None:
        """The room, if it is here."""
        beat = self._rooms.get(room_id)
        return beat.simulation if beat else None

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
        saved: RoomState | None,
    ) -> Simulation:
        """Makes a room and starts its ticks.

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
        )
        # Multiples of the golden ratio spread any number of beats evenly, without moving those that run.
        self._made += 1
        phase = (self._made * _GOLDEN) % 1.0
        self._rooms[room_id] = _Beat(simulation, phase, self._tick_done, self._observe_tick)
        log.info(
            "room_created",
            room_id=room_id,
            room_type=room_type,
            room_name=name,
            epoch=epoch,
            restored=bool(saved),
        )
        return simulation

    def seat(
        self,
        room_id: str,
        subscriber: Subscriber,
        player_id: str,
        options: Mapping[str, Any],
        on_ended: SeatEnded,
    ) -> Seat:
        """Seats a player in a room that is here; `Joined` is sent.

        Raises:
            NoSuchRoom: it is not here.
            RoomFull, RoomClosed: as `Simulation.seat`.
        """
        simulation = self.get(room_id)
        if simulation is None:
            raise NoSuchRoom("the room has ended")
        return simulation.seat(subscriber, player_id, options, on_ended)

    def close(self, room_id: str, reason: str) -> None:
        """Ends a room. Idempotent."""
        beat = self._rooms.pop(room_id, None)
        if beat is None:
            return
        beat.stop()
        beat.simulation.close(reason)
        log.info("room_closed", room_id=room_id, reason=reason, tick=beat.simulation.tick)
        self._on_closed(beat.simulation, reason)

    def close_all(self, reason: str) -> None:
        """Ends every room."""
        for room_id in list(self._rooms):
            self.close(room_id, reason)

    def _tick_done(self, simulation: Simulation, failed: bool) -> None:
        room = simulation.room
        if failed:
            self.close(room.room_id, "the room's code failed")
        elif simulation.empty_ticks > room.linger_s * room.tick_rate_hz:
            self.close(room.room_id, "empty")


class _Beat:
    """A room's timer: calls `step` when a tick is due, counts what was late.

    Ticks are due by the loop's clock, which is the monotonic one; uvloop's moves in whole milliseconds and stands
    still during a callback, so what has passed is read from the monotonic clock itself.
    """

    def __init__(
        self,
        simulation: Simulation,
        phase: float,
        on_done: Callable[[Simulation, bool], None],
        observe: TickObserver,
    ) -> None:
        self.simulation = simulation
        self._loop = asyncio.get_running_loop()
        self._on_done = on_done
        self._observe = observe
        interval = simulation.dt
        now = self._loop.time()
        self._due = (math.floor(now / interval) + 1 + phase) * interval
        self._timer: asyncio.TimerHandle | None = self._loop.call_at(self._due, self._run)

    def stop(self) -> None:
        """No tick is run after this."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        simulation, interval = self.simulation, self.simulation.dt
        started = monotonic()
        lateness = started - self._due
        failed = False
        try:
            simulation.step()
        except RoomCodeRaised:
            failed = True
        duration = monotonic() - started
        counters = simulation.counters
        counters.tick_seconds += duration
        if lateness > LATE_SHARE * interval:
            counters.ticks_late += 1
        self._observe(duration, max(lateness, 0.0))
        if self._timer is not None:
            self._due += interval
            behind = int((monotonic() - self._due) / interval)
            if behind > CATCH_UP_TICKS_MAX:
                counters.ticks_skipped += behind
                self._due += behind * interval
            self._timer = self._loop.call_at(self._due, self._run)
        self._on_done(simulation, failed)
