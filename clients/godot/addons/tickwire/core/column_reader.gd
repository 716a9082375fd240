## Reads a column of the entities that stayed: one residual for each, relative to a prediction.
##
## A frame spends nearly all of its time here: each loop reads eight bytes at once, and calls no function of its own.
## Arrays are never changed after they were returned, so an unchanged column is the same array as before.
## Layout: docs/protocol.md, "Packed".
extends RefCounted

const BitReader := preload("bit_reader.gd")
const Field := preload("field.gd")

const _LAST := 0
const _CHANGED := 2
const _RICE := 3
## The bit that a column without changes has clear, the predictor and the width.
const _HEAD_BITS := 9
## The quotient of RICE that announces a residual of _RAW_BITS bits.
const _ESCAPE := 24
const _RAW_BITS := 60
const _WINDOW := (1 << 56) - 1
## The number of zeros below the lowest one of a byte; 8 for zero.
const _ZEROS: PackedByteArray = [
	8, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0, 4, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0,
	5, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0, 4, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0,
	6, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0, 4, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0,
	5, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0, 4, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0,
	7, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0, 4, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0,
	5, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0, 4, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0,
	6, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0, 4, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0,
	5, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0, 4, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0,
]


## Returns the values of a field, of the entities whose last values and values before are given.
## The reader's error is set if they do not fit the message or the field.
static func read(
	bits: BitReader, field: Field, last: PackedInt64Array, before: PackedInt64Array
) -> PackedInt64Array:
	if not bits.has_bits(1):
		return last
	var head := bits.data.decode_u64(bits.bit >> 3) >> (bits.bit & 7)
	if not head & 1:
		bits.bit += 1
		return last
	if not bits.has_bits(_HEAD_BITS):
		return last
	bits.bit += _HEAD_BITS
	var width := (head >> 3) & 63
	if width > BitReader.WIDTH_MAX:
		bits.fail("a number of %d bits is too wide" % width)
		return last
	match (head >> 1) & 3:
		_LAST:
			return _read_last(bits, field, width, last)
		_CHANGED:
			return _read_changed(bits, field, width, last)
		_RICE:
			return _read_rice(bits, field, width, last, before)
	return _read_linear(bits, field, width, last, before)


static func _read_last(bits: BitReader, field: Field, width: int, last: PackedInt64Array) -> PackedInt64Array:
	var count := last.size()
	if not bits.has_bits(count * width):
		return last
	if width >= BitReader.WINDOW_BITS:
		return _add(field, last, _read_wide(bits, width, count), bits)
	var data := bits.data
	var bit := bits.bit
	var mask := (1 << width) - 1
	var kept_bits := field.kept_bits
	var least := field.least
	var greatest := field.greatest
	var signs := 0
	var values := PackedInt64Array()
	values.resize(count)
	for row in count:
		var code := (data.decode_u64(bit >> 3) >> (bit & 7)) & mask
		var value := (last[row] + ((code >> 1) ^ -(code & 1))) & kept_bits
		signs |= (value - least) | (greatest - value)
		values[row] = value
		bit += width
	bits.bit = bit
	_check(bits, field, signs)
	return values


static func _read_linear(
	bits: BitReader, field: Field, width: int, last: PackedInt64Array, before: PackedInt64Array
) -> PackedInt64Array:
	var count := last.size()
	if not bits.has_bits(count * width):
		return last
	if width >= BitReader.WINDOW_BITS:
		return _add(field, _line(last, before), _read_wide(bits, width, count), bits)
	var data := bits.data
	var bit := bits.bit
	var mask := (1 << width) - 1
	var kept_bits := field.kept_bits
	var least := field.least
	var greatest := field.greatest
	var signs := 0
	var values := PackedInt64Array()
	values.resize(count)
	for row in count:
		var code := (data.decode_u64(bit >> 3) >> (bit & 7)) & mask
		var value := (2 * last[row] - before[row] + ((code >> 1) ^ -(code & 1))) & kept_bits
		signs |= (value - least) | (greatest - value)
		values[row] = value
		bit += width
	bits.bit = bit
	_check(bits, field, signs)
	return values


static func _read_changed(bits: BitReader, field: Field, width: int, last: PackedInt64Array) -> PackedInt64Array:
	var rows := _read_rows(bits, last.size())
	if not bits.has_bits(rows.size() * width):
		return last
	var kept_bits := field.kept_bits
	var least := field.least
	var greatest := field.greatest
	var signs := 0
	var values := last.duplicate()
	for row in rows:
		var code := bits.number(width)
		var value := (last[row] + ((code >> 1) ^ -(code & 1))) & kept_bits
		signs |= (value - least) | (greatest - value)
		values[row] = value
	_check(bits, field, signs)
	return values


## Reads a bit for each row, and returns the rows whose bit is set.
static func _read_rows(bits: BitReader, count: int) -> PackedInt32Array:
	var rows := PackedInt32Array()
	if not bits.has_bits(count):
		return rows
	var zeros := _ZEROS
	for first in range(0, count, 56):
		var bit := bits.bit + first
		var window := (bits.data.decode_u64(bit >> 3) >> (bit & 7)) & ((1 << mini(56, count - first)) - 1)
		var row := first
		while window:
			var skipped := zeros[window & 255]
			row += skipped
			window >>= skipped
			if skipped < 8:
				rows.append(row)
				row += 1
				window >>= 1
	bits.bit += count
	return rows


static func _read_rice(
	bits: BitReader, field: Field, k: int, last: PackedInt64Array, before: PackedInt64Array
) -> PackedInt64Array:
	var count := last.size()
	var values := PackedInt64Array()
	values.resize(count)
	var escapes := _read_quotients(bits, values)
	if not bits.has_bits(count * k + escapes * (_RAW_BITS - k)):
		return last
	if escapes or k >= BitReader.WINDOW_BITS - 5:
		return _add(field, _line(last, before), _read_remainders(bits, k, values), bits)
	var data := bits.data
	var bit := bits.bit
	var mask := (1 << k) - 1
	var kept_bits := field.kept_bits
	var least := field.least
	var greatest := field.greatest
	var signs := 0
	for row in count:
		var code := values[row] << k | ((data.decode_u64(bit >> 3) >> (bit & 7)) & mask)
		var value := (2 * last[row] - before[row] + ((code >> 1) ^ -(code & 1))) & kept_bits
		signs |= (value - least) | (greatest - value)
		values[row] = value
		bit += k
	bits.bit = bit
	_check(bits, field, signs)
	return values


## Reads a number for each row, as that many zeros and a one. Returns how many of them are _ESCAPE, the greatest allowed.
## The caller checks that they are in the part. They are in the message, because more zeros follow it than a number may have.
static func _read_quotients(bits: BitReader, into: PackedInt64Array) -> int:
	var data := bits.data
	var zeros := _ZEROS
	var bit := bits.bit
	var window := 0
	var left := 0
	var escapes := 0
	for row in into.size():
		if left <= _ESCAPE:
			window = (data.decode_u64(bit >> 3) >> (bit & 7)) & _WINDOW
			left = 56
		var quotient := zeros[window & 255]
		if quotient == 8:
			quotient += zeros[(window >> 8) & 255]
			if quotient == 16:
				quotient += zeros[(window >> 16) & 255]
				if quotient == _ESCAPE and window >> _ESCAPE & 1:
					escapes += 1
				elif quotient == _ESCAPE:
					return bits.fail("a code is too long")
		into[row] = quotient
		window >>= quotient + 1
		left -= quotient + 1
		bit += quotient + 1
	bits.bit = bit
	return escapes


## Returns the residuals of quotients, some of which are sent whole.
static func _read_remainders(bits: BitReader, k: int, quotients: PackedInt64Array) -> PackedInt64Array:
	for row in quotients.size():
		var quotient := quotients[row]
		var code := bits.number(_RAW_BITS) if quotient == _ESCAPE else quotient << k | bits.number(k)
		quotients[row] = BitReader.unzigzag(code)
	return quotients


## Returns residuals of a width that one load does not cover at every position.
static func _read_wide(bits: BitReader, width: int, count: int) -> PackedInt64Array:
	var residuals := PackedInt64Array()
	residuals.resize(count)
	for row in count:
		residuals[row] = BitReader.unzigzag(bits.number(width))
	return residuals


static func _line(last: PackedInt64Array, before: PackedInt64Array) -> PackedInt64Array:
	var values := PackedInt64Array()
	values.resize(last.size())
	for row in last.size():
		values[row] = 2 * last[row] - before[row]
	return values


static func _add(
	field: Field, bases: PackedInt64Array, residuals: PackedInt64Array, bits: BitReader
) -> PackedInt64Array:
	var signs := 0
	for row in bases.size():
		var value := (bases[row] + residuals[row]) & field.kept_bits
		signs |= (value - field.least) | (field.greatest - value)
		residuals[row] = value
	_check(bits, field, signs)
	return residuals


## Sets the error if one of the differences from the bounds was negative.
static func _check(bits: BitReader, field: Field, signs: int) -> void:
	if signs < 0:
		bits.fail("a value of %s is out of its range" % field.name)
