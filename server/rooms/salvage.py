"""Reads a saved state that does not fit its own declaration: removes the values that do not fit and sets them aside.

A game may save values that its `SaveData` does not allow, such as half a coin in a list of integers, because a struct
is not validated when it is created. Such a state could not be read again. The smallest part that does not fit is
removed: an element of a list or map, or a field with a default. Pure.
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
    """A value does not fit, and has no smaller part that could be removed."""


def find_misfit(saves: type[SaveData], value: Mapping[str, Any]) -> str:
    """Return why a state cannot be read again by the version that saved it; an empty string if it can."""
    try:
        saves.read(saves.version, dict(value))
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def salvage_checkpoint(saves: type[SaveData], checkpoint: RoomCheckpoint) -> RoomCheckpoint:
    """Return a checkpoint without the parts of its `state` that do not fit; those are added to `rejected`.

    A state that fitted when it was saved is returned unchanged: if it does not fit now, the declaration has changed.

    Raises:
        TooNew: a newer version has saved the state.
        ShapeChanged: the state cannot be read, whichever parts are removed.
        Exception: any exception of the game's `upgrade`.
    """
    if checkpoint.state_error == "":
        return checkpoint
    value = saves.apply_upgrades(checkpoint.state_version, checkpoint.set_aside.fields | checkpoint.state)
    fitting, rejected = salvage_state(saves, value)
    if not rejected:
        return checkpoint
    return msgspec.structs.replace(
        checkpoint, state=fitting, state_version=saves.version, rejected=(*checkpoint.rejected, *rejected)
    )


def salvage_state(saves: type[SaveData], value: Mapping[str, Any]) -> tuple[dict[str, Any], list[RejectedRow]]:
    """Return the part of a state that fits, and the parts that do not.

    Required fields of the state that do not fit become zero or empty.

    Raises:
        ShapeChanged: the rest of the state cannot be read either.
    """
    rejected: list[RejectedRow] = []
    try:
        fitting = _fit_struct(saves, value, "state", rejected, is_whole=True)
    except _Misfit as misfit:
        raise ShapeChanged(f"state: {misfit}") from misfit
    return fitting, rejected


def _fit(kind: Any, value: Any, path: str, rejected: list[RejectedRow]) -> Any:
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
    reduced = _reduce(kind, value, path, rejected, reason)
    try:
        msgspec.convert(reduced, kind, strict=False, str_keys=True)
    except msgspec.ValidationError as error:
        del rejected[known:]
        raise _Misfit(str(error)) from error
    return reduced


def _reduce(kind: Any, value: Any, path: str, rejected: list[RejectedRow], reason: str) -> Any:
    origin, args = get_origin(kind) or kind, get_args(kind)
    if origin is Annotated:
        return _reduce(args[0], value, path, rejected, reason)
    if origin in (Union, types.UnionType):
        return _reduce_union(args, value, path, rejected, reason)
    if isinstance(origin, type) and issubclass(origin, msgspec.Struct) and isinstance(value, Mapping):
        return _fit_struct(origin, value, path, rejected)
    is_tuple = origin is tuple and len(args) == 2 and args[1] is ...
    if (origin in _SEQUENCES or is_tuple) and isinstance(value, list | tuple):
        item = args[0] if args else Any
        return [
            fitting
            for index, element in enumerate(value)
            for fitting in _fit_element(item, element, f"{path}[{index}]", rejected)
        ]
    if origin in _MAPS and isinstance(value, Mapping):
        key_kind, item = args or (Any, Any)
        return {
            name: fitting
            for name, element in value.items()
            for _ in _fit_element(key_kind, name, f"{path}[{name!r}]", rejected)
            for fitting in _fit_element(item, element, f"{path}[{name!r}]", rejected)
        }
    raise _Misfit(reason)


def _reduce_union(kinds: Sequence[Any], value: Any, path: str, rejected: list[RejectedRow], reason: str) -> Any:
    for kind in kinds:
        known = len(rejected)
        try:
            return _fit(kind, value, path, rejected)
        except _Misfit:
            del rejected[known:]
    raise _Misfit(reason)


def _fit_element(kind: Any, value: Any, path: str, rejected: list[RejectedRow]) -> list[Any]:
    """Return a list with the element, or an empty list if the element is set aside."""
    try:
        return [_fit(kind, value, path, rejected)]
    except _Misfit as misfit:
        rejected.append(RejectedRow(path, value, str(misfit)))
        return []


def _fit_struct(
    kind: type[msgspec.Struct],
    value: Mapping[str, Any],
    path: str,
    rejected: list[RejectedRow],
    *,
    is_whole: bool = False,
) -> dict[str, Any]:
    fitting = dict(value)
    for field in msgspec.structs.fields(kind):
        name = field.encode_name
        if name not in value and not (is_whole and field.required):
            continue
        try:
            if name not in value:
                raise _Misfit(f"Object missing required field `{name}`")
            fitting[name] = _fit(field.type, value[name], f"{path}.{name}", rejected)
        except _Misfit as misfit:
            if field.required and not is_whole:
                raise
            rejected.append(RejectedRow(f"{path}.{name}", value.get(name), str(misfit)))
            fitting.pop(name, None)
            if field.required:
                fitting[name] = _empty_value(field.type, misfit)
    return fitting


def _empty_value(kind: Any, misfit: _Misfit) -> Any:
    origin, args = get_origin(kind) or kind, get_args(kind)
    if origin is Annotated:
        return _empty_value(args[0], misfit)
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
