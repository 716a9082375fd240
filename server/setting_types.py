"""The types of settings: the allowed values, declared once, as constraints that msgspec enforces.

Every number has two bounds, so that neither infinity nor a value that is wrong by a factor of a thousand passes.
Formatted texts have a pattern, and a description that completes the sentence "KEY must be ...".
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

TEXT_CHARACTERS_MAX = 4096
"""The longest text of any setting. Database URLs of 600 characters have been seen."""
TOKEN_CHARACTERS_MIN = 32

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
"""A duration. No setting has a use for more than a day."""
SecondsOrNone = Annotated[float, Meta(ge=0, le=86_400)]
"""A duration that may be 0; the documentation of the setting defines the meaning of 0."""
CallSeconds = Annotated[float, Meta(gt=0, le=60)]
"""The time limit of one call to another service."""
Ratio = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1, le=10_000_000)]
Rate = Annotated[float, Meta(gt=0, le=1_000_000)]
Bytes = Annotated[int, Meta(ge=1, le=1 << 30)]
Port = Annotated[int, Meta(ge=0, le=65_535)]

_HOST = r"(\[[0-9A-Fa-f:.%]+\]|[0-9A-Za-z]([0-9A-Za-z_.-]*[0-9A-Za-z_])?)"
_AUTHORITY = _HOST + r"(:[0-9]{1,5})?"
BindHost = Annotated[
    str,
    Meta(
        pattern=r"\A([0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*|[0-9A-Za-z]([0-9A-Za-z_.-]*[0-9A-Za-z_])?)\Z",
        max_length=253,
        description="an IP address or a host name, without scheme and port; 0.0.0.0 for all IPv4 addresses",
    ),
]
PlayerUrl = Annotated[
    str,
    Meta(
        pattern=r"\A(wss?://" + _AUTHORITY + r"(/[!-~]*)?)?\Z",
        description="empty, or the ws:// or wss:// URL under which clients reach this shard",
    ),
]
HttpUrl = Annotated[
    str,
    Meta(
        pattern=r"\A(https?://([!-~]+@)?" + _AUTHORITY + r"([/?][!-~]*)?)?\Z",
        description="empty, or an http:// or https:// URL",
    ),
]
RedisUrl = Annotated[
    str,
    Meta(
        pattern=r"\A(rediss?(\+sentinel|\+cluster)?|unix)://[!-~]+\Z",
        description="a redis://, rediss://, redis+sentinel:// or redis+cluster:// URL without blanks",
    ),
]
MongoUrl = Annotated[
    str,
    Meta(
        pattern=r"\Amongodb(\+srv)?://[!-~]+\Z",
        description="a mongodb:// or mongodb+srv:// URL without blanks",
    ),
]
DatabaseName = Annotated[
    str,
    Meta(
        pattern=r'\A[^\x00-\x20/\\."$*<>:|?\x7f-\U0010ffff]{1,63}\Z',
        description='1 to 63 ASCII characters without blanks and without / \\ . " $ * < > : | ?',
    ),
]
Namespace = Annotated[
    str,
    Meta(pattern=r"\A[0-9A-Za-z_.:-]{1,64}\Z", description="a name of 1 to 64 of A-Z a-z 0-9 _ . : -"),
]
Region = Annotated[
    str, Meta(pattern=r"\A[0-9A-Za-z_.-]{0,64}\Z", description="a name of at most 64 of A-Z a-z 0-9 _ . -")
]
ShardName = Annotated[
    str, Meta(pattern=r"\A[0-9A-Za-z_.-]{1,80}\Z", description="a name of 1 to 80 of A-Z a-z 0-9 _ . -")
]
Build = Annotated[
    str,
    Meta(pattern=r"\A[0-9A-Za-z_.+:/@-]{0,128}\Z", description="a name of at most 128 of A-Z a-z 0-9 _ . + : / @ -"),
]
Module = Annotated[str, Meta(pattern=r"\A[^\W\d]\w*(\.[^\W\d]\w*)*\Z", max_length=256)]
Modules = Annotated[
    list[Module],
    Meta(min_length=1, max_length=100, description='a list of at least one Python module, such as ["mygame.rooms"]'),
]
Texts = Annotated[list[str], Meta(max_length=1000, description="a list of texts")]
Claim = Annotated[str, Meta(min_length=1, max_length=128, description="the name of a claim")]
Secret = Annotated[
    str,
    Meta(
        pattern=r"(?s)\A(.{" + str(TOKEN_CHARACTERS_MIN) + r",})?\Z",
        description=f"empty, or a secret of at least {TOKEN_CHARACTERS_MIN} characters",
    ),
]
Key = Annotated[
    str,
    Meta(min_length=TOKEN_CHARACTERS_MIN, description=f"a secret of at least {TOKEN_CHARACTERS_MIN} characters"),
]
RequestLimit = Annotated[
    str,
    Meta(
        pattern=r"\A([1-9][0-9]{0,6}/[1-9][0-9]{0,4}s)?\Z",
        description="empty, or a limit such as 600/60s: 600 requests at once, and 600 more within 60 s",
    ),
]
RequestLimits = Annotated[
    dict[str, RequestLimit], Meta(max_length=100, description="a table of operations and their limits")
]
Keys = Annotated[dict[str, Key], Meta(max_length=100, description="a table of key ids and keys")]


def describe(kind: Any) -> str:
    """Return the text that completes "must be ..." for the type of a setting."""
    base, meta = _parts(kind)
    if meta.description:
        return meta.description
    if base in (int, float):
        return f"{'a whole number' if base is int else 'a number'} {_range(meta)}"
    if get_origin(base) is Literal:
        return f"one of {', '.join(map(str, get_args(base)))}"
    return {bool: "true or false", str: "a text", dict: "a table"}.get(base, "a table")


def base_type(kind: Any) -> Any:
    """Return the type of a setting without its constraints."""
    return _parts(kind)[0]


def bounds(kind: Any) -> Meta:
    """Return the constraints of the type of a setting; an empty Meta if it has none."""
    return _parts(kind)[1]


def _parts(kind: Any) -> tuple[Any, Meta]:
    if get_origin(kind) is Annotated:
        base, *rest = get_args(kind)
        return base, next((meta for meta in rest if isinstance(meta, Meta)), Meta())
    return kind, Meta()


def _range(meta: msgspec.Meta) -> str:
    low = f"from {meta.ge:g}" if meta.ge is not None else f"above {meta.gt:g}"
    return f"{low} to {meta.le}" if meta.ge is not None else f"{low} and at most {meta.le}"
