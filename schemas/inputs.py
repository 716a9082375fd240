"""Reads input payloads: the fields that a room declares, in order, each in whole bytes, little-endian.

`tickwire.schemas.fields.pack_input` writes them. Every value that a client can send is clamped to its field's range.
Pure; imports numpy and schemas only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.fields import Field, input_bytes
from tickwire.schemas.messages import FieldKind


class InputReader:
    """Reads the payloads of one room type.

    Values are in the game's units: angles in radians, booleans as bool.

    Args:
        fields: the input fields that the room declares, in order.

    Attributes:
        size: the size of a payload, in bytes.
    """

    def __init__(self, fields: tuple[Field, ...]) -> None:
        self.size = input_bytes(fields)
        self._byte_tables: list[tuple[int, NDArray[Any]]] = []
        self._wide: list[tuple[int, Field, int, int]] = []
        self._bytes: list[tuple[int, list[float]]] = []
        self._parts: list[tuple[int, int, int, Callable[[int], float]]] = []
        start = 0
        for index, field in enumerate(fields):
            end = start + (field.bits + 7) // 8
            scale = _create_scale(field)
            if end == start + 1:  # one byte: the 256 values are computed once
                self._bytes.append((start, [scale(value) for value in range(256)]))
                self._byte_tables.append((start, _scaled(field, np.arange(256))))
            else:
                self._wide.append((index, field, start, end))
                self._parts.append((index, start, end, scale))
            start = end

    def read(self, payload: bytes) -> list[float]:
        """Return the values of a payload, in the order of the fields.

        Raises:
            MalformedMessage: the payload does not have the declared size.
        """
        if len(payload) != self.size:
            raise MalformedMessage(f"an input must have {self.size} bytes in this room, not {len(payload)}")
        inputs = [values[payload[at]] for at, values in self._bytes]
        for index, start, end, scale in self._parts:
            inputs.insert(index, scale(int.from_bytes(payload[start:end], "little")))
        return inputs

    def read_many(self, payloads: list[bytes]) -> list[NDArray[Any]]:
        """Return the values of many payloads of the declared size: a column per field, in the order of the fields."""
        rows = np.frombuffer(b"".join(payloads), np.uint8).reshape(len(payloads), self.size)
        columns = [table[rows[:, at]] for at, table in self._byte_tables]
        for index, field, start, end in self._wide:
            octets = np.zeros((len(payloads), 8), np.uint8)
            octets[:, : end - start] = rows[:, start:end]
            columns.insert(index, _scaled(field, octets.view("<i8").reshape(-1)))
        return columns


def _scaled(field: Field, values: NDArray[np.int64]) -> NDArray[Any]:
    low, high = field.range
    mask = (1 << field.bits) - 1
    match field.kind:
        case FieldKind.BOOL:
            return values > 0
        case FieldKind.REAL:
            real: NDArray[np.float64] = np.minimum(field.low + values * field.step, field.high)
            return real
        case FieldKind.ANGLE:
            angle: NDArray[np.float64] = (values & mask).astype(np.float64) * (math.tau / (mask + 1))
            return angle
        case FieldKind.INT:
            half = 1 << (field.bits - 1)
            return (((values & mask) ^ half) - half).astype(np.float64)
        case _:
            return np.clip(values, low, high).astype(np.float64)


def _create_scale(field: Field) -> Callable[[int], float]:
    low, high = field.range
    mask = (1 << field.bits) - 1
    match field.kind:
        case FieldKind.BOOL:
            return bool
        case FieldKind.REAL:
            return partial(_real, field.low, field.high, field.step)
        case FieldKind.ANGLE:
            return partial(_angle, mask, math.tau / (mask + 1))
        case FieldKind.INT:
            return partial(_signed, mask, 1 << (field.bits - 1))
        case _:
            return partial(_clamped, low, high)


def _real(low: float, high: float, step: float, value: int) -> float:
    return min(low + value * step, high)


def _angle(mask: int, step: float, value: int) -> float:
    return (value & mask) * step


def _signed(mask: int, half: int, value: int) -> float:
    return ((value & mask) ^ half) - half


def _clamped(low: int, high: int, value: int) -> float:
    return min(max(value, low), high)
