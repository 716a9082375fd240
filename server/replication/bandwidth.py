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
from tickwire.schemas.messages import FieldKind
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

    Attributes:
        samples: the number of samples of each channel.
        client_ticks: the number of updates in those samples, summed over the clients.
        bits: the bits by table and field, summed over the clients; the name IDS counts the lists of ids.
    """

    def __init__(self, tables: Mapping[str, tuple[Field, ...]]) -> None:
        self.samples = 0
        self.client_ticks = 0
        self.bits: Counter[tuple[str, str]] = Counter()
        self._names = list(tables)
        self._fields = {(table, field.name): field for table, fields in tables.items() for field in fields}
        self._columns = {table: [f.name for f in fields if not f.is_text] for table, fields in tables.items()}
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

        Args:
            clamped: the numbers of values that were out of range, by table and field.
        """
        total = sum(self.bits.values()) or 1
        rows = []
        for (table, name), bits in self.bits.most_common():
            field = self._fields.get((table, name))
            entity_bits = bits / max(1, self._entity_ticks[table])
            share = bits / total
            out_of_range = clamped.get(table, {}).get(name, 0)
            advice = self._advice(field, (table, name), entity_bits, share, out_of_range) if field else []
            rows.append(
                {
                    "table": table,
                    "field": name or "(entered and left)",
                    "bytes_per_client_tick": round(bits / 8 / max(1, self.client_ticks), 2),
                    "share": round(share, 4),
                    "bits_per_entity": round(entity_bits, 2),
                    "advice": advice,
                }
            )
        return rows

    def _advice(self, field: Field, key: tuple[str, str], bits: float, share: float, out_of_range: int) -> list[str]:
        advice = []
        if out_of_range:
            advice.append(f"range: {out_of_range} values were out of range and were clamped")
        if self.samples >= SAMPLES_MIN and key in self._ranges:
            advice += _range_advice(field, *self._ranges[key])
        if field.kind is FieldKind.REAL and bits >= STEP_BITS_MIN:
            advice.append(f"step: {2 * field.step:g} instead of {field.step:g} saves about a bit an entity and tick")
        if field.kind is FieldKind.ANGLE and bits >= STEP_BITS_MIN:
            advice.append(f"step: {field.bits - 1} bits instead of {field.bits} save about a bit an entity and tick")
        if share >= RATE_SHARE_MIN and key[1] != IDS:
            advice.append(
                "rate: this is most of the traffic; half the ticks a second would cost little more than half"
            )
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
