## One table of a world, merged over all channels. Values are those of the last frame.
##
## A value of an entity is a bool, an int (also for an enumeration and an entity), a float (reals, and angles in radians),
## a String, a PackedByteArray, a Vector2, Vector3 or Vector4, or a Quaternion.
extends RefCounted

const Crc32 := preload("crc32.gd")
const Field := preload("field.gd")
const Group := preload("group.gd")
const TableLayout := preload("table_layout.gd")
const TableState := preload("table_state.gd")
const Text := preload("text.gd")

var name: String
var fields: Array[Field]
## The vectors and quaternions.
var groups: Array[Group]

var _columns: Dictionary = {}  # by the name of a field: its index in columns or texts
var _fields: Dictionary = {}  # by name
var _groups: Dictionary = {}  # by name
var _layout: TableLayout
## The states of the channels in which the table has entities.
var _states: Array[TableState] = []
## The union of _states: it is created when it is first read.
var _merged: TableState


func _init(layout: TableLayout) -> void:
	_layout = layout
	name = layout.name
	fields = layout.fields
	groups = layout.groups
	for field in fields:
		_fields[field.name] = field
		_columns[field.name] = (layout.texts if field.is_text else layout.columns).find(field)
	for group in groups:
		_groups[group.name] = group


## Returns the number of entities.
func size() -> int:
	return _current().ids.size()


## Returns the ids of all entities, ascending. Do not change the array.
func ids() -> PackedInt64Array:
	return _current().ids


func has(id: int) -> bool:
	return row(id) >= 0


## Returns the position of an entity in [method ids]; -1 if it does not exist.
func row(id: int) -> int:
	var all := _current().ids
	var index := all.bsearch(id)
	return index if index < all.size() and all[index] == id else -1


func has_field(field: String) -> bool:
	return field in _fields or field in _groups


## Returns a field or a vector of an entity; null if the entity or the field does not exist.
func value(id: int, field: String) -> Variant:
	var index := row(id)
	return value_at(index, field) if index >= 0 else null


## Returns a numeric field of an entity in the game's units; NAN if the entity or the field does not exist.
func number(id: int, field: String) -> float:
	var index := row(id)
	return number_at(index, field) if index >= 0 else NAN


## Returns the label of an enumeration; empty if the entity does not exist.
func label(id: int, field: String) -> String:
	var index := row(id)
	var known: Field = _fields.get(field)
	if index < 0 or not known or known.kind != Field.Kind.ENUM:
		return ""
	return known.labels[_current().columns[_columns[field]][index]]


## Returns all fields of an entity by name; empty if it does not exist. A vector is there, and so are its parts; a
## quaternion is there instead of its parts.
func entity(id: int) -> Dictionary:
	var values := {}
	var index := row(id)
	if index < 0:
		return values
	for field in fields:
		values[field.name] = value_at(index, field.name)
	for group in groups:
		values[group.name] = value_at(index, group.name)
		if group.is_quaternion:
			for part in group.parts:
				values.erase(part)
	return values


## Returns a field or a vector of the entity in a row; null if there is none. See [method ids].
func value_at(index: int, field: String) -> Variant:
	var group: Group = _groups.get(field)
	if group:
		return _vector_at(index, group)
	var known: Field = _fields.get(field)
	if not known or index < 0 or index >= size():
		return null
	var column: int = _columns[field]
	if known.is_text:
		var bytes: PackedByteArray = _current().texts[column][index]
		return Text.decode(bytes) if known.kind == Field.Kind.TEXT else bytes
	var integer := _current().columns[column][index]
	match known.kind:
		Field.Kind.BOOL:
			return integer != 0
		Field.Kind.REAL, Field.Kind.ANGLE:
			return known.value(integer)
	return integer


## Returns a numeric field of the entity in a row, in the game's units; NAN if there is none. See [method ids].
func number_at(index: int, field: String) -> float:
	var known: Field = _fields.get(field)
	if not known or known.is_text or index < 0 or index >= size():
		return NAN
	return known.value(_current().columns[_columns[field]][index])


## Returns a numeric field of all entities in the game's units, in the order of [method ids].
func numbers(field: String) -> PackedFloat64Array:
	var all := PackedFloat64Array()
	var known: Field = _fields.get(field)
	if not known or known.is_text:
		return all
	var integers := _current().columns[_columns[field] as int]
	var low := known.low
	var scale := known.scale
	all.resize(integers.size())
	for index in integers.size():
		all[index] = low + integers[index] * scale
	return all


## Returns a numeric field of all entities as on the wire, in the order of [method ids]. Do not change the array.
func quantised(field: String) -> PackedInt64Array:
	var known: Field = _fields.get(field)
	if not known or known.is_text:
		return PackedInt64Array()
	return _current().columns[_columns[field] as int]


## Sets the states of the channels that have entities. For World.
func set_states(states: Array[TableState]) -> void:
	_states = states
	_merged = null


func add_to(crc: Crc32) -> void:
	_current().add_to(crc)


func _vector_at(index: int, group: Group) -> Variant:
	if index < 0 or index >= size():
		return null
	var columns := _current().columns
	var parts := PackedFloat64Array([0, 0, 0, 0])
	for part in group.size:
		parts[part] = _layout.columns[group.first + part].value(columns[group.first + part][index])
	return group.join(parts[0], parts[1], parts[2], parts[3])


func _current() -> TableState:
	if not _merged:
		match _states.size():
			0:
				_merged = TableState.new(_layout)
			1:
				_merged = _states[0]
			_:
				_merged = _merge()
	return _merged


## Returns the union of several channels. An entity that moves between two of them is in both for a moment: the first counts.
func _merge() -> TableState:
	var union := TableState.new(_layout)
	var rows := {}  # by id: its row among those of all channels
	var offset := 0
	for state in _states:
		for index in state.ids.size():
			if state.ids[index] not in rows:
				rows[state.ids[index]] = offset + index
		offset += state.ids.size()
	union.ids = PackedInt64Array(rows.keys())
	union.ids.sort()
	var order := PackedInt32Array()
	for id in union.ids:
		order.append(rows[id])
	for column in union.columns.size():
		var all := PackedInt64Array()
		for state in _states:
			all.append_array(state.columns[column])
		var merged := PackedInt64Array()
		merged.resize(order.size())
		for index in order.size():
			merged[index] = all[order[index]]
		union.columns[column] = merged
	for column in union.texts.size():
		var all := []
		for state in _states:
			all.append_array(state.texts[column])
		union.texts[column] = Array(order).map(func(from: int) -> PackedByteArray: return all[from])
	return union
