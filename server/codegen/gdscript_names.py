"""Names of a game as identifiers of GDScript. A name that Godot already has gets a trailing underscore. Pure."""

from __future__ import annotations

from collections.abc import Collection

from tickwire.server.codegen.descriptions import to_pascal_case

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
_CLASS_LIST = """
AABB Array Basis Callable Color Dictionary Nil NodePath PackedByteArray Plane Projection Quaternion RID Rect2
Rect2i Signal String StringName Transform2D Transform3D Variant Vector2 Vector2i Vector3 Vector3i Vector4
Vector4i Animation Button Compositor Container Control Crypto Cubemap Curve Decal Engine Environment Expression
Font Gradient Image Input Label Lightmapper Logger Marshalls Material Mesh Mutex Node Noise Object Panel
Performance Popup Range RefCounted Resource Script Semaphore Separator Shader Shortcut Skin Sky Slider Texture
Theme Thread Time Timer Translation Tree Tween Tweener Viewport Window Tickwire
"""

KEYWORDS = frozenset(_KEYWORD_LIST.split())
OBJECT_METHODS = frozenset(_METHOD_LIST.split())
"""The members of RefCounted in Godot 4.6: a method of the same name would have to have the same parameters."""
OBJECT_MEMBERS = frozenset({"fields", "made", "value", "from_value", "to_value"})
"""The names that the methods of generated classes use."""
_CLASSES = frozenset(_CLASS_LIST.split())
"""The types of Godot 4.6 whose names are one word, and the autoload. Godot refuses inner classes with these names."""


def to_class_name(name: str) -> str:
    """Return a name of the game as the name of a class."""
    found = to_pascal_case(name)
    return f"{found}_" if found in _CLASSES else found


def to_member(name: str, reserved: Collection[str] = ()) -> str:
    """Return a name of the game as the name of a variable, a parameter, a signal or a method."""
    found = "".join(char if char.isascii() and (char.isalnum() or char == "_") else "_" for char in name)
    found = found if found and not found[0].isdigit() else f"_{found}"
    return f"{found}_" if found in KEYWORDS or found in reserved else found
