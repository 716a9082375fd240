"""Reads a saved state that does not fit its own declaration: what fits is kept, the rest is set aside.

A game may save values that its `SaveData` does not allow, such as half a coin in a list of whole numbers: a struct
checks nothing when it is made. Such a state could not be read again. The smallest part that does not fit is taken
out: an element of a list or map, or a field with a default. Pure.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Mapping, MutableSequence, MutableSet, Sequence, Set
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from tickwire.server.replication.conversion import ShapeChanged
from tickwire.server.rooms.checkpoint import RejectedRow, RoomCheckpoint, SaveData

_SEQUENCES = frozenset((list, set, frozenset, Sequence, MutableSequence, Set, MutableSet, Iterable))
_MAPS = frozenset((dict, Mapping, typing.MutableMapping))
_EMPTY: dict[Any, Any] = {int: 0, float: 0.0, str: "", bytes: b"", bool: False}


class _Misfit(Exception):
    """A value does not fit, and has no smaller part that could be taken out."""


def find_misfit(saves: type[SaveData], value: Mapping[str, Any]) -> str:
    """Return why a state cannot be read again as the version that saved it; empty if it can."""
    try:
        saves.read(saves.version, dict(value))
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def salvaged(saves: type[SaveData], state: RoomCheckpoint) -> RoomCheckpoint:
    """Return a room's state without the parts of its `state` that do not fit; those are added to `rejected`.

    A state that fitted when it was saved is returned as it is: if it does not fit now, the declaration has changed.

    Raises:
        TooNew, or whatever the game's `upgrade` raises.
        ShapeChanged: the state cannot be read, whatever is taken out.
    """
    if state.state_error == "":
        return state
    value = saves.upgraded(state.state_version, state.aside.fields | state.state)
    kept, rejected = salvage(saves, value)
    if not rejected:
        return state
    return msgspec.structs.replace(
        state, state=kept, state_version=saves.version, rejected=(*state.rejected, *rejected)
    )


def salvage(saves: type[SaveData], value: Mapping[str, Any]) -> tuple[dict[str, Any], list[RejectedRow]]:
    """Return the part of a state that fits, and the parts that do not.

    Required fields of the state that do not fit become zero or empty.

    Raises:
        ShapeChanged: the state cannot be read even so.
    """
    rejected: list[RejectedRow] = []
    try:
        kept = _struct(saves, value, "state", rejected, is_whole=True)
    except _Misfit as misfit:
        raise ShapeChanged(f"state: {misfit}") from misfit
    return kept, rejected


def _fitting(kind: Any, value: Any, path: str, rejected: list[RejectedRow]) -> Any:
    """Return a value without the parts that do not fit.

    Raises:
        _Misfit: the value as a whole does not fit.
    """
    try:
        msgspec.convert(value, kind, strict=False, str_keys=True)
        return value
    except msgspec.ValidationError as error:
        reason = str(error)
    known = len(rejected)
    reduced = _reduced(kind, value, path, rejected, reason)
    try:
        msgspec.convert(reduced, kind, strict=False, str_keys=True)
    except msgspec.ValidationError as error:
        del rejected[known:]
        raise _Misfit(str(error)) from error
    return reduced


def _reduced(kind: Any, value: Any, path: str, rejected: list[RejectedRow], reason: str) -> Any:
    origin, args = get_origin(kind) or kind, get_args(kind)
    if origin is Annotated:
        return _reduced(args[0], value, path, rejected, reason)
    if origin in (Union, types.UnionType):
        return _of_union(args, value, path, rejected, reason)
    if isinstance(origin, type) and issubclass(origin, msgspec.Struct) and isinstance(value, Mapping):
        return _struct(origin, value, path, rejected)
    is_tuple = origin is tuple and len(args) == 2 and args[1] is ...
    if (origin in _SEQUENCES or is_tuple) and isinstance(value, list | tuple):
        item = args[0] if args else Any
        return [kept for at, one in enumerate(value) for kept in _part(item, one, f"{path}[{at}]", rejected)]
    if origin in _MAPS and isinstance(value, Mapping):
        key_kind, item = args or (Any, Any)
        return {
            name: kept
            for name, one in value.items()
            for _ in _part(key_kind, name, f"{path}[{name!r}]", rejected)
            for kept in _part(item, one, f"{path}[{name!r}]", rejected)
        }
    raise _Misfit(reason)


def _of_union(kinds: Sequence[Any], value: Any, path: str, rejected: list[RejectedRow], reason: str) -> Any:
    for kind in kinds:
        known = len(rejected)
        try:
            return _fitting(kind, value, path, rejected)
        except _Misfit:
            del rejected[known:]
    raise _Misfit(reason)


def _part(kind: Any, value: Any, path: str, rejected: list[RejectedRow]) -> list[Any]:
    """Return an element as a list of one, or an empty list if it is set aside."""
    try:
        return [_fitting(kind, value, path, rejected)]
    except _Misfit as misfit:
        rejected.append(RejectedRow(path, value, str(misfit)))
        return []


def _struct(
    kind: type[msgspec.Struct],
    value: Mapping[str, Any],
    path: str,
    rejected: list[RejectedRow],
    *,
    is_whole: bool = False,
) -> dict[str, Any]:
    kept = dict(value)
    for field in msgspec.structs.fields(kind):
        name = field.encode_name
        if name not in value and not (is_whole and field.required):
            continue
        try:
            if name not in value:
                raise _Misfit(f"Object missing required field `{name}`")
            kept[name] = _fitting(field.type, value[name], f"{path}.{name}", rejected)
        except _Misfit as misfit:
            if field.required and not is_whole:
                raise
            rejected.append(RejectedRow(f"{path}.{name}", value.get(name), str(misfit)))
            kept.pop(name, None)
            if field.required:
                kept[name] = _empty(field.type, misfit)
    return kept


def _empty(kind: Any, misfit: _Misfit) -> Any:
    origin, args = get_origin(kind) or kind, get_args(kind)
    if origin is Annotated:
        return _empty(args[0], misfit)
    if type(None) in args:
        return None
    make: Callable[[], Any] | None = next(
        (make for kinds, make in ((_SEQUENCES | {tuple}, list), (_MAPS, dict)) if origin in kinds), None
    )
    if make is not None:
        return make()
    if origin in _EMPTY:
        return _EMPTY[origin]
    raise misfit
