"""Reads the annotations of a game into types of its API, and collects the classes that they refer to. Pure."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import inspect

from tickwire.server.codegen import api_types
from tickwire.server.codegen.api_types import ApiType
from tickwire.server.codegen.class_names import name_of
from tickwire.server.codegen.docstrings import doc_of
from tickwire.server.codegen.game_api import EnumApi, FieldApi, ObjectApi
from tickwire.server.codegen.scalar_reader import read_scalar
from tickwire.server.errors import ConfigError

Sender = Literal["client", "server"]

_LISTS = (inspect.ListType, inspect.VarTupleType, inspect.SetType, inspect.FrozenSetType)
_RECORDS = (inspect.StructType, inspect.DataclassType, inspect.TypedDictType)
_COPIED_DEFAULTS = (list, dict, set, frozenset, tuple)


class TypeReader:
    """Reads annotations, and names the classes of the game that it finds in them."""

    def __init__(self) -> None:
        self._owners: dict[str, Any] = {}  # the class with each name
        self._enums: dict[str, EnumApi] = {}
        self._fields: dict[str, tuple[FieldApi, ...]] = {}
        self._senders: dict[str, set[Sender]] = {}
        self._open: set[Any] = set()  # classes of arrays that are being read

    @property
    def objects(self) -> tuple[ObjectApi, ...]:
        """The objects that the annotations refer to, by name."""
        return tuple(
            ObjectApi(
                name,
                fields,
                doc_of(self._owners[name]),
                is_from_client="client" in self._senders[name],
                is_from_server="server" in self._senders[name],
            )
            for name, fields in sorted(self._fields.items())
        )

    @property
    def enums(self) -> tuple[EnumApi, ...]:
        """The enumerations that the annotations refer to, by name."""
        return tuple(enum for _, enum in sorted(self._enums.items()))

    def read(self, annotation: Any, sender: Sender) -> ApiType:
        """Return the type of an annotation.

        Args:
            annotation: a type that msgspec can encode.
            sender: the side that sends the values.

        Raises:
            ConfigError: the annotation has no form on the wire, or two classes have one name.
        """
        try:
            info = inspect.type_info(annotation)
        except (TypeError, NameError) as error:
            raise ConfigError(f"rooms: {annotation!r} cannot be described: {error}") from error
        return self._convert(info, sender)

    def read_fields(self, record: type, sender: Sender) -> tuple[FieldApi, ...]:
        """Return the fields of a struct, without the struct itself. Raises the errors of `read`."""
        info = inspect.type_info(record)
        assert isinstance(info, inspect.StructType)
        return self._convert_fields(info, sender)

    def _convert(self, info: inspect.Type, sender: Sender) -> ApiType:
        match info:
            case inspect.Metadata():
                return self._convert(info.type, sender)
            case inspect.UnionType():
                return api_types.UnionType(tuple(self._convert(kind, sender) for kind in info.types))
            case inspect.DictType():
                return api_types.MapType(self._convert(info.key_type, sender), self._convert(info.value_type, sender))
            case inspect.TupleType():
                return api_types.TupleType(tuple(self._convert(kind, sender) for kind in info.item_types))
            case inspect.EnumType():
                return self._refer_to_enum(info.cls)
            case inspect.NamedTupleType():
                return self._convert_array(info, sender)
        if isinstance(info, _LISTS):
            return api_types.ListType(self._convert(info.item_type, sender), info.min_length, info.max_length)
        if isinstance(info, _RECORDS):
            is_array = isinstance(info, inspect.StructType) and info.array_like
            return self._convert_array(info, sender) if is_array else self._refer_to_object(info, sender)
        return read_scalar(info)

    def _convert_array(self, info: Any, sender: Sender) -> ApiType:
        if info.cls in self._open:
            raise ConfigError(
                f"rooms: {info.cls.__name__} is an array that contains itself, which has no description"
            )
        self._open.add(info.cls)
        kinds = tuple(self._convert(field.type, sender) for field in info.fields)
        self._open.discard(info.cls)
        tag = getattr(info, "tag", None)
        return api_types.TupleType(kinds if tag is None else (api_types.LiteralType((tag,)), *kinds))

    def _refer_to_object(self, info: Any, sender: Sender) -> ApiType:
        name = self._register(info.cls)
        senders = self._senders.setdefault(name, set())
        if sender not in senders:
            senders.add(sender)  # before the fields, because they may refer to the object itself
            self._fields[name] = self._convert_fields(info, sender)
        return api_types.ReferenceType(name)

    def _refer_to_enum(self, kind: Any) -> ApiType:
        name = self._register(kind)
        members = tuple((member.name, member.value) for member in kind)
        self._enums[name] = EnumApi(name, members, doc_of(kind))
        return api_types.ReferenceType(name)

    def _convert_fields(self, info: Any, sender: Sender) -> tuple[FieldApi, ...]:
        tag = getattr(info, "tag", None)
        omits_defaults = isinstance(info, inspect.StructType) and info.cls.__struct_config__.omit_defaults
        fields = (
            [FieldApi(info.tag_field, api_types.LiteralType((tag,)), is_required=True)] if tag is not None else []
        )
        for field in info.fields:
            # Without a default, a field that is not required is a key of a TypedDict or has the default UNSET.
            has_default = not (field.default is field.default_factory is msgspec.NODEFAULT)
            fields.append(
                FieldApi(
                    field.encode_name,
                    self._convert(field.type, sender),
                    is_required=field.required,
                    is_always_sent=field.required or (has_default and not omits_defaults),
                    default=_default_of(field),
                )
            )
        return tuple(fields)

    def _register(self, kind: Any) -> str:
        name = name_of(kind)
        other = self._owners.setdefault(name, kind)
        if other is not kind and other != kind:
            places = f"{other.__module__}.{other.__qualname__} and {kind.__module__}.{kind.__qualname__}"
            raise ConfigError(f"rooms: {places} would both be called {name} in clients; rename one of them")
        return name


def _default_of(field: inspect.Field) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return msgspec.to_builtins(field.default)
    if field.default_factory in _COPIED_DEFAULTS:
        return msgspec.to_builtins(field.default_factory())
    return msgspec.UNSET
