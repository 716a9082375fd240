## Encodes a player's inputs with the fields that the room declares, and numbers them.
extends RefCounted

const Codec := preload("codec.gd")
const Field := preload("field.gd")
const Messages := preload("messages.gd")

## The fields of the room's inputs.
var fields: Array[Field] = []
## The sequence number of the last input. It continues in the next room of the session.
var seq := 0
## The reason why the last call of [method pack] failed; empty: it did not.
var error := ""

var _names: Dictionary = {}  # the names of the fields
## The size of a payload: each field in whole bytes, the sum rounded up to a multiple of four.
var _size := 0


## Encodes for a room whose inputs have these fields from now on. Returns the reason why they are invalid.
func enter(descriptions: Array[Messages.FieldDescription]) -> String:
	var next: Array[Field] = []
	for description in descriptions:
		var field := Field.new(description)
		if field.error:
			return field.error
		if field.is_text or field.bits > Field.SCALED_BITS_MAX:
			return "field %s: an input must be a number of at most %d bits" % [field.name, Field.SCALED_BITS_MAX]
		next.append(field)
	fields = next
	_names.clear()
	_size = 0
	for field in fields:
		_names[field.name] = true
		_size += (field.bits + 7) >> 3
	_size = (_size + 3) & ~3
	return ""


## Begins a new session: the next input has the number 1.
func reset() -> void:
	seq = 0


## Returns the payload of an input, given in the game's units by name. Missing fields are zero.
func pack(values: Dictionary) -> PackedByteArray:
	error = ""
	for name: String in values:
		if name not in _names:
			error = "unknown input %s; the inputs of this room are: %s" % [name, ", ".join(_names.keys())]
			return PackedByteArray()
	var payload := PackedByteArray()
	payload.resize(_size)
	var at := 0
	for field in fields:
		var value := _number(values.get(field.name, 0.0), field)
		if error:
			return PackedByteArray()
		var integer := field.quantise(value)
		for octet in (field.bits + 7) >> 3:
			payload[at] = (integer & ((1 << field.bits) - 1)) >> 8 * octet & 0xff
			at += 1
	return payload


## Encodes the next input. [param tick] is that of the newest state; 0 before the first one.
func encode(tick: int, payload: PackedByteArray) -> PackedByteArray:
	seq += 1
	var message := Messages.InputMessage.new()
	message.seq = seq
	message.tick = tick
	message.payload = payload
	return Codec.encode_client(message)


func _number(value: Variant, field: Field) -> float:
	if not (value is float or value is int or value is bool):
		error = "the input %s is not a number" % field.name
	elif not is_finite(float(value)):
		error = "the input %s is not a finite number" % field.name
	else:
		return float(value)
	return 0.0
