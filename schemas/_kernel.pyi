"""The functions of the native kernel: see the docstrings in _kernel.c."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.columns import Ids, Matrix

def encode_section(
    tag: int,
    field_bits: bytes,
    base_ids: Ids | None,
    ids: Ids | None,
    base: Matrix,
    base_before: Matrix,
    now: Matrix,
    now_before: Matrix,
    /,
) -> bytes: ...
def decode_section(
    data: bytes,
    at: int,
    flags: int,
    field_bits: bytes,
    bounds: Matrix,
    base_ids: Ids,
    base: Matrix,
    base_before: Matrix,
    /,
) -> tuple[int, bytearray | None, bytearray, bytearray | None]: ...
def quantise(
    block: NDArray[np.float32], out: Matrix, parameters: NDArray[np.float64], places: NDArray[np.int64], /
) -> bool: ...
def read_input(frame: bytes, head: bytes, /) -> tuple[int, int, bytes] | None: ...
def push_input(frame: bytes, head: bytes, seat: Any, create: Callable[[int, int, bytes], Any], /) -> bool: ...
def send(writes: list[tuple[int, bytes, Any]], /) -> list[tuple[int, int]]: ...
def send_state(
    seats: Iterable[Any],
    tick: int,
    bytes_max: int,
    prepare: Callable[[Any], object],
    writes: list[tuple[Any, bytes]],
    /,
) -> tuple[int, int, list[Any]]: ...
def widen(column: NDArray[Any], out: Matrix, row: int, low: int, high: int, /) -> bool: ...

SeatFields: type[Any]
SocketFields: type[Any]
