"""Texts and blobs of a section: the changed ones, each with its position.

    varint   their number
    each:    varint  position, as the difference from the one before, where position is the entity's index after the
                     section * number of text fields + index of the text field
             varint  length, then the bytes

Pure; imports numpy and schemas only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.bit_packing import ByteReader, varint
from tickwire.schemas.columns import NO_TEXTS, Columns, Texts, empty_texts
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.fields import Field
from tickwire.schemas.messages import FieldKind

NO_CHANGED_TEXTS = b"\0"
"""The encoding of no texts: their number, 0."""


def encode_texts(base: Columns, now: Columns, here: NDArray[np.intp] | None, there: NDArray[np.intp] | None) -> bytes:
    """Return the texts that changed from `base` to `now`.

    Args:
        base: the client's table.
        now: the table after the section.
        here: the positions in `now` of the entities that stayed; None if both tables have the same entities.
        there: their positions in `base`.
    """
    if not now.texts.size:
        return NO_CHANGED_TEXTS
    if here is None or there is None:
        differs = now.texts != base.texts
    else:
        known = empty_texts(len(now.texts), now.ids.size)
        known[:, here] = base.texts[:, there]
        differs = now.texts != known
    positions = np.flatnonzero(differs.T).tolist()
    if not positions:
        return NO_CHANGED_TEXTS
    out = bytearray(varint(len(positions)))
    last = 0
    for position in positions:
        row, field = divmod(position, len(now.texts))
        data = now.texts[field, row]
        out += varint(position - last) + varint(len(data)) + data
        last = position
    return bytes(out)


def decode_texts(source: ByteReader, fields: tuple[Field, ...], texts: Texts) -> Texts:
    """Read the changed texts into `texts`, and return it.

    Args:
        source: the packed part.
        fields: the table's text fields.
        texts: (text fields, entities): the known texts of entities that stayed, empty ones of those that entered.
            Changed in place.

    Raises:
        MalformedMessage: a position is out of range or repeated, a text is too long, or it is not UTF-8.
    """
    count = source.varint()
    if not fields:
        if count:
            raise MalformedMessage("a text in a table without text fields")
        return NO_TEXTS
    position = 0
    for number in range(count):
        step = source.varint()
        if number and not step:
            raise MalformedMessage("a list has the same text twice")
        position += step
        if position >= texts.size:
            raise MalformedMessage(f"text {position} is out of range: the table has {texts.size}")
        row, index = divmod(position, len(fields))
        texts[index, row] = _read(source, fields[index])
    return texts


def _read(source: ByteReader, field: Field) -> bytes:
    length = source.varint()
    if length > field.bytes_max:
        raise MalformedMessage(f"field {field.name!r} of {length} bytes; at most {field.bytes_max} are allowed")
    data = source.read(length)
    if field.kind is FieldKind.TEXT:
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedMessage(f"field {field.name!r} is not UTF-8") from error
    return data
