## CRC-32 as in zlib, over the values that a checksum of the protocol covers.
##
## A table for each byte of a number takes whole numbers at once ("slicing", Kounavis and Berry, 2005). Godot has no function
## for a CRC-32; that of its gzip compression is slower than these loops.
extends RefCounted

const _POLYNOMIAL := 0xedb88320
const _ALL := 0xffffffff

static var _tables: Array[PackedInt64Array] = []

var _crc := _ALL


func _init() -> void:
	if _tables.is_empty():
		_tables = _create_tables()


## Returns the checksum of all that was added, as an unsigned number.
func value() -> int:
	return _crc ^ _ALL


## Adds unsigned numbers of four bytes, little-endian.
func add_u32s(numbers: PackedInt64Array) -> void:
	var crc := _crc
	var first := _tables[3]
	var second := _tables[2]
	var third := _tables[1]
	var fourth := _tables[0]
	for number in numbers:
		var mixed := crc ^ number
		crc = first[mixed & 255] ^ second[mixed >> 8 & 255] ^ third[mixed >> 16 & 255] ^ fourth[mixed >> 24]
	_crc = crc


## Adds signed numbers of eight bytes, little-endian, that are in the range of an unsigned one of four bytes.
func add_small_i64s(numbers: PackedInt64Array) -> void:
	var crc := _crc
	var first := _tables[7]
	var second := _tables[6]
	var third := _tables[5]
	var fourth := _tables[4]
	for number in numbers:
		var mixed := crc ^ number
		crc = first[mixed & 255] ^ second[mixed >> 8 & 255] ^ third[mixed >> 16 & 255] ^ fourth[mixed >> 24]
	_crc = crc


## Adds signed numbers of eight bytes, little-endian.
func add_i64s(numbers: PackedInt64Array) -> void:
	add_bytes(numbers.to_byte_array())


func add_bytes(data: PackedByteArray) -> void:
	var crc := _crc
	var table := _tables[0]
	for byte in data:
		crc = table[(crc ^ byte) & 255] ^ crc >> 8
	_crc = crc


## Returns tables by the number of zero bytes that follow a byte.
static func _create_tables() -> Array[PackedInt64Array]:
	var tables: Array[PackedInt64Array] = []
	var table := PackedInt64Array()
	table.resize(256)
	for byte in 256:
		var crc := byte
		for bit in 8:
			crc = crc >> 1 ^ _POLYNOMIAL if crc & 1 else crc >> 1
		table[byte] = crc
	tables.append(table)
	for zeros in range(1, 8):
		var next := PackedInt64Array()
		next.resize(256)
		for byte in 256:
			var crc := tables[zeros - 1][byte]
			next[byte] = table[crc & 255] ^ crc >> 8
		tables.append(next)
	return tables
