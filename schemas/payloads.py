"""Payloads of events, commands and replies: plain values in MessagePack.

Plain values are None, booleans, numbers, text, bytes, lists and maps. Structs and dataclasses become maps. Numbers of
numpy become numbers, and its arrays lists. Pure.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np


def to_python(value: object) -> Any:
    """Convert a numpy scalar or array to the Python value that it stands for: an `enc_hook` for msgspec.

    Raises:
        TypeError: the value is of a type that has no plain form.
    """
    match value:
        case np.bool_():
            return bool(value)
        case np.integer():
            return int(value)
        case np.floating():
            return float(value)
        case np.str_():
            return str(value)
        case np.bytes_():
            return bytes(value)
        case np.ndarray():
            return value.tolist()
        case _:
            raise TypeError(f"a {type(value).__name__} cannot be encoded")


_encoder = msgspec.msgpack.Encoder(enc_hook=to_python)


def encode_payload(value: object) -> bytes:
    """Encode a payload.

    Raises:
        TypeError, ValueError, OverflowError, RecursionError: MessagePack cannot hold the value.
    """
    return _encoder.encode(value)


def to_plain(value: object) -> Any:
    """Copy a value into plain values, with text as the keys of maps: what MongoDB can store.

    Raises:
        TypeError, ValueError, RecursionError: the value has no plain form.
    """
    return msgspec.to_builtins(value, builtin_types=(bytes,), str_keys=True, enc_hook=to_python)
