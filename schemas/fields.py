"""Fields: the exact conversion between a game's values and the integers on the wire, shared by both ends.

A `Field` quantises float columns to int64 and back. The server simulates in floats, and sends and saves the quantised
integers. Texts and blobs are bytes instead, and are sent when they change. Pure; imports numpy,
tickwire.schemas.errors and tickwire.schemas.messages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import FieldDescription, FieldKind

BITS_MAX = 53
"""The widest integer: a double, and so every language, represents it exactly. The residuals of LINEAR are below 2^55,
and below 2^57 as zigzag."""
SCALED_BITS_MAX = 32
"""The widest REAL or ANGLE, and the widest field of an input."""
BYTES_MAX = 1024
"""The longest text or blob."""

Quantised = NDArray[np.int64]


class NotANumber(ValueError):
    """A column has NaN or infinity, by a mistake of the game; names the field, and the row or the entity."""

    def __init__(self, field: str, row: int, *, entity: int | None = None) -> None:
        where = f"row {row}" if entity is None else f"entity {entity}"
        super().__init__(f"field {field!r} of {where} is not a finite number")
        self.field = field
        self.row = row
        self.entity = entity


class Field(msgspec.Struct, frozen=True):
    """One replicated field: kind, width in bits, and for REAL its range and step.

    Args:
        name: the name in the game's declaration.
        kind: the interpretation of the integer.
        bits: width of the quantised value, 1 to 53 (REAL and ANGLE: 32); 0 for TEXT and BLOB.
        low, high, step: REAL only; world units.
        labels: ENUM only.
        bytes_max: TEXT and BLOB only.
    """

    name: str
    kind: FieldKind
    bits: int
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    labels: tuple[str, ...] = ()
    bytes_max: int = 0

    @property
    def is_text(self) -> bool:
        """Whether the values are bytes that are sent when they change, instead of a column of integers."""
        return self.kind in (FieldKind.TEXT, FieldKind.BLOB)

    @property
    def wraps(self) -> bool:
        """Whether differences are taken modulo 2^bits."""
        return self.kind is FieldKind.ANGLE

    @property
    def range(self) -> tuple[int, int]:
        """The least and the greatest quantised value."""
        match self.kind:
            case FieldKind.INT:
                return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1
            case FieldKind.REAL:
                return 0, round((self.high - self.low) / self.step)
            case FieldKind.ENUM:
                return 0, len(self.labels) - 1
            case _:
                return 0, (1 << self.bits) - 1

    @property
    def dtype(self) -> Any:
        """The numpy type in the game: float32 for REAL and ANGLE, object for texts, bool, int32 or int64."""
        match self.kind:
            case FieldKind.TEXT | FieldKind.BLOB:
                return np.object_
            case FieldKind.REAL | FieldKind.ANGLE:
                return np.float32
            case FieldKind.BOOL:
                return np.bool_
            case _:
                return np.int32 if self.bits < 32 else np.int64

    def quantise(self, column: NDArray[Any]) -> Quantised:
        """Return a column as integers of the wire; values out of range are clamped, angles wrap.

        Args:
            column: (entities,) in the game's units; angles in radians.

        Raises:
            NotANumber: the column has NaN or infinity.
        """
        if column.dtype.kind == "f":
            self._check_finite(column)
        low, high = self.range
        if self.kind is FieldKind.REAL:
            steps = np.rint((column.astype(np.float64) - self.low) * (1.0 / self.step))
            return np.clip(steps, low, high).astype(np.int64)
        if self.kind is FieldKind.ANGLE:
            turned = np.fmod(column.astype(np.float64), math.tau) * ((1 << self.bits) / math.tau)
            wrapped: Quantised = np.rint(turned).astype(np.int64) & high
            return wrapped
        if column.dtype.kind == "f":  # an input's value; the game's own columns are integers
            column = np.clip(column, low, high)
        clipped: Quantised = np.clip(column.astype(np.int64), low, high)
        return clipped

    def _check_finite(self, column: NDArray[Any]) -> None:
        if not np.isfinite(column).all():
            raise NotANumber(self.name, int(np.flatnonzero(~np.isfinite(column))[0]))

    def dequantise(self, values: Quantised) -> NDArray[Any]:
        """Return integers of the wire in the game's units and type."""
        if self.kind is FieldKind.REAL:
            return (self.low + values * self.step).astype(np.float32)
        if self.kind is FieldKind.ANGLE:
            return (values * (math.tau / (1 << self.bits))).astype(np.float32)
        if self.kind is FieldKind.TEXT:
            return np.array([bytes(value).decode() for value in values], np.object_)
        return values.astype(self.dtype)

    def describe(self) -> FieldDescription:
        """Return the field's description, as `Joined` sends it."""
        return FieldDescription(
            self.name, self.kind, self.bits, self.low, self.high, self.step, self.labels, self.bytes_max
        )


def from_description(description: FieldDescription) -> Field:
    """Return the field of a description. Descriptions come from a peer, and every value is checked.

    Raises:
        MalformedMessage: the width, the range, the step, the length or the labels are invalid.
    """
    field = Field(
        description.name,
        description.kind,
        description.bits,
        description.low,
        description.high,
        description.step,
        description.labels,
        description.bytes_max,
    )
    if field.is_text:
        if not 1 <= field.bytes_max <= BYTES_MAX:
            raise MalformedMessage(f"field {field.name!r} must have 1 to {BYTES_MAX} bytes, not {field.bytes_max}")
        return field
    if not 1 <= field.bits <= _bits_max(field.kind):
        raise MalformedMessage(f"field {field.name!r} must have 1 to {_bits_max(field.kind)} bits, not {field.bits}")
    if field.kind is FieldKind.REAL and not _is_range(field.low, field.high, field.step):
        raise MalformedMessage(f"field {field.name!r}: the range or the step is invalid")
    if field.kind is FieldKind.ENUM and not field.labels:
        raise MalformedMessage(f"field {field.name!r}: an enumeration without labels")
    return field


def _is_range(low: float, high: float, step: float) -> bool:
    """Return whether a REAL may have this range: finite, with less than 2^SCALED_BITS_MAX steps."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high and 0 < step <= high - low):
        return False
    return (high - low) / step < (1 << SCALED_BITS_MAX) - 0.5


def boolean(name: str) -> Field:
    """Return a boolean field."""
    return Field(name, FieldKind.BOOL, 1)


def uint(name: str, bits: int) -> Field:
    """Return an unsigned integer field of `bits`."""
    return _checked(Field(name, FieldKind.UINT, bits))


def sint(name: str, bits: int) -> Field:
    """Return a signed integer field of `bits`."""
    return _checked(Field(name, FieldKind.INT, bits))


def real(name: str, low: float, high: float, step: float) -> Field:
    """Return a field for real numbers from `low` to `high`, rounded to `step`."""
    if not _is_range(low, high, step):
        raise ValueError(
            f"field {name!r}: requires low < high, 0 < step <= high - low, and less than 2^{SCALED_BITS_MAX} steps"
        )
    bits = max(1, math.ceil(round((high - low) / step)).bit_length())
    return _checked(Field(name, FieldKind.REAL, bits, low, high, step))


def angle(name: str, bits: int) -> Field:
    """Return a field for angles in radians, in 2^bits steps per turn."""
    return _checked(Field(name, FieldKind.ANGLE, bits))


def enumeration(name: str, labels: tuple[str, ...]) -> Field:
    """Return a field for one of a closed set of labels; the value is the label's index."""
    if not labels:
        raise ValueError(f"field {name!r}: an enumeration must have labels")
    return Field(name, FieldKind.ENUM, max(1, (len(labels) - 1).bit_length()), labels=labels)


def entity(name: str) -> Field:
    """Return a field for a reference to an entity by its id; 0 means no entity."""
    return Field(name, FieldKind.ENTITY, 32)


def text(name: str, bytes_max: int) -> Field:
    """Return a field for texts of at most `bytes_max` bytes of UTF-8."""
    return _checked_text(Field(name, FieldKind.TEXT, 0, bytes_max=bytes_max))


def blob(name: str, bytes_max: int) -> Field:
    """Return a field for at most `bytes_max` opaque bytes of the game."""
    return _checked_text(Field(name, FieldKind.BLOB, 0, bytes_max=bytes_max))


def _bits_max(kind: FieldKind) -> int:
    return SCALED_BITS_MAX if kind in (FieldKind.REAL, FieldKind.ANGLE) else BITS_MAX


def _checked(field: Field) -> Field:
    if not 1 <= field.bits <= _bits_max(field.kind):
        raise ValueError(f"field {field.name!r} must have 1 to {_bits_max(field.kind)} bits, not {field.bits}")
    return field


def _checked_text(field: Field) -> Field:
    if not 1 <= field.bytes_max <= BYTES_MAX:
        raise ValueError(f"field {field.name!r} must have 1 to {BYTES_MAX} bytes, not {field.bytes_max}")
    return field


def input_bytes(fields: tuple[Field, ...]) -> int:
    """Return the size of an input's payload: each field in whole bytes, the sum rounded up to a multiple of four.

    Raises:
        ValueError: a field is a text, or wider than SCALED_BITS_MAX.
    """
    for field in fields:
        if field.is_text or field.bits > SCALED_BITS_MAX:
            raise ValueError(f"field {field.name!r}: an input must be a number of at most {SCALED_BITS_MAX} bits")
    size = sum((field.bits + 7) // 8 for field in fields)
    return size + (-size & 3)


def create_quantiser(field: Field) -> Callable[[float], int]:
    """Return a function that quantises one number as `Field.quantise` does a column, in a fraction of the time.

    The function raises NotANumber for NaN and infinity.
    """
    (low, high), isfinite = field.range, math.isfinite

    def quantise_real(value: float) -> int:
        if isfinite(value):
            steps = (value - first) * scale
            return round(low if steps < low else high if steps > high else steps)
        raise NotANumber(field.name, 0)

    def quantise_angle(value: float) -> int:
        if isfinite(value):
            return round(math.fmod(value, math.tau) * scale) & high
        raise NotANumber(field.name, 0)

    def quantise_integer(value: float) -> int:
        if isfinite(value):
            return int(low if value < low else high if value > high else value)
        raise NotANumber(field.name, 0)

    if field.kind is FieldKind.REAL:
        first, scale = field.low, 1.0 / field.step
        return quantise_real
    if field.kind is FieldKind.ANGLE:
        scale = (1 << field.bits) / math.tau
        return quantise_angle
    return quantise_integer


class InputPacker:
    """Packs the inputs of one room type.

    Args:
        fields: the input fields that the room declares, in order.

    Raises:
        ValueError: a field is a text, or wider than SCALED_BITS_MAX.
    """

    def __init__(self, fields: tuple[Field, ...]) -> None:
        self._size = input_bytes(fields)
        self._fields = [
            (field.name, create_quantiser(field), (1 << field.bits) - 1, (field.bits + 7) // 8) for field in fields
        ]

    def pack(self, values: Mapping[str, float]) -> bytes:
        """Return an input's payload: the fields in order, little-endian; missing values are 0.

        Raises:
            NotANumber: a value is NaN or infinity.
        """
        get = values.get
        parts = [
            (quantise(float(get(name, 0.0))) & mask).to_bytes(size, "little")
            for name, quantise, mask, size in self._fields
        ]
        return b"".join(parts).ljust(self._size, b"\0")


def pack_input(fields: tuple[Field, ...], values: Mapping[str, float]) -> bytes:
    """Return the payload of one input; see `InputPacker`."""
    return InputPacker(fields).pack(values)
