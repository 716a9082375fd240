"""Decodes JSON objects of issuers and clients, stricter than Python does, because parsers differ on the rest.

A name that occurs twice is refused, and so are NaN and Infinity, which compare as neither expired nor valid.
"""

from __future__ import annotations

import json
from typing import Any


def decode_object(data: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        ValueError: the data is not JSON, or not an object, or nested too deeply.
    """
    try:
        value = json.loads(data, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("it must be a JSON object")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name occurs twice")
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
