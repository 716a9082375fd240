## MessagePack for commands, events and options. https://github.com/msgpack/msgpack/blob/master/spec.md
##
## Values are null, bool, int, float, String, PackedByteArray, Array, Dictionary and [Timestamp]. StringName, vectors,
## quaternions and other packed arrays are encoded as texts and arrays. A decoded integer of 2^63 or more is a float, because
## GDScript has no such integers. No bytes of a peer cause an error of the script.
extends RefCounted

const Text := preload("text.gd")

## The most levels of arrays and maps.
const DEPTH_MAX := 64
const _TIMESTAMP := -1
const _NANOSECONDS := 1_000_000_000


## A moment in UTC: the extension type -1.
class Timestamp:
	extends RefCounted

	## Since 1970.
	var seconds := 0
	## 0 to 999,999,999, added to [member seconds].
	var nanoseconds := 0

	func _init(whole_seconds := 0, rest_nanoseconds := 0) -> void:
		seconds = whole_seconds
		nanoseconds = rest_nanoseconds

	## Returns the seconds since 1970, as Time's functions use them.
	func to_unix_time() -> float:
		return seconds + nanoseconds / 1e9


class Encoded:
	extends RefCounted

	var data: PackedByteArray
	## The reason why the value cannot be encoded; empty: it can.
	var error := ""


class Decoded:
	extends RefCounted

	var value: Variant
	## The reason why the bytes are not MessagePack; empty: they are.
	var error := ""


static func encode(value: Variant) -> Encoded:
	var writer := _Writer.new()
	writer.write(value, 0)
	var result := Encoded.new()
	result.error = writer.error
	if not writer.error:
		result.data = writer.stream.data_array
	return result


## Decodes one value. No bytes are null.
static func decode(data: PackedByteArray) -> Decoded:
	var result := Decoded.new()
	if data.is_empty():
		return result
	var reader := _Reader.new(data)
	var value: Variant = reader.read(0)
	if reader.left() and not reader.error:
		reader.error = "bytes are left over after a value"
	result.error = reader.error
	result.value = value if not reader.error else null
	return result


class _Writer:
	extends RefCounted

	var stream := StreamPeerBuffer.new()
	var error := ""

	func _init() -> void:
		stream.big_endian = true

	func write(value: Variant, depth: int) -> void:
		if error:
			return
		if depth > DEPTH_MAX:
			error = "a value has more than %d levels" % DEPTH_MAX
			return
		match typeof(value):
			TYPE_NIL:
				stream.put_u8(0xc0)
			TYPE_BOOL:
				stream.put_u8(0xc3 if value else 0xc2)
			TYPE_INT:
				_write_int(value)
			TYPE_FLOAT:
				stream.put_u8(0xcb)
				stream.put_double(value)
			TYPE_STRING, TYPE_STRING_NAME:
				_write_text(String(value))
			TYPE_PACKED_BYTE_ARRAY:
				_write_size(value.size(), 0xc4, 0xc5, 0xc6)
				stream.put_data(value)
			TYPE_DICTIONARY:
				_write_map(value, depth)
			_:
				_write_other(value, depth)

	func _write_other(value: Variant, depth: int) -> void:
		match typeof(value):
			TYPE_ARRAY, TYPE_PACKED_STRING_ARRAY, TYPE_PACKED_INT32_ARRAY, TYPE_PACKED_INT64_ARRAY, \
			TYPE_PACKED_FLOAT32_ARRAY, TYPE_PACKED_FLOAT64_ARRAY, TYPE_PACKED_VECTOR2_ARRAY, TYPE_PACKED_VECTOR3_ARRAY:
				_write_array(Array(value), depth)
			TYPE_VECTOR2, TYPE_VECTOR2I:
				_write_array([value.x, value.y], depth)
			TYPE_VECTOR3, TYPE_VECTOR3I:
				_write_array([value.x, value.y, value.z], depth)
			TYPE_VECTOR4, TYPE_VECTOR4I, TYPE_QUATERNION:
				_write_array([value.x, value.y, value.z, value.w], depth)
			_:
				if value is Timestamp:
					_write_timestamp(value)
				else:
					error = "MessagePack cannot represent a value of the type %s" % type_string(typeof(value))

	func _write_int(value: int) -> void:
		if value >= 0:
			_write_unsigned(value)
		elif value >= -32:
			stream.put_8(value)
		elif value >= -0x80:
			stream.put_u8(0xd0)
			stream.put_8(value)
		elif value >= -0x8000:
			stream.put_u8(0xd1)
			stream.put_16(value)
		elif value >= -0x80000000:
			stream.put_u8(0xd2)
			stream.put_32(value)
		else:
			stream.put_u8(0xd3)
			stream.put_64(value)

	func _write_unsigned(value: int) -> void:
		if value < 0x80:
			stream.put_u8(value)
		elif value < 0x100:
			stream.put_u8(0xcc)
			stream.put_u8(value)
		elif value < 0x10000:
			stream.put_u8(0xcd)
			stream.put_u16(value)
		elif value < 0x100000000:
			stream.put_u8(0xce)
			stream.put_u32(value)
		else:
			stream.put_u8(0xcf)
			stream.put_u64(value)

	func _write_text(value: String) -> void:
		var data := value.to_utf8_buffer()
		if data.size() < 32:
			stream.put_u8(0xa0 | data.size())
		else:
			_write_size(data.size(), 0xd9, 0xda, 0xdb)
		stream.put_data(data)

	func _write_array(items: Array, depth: int) -> void:
		if items.size() < 16:
			stream.put_u8(0x90 | items.size())
		else:
			_write_size(items.size(), 0, 0xdc, 0xdd)
		for item: Variant in items:
			write(item, depth + 1)

	func _write_map(map: Dictionary, depth: int) -> void:
		if map.size() < 16:
			stream.put_u8(0x80 | map.size())
		else:
			_write_size(map.size(), 0, 0xde, 0xdf)
		for key: Variant in map:
			write(key, depth + 1)
			write(map[key], depth + 1)

	## Writes a timestamp of 96 bits, which represents every moment.
	func _write_timestamp(moment: Timestamp) -> void:
		stream.put_u8(0xc7)
		stream.put_u8(12)
		stream.put_8(_TIMESTAMP)
		stream.put_u32(moment.nanoseconds)
		stream.put_64(moment.seconds)

	## Writes a type and a size. A [param one] of 0 means that the type has no form with a size of one byte.
	func _write_size(size: int, one: int, two: int, four: int) -> void:
		if one and size < 0x100:
			stream.put_u8(one)
			stream.put_u8(size)
		elif size < 0x10000:
			stream.put_u8(two)
			stream.put_u16(size)
		else:
			stream.put_u8(four)
			stream.put_u32(size)


class _Reader:
	extends RefCounted

	var stream := StreamPeerBuffer.new()
	var error := ""

	func _init(data: PackedByteArray) -> void:
		stream.big_endian = true
		stream.data_array = data

	func left() -> int:
		return stream.get_size() - stream.get_position()

	func read(depth: int) -> Variant:
		if depth > DEPTH_MAX:
			return _fail("a value has more than %d levels" % DEPTH_MAX)
		if not _has(1):
			return null
		var tag := stream.get_u8()
		if tag < 0x80:
			return tag
		if tag < 0x90:
			return _read_map(tag & 0x0f, depth)
		if tag < 0xa0:
			return _read_array(tag & 0x0f, depth)
		if tag < 0xc0:
			return _read_text(tag & 0x1f)
		if tag >= 0xe0:
			return tag - 0x100
		return _read_tagged(tag, depth)

	func _read_tagged(tag: int, depth: int) -> Variant:
		match tag:
			0xc0:
				return null
			0xc2, 0xc3:
				return tag == 0xc3
			0xc4, 0xc5, 0xc6:
				return _read_bytes(_unsigned(1 << (tag - 0xc4)))
			0xc7:
				return _read_extension(_unsigned(1))
			0xc8, 0xc9, 0xd4, 0xd5, 0xd8:
				return _fail("an extension that is not a timestamp")
			0xd6, 0xd7:
				return _read_extension(4 if tag == 0xd6 else 8)
			0xca:
				return stream.get_float() if _has(4) else 0.0
			0xcb:
				return stream.get_double() if _has(8) else 0.0
			0xcc, 0xcd, 0xce:
				return _unsigned(1 << (tag - 0xcc))
			0xcf:
				var value := _unsigned(8)
				return value if value >= 0 else float(value) + pow(2, 64)
			0xd0, 0xd1, 0xd2, 0xd3:
				return _signed(1 << (tag - 0xd0))
			0xd9, 0xda, 0xdb:
				return _read_text(_unsigned(1 << (tag - 0xd9)))
			0xdc, 0xdd:
				return _read_array(_unsigned(2 << (tag - 0xdc)), depth)
			0xde, 0xdf:
				return _read_map(_unsigned(2 << (tag - 0xde)), depth)
		return _fail("the byte %d begins no value" % tag)

	func _read_array(count: int, depth: int) -> Array:
		var items := []
		if count > left():
			_fail("an array is longer than the message")
		for index in count:
			if error:
				return items
			items.append(read(depth + 1))
		return items

	func _read_map(count: int, depth: int) -> Dictionary:
		var map := {}
		if count > left():
			_fail("a map is longer than the message")
		for index in count:
			if error:
				return map
			var key: Variant = read(depth + 1)
			if key is Array or key is Dictionary or key is Object:
				_fail("the key of a map is not a plain value")
			map[key] = read(depth + 1)
		return map

	func _read_text(length: int) -> String:
		var data := _read_bytes(length)
		if not Text.is_utf8(data):
			_fail("a text is not UTF-8")
			return ""
		return Text.decode(data)

	func _read_bytes(length: int) -> PackedByteArray:
		if not length or not _has(length):
			return PackedByteArray()
		var read_data: Array = stream.get_data(length)
		return read_data[1]

	func _read_extension(size: int) -> Variant:
		if not _has(1 + size):
			return null
		if stream.get_8() != _TIMESTAMP:
			return _fail("an extension that is not a timestamp")
		var moment := Timestamp.new()
		if size == 4:
			moment.seconds = stream.get_u32()
		elif size == 8:  # 30 bits of nanoseconds, then 34 bits of seconds
			var high := stream.get_u32()
			moment.nanoseconds = high >> 2
			moment.seconds = (high & 3) << 32 | stream.get_u32()
		elif size == 12:
			moment.nanoseconds = stream.get_u32()
			moment.seconds = stream.get_64()
		else:
			return _fail("a timestamp of %d bytes" % size)
		return moment if moment.nanoseconds < _NANOSECONDS else _fail("a timestamp has too many nanoseconds")

	func _unsigned(octets: int) -> int:
		if not _has(octets):
			return 0
		match octets:
			1:
				return stream.get_u8()
			2:
				return stream.get_u16()
			4:
				return stream.get_u32()
		return stream.get_u64()

	func _signed(octets: int) -> int:
		if not _has(octets):
			return 0
		match octets:
			1:
				return stream.get_8()
			2:
				return stream.get_16()
			4:
				return stream.get_32()
		return stream.get_64()

	func _has(count: int) -> bool:
		if error:
			return false
		if count > left():
			_fail("a value ends too early")
			return false
		return true

	func _fail(reason: String) -> Variant:
		if not error:
			error = reason
		return null
