## Quantises values: on the wire each value is an integer, by rules that server and clients share exactly.
##
## See docs/protocol.md, "Fields".
extends RefCounted

const Messages := preload("messages.gd")

const Kind := Messages.FieldKind
## The widest integer: a double, and so every language, represents it exactly.
const BITS_MAX := 53
## The widest REAL or ANGLE, and the widest field of an input.
const SCALED_BITS_MAX := 32
## The longest text or blob.
const BYTES_MAX := 1024

## The name in the room's declaration.
var name: String
var kind: int
var bits: int
## The names of an enumeration's values, by value.
var labels: PackedStringArray
var bytes_max: int
## Whether the values are bytes instead of numbers.
var is_text: bool
## The least and the greatest integer on the wire.
var least := 0
var greatest := 0
## The bits of a value that remain after an addition: those of an angle, whose differences wrap, or all.
var kept_bits := -1
## A value in the game's units is [code]low + integer * scale[/code].
var low := 0.0
var scale := 1.0
## The reason why the description is invalid; empty: it is not.
var error := ""


func _init(description: Messages.FieldDescription) -> void:
	name = description.name
	kind = description.kind
	bits = description.bits
	labels = description.labels
	bytes_max = description.bytes_max
	is_text = kind == Kind.TEXT or kind == Kind.BLOB
	error = _check(description)
	if not error and not is_text:
		_set_range(description)


## Returns a value in the game's units: radians for angles, the index of the label for enumerations, 0 or 1 for booleans.
func value(integer: int) -> float:
	return low + integer * scale


## Returns the integer that represents a value on the wire. Values out of range are clamped; angles wrap.
## The value must be finite.
func quantise(number: float) -> int:
	if kind == Kind.ANGLE:
		return round_half_to_even(fmod(number, TAU) * ((1 << bits) / TAU)) & greatest
	if kind == Kind.REAL:
		return round_half_to_even(clampf((number - low) * (1.0 / scale), least, greatest))
	return int(clampf(number, least, greatest))


## Returns the nearest integer, and the even one of two, as the server rounds.
static func round_half_to_even(number: float) -> int:
	var below := floori(number)
	var rest := number - below
	if rest == 0.5:
		return below + (below & 1)
	return below + int(rest > 0.5)


func _set_range(description: Messages.FieldDescription) -> void:
	greatest = (1 << bits) - 1
	match kind:
		Kind.REAL:
			low = description.low
			scale = description.step
			greatest = round_half_to_even((description.high - low) / scale)
		Kind.ANGLE:
			scale = TAU / (1 << bits)
			kept_bits = greatest
		Kind.INT:
			least = -(1 << (bits - 1))
			greatest = -least - 1
		Kind.ENUM:
			greatest = labels.size() - 1


func _check(description: Messages.FieldDescription) -> String:
	if is_text:
		if bytes_max < 1 or bytes_max > BYTES_MAX:
			return "field %s must have 1 to %d bytes, not %d" % [name, BYTES_MAX, bytes_max]
		return ""
	var bits_max := SCALED_BITS_MAX if kind == Kind.REAL or kind == Kind.ANGLE else BITS_MAX
	if bits < 1 or bits > bits_max:
		return "field %s must have 1 to %d bits, not %d" % [name, bits_max, bits]
	if kind == Kind.REAL and not _is_range(description.low, description.high, description.step):
		return "field %s: the range or the step is invalid" % name
	if kind == Kind.ENUM and labels.is_empty():
		return "field %s: an enumeration without labels" % name
	return ""


static func _is_range(first: float, last: float, step: float) -> bool:
	if not (is_finite(first) and is_finite(last) and first < last and step > 0 and step <= last - first):
		return false
	return (last - first) / step < (1 << SCALED_BITS_MAX) - 0.5
