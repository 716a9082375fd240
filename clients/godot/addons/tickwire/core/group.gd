## Vectors and quaternions: adjacent fields of a table that are one value. See docs/protocol.md, "Groups".
extends RefCounted

const Field := preload("field.gd")
const Messages := preload("messages.gd")

const _Kind := Messages.FieldKind
## The width of the form of a quaternion.
const _FORM_BITS := 8

## The places of (dropped, a, b, c) in (x, y, z, w), by form / 8: the permutations of (w, x, y, z) in lexicographic order.
static var _orders: Array[PackedInt32Array] = []

var name: String
var is_quaternion: bool
## The names of the fields, in order.
var parts: PackedStringArray
## The index of the first field among the table's columns, and the number of fields.
var first := 0
var size := 0
## The reason why the description is invalid; empty: it is not.
var error := ""


## [param fields] are the fields of the table.
func _init(description: Messages.GroupDescription, fields: Array[Field]) -> void:
	name = description.name
	is_quaternion = description.kind == Messages.GroupKind.QUATERNION
	size = description.size
	var own: Array[Field] = fields.slice(description.first, description.first + size)
	for field: Field in fields.slice(0, description.first):
		first += int(not field.is_text)
	for field in own:
		parts.append(field.name)
	if not _is_valid(own) or fields.any(func(field: Field) -> bool: return field.name == name):
		error = "the group %s is invalid" % name


## Returns the value of an entity from the numbers of its fields: a Vector2, Vector3, Vector4 or Quaternion.
func join(a: float, b: float, c: float, d: float) -> Variant:
	if is_quaternion:
		return _unpack(int(a), b, c, d)
	match size:
		2:
			return Vector2(a, b)
		3:
			return Vector3(a, b, c)
		_:
			return Vector4(a, b, c, d)


func _is_valid(own: Array[Field]) -> bool:
	if own.size() != size or size < 2 or size > 4:
		return false
	if not is_quaternion:
		return own.all(_is_real)
	return size == 4 and own[0].kind == _Kind.UINT and own[0].bits == _FORM_BITS and own.slice(1).all(_is_real)


func _is_real(field: Field) -> bool:
	return field.kind == _Kind.REAL


## Returns the unit quaternion of a form and its numbers. Any input is a rotation.
static func _unpack(form: int, a: float, b: float, c: float) -> Quaternion:
	if _orders.is_empty():
		_orders = _permutations(PackedInt32Array([3, 0, 1, 2]))
	var order := _orders[form >> 3 if form >> 3 < _orders.size() else 0]
	var squares := a * a + b * b + c * c
	var scale := 1.0 / maxf(1.0, sqrt(squares))
	var components := PackedFloat64Array([0, 0, 0, 0])
	components[order[0]] = sqrt(maxf(0.0, 1.0 - squares))
	components[order[1]] = (-a if form & 1 else a) * scale
	components[order[2]] = (-b if form & 2 else b) * scale
	components[order[3]] = (-c if form & 4 else c) * scale
	return Quaternion(components[0], components[1], components[2], components[3])


static func _permutations(items: PackedInt32Array) -> Array[PackedInt32Array]:
	if items.is_empty():
		return [PackedInt32Array()]
	var all: Array[PackedInt32Array] = []
	for index in items.size():
		var others := items.duplicate()
		others.remove_at(index)
		for rest in _permutations(others):
			all.append(PackedInt32Array([items[index]]) + rest)
	return all
