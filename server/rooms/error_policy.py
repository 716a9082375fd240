"""The policy of a room for exceptions in its ticks: in `on_input`, `on_inputs`, timers and `on_tick`.

    close     the room closes; its players may join another one. The default
    restore   the room restarts from its last checkpoint, with its players (server/rooms/room_restart.py). A room that
              fails again within RESTORED_S of a restart closes
    ignore    the call is ignored: the room continues, with the changes that the hook made before the exception

Hooks outside of ticks have the same consequences under every policy; see server/rooms/hooks.py. An exception of the
server itself, or a NaN in a column, is never ignored: such a room closes. Pure.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, get_args

from tickwire.server.rooms.containment import RoomIdentity, report_error
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.hook_call import HookCall

ErrorPolicy = Literal["close", "restore", "ignore"]
ERROR_POLICIES: tuple[str, ...] = get_args(ErrorPolicy)
_CONSEQUENCES = {
    "close": "the room closes",
    "restore": "the room restarts from its last checkpoint",
    "ignore": "the call is ignored",
}


class FailureRecorder(Protocol):
    """Records exceptions of hooks; a part of `tickwire.server.rooms.ports.EntryRecorder`."""

    def record_failure(self, hook: str, error: BaseException, /, *, is_ignored: bool) -> None:
        """Record an exception of a hook in a tick."""
        ...


class TickErrors:
    """Applies the policy of one room to the exceptions of its hooks in a tick.

    Args:
        room: the room.
        policy: the policy of its class.
        counters: the counters of the shard.

    Attributes:
        recorder: records the exceptions; None while the room is not recorded.
    """

    __slots__ = ("_counters", "_policy", "_room", "recorder")

    def __init__(self, room: RoomIdentity, policy: ErrorPolicy, counters: RoomCounters) -> None:
        self._room = room
        self._policy = policy
        self._counters = counters
        self.recorder: FailureRecorder | None = None

    def ignores(self, hook: str, arguments: tuple[Any, ...], error: BaseException) -> bool:
        """Report an exception of a hook, and return whether the tick continues.

        Args:
            hook: the name of the hook, or of the method that a timer calls.
            arguments: the arguments of the hook.
            error: the exception.
        """
        if self.recorder is not None:
            self.recorder.record_failure(hook, error, is_ignored=self._policy == "ignore")
        report_error(self._room, self._counters, HookCall(hook, arguments), error, _CONSEQUENCES[self._policy])
        if self._policy != "ignore":
            return False
        self._counters.tick_failures["ignored"] += 1
        return True
