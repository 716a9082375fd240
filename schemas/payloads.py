"""Payloads of events, commands and replies: plain values in MessagePack.

Plain values are None, booleans, numbers, text, bytes, lists and maps. Structs and dataclasses become maps, numpy
scalars numbers, and numpy arrays lists.

All MessagePack and JSON of peers is decoded here, with at most DEPTH_MAX levels and one exception for all errors.
msgspec alone raises three (DecodeError, UnicodeDecodeError, RecursionError). The only extension type of MessagePack
is the timestamp: a store and the web client have no form for others. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import msgspec
import numpy as np

from tickwire.schemas.errors import InvalidValue, MalformedMessage

T = TypeVar("T")
DEPTH_MAX = 64
"""The most levels of lists and maps. MongoDB stores 100, of which a game's own structures take some."""
_MSGPACK_CONTAINERS = (*range(0x80, 0xA0), *range(0xDC, 0xE0))
_JSON_CONTAINERS = b"[{"
_NO_MSGPACK_CONTAINERS = bytes(set(range(256)) - set(_MSGPACK_CONTAINERS))
_NO_JSON_CONTAINERS = bytes(set(range(256)) - set(_JSON_CONTAINERS))


def to_python(value: object) -> Any:
    """Convert a numpy scalar or array to a Python value: an `enc_hook` for msgspec.

    Raises:
        TypeError: the value has a type without a plain form.
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
        TypeError, ValueError, OverflowError, RecursionError: MessagePack cannot represent the value.
    """
    return _encoder.encode(value)


def decode_payload(data: bytes, kind: type[T] | Any = Any) -> T | Any:
    """Decode MessagePack from a peer.

    Raises:
        MalformedMessage: the bytes are not MessagePack, or are nested too deeply.
        InvalidValue: the value does not have the type `kind`.
    """
    may_be_deep = len(data.translate(None, _NO_MSGPACK_CONTAINERS)) > DEPTH_MAX
    return _decode(_decode_msgpack, data, kind, may_be_deep=may_be_deep)


def decode_value(data: bytes) -> Any:
    """Decode the payload of an event or of a reply. All clients decode both alike; no bytes are None.

    Raises:
        MalformedMessage: as `decode_payload`; also for an extension type that is not a timestamp.
    """
    return decode_payload(data) if data else None


def decode_json(data: bytes, kind: type[T] | Any = Any) -> T | Any:
    """Decode JSON from a peer.

    Raises:
        MalformedMessage: the bytes are not JSON, or are nested too deeply.
        InvalidValue: the value does not have the type `kind`.
    """
    may_be_deep = len(data.translate(None, _NO_JSON_CONTAINERS)) > DEPTH_MAX
    return _decode(msgspec.json.decode, data, kind, may_be_deep=may_be_deep)


def _refuse_extension(code: int, data: memoryview) -> Any:
    raise MalformedMessage(f"extension type {code} is not supported")


_decode_msgpack = partial(msgspec.msgpack.decode, ext_hook=_refuse_extension)


def _decode(decode: Callable[..., Any], data: bytes, kind: Any, *, may_be_deep: bool) -> Any:
    try:
        if may_be_deep and _is_too_deep(decode(data)):
            raise MalformedMessage(f"it is nested more than {DEPTH_MAX} levels deep")
        return decode(data, type=kind)
    except RecursionError:
        raise MalformedMessage(f"it is nested more than {DEPTH_MAX} levels deep") from None
    except UnicodeDecodeError as error:
        raise MalformedMessage("a text is not UTF-8") from error
    except msgspec.ValidationError as error:
        raise InvalidValue(str(error)) from error
    except msgspec.DecodeError as error:
        raise MalformedMessage(str(error)) from error


def _is_too_deep(value: object) -> bool:
    """Return whether a decoded value has more than DEPTH_MAX levels, level by level, without recursion."""
    level = [value]
    for _ in range(DEPTH_MAX + 1):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list | tuple)  # a list as the key of a map is decoded as a tuple
            for inner in ((*each, *each.values()) if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return True


def to_plain(value: object) -> Any:
    """Convert a value to plain values with text as the keys of maps, as MongoDB stores them.

    Raises:
        TypeError, ValueError, RecursionError: the value has no plain form.
    """
    return msgspec.to_builtins(value, builtin_types=(bytes,), str_keys=True, enc_hook=to_python)
