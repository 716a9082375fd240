"""Encodes a table's texts and blobs to bytes; only changed values are encoded again.

Pure; imports schemas only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.columns import NO_TEXTS, Ids, Texts
from tickwire.schemas.fields import Field
from tickwire.schemas.messages import FieldKind


class InvalidText(ValueError):
    """A text column has a value of another type, or a blob is too long; names the field and the entity."""


class TextEncoder:
    """Encodes one table's texts.

    Args:
        fields: the table's text fields, in order.

    Attributes:
        clamped: the numbers of texts that were truncated so far, by field.
    """

    def __init__(self, fields: tuple[Field, ...]) -> None:
        self.clamped: dict[str, int] = {}
        self._fields = fields
        self._raw: NDArray[np.object_] = NO_TEXTS
        self._encoded: Texts = NO_TEXTS

    def encode(self, ids: Ids, columns: list[NDArray[Any]]) -> Texts:
        """Return the encoded values, (text fields, entities) of bytes; the same object if nothing has changed.

        Args:
            ids: (entities,) uint32: the ids of the rows, for errors.
            columns: the text columns, each (entities,), in the order of the fields.

        Raises:
            InvalidText: a value has another type than its field, or a blob is too long.
        """
        if not self._fields:
            return NO_TEXTS
        raw = np.empty((len(columns), ids.size), np.object_)
        for row, column in enumerate(columns):
            raw[row] = column
        if raw.shape == self._raw.shape:
            differs = raw != self._raw
            if not differs.any():
                return self._encoded
            encoded = self._encoded.copy()
        else:
            differs = np.ones(raw.shape, np.bool_)
            encoded = np.empty(raw.shape, np.object_)
        for row, entity in zip(*np.nonzero(differs), strict=True):
            encoded[row, entity] = self._encode_one(self._fields[row], raw[row, entity], ids[entity])
        self._raw, self._encoded = raw, encoded
        return encoded

    def _encode_one(self, field: Field, value: Any, id: int) -> bytes:
        if field.kind is FieldKind.TEXT:
            if not isinstance(value, str):
                raise InvalidText(f"field {field.name!r} of entity {id} must be str, not {type(value).__name__}")
            data = value.encode("utf-8", "replace")
            if len(data) > field.bytes_max:
                self.clamped[field.name] = self.clamped.get(field.name, 0) + 1
                data = data[: field.bytes_max].decode("utf-8", "ignore").encode()
            return data
        if not isinstance(value, bytes):
            raise InvalidText(f"field {field.name!r} of entity {id} must be bytes, not {type(value).__name__}")
        if len(value) > field.bytes_max:
            raise InvalidText(f"field {field.name!r} of entity {id}: {len(value)} bytes; at most {field.bytes_max}")
        return value
