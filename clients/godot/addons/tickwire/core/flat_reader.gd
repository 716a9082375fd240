## Reads FlatBuffers tables, and checks every offset and length against the message before it follows it.
##
## The first invalid offset sets [member error]; later calls return empty values. A caller checks it at the end. A budget
## limits what one message can be decoded to, because several offsets may point to one text.
## Layout: https://flatbuffers.dev/internals/.
extends RefCounted

const Text := preload("text.gd")

## The longest text in a message, in bytes of UTF-8.
const TEXT_BYTES_MAX := 4096

## The reason why the message is invalid; empty: it is not.
var error := ""

var _data: PackedByteArray
var _size := 0
var _budget := 0


func _init(data: PackedByteArray) -> void:
	_data = data
	_size = data.size()
	_budget = _size


## Returns the position of the root table; 0 after an error.
func root() -> int:
	return follow(0)


## Returns the position that the unsigned offset at a position points to; 0 after an error.
func follow(position: int) -> int:
	var offset := u32(position)
	var target := position + offset
	if offset == 0 or target + 4 > _size:
		return _fail("the offset at byte %d points outside the message" % position)
	return target


## Returns the positions of a table's fields; 0 for an absent field.
func slots(table: int) -> PackedInt32Array:
	var positions := PackedInt32Array()
	if not _has(table, 4):
		return positions
	var vtable := table - _data.decode_s32(table)
	var vtable_size := u16(vtable)
	if vtable_size < 4 or vtable_size & 1 or vtable + vtable_size > _size:
		_fail("the vtable at byte %d has an invalid size" % vtable)
		return positions
	var table_size := u16(vtable + 2)
	if table_size < 4 or table + table_size > _size:
		_fail("the table at byte %d has an invalid size" % table)
		return positions
	var count := (vtable_size >> 1) - 2
	positions.resize(count)
	for index in count:
		var offset := _data.decode_u16(vtable + 4 + 2 * index)
		if offset and (offset < 4 or offset >= table_size):
			_fail("a field of the table at byte %d is outside the table" % table)
			return PackedInt32Array()
		positions[index] = table + offset if offset else 0
	return positions


func u8(position: int) -> int:
	return _data[position] if _has(position, 1) else 0


func u16(position: int) -> int:
	return _data.decode_u16(position) if _has(position, 2) else 0


func u32(position: int) -> int:
	return _data.decode_u32(position) if _has(position, 4) else 0


## Returns an unsigned number of 64 bits. Those above 2^63 are negative: GDScript has no others.
func u64(position: int) -> int:
	return _data.decode_u64(position) if _has(position, 8) else 0


func f32(position: int) -> float:
	return _data.decode_float(position) if _has(position, 4) else 0.0


func f64(position: int) -> float:
	return _data.decode_double(position) if _has(position, 8) else 0.0


## Returns the byte vector that the offset at a position points to.
func bytes(position: int) -> PackedByteArray:
	var vector := _vector(position, 1)
	return _data.slice(vector + 4, vector + 4 + _data.decode_u32(vector)) if vector else PackedByteArray()


func text(position: int) -> String:
	var data := bytes(position)
	if data.size() > TEXT_BYTES_MAX:
		_fail("a text has %d bytes; at most %d are allowed" % [data.size(), TEXT_BYTES_MAX])
	elif not Text.is_utf8(data):
		_fail("the text at byte %d is not UTF-8" % position)
	else:
		return Text.decode(data)
	return ""


## Returns the positions of the offsets in the vector that the offset at a position points to.
func items(position: int) -> PackedInt32Array:
	var positions := PackedInt32Array()
	var vector := _vector(position, 4)
	if vector:
		var count := _data.decode_u32(vector)
		positions.resize(count)
		for index in count:
			positions[index] = vector + 4 + 4 * index
	return positions


## Returns the position of the vector that an offset points to, whose items have this width; 0 after an error.
func _vector(position: int, width: int) -> int:
	var vector := follow(position)
	if not vector:
		return 0
	var length := _data.decode_u32(vector) * width
	if vector + 4 + length > _size:
		return _fail("the vector at byte %d ends outside the message" % vector)
	_budget -= length
	if _budget < 0:
		return _fail("the message refers to more bytes than its own size")
	return vector


func _has(position: int, count: int) -> bool:
	if error:
		return false
	if position < 0 or position + count > _size:
		_fail("byte %d is outside the message of %d bytes" % [position, _size])
		return false
	return true


func _fail(reason: String) -> int:
	if not error:
		error = reason
	return 0
