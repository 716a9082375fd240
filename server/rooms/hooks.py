"""Runs the hooks of one room: contains their exceptions and records their duration.

An exception of any type that leaves a hook of the game is contained (server/rooms/containment.py):
    __init__, on_create, restore  the join is refused, and the room that was being created is dropped
    on_join                       the join is refused, and the changes that the hook made to the player are undone
    on_command                    the player receives a Reply with COMMAND_FAILED
    on_input, on_inputs, on_tick, timers    `Room.error_policy` decides; see server/rooms/error_policy.py
    save                          the last saved state stays
    can_migrate                   the room stays on this shard
    on_leave, on_dispose, on_transaction
    on_disconnect, on_resume, on_tuned,
    methods that transact, run
    and move_to call              logged and counted; the room continues

Pure: the clock is a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVarTuple

from tickwire.server.rooms.containment import RoomCodeRaised, RoomIdentity, contain
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.slow_log import SlowLog

Arguments = TypeVarTuple("Arguments")


class HookRunner:
    """Runs the game's code outside of ticks.

    Args:
        room: the room whose code runs.
        counters: the counters of the shard; exceptions are added to them.
        slow_log: logs calls that take too long.
        now_s: a monotonic clock in seconds, for the duration of hooks.
    """

    __slots__ = ("_counters", "_now_s", "_room", "_slow_log")

    def __init__(
        self, room: RoomIdentity, counters: RoomCounters, slow_log: SlowLog, now_s: Callable[[], float]
    ) -> None:
        self._room = room
        self._counters = counters
        self._slow_log = slow_log
        self._now_s = now_s

    @contextmanager
    def contain(self, hook: str, *arguments: Any, answers: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Run the game's code inside a `with`; see `tickwire.server.rooms.containment.contain`."""
        started_s = self._now_s()
        try:
            with contain(hook, self._room, self._counters, arguments=arguments, answers=answers):
                yield
        finally:
            now_s = self._now_s()
            self._slow_log.record(hook, now_s - started_s, now_s)

    def notify(self, name: str, hook: Callable[[*Arguments], None], *args: *Arguments) -> None:
        """Run a hook whose failure has no further effect: an exception is logged and counted.

        Args:
            name: the name of the hook, for the log.
            hook: the hook of the room.
            *args: the arguments of the hook.
        """
        with suppress(RoomCodeRaised), self.contain(name, *args):
            hook(*args)
