"""The commands of a room class, read from its methods when the class is defined.

A payload is a map with the arguments by name. Nil, or no payload, is a call without arguments; any other value is the
first argument. Unknown arguments are ignored and missing ones have their defaults, so clients may be older or newer
than the room. Pure.
"""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Union, get_args, get_origin

import msgspec

from tickwire.schemas.payloads import decode_payload, encode_payload
from tickwire.server.rooms.command_methods import CommandOptions, options_of
from tickwire.server.rooms.plain_types import check_plain
from tickwire.server.rooms.transactions import Transaction

BURST_MAX = 1_000_000
DAY_S = 86_400
RATE_PER_S_MIN = 1 / DAY_S
"""A client waits for the next call, at most a day. The wait in a Reply has 32 bits, and a timer of a browser 31."""
_VALUES = (bool, int, float, str, bytes, list, dict)
"""Types that an argument can have, and a player cannot."""
_NIL = b"\xc0"
_EMPTY_MAP = b"\x80"
_ONE_ENTRY = b"\x81"
_MAP_HEADS = frozenset([*range(0x80, 0x90), 0xDE, 0xDF])


class CommandDeclaration(msgspec.Struct, frozen=True):
    """A command of a room class, for the server and for generators of client code.

    Args:
        name: the name of the method, and of the command on the wire.
        arguments: a struct with one field for each argument; required if it has no default.
        result: the type of the reply's payload; Any if the method declares none, or returns a Transaction, whose
            reply may have any type.
        options: the limits of the command.
        doc: the docstring of the method; empty without one.
    """

    name: str
    arguments: type[msgspec.Struct]
    result: Any
    options: CommandOptions
    doc: str = ""

    def decode(self, payload: bytes) -> dict[str, Any]:
        """Return the arguments in the payload of a Command, by name.

        Raises:
            MalformedMessage: the payload is not MessagePack, or is nested too deeply.
            InvalidValue: an argument is missing or does not have its type; the message says which.
        """
        if not payload or payload == _NIL:
            payload = _EMPTY_MAP
        elif payload[0] not in _MAP_HEADS:
            fields = self.arguments.__struct_fields__
            payload = _ONE_ENTRY + encode_payload(fields[0] if fields else "") + payload
        return msgspec.structs.asdict(decode_payload(payload, self.arguments))

    def encode_result(self, result: object) -> bytes:
        """Return the payload of the reply.

        Raises:
            TypeError, ValueError, OverflowError, RecursionError: MessagePack cannot represent the result, or it does
                not have the declared type.
        """
        payload = encode_payload(result)
        if self.result is not Any:
            decode_payload(payload, self.result)
        return payload


class CommandRoom(Protocol):
    """A room class, as the owner of commands."""

    commands: ClassVar[Mapping[str, CommandDeclaration]]


def find_commands(cls: type[CommandRoom], hooks: frozenset[str]) -> dict[str, CommandDeclaration]:
    """Return the commands that a room class and its bases declare, by name.

    Args:
        cls: the class of the game.
        hooks: the names of the hooks of rooms.

    Raises:
        TypeError: a command cannot work; the message says why.
    """
    found = {}
    for name in dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base)):
        method = inspect.getattr_static(cls, name)
        what = f"{cls.__name__}.{name}"
        if (options := options_of(method)) is not None:
            if name in hooks:
                raise TypeError(f"{what}: a command cannot have the name of a hook")
            found[name] = _declare(what, name, method, options)
        elif name in cls.commands:
            raise TypeError(f"{what} replaces a command of a base class; write `@command` above it")
    return found


def _declare(what: str, name: str, method: Any, options: CommandOptions) -> CommandDeclaration:
    if not inspect.isfunction(method) or inspect.iscoroutinefunction(method) or inspect.isgeneratorfunction(method):
        raise TypeError(f"{what}: a command must be a plain method, not async and not a generator")
    if name.startswith("_"):
        raise TypeError(f"{what}: the name of a command must not begin with an underscore, because clients use it")
    _check_options(what, options)
    try:
        hints = typing.get_type_hints(method, include_extras=True)
    except NameError as error:
        text = f"{what}: {error} in its annotations: import the name at run time, at the top of the module"
        raise TypeError(text) from error
    parameters = list(inspect.signature(method).parameters.values())
    has_player = len(parameters) >= 2 and parameters[1].kind is not inspect.Parameter.KEYWORD_ONLY
    if not has_player or not all(_is_by_name(parameter) for parameter in parameters[2:]):
        raise TypeError(f"{what} must have the parameters (self, player, ...), each argument with a name of its own")
    if hints.get(parameters[1].name) in _VALUES:
        raise TypeError(f"{what}: the first parameter is the player; write (self, player, {parameters[1].name}, ...)")
    fields = []
    for parameter in parameters[2:]:
        kind = hints.get(parameter.name, Any)
        check_plain(f"{what}: {parameter.name}", kind, "sent by a client")
        fields.append(_to_field(what, parameter, kind))
    try:
        arguments = msgspec.defstruct(name, fields, kw_only=True)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what}: {error}") from error
    result = _find_result(hints.get("return", Any))
    check_plain(f"{what}: the result", result, "sent to a client")
    return CommandDeclaration(name, arguments, result, options, inspect.getdoc(method) or "")


def _is_by_name(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _to_field(what: str, parameter: inspect.Parameter, kind: Any) -> tuple[str, Any] | tuple[str, Any, Any]:
    if parameter.default is inspect.Parameter.empty:
        return parameter.name, kind
    try:
        msgspec.convert(msgspec.to_builtins(parameter.default), kind)
    except (msgspec.ValidationError, TypeError) as error:
        raise TypeError(f"{what}: the default of {parameter.name} does not have its type: {error}") from error
    return parameter.name, kind, parameter.default


def _find_result(hint: Any) -> Any:
    """Return the type of a reply's payload."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if Transaction in kinds:
        return Any
    return hint


def _check_options(what: str, options: CommandOptions) -> None:
    rate, burst = options.rate_per_s, options.burst
    is_number = isinstance(rate, int | float) and not isinstance(rate, bool)
    if rate is not None and not (is_number and RATE_PER_S_MIN <= rate < math.inf):
        raise TypeError(f"{what}: rate_per_s is {rate!r}; must be a number, 1/{DAY_S} or more")
    if isinstance(burst, bool) or not isinstance(burst, int) or not 1 <= burst <= BURST_MAX:
        raise TypeError(f"{what}: burst is {burst!r}; must be a whole number, 1 to {BURST_MAX}")
    if rate is None and burst != 1:
        raise TypeError(f"{what}: a burst limits nothing without a rate; set rate_per_s")
