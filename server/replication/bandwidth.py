"""Which field costs what: sampled from the parts that are written anyway, and what could be done about it.

A sample is taken every SAMPLE_TICKS ticks, from the bytes of the deltas themselves; between samples nothing is
counted. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tickwire.schemas.columns import Columns
from tickwire.schemas.fields import Field
from tickwire.schemas.messages import FieldKind
from tickwire.schemas.size_profile import IDS, columns_seen

SAMPLE_TICKS = 64
SAMPLES_MIN = 4
"""Fewer say nothing about a range."""
STEP_BITS_MIN = 3.0
"""A field whose change takes more bits than this, an entity and tick, might do with a coarser step."""
RATE_SHARE_MIN = 0.5
"""A field that is more than this share of all might do with fewer ticks a second."""


class BandwidthProfile:
    """What a room's state has weighed.

    Args:
        tables: the names of the room's tables, and their fields that are columns, in order.

    Attributes:
        samples: how many ticks were looked at.
        client_ticks: in how many of them a client was told something, summed over the clients.
        bits: by table and field, summed over the clients; IDS is who came and left.
    """

    def __init__(self, tables: Mapping[str, tuple[Field, ...]]) -> None:
        self.samples = 0
        self.client_ticks = 0
        self.bits: Counter[tuple[str, str]] = Counter()
        self._names = list(tables)
        self._fields = {(table, field.name): field for table, fields in tables.items() for field in fields}
        self._columns = {table: [f.name for f in fields if not f.is_text] for table, fields in tables.items()}
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}
        self._entity_ticks: Counter[str] = Counter()

    def add(self, bits: Mapping[tuple[int, str], int], tables: tuple[Columns, ...], readers: int) -> None:
        """One channel's part in a sampled tick.

        Args:
            bits: what it was spent on, as `tickwire.schemas.size_profile` says.
            tables: what the channel holds.
            readers: how many clients it was written to.
        """
        for (place, field), count in bits.items():
            self.bits[self._names[place], field] += count * readers
        for table, columns in zip(self._names, tables, strict=True):
            self._entity_ticks[table] += columns.ids.size * readers
            for name, (low, high) in zip(self._columns[table], columns_seen(columns), strict=False):
                least, most = self._seen.get((table, name), (low, high))
                self._seen[table, name] = min(least, low), max(most, high)

    def report(self, clamped: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
        """A row a field, the dearest first: its bytes a client and tick, its share, bits an entity, and advice.

        Args:
            clamped: how many values were out of range, by table and field.
        """
        total = sum(self.bits.values()) or 1
        rows = []
        for (table, name), bits in self.bits.most_common():
            field = self._fields.get((table, name))
            entity_bits = bits / max(1, self._entity_ticks[table])
            share = bits / total
            off = clamped.get(table, {}).get(name, 0)
            rows.append(
                {
                    "table": table,
                    "field": name or "(who came and left)",
                    "bytes_per_client_tick": round(bits / 8 / max(1, self.client_ticks), 2),
                    "share": round(share, 4),
                    "bits_per_entity": round(entity_bits, 2),
                    "advice": self._advice(field, (table, name), entity_bits, share, off) if field else [],
                }
            )
        return rows

    def _advice(self, field: Field, key: tuple[str, str], bits: float, share: float, off: int) -> list[str]:
        advice = []
        if off:
            advice.append(f"range: {off} values were out of it and were clamped")
        if self.samples >= SAMPLES_MIN and key in self._seen:
            advice += _range_advice(field, *self._seen[key])
        if field.kind is FieldKind.REAL and bits >= STEP_BITS_MIN:
            advice.append(f"step: {2 * field.step:g} instead of {field.step:g} saves about a bit an entity and tick")
        if field.kind is FieldKind.ANGLE and bits >= STEP_BITS_MIN:
            advice.append(f"step: {field.bits - 1} bits instead of {field.bits} save about a bit an entity and tick")
        if share >= RATE_SHARE_MIN and key[1] != IDS:
            advice.append(
                "rate: this is most of what is sent; half the ticks a second would cost little more than half"
            )
        return advice


def _range_advice(field: Field, least: int, most: int) -> list[str]:
    """Whether a narrower field would hold all that was seen; what is saved is in keyframes, and for who enters."""
    low, high = field.range
    if field.kind is FieldKind.REAL and 2 * (most - least) < high - low:
        seen = f"{field.low + least * field.step:g} to {field.low + most * field.step:g}"
        return [f"range: {field.low:g} to {field.high:g} is declared, {seen} was seen; a bit less for who enters"]
    if field.kind in (FieldKind.UINT, FieldKind.INT):
        bits = max(most, -least - 1).bit_length() + (field.kind is FieldKind.INT)
        if bits < field.bits:
            return [f"range: {field.bits} bits are declared, {least} to {most} was seen: {bits} would do"]
    return []
