"""A room of a game on a simulated clock, with its shards, but without players: the base of `RoomHarness`."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from tickwire.schemas.messages import Redirect
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.testing import test_run
from tickwire.testing.harness_loop import HarnessLoop
from tickwire.testing.harness_setup import ROOM_ID, HarnessCalls, HarnessClock, RoomSetup, create_ledger, create_owner
from tickwire.testing.harness_shard import HarnessShard
from tickwire.testing.replayed_room import record_room
from tickwire.testing.simulated_network import Deliveries

R = TypeVar("R", bound=Room)


class SimulatedRoom(Generic[R]):
    """A room on a clock that jumps, with its shards.

    Args:
        room_class: the class of the room.
        setup: its settings.
    """

    def __init__(self, room_class: type[R], setup: RoomSetup) -> None:
        self.seed = setup.seed
        self.schedule = test_run.register(self, setup.seed)
        self._room_class = room_class
        self._is_closed = False
        self._time = HarnessLoop(raise_errors=setup.raise_errors)
        self._closers = ExitStack()
        self._closers.callback(self._time.close)
        self.errors = self._time.errors
        self._deliveries = Deliveries(self._time.loop)
        try:
            self._time.run(0.5 / room_class.tick_rate_hz)  # the first tick is due at the end of the interval
            clock = HarnessClock(self._time, self._deliveries, self.schedule)
            self.ledger = create_ledger(setup, clock)
            calls = HarnessCalls(self._ticked, self._find_session)
            self._owner = create_owner(room_class, setup, clock, self.ledger, calls)
            self._closers.callback(self._stop_shards)
            self._time.call(lambda: self._owner.create(setup.options))
        except BaseException:
            self.close()
            raise

    @property
    def shard(self) -> HarnessShard:
        """The shard that has the room now."""
        return self._owner.shard

    @property
    def shards(self) -> dict[str, HarnessShard]:
        """All shards so far by URL."""
        return self._owner.shards

    @property
    def host(self) -> RoomHost:
        """The rooms of the shard that has the room now."""
        return self.shard.host

    @property
    def runtime(self) -> RoomRuntime:
        """The runtime of the room, also after a migration or a restart.

        Raises:
            AssertionError: the room has closed.
        """
        return self._owner.runtime

    @property
    def room(self) -> R:
        """The game's room, also after a migration or a restart.

        Raises:
            AssertionError: the room has closed.
        """
        room = self.runtime.room
        assert isinstance(room, self._room_class)
        return room

    @property
    def is_open(self) -> bool:
        """Whether the room exists. It closes when it is empty for long, when the game closes it, or on an error."""
        return self.host.get(ROOM_ID) is not None

    @property
    def tick(self) -> int:
        """The number of the room's last tick; 0 if the room has closed."""
        runtime = self.host.get(ROOM_ID)
        return 0 if runtime is None else runtime.tick

    @property
    def now_s(self) -> float:
        """The simulated time in seconds since the harness was created."""
        return self._time.now_s

    # -- time -----------------------------------------------------------------------------------------------

    def run(self, *, ticks: int = 0, seconds: float = 0.0) -> None:
        """Advance the time: messages arrive, timers run, and the room ticks.

        Args:
            ticks: the number of ticks of the room; the time then is between two ticks.
            seconds: the time in seconds, after the ticks.

        Raises:
            ValueError: a number is negative.
            Exception: a hook of the room raised it.
        """
        if ticks < 0 or seconds < 0:
            raise ValueError(f"run: ticks and seconds must be at least 0; got {ticks} and {seconds:g}")
        if ticks:
            self._time.run(self._ticks_s(ticks))
        if seconds:
            self._time.run(seconds)

    def _ticks_s(self, ticks: int) -> float:
        """Return the time of a number of ticks of the room, and half an interval more. It may have closed."""
        runtime, interval_s = self.host.get(ROOM_ID), 1 / self._room_class.tick_rate_hz
        groups = self.host.tick_scheduler.groups
        due_s = next((group.due_s for group in groups if runtime in group.runtimes), self._time.now_s + interval_s)
        return due_s + (ticks - 0.5) * interval_s - self._time.now_s

    def run_until_idle(self) -> None:
        """Run everything that is due now, without advancing the time."""
        self._time.run(0.0)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Start a coroutine on the event loop of the harness; it runs in `run`."""
        self._time.spawn(coroutine)

    def _ticked(self) -> None:
        self._owner.save_due(self._time.now_s)
        test_run.tick_done(self)

    def _find_session(self, shard: HarnessShard, room_id: str, session_id: str) -> Redirect | None:
        """Redirect a client whose session or room is on another shard."""
        for other in self.shards.values():
            if other.is_up and other is not shard and other.registry.get(session_id) is not None:
                return Redirect(other.url, is_resume=True)
        if shard is self.shard or not room_id:
            return None
        return Redirect(self.shard.url, is_resume=True)

    def record(self, path: Path | str) -> None:
        """Record the room to a file from now on; see `tickwire.testing.replay`.

        The recording ends when the room closes, migrates or restarts, and with the harness.

        Args:
            path: the file, which is replaced.

        Raises:
            ValueError: the room is recorded already.
        """
        if self.runtime.recorder is not None:
            raise ValueError("the room is recorded already")
        recorder = record_room(self.runtime, Path(path))
        self._closers.callback(recorder.stop, "the harness has closed")

    # -- the end --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the room and its tasks. Idempotent; `with` calls it."""
        if self._is_closed:
            return
        self._is_closed = True
        test_run.closing(self)
        self._closers.close()

    def _stop_shards(self) -> None:
        for shard in self.shards.values():
            shard.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
