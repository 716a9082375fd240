"""Names of a game as identifiers of GDScript. A name that Godot already has gets a trailing underscore. Pure."""

from __future__ import annotations

from collections.abc import Collection

from tickwire.server.codegen.descriptions import to_pascal_case
from tickwire.server.codegen.gdscript_classes import GODOT_CLASSES

_KEYWORD_LIST = """
and as assert await break breakpoint class class_name const continue elif else enum extends false for func if in
is match namespace not null or pass preload return self signal static super trait true var void when while yield
PI TAU INF NAN
"""
_METHOD_LIST = """
init_ref reference unreference get_reference_count free get_class is_class set get set_indexed get_indexed
get_property_list get_method_list property_can_revert property_get_revert notification to_string get_instance_id
set_script get_script set_meta remove_meta get_meta has_meta get_meta_list add_user_signal has_user_signal
remove_user_signal emit_signal call call_deferred set_deferred callv has_method get_method_argument_count
has_signal get_signal_list get_signal_connection_list get_incoming_connections connect disconnect is_connected
has_connections set_block_signals is_blocking_signals notify_property_list_changed set_message_translation
can_translate_messages tr tr_n get_translation_domain set_translation_domain is_queued_for_deletion cancel_free
script_changed property_list_changed script _init _to_string _notification _set _get _get_property_list
_validate_property _property_can_revert _property_get_revert _iter_init _iter_next _iter_get
"""
OBJECT_METHODS = frozenset(_METHOD_LIST.split())
"""The members of RefCounted in Godot 4.6: a method of the same name would have to have the same parameters."""
OBJECT_MEMBERS = frozenset({"fields", "made", "value", "from_value", "to_value"})
"""The names that the methods of generated classes use."""
_CLASSES = GODOT_CLASSES | {"Tickwire"}
"""Godot refuses inner classes with these names. Tickwire is the autoload."""
_NOT_MEMBERS = _CLASSES.union(
    _KEYWORD_LIST.split(), ("bool", "int", "float", "script", "script_changed", "property_list_changed")
)
"""The names that no member of a class can have."""


def to_class_name(name: str) -> str:
    """Return a name of the game as the name of a class."""
    found = to_pascal_case(name)
    return f"{found}_" if found in _CLASSES else found


def to_member(name: str, reserved: Collection[str] = ()) -> str:
    """Return a name of the game as the name of a variable, a parameter, a signal or a method."""
    found = "".join(char if char.isascii() and (char.isalnum() or char == "_") else "_" for char in name)
    found = found if found and not found[0].isdigit() else f"_{found}"
    return f"{found}_" if found in _NOT_MEMBERS or found in reserved else found
