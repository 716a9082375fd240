## The base class of the tables that [code]tickwire codegen gdscript[/code] generates. Fields of an entity that does not exist are zero
## or empty.
extends RefCounted

const _Room := preload("../room.gd")
const _WorldTable := preload("../core/world_table.gd")

## The table of the world; null after the client has left the room.
var table: _WorldTable:
	get:
		return _room.table(_name)

var _room: _Room
var _name: String


func _init(room: _Room, name: String) -> void:
	_room = room
	_name = name


func size() -> int:
	var found := table
	return found.size() if found else 0


## Returns the ids of all entities, ascending.
func ids() -> PackedInt64Array:
	var found := table
	return found.ids() if found else PackedInt64Array()


func has(id: int) -> bool:
	var found := table
	return found != null and found.has(id)


func number(id: int, field: String) -> float:
	return _value(id, field, 0.0)


func integer(id: int, field: String) -> int:
	return _value(id, field, 0)


func boolean(id: int, field: String) -> bool:
	return _value(id, field, false)


func text(id: int, field: String) -> String:
	return _value(id, field, "")


func bytes(id: int, field: String) -> PackedByteArray:
	return _value(id, field, PackedByteArray())


func vector(id: int, name: String, zero: Variant) -> Variant:
	return _value(id, name, zero)


func _value(id: int, field: String, missing: Variant) -> Variant:
	var found := table
	var value: Variant = found.value(id, field) if found else null
	return missing if value == null else value
