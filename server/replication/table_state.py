"""A table in its saved form, and the operations on its fields and rows that a restore needs. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.columns import Ids, Matrix, Texts
from tickwire.schemas.fields import Field


class TableState(msgspec.Struct, frozen=True):
    """A table in its saved form: the replicated fields, as quantised integers and bytes.

    Args:
        fields: the fields of `values`, then those of `texts`.
        ids: (entities,) uint32, ascending.
        values: (fields, entities) int64, quantised.
        texts: (text fields, entities) of bytes; None for a table without text fields.
        channels: (entities,) uint16, each row's channel; None if all rows are in EVERYONE.
        raw_columns: every numeric column by name, local ones included, as it is in memory. Only in a room that moves
            to another shard; None in a saved room.
    """

    fields: tuple[Field, ...]
    ids: Ids
    values: Matrix
    texts: Texts | None = None
    channels: NDArray[np.uint16] | None = None
    raw_columns: dict[str, NDArray[Any]] | None = None

    def split_fields(self) -> list[TableState]:
        """Split the table into one table per field, each with the ids of all rows."""
        numeric = [field for field in self.fields if not field.is_text]
        textual = [field for field in self.fields if field.is_text]
        texts = [] if self.texts is None else list(self.texts)
        return [
            TableState((field,), self.ids, row[np.newaxis]) for field, row in zip(numeric, self.values, strict=True)
        ] + [
            TableState((field,), self.ids, self.values[:0], row[np.newaxis])
            for field, row in zip(textual, texts, strict=True)
        ]

    def select_rows(self, ids: Collection[int]) -> TableState:
        """Return the table with only the rows that have these ids."""
        kept = np.isin(self.ids, np.fromiter(ids, np.uint32, len(ids)))
        if kept.all():
            return self
        return TableState(
            self.fields,
            self.ids[kept],
            self.values[:, kept],
            None if self.texts is None else self.texts[:, kept],
            None if self.channels is None else self.channels[kept],
        )

    def with_fields(self, fields: Sequence[TableState]) -> TableState:
        """Return this table with other fields, each passed as a table of one field with the same rows."""
        numeric = [one for one in fields if one.texts is None]
        textual = [one for one in fields if one.texts is not None]
        count = self.ids.size
        return msgspec.structs.replace(
            self,
            fields=tuple(one.fields[0] for one in (*numeric, *textual)),
            values=np.array([one.values[0] for one in numeric], np.int64).reshape(len(numeric), count),
            texts=np.concatenate([one.texts for one in textual if one.texts is not None]) if textual else None,
        )

    def with_field(self, name: str) -> TableState:
        """Return a table of one field with the field renamed."""
        (field,) = self.fields
        return msgspec.structs.replace(self, fields=(msgspec.structs.replace(field, name=name),))
