"""The types of the options that `on_join` and `on_create` receive, read from their annotations. Pure.

    class ArenaOptions(msgspec.Struct):
        name: Annotated[str, Meta(max_length=16)] = "pilot"

    class Arena(Room):
        def on_join(self, player: Player, options: ArenaOptions) -> None: ...

Without a struct as annotation a hook receives the map as the client has sent it.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any, get_origin

import msgspec
from msgspec.inspect import DataclassType, StructType, TypedDictType

from tickwire.server.errors import InvalidArgument, RoomFailed
from tickwire.server.rooms.containment import RoomCodeRaised, RoomIdentity, contain
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.plain_types import check_plain

_UNTYPED = (Any, object, Mapping, dict)
_POSITIONS = {"on_create": 1, "on_join": 2}
"""The positions of the options among the parameters of the hooks."""
TEXT_CHARACTERS_MAX = 1000


def find_options_type(cls: type, hook: str) -> Any:
    """Return the type of the options of a hook; Any if it declares no struct.

    Without an annotation the type is that of the base class, because `super()` passes the options on.

    Raises:
        TypeError: the annotation cannot be resolved, is not that of a map, or contains types without a plain form.
    """
    what = f"{cls.__name__}.{hook}"
    for base in cls.__mro__:
        if hook not in vars(base):
            continue
        method = inspect.unwrap(vars(base)[hook])
        parameter = list(inspect.signature(method).parameters.values())[: _POSITIONS[hook] + 1][-1]
        if parameter.annotation is not inspect.Parameter.empty:
            return _resolve(what, parameter, getattr(method, "__globals__", {}))
    return Any


def check_durable_options(cls: type, kind: Any) -> None:
    """Check that a durable room can be created without options.

    A player who resumes has sent no Join; if the room was never saved, it is created again for this player.

    Args:
        cls: the class of the room.
        kind: the type of the options that its `on_create` declares.

    Raises:
        TypeError: an option has no default.
    """
    if kind is Any:
        return
    try:
        msgspec.convert({}, kind)
    except msgspec.ValidationError as error:
        text = "the options of a durable room need defaults, because it may be created without a Join"
        raise TypeError(f"{cls.__name__}.on_create: {text}: {error}") from error
    except NameError:
        pass  # refers to a class that is defined later


def _resolve(what: str, parameter: inspect.Parameter, names: dict[str, Any]) -> Any:
    annotations = types.SimpleNamespace(__annotations__={"options": parameter.annotation})
    try:
        hint = typing.get_type_hints(annotations, names, include_extras=True)["options"]
    except NameError as error:
        text = f"{what}: {error} in its annotations: import the name at run time, at the top of the module"
        raise TypeError(text) from error
    if hint in _UNTYPED or get_origin(hint) in _UNTYPED:
        return Any
    check_plain(f"{what}: {parameter.name}", hint, "sent by a client")
    if not isinstance(msgspec.inspect.type_info(hint), StructType | DataclassType | TypedDictType):
        raise TypeError(f"{what}: {parameter.name} must be a msgspec.Struct or a mapping, because clients send a map")
    return hint


def parse_options(
    hook: str, kind: Any, options: Mapping[str, Any], room: RoomIdentity, counters: RoomCounters
) -> Any:
    """Return the options of a Join in the type that a hook declares.

    Args:
        hook: the hook that receives them.
        kind: from `find_options_type`.
        options: the options as the client has sent them. Unknown ones are ignored.
        room: the room, for the log.
        counters: the counters of the shard.

    Raises:
        InvalidArgument: an option is missing or does not have its type; the message says which.
        RoomFailed: the type is the game's, and its code raised another exception.
    """
    if kind is Any:
        return options
    try:
        with contain(hook, room, counters, arguments=(options,), answers=(msgspec.ValidationError,)):
            return msgspec.convert(options, kind)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"options: {error}"[:TEXT_CHARACTERS_MAX]) from error
    except RoomCodeRaised as error:
        raise RoomFailed("the room failed to read the options") from error
