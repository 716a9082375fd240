"""Samples the bandwidth of a room's fields, and adds it to the counters of the shard. Pure."""

from __future__ import annotations

from collections import Counter

from tickwire.server.replication.bandwidth import SAMPLE_TICKS, BandwidthProfile
from tickwire.server.replication.replicator import Replicator
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.room import Room


class BandwidthSampler:
    """Samples one room.

    Args:
        room: the room.
        replicator: has encoded the deltas of the tick.
        counters: the counters of the shard.

    Attributes:
        profile: the bytes of all sampled ticks, by field.
    """

    __slots__ = ("_bits_counted", "_clamped_counted", "_counters", "_replicator", "_room", "profile")

    def __init__(self, room: Room, replicator: Replicator, counters: RoomCounters) -> None:
        self._room = room
        self._replicator = replicator
        self._counters = counters
        self._bits_counted: Counter[tuple[str, str]] = Counter()
        self._clamped_counted: Counter[tuple[str, str]] = Counter()
        self.profile = BandwidthProfile(
            {name: table.fields for name, table in room.tables.items()},
            {name: tuple(group.group for group in table.groups.values()) for name, table in room.tables.items()},
        )

    def sample(self) -> None:
        """Profile the channels that are due in this tick, and count their bytes for all ticks until the next time.

        Called in every tick, after the deltas have been encoded.
        """
        profile, room_type = self.profile, self._room.room_type
        interval = SAMPLE_TICKS * (1 + self._replicator.channel_count // SAMPLE_TICKS)
        if not self._replicator.profile(profile, interval=interval):
            return
        for (table, field), bits in profile.bits.items():
            grown = bits - self._bits_counted[table, field]
            self._counters.field_bits[room_type, table, field] += grown * interval
        self._bits_counted = Counter(profile.bits)
        for table, clamped in self.clamped_counts().items():
            for field, count in clamped.items():
                self._counters.clamped[room_type, table, field] += count - self._clamped_counted[table, field]
                self._clamped_counted[table, field] = count

    def clamped_counts(self) -> dict[str, dict[str, int]]:
        """Return the number of values that were out of their field's range so far, by table and field."""
        return {name: getattr(self._room, name).clamped for name in self._room.tables}
