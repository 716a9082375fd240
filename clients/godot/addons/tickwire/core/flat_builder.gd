## Writes FlatBuffers tables, byte for byte as the builders of the FlatBuffers project do.
##
## A message is written from its last byte to its first, so an offset counts the bytes that follow. The server recognises
## inputs by their bytes, so another layout would be valid but slower. Layout: https://flatbuffers.dev/internals/.
extends RefCounted

const _WIDTHS := {"u8": 1, "bool": 1, "u16": 2, "u32": 4, "f32": 4, "offset": 4, "u64": 8, "f64": 8}

var _parts: Array[PackedByteArray] = []  # the last part first
var _size := 0
var _alignment := 1
var _vtables: Dictionary = {}  # by the vtable in hex: its offset


## Writes a byte vector, and returns its offset.
func write_bytes(data: PackedByteArray) -> int:
	return _write_vector(data, data.size())


## Writes a text with a zero behind it, and returns its offset.
func write_text(value: String) -> int:
	var data := value.to_utf8_buffer()
	var length := data.size()
	data.append(0)
	return _write_vector(data, length)


## Writes a vector of offsets, and returns its offset.
func write_offsets(offsets: PackedInt32Array) -> int:
	_add(_zeros(-_size & 3))
	_alignment = maxi(_alignment, 4)
	var part := PackedByteArray()
	part.resize(4 + 4 * offsets.size())
	part.encode_u32(0, offsets.size())
	var end := _size + 4 * offsets.size()
	for index in offsets.size():
		part.encode_u32(4 + 4 * index, end - 4 * index - offsets[index])
	_add(part)
	return _size


## Writes a table, and returns its offset.
## [param encodings] has the encoding of each slot, [param values] the number or the offset, and [param order] the slots
## of the fields that are written, in the order in which a builder adds them.
func write_table(encodings: PackedStringArray, values: Array, order: PackedInt32Array) -> int:
	var end := _size
	var ends := PackedInt32Array()
	ends.resize(encodings.size())
	var count := 0
	for slot in order:
		var width: int = _WIDTHS[encodings[slot]]
		end += posmod(-end, width) + width
		ends[slot] = end
		count = maxi(count, slot + 1)
		_alignment = maxi(_alignment, width)
	_alignment = maxi(_alignment, 4)
	var start := end + (-end & 3) + 4
	var vtable := PackedByteArray()
	vtable.resize(4 + 2 * count)
	vtable.encode_u16(0, vtable.size())
	vtable.encode_u16(2, start - _size)
	var part := _zeros(start - _size)
	for slot in order:
		var position := start - ends[slot]
		vtable.encode_u16(4 + 2 * slot, position)
		_encode(part, position, encodings[slot], values[slot], ends[slot])
	var key := vtable.hex_encode()
	part.encode_s32(0, _vtables[key] - start if key in _vtables else vtable.size())
	_add(part)
	if key not in _vtables:
		_add(vtable)
		_vtables[key] = _size
	return start


## Ends the message with its root table, and returns it.
func finish(root: int) -> PackedByteArray:
	_add(_zeros(posmod(-(_size + 4), maxi(_alignment, 4))))
	var head := PackedByteArray()
	head.resize(4)
	head.encode_u32(0, _size + 4 - root)
	_add(head)
	var message := PackedByteArray()
	for index in range(_parts.size() - 1, -1, -1):
		message.append_array(_parts[index])
	return message


func _write_vector(data: PackedByteArray, length: int) -> int:
	_alignment = maxi(_alignment, 4)
	var part := PackedByteArray()
	part.resize(4)
	part.encode_u32(0, length)
	part.append_array(data)
	part.append_array(_zeros(-(_size + data.size()) & 3))
	_add(part)
	return _size


func _encode(part: PackedByteArray, position: int, encoding: String, value: Variant, end: int) -> void:
	match encoding:
		"u8", "bool":
			part.encode_u8(position, int(value))
		"u16":
			part.encode_u16(position, value)
		"u32":
			part.encode_u32(position, value)
		"u64":
			part.encode_u64(position, value)
		"f32":
			part.encode_float(position, value)
		"f64":
			part.encode_double(position, value)
		_:
			part.encode_u32(position, end - int(value))


func _add(part: PackedByteArray) -> void:
	_parts.append(part)
	_size += part.size()


func _zeros(count: int) -> PackedByteArray:
	var zeros := PackedByteArray()
	zeros.resize(count)
	return zeros
