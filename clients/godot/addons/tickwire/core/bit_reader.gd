## Reads the packed part of a state frame: LEB128 numbers and bytes, and numbers of any width, lowest bit first.
##
## The first error sets [member error]; later calls return 0. [member data] has zeros behind the message, so that eight
## bytes can be loaded at every position in it. column_reader.gd reads [member data] directly, because a call for each
## number would take most of the time. Layout: docs/protocol.md, "Packed".
extends RefCounted

## The most bits that can be read at once at any position: 64, without the bits of the first byte that may be skipped.
const WINDOW_BITS := 57
## The widest number: the residuals of RICE that are sent whole have this many bits.
const WIDTH_MAX := 60
const _PADDING: PackedByteArray = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]

var data: PackedByteArray
## The position of the next byte, and the end of the part that is read.
var at := 0
var end := 0
## The position of the next bit, in bit mode, and the end of the part in bits.
var bit := 0
var bits_end := 0
## The reason why the packed part is invalid; empty: it is not.
var error := ""


## Starts to read a message. [method select] follows.
func open(message: PackedByteArray) -> void:
	data = message + _PADDING


## Starts to read the part of the message between two positions.
func select(from: int, to: int) -> void:
	at = from
	end = to
	bits_end = 8 * to
	error = ""


## Sets the error, and returns 0.
func fail(reason: String) -> int:
	if not error:
		error = reason
	return 0


# -- bytes --------------------------------------------------------------------------------------------------


## Reads a LEB128 number of at most 35 bits.
func varint() -> int:
	var value := 0
	for shift in range(0, 35, 7):
		if at >= end or error:
			return fail("the packed part ends too early")
		var byte := data[at]
		at += 1
		value |= (byte & 0x7f) << shift
		if byte < 0x80:
			return value
	return fail("a varint has more than 5 bytes")


## Skips the next bytes, and returns the position of the first.
func skip(count: int) -> int:
	if count > end - at or error:
		return fail("the packed part ends too early")
	at += count
	return at - count


## Reads the next bytes.
func bytes(count: int) -> PackedByteArray:
	var from := skip(count)
	return data.slice(from, from + count) if not error else PackedByteArray()


## Reads an unsigned number of four bytes.
func u32() -> int:
	return data.decode_u32(skip(4))


## Reads a count, and as many ascending numbers below a limit, which are sent as differences.
func ascending(limit: int) -> PackedInt64Array:
	var numbers := PackedInt64Array()
	var count := varint()
	if count > end - at:
		fail("a list is longer than the message")
		return numbers
	numbers.resize(count)
	var last := 0
	for index in count:
		var step := varint()
		if index and not step:
			fail("a list has the same number twice")
		last += step
		if last >= limit:
			fail("a list has %d, which must be below %d" % [last, limit])
		if error:
			return PackedInt64Array()
		numbers[index] = last
	return numbers


# -- bits ---------------------------------------------------------------------------------------------------


## Switches to bits, from the current byte.
func to_bits() -> void:
	bit = 8 * at


## Switches to bytes, from the next whole byte.
func to_bytes() -> void:
	at = (bit + 7) >> 3


## Returns whether this number of bits is left; sets the error otherwise.
func has_bits(count: int) -> bool:
	if bit + count > bits_end:
		fail("the packed part ends too early")
	return not error


## Reads a number of at most WIDTH_MAX bits. Call [method has_bits] before.
func number(width: int) -> int:
	var value := 0
	if width > 32:
		value = number(32)
		return value | number(width - 32) << 32
	value = (data.decode_u64(bit >> 3) >> (bit & 7)) & ((1 << width) - 1)
	bit += width
	return value


## Decodes a zigzag number: 0, 1, 2, 3 become 0, -1, 1, -2.
static func unzigzag(code: int) -> int:
	return (code >> 1) ^ -(code & 1)
