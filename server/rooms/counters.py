"""Plain numbers that the tick adds to; `tickwire.server.shard` carries them to the metrics. No label look-ups
here."""

from __future__ import annotations

from collections import Counter


class RoomCounters:
    """What the rooms of one shard have done since it started.

    Attributes:
        room_errors: exceptions that left the game's code, by room type.
        kept_aside: rooms that were restored with stored data that they do not declare, by room type.
        slow_room_calls: ticks and other hooks that took too long, by room type.
        states_refused: seats taken because the state did not fit into a message.
        slow_clients: steps on the ladder of slow clients: coalesced, halved, keyframes, closed; and raised again.
        field_bits: bits of state by room type, table and field, as far as sampled ticks tell for all.
        clamped: values that were out of their field's range, by room type, table and field.
    """

    __slots__ = (
        "bytes_sent",
        "clamped",
        "congested_passes",
        "deltas",
        "encode_seconds",
        "fan_out_refusals",
        "field_bits",
        "frames_sent",
        "inputs_applied",
        "inputs_superseded",
        "kept_aside",
        "keyframes",
        "player_ticks",
        "resyncs",
        "room_errors",
        "slow_clients",
        "slow_room_calls",
        "states_refused",
        "tick_seconds",
        "ticks",
        "ticks_late",
        "ticks_skipped",
    )

    def __init__(self) -> None:
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
        self.congested_passes = 0
        self.resyncs = 0
        self.states_refused = 0
        self.keyframes = 0
        self.deltas = 0
        self.room_errors: Counter[str] = Counter()
        self.kept_aside: Counter[str] = Counter()
        self.slow_room_calls: Counter[str] = Counter()
        self.slow_clients: Counter[str] = Counter()
        self.field_bits: Counter[tuple[str, str, str]] = Counter()
        self.clamped: Counter[tuple[str, str, str]] = Counter()
