## Adds the autoload Tickwire while the plugin is enabled.
@tool
extends EditorPlugin

const _AUTOLOAD := "Tickwire"


func _enable_plugin() -> void:
	add_autoload_singleton(_AUTOLOAD, "res://addons/tickwire/tickwire.gd")


func _disable_plugin() -> void:
	remove_autoload_singleton(_AUTOLOAD)
