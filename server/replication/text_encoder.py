"""A table's texts and blobs as clients are told them: bytes, encoded anew only where the game has changed something.

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
    """A text column holds something else, or a blob is too long: the game's mistake, in field and entity."""


class TextEncoder:
    """Encodes one table's texts.

    Args:
        fields: the table's text fields, in order.

    Attributes:
        clamped: how many texts were too long so far, by field.
    """

    def __init__(self, fields: tuple[Field, ...]) -> None:
        self.clamped: dict[str, int] = {}
        self._fields = fields
        self._raw: NDArray[np.object_] = NO_TEXTS
        self._encoded: Texts = NO_TEXTS

    def encode(self, ids: Ids, columns: list[NDArray[Any]]) -> Texts:
        """(text fields, entities) of bytes; the same object as last time if nothing has changed.

        Raises:
            InvalidText: a value is not of its field's type, or a blob is too long.
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
        for row, at in zip(*np.nonzero(differs), strict=True):
            encoded[row, at] = self._encode_one(self._fields[row], raw[row, at], ids[at])
        self._raw, self._encoded = raw, encoded
        return encoded

    def _encode_one(self, field: Field, value: Any, id: int) -> bytes:
        if field.kind is FieldKind.TEXT:
            if not isinstance(value, str):
                raise InvalidText(f"field {field.name!r} of entity {id} holds {type(value).__name__}, not a text")
            data = value.encode("utf-8", "replace")
            if len(data) > field.bytes_max:
                self.clamped[field.name] = self.clamped.get(field.name, 0) + 1
                data = data[: field.bytes_max].decode("utf-8", "ignore").encode()
            return data
        if not isinstance(value, bytes):
            raise InvalidText(f"field {field.name!r} of entity {id} holds {type(value).__name__}, not bytes")
        if len(value) > field.bytes_max:
            raise InvalidText(f"field {field.name!r} of entity {id}: {len(value)} bytes; at most {field.bytes_max}")
        return value
