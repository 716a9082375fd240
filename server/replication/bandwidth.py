"""The share of each field in a room's traffic, from samples of the encoded deltas, and advice on how to reduce it.

Each channel is sampled in one tick of SAMPLE_TICKS, by reading the bytes of its delta; nothing is counted between
samples. A room with more channels than that takes so much longer to sample all, because reading a channel takes far
longer than encoding it. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tickwire.schemas.columns import Columns
from tickwire.schemas.fields import Field
from tickwire.schemas.groups import Group
from tickwire.schemas.messages import FieldKind, GroupKind
from tickwire.schemas.size_profile import IDS, column_ranges

SAMPLE_TICKS = 64
SAMPLES_MIN = 4
"""The fewest samples from which a field's range is judged."""
STEP_BITS_MIN = 3.0
"""A field whose changes take more bits, per entity and tick, is advised a coarser step."""
RATE_SHARE_MIN = 0.5
"""A field with a larger share of all bytes is advised a lower tick rate."""


class BandwidthProfile:
    """The sizes of a room's state updates, by table and field.

    Args:
        tables: the names of the room's tables with their fields, in order.
        groups: the vectors and quaternions of the tables, by table.

    Attributes:
        samples: the number of samples of each channel.
        client_ticks: the number of updates in those samples, summed over the clients.
        bits: the bits by table and field, summed over the clients; the name IDS counts the lists of ids.
    """

    def __init__(
        self, tables: Mapping[str, tuple[Field, ...]], groups: Mapping[str, tuple[Group, ...]] | None = None
    ) -> None:
        self.samples = 0
        self.client_ticks = 0
        self.bits: Counter[tuple[str, str]] = Counter()
        self._names = list(tables)
        self._fields = {(table, field.name): field for table, fields in tables.items() for field in fields}
        self._columns = {table: [f.name for f in fields if not f.is_text] for table, fields in tables.items()}
        self._groups = {
            (table, part): group for table, found in (groups or {}).items() for group in found for part in group.parts
        }
        self._ranges: dict[tuple[str, str], tuple[int, int]] = {}
        self._entity_ticks: Counter[str] = Counter()

    def add(self, bits: Mapping[tuple[int, str], int], tables: tuple[Columns, ...], receivers: int) -> None:
        """Add one channel's update of a sampled tick.

        Args:
            bits: the update's bits by table index and field name, from `tickwire.schemas.size_profile.profile_bits`.
            tables: the contents of the channel.
            receivers: the number of clients that the update was written to.
        """
        for (index, field), count in bits.items():
            self.bits[self._names[index], field] += count * receivers
        for table, columns in zip(self._names, tables, strict=True):
            self._entity_ticks[table] += columns.ids.size * receivers
            for name, (low, high) in zip(self._columns[table], column_ranges(columns), strict=False):
                least, most = self._ranges.get((table, name), (low, high))
                self._ranges[table, name] = min(least, low), max(most, high)

    def report(self, clamped: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
        """Return one row per field, the largest first: bytes per client and tick, share, bits per entity, advice.

        A vector or a quaternion has one row for all its fields, which are its `parts`.

        Args:
            clamped: the numbers of values that were out of range, by table and field.
        """
        total = sum(self.bits.values()) or 1
        rows = []
        for (table, name), bits in self._bits_of_values().most_common():
            parts = [part for (owner, part), group in self._groups.items() if (owner, group.name) == (table, name)]
            advice = [
                one
                for part in parts or [name]
                for one in self._field_advice((table, part), clamped.get(table, {}).get(part, 0))
            ]
            if parts and (count := clamped.get(table, {}).get(name, 0)):
                advice.insert(0, f"range: {count} values could not be normalised and were sent as no rotation")
            if bits / total >= RATE_SHARE_MIN and name != IDS:
                advice.append(
                    "rate: this is most of the traffic; half the ticks a second would cost little more than half"
                )
            row = {
                "table": table,
                "field": name or "(entered and left)",
                "bytes_per_client_tick": self._client_tick_bytes(bits),
                "share": round(bits / total, 4),
                "bits_per_entity": round(self._entity_bits(table, bits), 2),
                "advice": advice,
            }
            if parts:
                row["parts"] = {part: self._client_tick_bytes(self.bits[table, part]) for part in parts}
            rows.append(row)
        return rows

    def _bits_of_values(self) -> Counter[tuple[str, str]]:
        """Return the bits by table and name; those of a vector or a quaternion under its name."""
        bits: Counter[tuple[str, str]] = Counter()
        for (table, name), count in self.bits.items():
            group = self._groups.get((table, name))
            bits[table, name if group is None else group.name] += count
        return bits

    def _client_tick_bytes(self, bits: int) -> float:
        return round(bits / 8 / max(1, self.client_ticks), 2)

    def _entity_bits(self, table: str, bits: int) -> float:
        return bits / max(1, self._entity_ticks[table])

    def _field_advice(self, key: tuple[str, str], out_of_range: int) -> list[str]:
        """Return the advice for one field; that for a part of a vector or a quaternion begins with the part."""
        field, group = self._fields.get(key), self._groups.get(key)
        if field is None:
            return []
        bits = self._entity_bits(key[0], self.bits[key])
        if group is None:
            return self._advice(field, key, bits, out_of_range)
        if group.kind is GroupKind.VECTOR:
            return [f"{field.name}: {one}" for one in self._advice(field, key, bits, out_of_range)]
        if field.kind is FieldKind.REAL and bits >= STEP_BITS_MIN:
            step = f"{field.bits - 1} bits instead of {field.bits} save about a bit an entity and tick"
            return [f"{field.name}: step: {step}"]
        return []

    def _advice(self, field: Field, key: tuple[str, str], bits: float, out_of_range: int) -> list[str]:
        advice = []
        if out_of_range:
            advice.append(f"range: {out_of_range} values were out of range and were clamped")
        if self.samples >= SAMPLES_MIN and key in self._ranges:
            advice += _range_advice(field, *self._ranges[key])
        if field.kind is FieldKind.REAL and bits >= STEP_BITS_MIN:
            advice.append(f"step: {2 * field.step:g} instead of {field.step:g} saves about a bit an entity and tick")
        if field.kind is FieldKind.ANGLE and bits >= STEP_BITS_MIN:
            advice.append(f"step: {field.bits - 1} bits instead of {field.bits} save about a bit an entity and tick")
        return advice


def _range_advice(field: Field, least: int, most: int) -> list[str]:
    """Return advice if a narrower field would hold all values seen; it saves bits of entering entities only."""
    low, high = field.range
    if field.kind is FieldKind.REAL and 2 * (most - least) < high - low:
        seen = f"{field.low + least * field.step:g} to {field.low + most * field.step:g}"
        return [
            f"range: {field.low:g} to {field.high:g} is declared, {seen} was used; "
            "a narrower range saves a bit for each entity that enters"
        ]
    if field.kind in (FieldKind.UINT, FieldKind.INT):
        bits = max(most, -least - 1).bit_length() + (field.kind is FieldKind.INT)
        if bits < field.bits:
            return [f"range: {field.bits} bits are declared, {least} to {most} was used: bits={bits} is enough"]
    return []
