"""The rooms of one shard: made, ticked on time, ended.

A few rooms share a beat: all of them are simulated and encoded, then all are written, because what the processor has
just done it does again in a third of the time, and a write to a socket makes it forget. The beats of a shard are
spread over the tick interval, so that a hundred rooms are many small pieces of work and not one burst. A tick that
cannot start in time is late; a beat that is behind by more than CATCH_UP_TICKS_MAX skips the rest and says so in a
counter. An exception of one room's code ends that room alone.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Any, Protocol

import structlog

from schemas.messages import Redirect
from server.errors import NoSuchRoom, NoSuchRoomType, RoomClosed
from server.rooms.counters import RoomCounters
from server.rooms.deals import Record
from server.rooms.making import create
from server.rooms.ports import Reviver, Subscriber
from server.rooms.room import Room
from server.rooms.seat import Seat, SeatEnded
from server.rooms.simulation import RoomCodeRaised, Simulation
from server.rooms.state import RoomState

log = structlog.get_logger(__name__)

CATCH_UP_TICKS_MAX = 3
LATE_SHARE = 0.5
"""A tick that starts later than this share of its interval is late."""
BEAT_SEATS_MAX = 512
"""How many seats the rooms of one beat have together: some five milliseconds of work. A larger room is alone."""
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

    Attributes:
        tune: gives a room that is made the tuning that is meant for it.
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
        self.tune: Callable[[Room], None] = lambda room: None
        self._on_closed = on_closed
        self._observe_tick = observe_tick
        self._rooms: dict[str, Simulation] = {}
        self._beats: list[_Beat] = []
        self._beats_made = 0

    def __len__(self) -> int:
        return len(self._rooms)

    def __iter__(self) -> Iterator[Simulation]:
        return iter(list(self._rooms.values()))

    def get(self, room_id: str) -> Simulation | None:
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
        saved: RoomState | None,
        code: str = "",
        labels: Mapping[str, str] | None = None,
        mode: str = "",
        reviver: Reviver | None = None,
        on_ended: SeatEnded = lambda seat: None,
        records: Mapping[str, Record] | None = None,
    ) -> Simulation:
        """Makes a room and starts its ticks.

        Args:
            code: opens it, when it is private.
            labels, mode: what it is made for.
            reviver, on_ended, records: as `server.rooms.simulation.create`.

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
        )
        self._rooms[room_id] = simulation
        self._beat_for(simulation).add(simulation)
        log.info(
            "room_created",
            room_id=room_id,
            room_type=room_type,
            room_name=name,
            epoch=epoch,
            restored=bool(saved),
        )
        return simulation

    def prepare(
        self,
        *,
        room_id: str,
        room_type: str,
        name: str,
        saved: RoomState,
        code: str,
        mode: str,
        reviver: Reviver,
        on_ended: SeatEnded,
        records: Mapping[str, Record],
    ) -> Simulation:
        """Makes a room that comes from elsewhere; it is not of this host until `adopt`.

        Raises:
            NoSuchRoomType, RoomClosed: as `create`.
        """
        return create(
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
        )

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
        record: Record | None = None,
    ) -> Seat:
        """Seats a player in a room that is here; `Joined` is sent.

        Raises:
            NoSuchRoom: it is not here.
            RoomFull, RoomClosed: as `Simulation.seat`.
        """
        simulation = self.get(room_id)
        if simulation is None:
            raise NoSuchRoom("the room has ended")
        return simulation.seat(subscriber, player_id, options, on_ended, team=team, skill=skill, record=record)

    def close(self, room_id: str, reason: str, *, has_moved: bool = False) -> None:
        """Ends a room; see `Simulation.close`. Idempotent."""
        simulation = self._rooms.pop(room_id, None)
        if simulation is None:
            return
        if not simulation.is_frozen:
            self._stop_beat(simulation)
        simulation.close(reason, has_moved=has_moved)
        log.info("room_closed", room_id=room_id, reason=reason, tick=simulation.tick)
        self._on_closed(simulation, reason)

    def freeze(self, simulation: Simulation) -> None:
        """Stops a room's ticks; see `Simulation.freeze`."""
        simulation.freeze()
        self._stop_beat(simulation)

    def thaw(self, simulation: Simulation) -> None:
        """A frozen room goes on."""
        simulation.thaw()
        self._beat_for(simulation).add(simulation)

    def adopt(self, simulation: Simulation) -> None:
        """A room that was made elsewhere in this process ticks here from now on.

        Raises:
            RoomClosed: the room exists already.
        """
        room = simulation.room
        if room.room_id in self._rooms:
            raise RoomClosed("the room exists already")
        self._rooms[room.room_id] = simulation
        self._beat_for(simulation).add(simulation)
        log.info("room_adopted", room_id=room.room_id, room_type=room.room_type, epoch=simulation.epoch)

    def let_go(self, simulation: Simulation, redirect: Redirect) -> None:
        """A frozen room goes on elsewhere: it ends here, without a save."""
        del self._rooms[simulation.room.room_id]
        simulation.let_go(redirect)
        log.info("room_moved", room_id=simulation.room.room_id, tick=simulation.tick, to=redirect.url)

    def close_all(self, reason: str) -> None:
        """Ends every room."""
        for room_id in list(self._rooms):
            self.close(room_id, reason)

    def _stop_beat(self, simulation: Simulation) -> None:
        beat = next(beat for beat in self._beats if simulation in beat.simulations)
        beat.remove(simulation)
        if not beat.simulations:
            self._beats.remove(beat)

    def _beat_for(self, simulation: Simulation) -> _Beat:
        """A beat that has room for it, or a new one."""
        for beat in self._beats:
            if beat.can_take(simulation):
                return beat
        # Multiples of the golden ratio spread any number of beats evenly, without moving those that run.
        self._beats_made += 1
        phase = (self._beats_made * _GOLDEN) % 1.0
        beat = _Beat(simulation.dt, phase, self._tick_done, self._observe_tick)
        self._beats.append(beat)
        return beat

    def _tick_done(self, simulation: Simulation, failed: bool) -> None:
        room = simulation.room
        if failed:
            self.close(room.room_id, "the room's code failed")
        elif simulation.empty_ticks > room.linger_s * room.tick_rate_hz:
            self.close(room.room_id, "empty")


class _Beat:
    """The timer of some rooms: steps them when a tick is due, counts what was late. Owned by the host.

    Ticks are due by the loop's clock, which is the monotonic one; uvloop's moves in whole milliseconds and stands
    still during a callback, so what has passed is read from the monotonic clock itself.

    Args:
        interval: between two ticks, seconds.
        phase: where in the interval its ticks are, 0 to 1.
    """

    def __init__(
        self, interval: float, phase: float, on_done: Callable[[Simulation, bool], None], observe: TickObserver
    ) -> None:
        self.simulations: list[Simulation] = []
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._on_done = on_done
        self._observe = observe
        self._due = (math.floor(self._loop.time() / interval) + 1 + phase) * interval
        self._timer: asyncio.TimerHandle | None = self._loop.call_at(self._due, self._run)

    def can_take(self, simulation: Simulation) -> bool:
        """Whether one more room fits."""
        seats = sum(other.room.seats for other in self.simulations) + simulation.room.seats
        return simulation.dt == self._interval and seats <= BEAT_SEATS_MAX

    def add(self, simulation: Simulation) -> None:
        """The room is stepped from the next tick on."""
        self.simulations.append(simulation)

    def remove(self, simulation: Simulation) -> None:
        """The room is stepped no more; without any room the beat stops."""
        self.simulations.remove(simulation)
        if not self.simulations and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        moved: list[tuple[Simulation, float, float]] = []
        failed: list[Simulation] = []
        for simulation in self.simulations:
            started = monotonic()
            try:
                simulation.move()
                encoding = monotonic()
                simulation.encode()
                simulation.counters.encode_seconds += monotonic() - encoding
            except RoomCodeRaised:
                failed.append(simulation)
            moved.append((simulation, started, monotonic() - started))
        for simulation, started, duration in moved:
            writing = monotonic()
            if simulation.is_open and simulation not in failed:
                simulation.write()
            self._count(simulation, started - self._due, duration + monotonic() - writing)
        if self._timer is not None:
            self._due += self._interval
            behind = int((monotonic() - self._due) / self._interval)
            if behind > CATCH_UP_TICKS_MAX:
                for simulation in self.simulations:
                    simulation.counters.ticks_skipped += behind
                self._due += behind * self._interval
            self._timer = self._loop.call_at(self._due, self._run)
        for simulation, _, _ in moved:
            self._on_done(simulation, simulation in failed)

    def _count(self, simulation: Simulation, lateness: float, duration: float) -> None:
        simulation.counters.tick_seconds += duration
        if lateness > LATE_SHARE * self._interval:
            simulation.counters.ticks_late += 1
        self._observe(duration, max(lateness, 0.0))
