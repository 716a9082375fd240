"""Texts and blobs of a section: those that changed, each with its place.

    varint   how many
    each:    varint  place * text fields + field, less the one before; places are those after the section
             varint  length, then the bytes

Pure; imports numpy and schemas only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.bit_packing import Source, varint
from tickwire.schemas.columns import NO_TEXTS, Columns, Texts, no_texts
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.fields import Field
from tickwire.schemas.messages import FieldKind


def encode_texts(base: Columns, now: Columns, here: NDArray[np.intp] | None, there: NDArray[np.intp] | None) -> bytes:
    """What changed from `base` to `now`; `here` and `there` say where those that stayed stand, None: all alike."""
    if not now.texts.size:
        return b"\0"
    if here is None or there is None:
        differs = now.texts != base.texts
    else:
        known = no_texts(len(now.texts), now.ids.size)
        known[:, here] = base.texts[:, there]
        differs = now.texts != known
    places = np.flatnonzero(differs.T).tolist()
    if not places:
        return b"\0"
    out = bytearray(varint(len(places)))
    last = 0
    for place in places:
        row, field = divmod(place, len(now.texts))
        data = now.texts[field, row]
        out += varint(place - last) + varint(len(data)) + data
        last = place
    return bytes(out)


def decode_texts(source: Source, fields: tuple[Field, ...], texts: Texts) -> Texts:
    """Reads what changed into `texts`, which is the caller's to change.

    Args:
        texts: (text fields, entities): what is known of those that stayed, empty for those that entered.

    Raises:
        MalformedMessage: there is no such place, or what stands there cannot be.
    """
    count = source.varint()
    if not fields:
        if count:
            raise MalformedMessage("a text in a table that has none")
        return NO_TEXTS
    place = 0
    for number in range(count):
        step = source.varint()
        if number and not step:
            raise MalformedMessage("a list names something twice")
        place += step
        if place >= texts.size:
            raise MalformedMessage(f"a text for place {place} of {texts.size}")
        row, at = divmod(place, len(fields))
        texts[at, row] = _read(source, fields[at])
    return texts


def _read(source: Source, field: Field) -> bytes:
    length = source.varint()
    if length > field.bytes_max:
        raise MalformedMessage(f"field {field.name!r} of {length} bytes; at most {field.bytes_max} are possible")
    data = source.take(length)
    if field.kind is FieldKind.TEXT:
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedMessage(f"field {field.name!r} is not UTF-8") from error
    return data
