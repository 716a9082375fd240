"""The counters of a shard's rooms: plain numbers, because a look-up of metric labels is too slow for the tick.

`tickwire.server.admin.collectors` copies them into the metrics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tickwire.server.rooms.recent_errors import RecentErrors


class RoomCounters:
    """Counts the work of all rooms of a shard since it started.

    Args:
        now_s: a monotonic clock in seconds, for the times of errors.

    Attributes:
        recent_errors: the newest exceptions of the game's code.
        room_errors: exceptions that the game's code raised, by room type.
        tick_failures: exceptions in ticks, by result: closed, restored, ignored; see error_policy.py.
        rooms_with_set_aside_data: rooms that were restored with stored data that they do not declare, by room type.
        command_refusals: commands that were refused before the room ran them, by error code.
        rewinds_clamped: rewinds that were limited to the history of their room, by reason; see lag_compensation.py.
        slow_room_calls: ticks and other hooks that took too long, by room type; see slow_log.py.
        states_refused: players who were unseated because the room's state did not fit into a message.
        room_tasks: coroutines of rooms by result: completed, failed, timed_out, cancelled.
        slow_clients: changes of the send level of slow clients: coalesced, halved, keyframes, closed, raised.
        field_bits: bits of state by room type, table and field, extrapolated from sampled ticks.
        clamped: values outside of their field's range, by room type, table and field.
    """

    __slots__ = (
        "bytes_sent",
        "clamped",
        "command_refusals",
        "deltas",
        "encode_seconds",
        "fan_out_refusals",
        "field_bits",
        "frames_sent",
        "inputs_applied",
        "inputs_superseded",
        "keyframes",
        "player_ticks",
        "recent_errors",
        "resyncs",
        "rewinds_clamped",
        "room_errors",
        "room_tasks",
        "rooms_with_set_aside_data",
        "slow_clients",
        "slow_room_calls",
        "states_refused",
        "tick_failures",
        "tick_seconds",
        "ticks",
        "ticks_late",
        "ticks_skipped",
        "updates_skipped",
    )

    def __init__(self, now_s: Callable[[], float] = lambda: 0.0) -> None:
        self.recent_errors = RecentErrors(now_s)
        self.ticks = 0
        self.ticks_late = 0
        self.ticks_skipped = 0
        self.tick_seconds = 0.0
        self.encode_seconds = 0.0
        self.player_ticks = 0
        self.bytes_sent = 0
        self.frames_sent = 0
        self.inputs_applied = 0
        self.inputs_superseded = 0
        self.fan_out_refusals = 0
        self.updates_skipped = 0
        self.resyncs = 0
        self.states_refused = 0
        self.keyframes = 0
        self.deltas = 0
        self.room_errors: Counter[str] = Counter()
        self.tick_failures: Counter[str] = Counter()
        self.rooms_with_set_aside_data: Counter[str] = Counter()
        self.command_refusals: Counter[str] = Counter()
        self.rewinds_clamped: Counter[str] = Counter()
        self.slow_room_calls: Counter[str] = Counter()
        self.room_tasks: Counter[str] = Counter()
        self.slow_clients: Counter[str] = Counter()
        self.field_bits: Counter[tuple[str, str, str]] = Counter()
        self.clamped: Counter[tuple[str, str, str]] = Counter()
