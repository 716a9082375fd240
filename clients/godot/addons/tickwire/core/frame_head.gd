## Reads the messages that are structs: the heads of state frames, and input acknowledgements.
##
## It also reads the tables in which servers with schema version 3 send them. One object is used for all messages, so that a
## frame allocates none. Layout: docs/protocol.md, "Tables and structs".
extends RefCounted

const Codec := preload("codec.gd")
const FlatReader := preload("flat_reader.gd")

enum Type {
	## The message is a table of the union ServerBody.
	TABLE,
	STATE,
	ACK,
	## A struct of a newer server.
	UNKNOWN,
	## The bytes are not a message: see [member error].
	MALFORMED,
}

const _STATE_FRAME := 1
const _DELTA_FRAME := 3
const _INPUT_ACK := 5
const _KIND_BITS := 3
const _KIND_MASK := 7
const _STATE_BYTES := 8
const _DELTA_BYTES := 4
const _ACK_BYTES := 8

var error := ""
var tick := 0
var channel := 0
var age := 0
var flags := 0
var seq := 0
## The first byte of the packed part, and the byte behind it.
var start := 0
var end := 0


## Reads the head of a message, and returns its type.
## [param last_tick] is the tick of the last frame, and [param last_seq] the number of the last input: short numbers are
## restored from them.
func read(data: PackedByteArray, last_tick: int, last_seq: int) -> Type:
	var size := data.size()
	if not size or not data[0] & 1:
		return _read_table(data)
	var kind := data[0] & _KIND_MASK
	flags = data[0] >> _KIND_BITS
	end = size
	if kind == _DELTA_FRAME and size >= _DELTA_BYTES:
		age = data[1]
		channel = 0
		tick = nearest(data.decode_u16(2), last_tick)
		start = _DELTA_BYTES
		return Type.STATE
	if kind == _STATE_FRAME and size >= _STATE_BYTES:
		age = data[1]
		channel = data.decode_u16(2)
		tick = data.decode_u32(4)
		start = _STATE_BYTES
		return Type.STATE
	if kind == _INPUT_ACK and size == _ACK_BYTES:
		seq = nearest(data.decode_u16(2), last_seq)
		tick = data.decode_u32(4)
		return Type.ACK
	if kind > _INPUT_ACK:
		return Type.UNKNOWN
	error = "a struct of kind %d and %d bytes" % [kind, size]
	return Type.MALFORMED


## Returns the number of 32 bits with these lowest 16 bits that is nearest to a known one.
static func nearest(low: int, known: int) -> int:
	var number := known + ((low - known + 0x8000) & 0xffff) - 0x8000
	if number < 0:
		return number + 0x10000
	return number if number <= 0xffffffff else number - 0x10000


func _read_table(data: PackedByteArray) -> Type:
	var reader := FlatReader.new(data)
	var slots := reader.slots(reader.root())
	var type := Type.TABLE
	if slots.size() > Codec.STATE_SLOT and slots[Codec.STATE_SLOT]:
		_read_state(reader, slots)
		type = Type.STATE
	elif slots.size() > Codec.ACK_SLOT and slots[Codec.ACK_SLOT]:
		tick = reader.u32(slots[Codec.ACK_SLOT])
		seq = reader.u32(slots[Codec.ACK_SLOT] + 4)
		type = Type.ACK
	error = reader.error
	return type if not error else Type.MALFORMED


func _read_state(reader: FlatReader, slots: PackedInt32Array) -> void:
	var position := slots[Codec.STATE_SLOT]
	tick = reader.u32(position)
	channel = reader.u16(position + 4)
	age = reader.u8(position + 6)
	flags = reader.u8(position + 7)
	start = 0
	end = 0
	if slots.size() > Codec.PACKED_SLOT and slots[Codec.PACKED_SLOT]:
		start = reader.follow(slots[Codec.PACKED_SLOT]) + 4
		end = start + reader.u32(start - 4)
		if end > 0 and not reader.error:
			reader.u8(end - 1)
