## Encodes and decodes the messages that are tables. frame_head.gd reads the structs.
##
## No bytes of a peer cause an error of the script: [member Result.error] has the reason why they are not a message.
extends RefCounted

const FlatBuilder := preload("flat_builder.gd")
const FlatReader := preload("flat_reader.gd")
const Messages := preload("messages.gd")

## The slots of a union's type in ClientMessage and in ServerMessage; the next slot has its table.
const CLIENT_SLOT := 0
const SERVER_SLOT := 3
## The slots of ServerMessage that servers with schema version 3 use for state frames and acknowledgements.
const STATE_SLOT := 0
const PACKED_SLOT := 1
const ACK_SLOT := 2

## The encodings of fields that are written in their table; the others are written behind it.
const _SCALARS: PackedStringArray = ["u8", "bool", "u16", "u32", "u64", "f32", "f64"]
## Tables in which numbers that are 0 are written too, so that all of them have one layout.
const _COMPLETE: PackedStringArray = ["InputMessage", "Pong"]

static var _layouts: Dictionary = {}  # by the name of a table: its Layout


## A decoded message, or the reason why there is none.
class Result:
	extends RefCounted

	## Null for a type of a newer server, and after an error.
	var message: Messages.Message
	var error := ""


class Layout:
	extends RefCounted

	var names: PackedStringArray
	var encodings: PackedStringArray
	## The encoding of each slot in its table: "offset" for all that is not a number.
	var inline: PackedStringArray


static func encode_client(message: Messages.Message) -> PackedByteArray:
	var name := Messages.name_of(message)
	return _encode(message, name, Messages.request_type(name), CLIENT_SLOT)


## Encodes a server's message, for tests.
static func encode_server(message: Messages.Message) -> PackedByteArray:
	var name := Messages.name_of(message)
	return _encode(message, name, Messages.SERVER_BODY.find(name) + 1, SERVER_SLOT)


static func decode_server(data: PackedByteArray) -> Result:
	return _decode(data, Messages.SERVER_BODY, SERVER_SLOT)


## Decodes a client's message, for tests.
static func decode_client(data: PackedByteArray) -> Result:
	return _decode(data, Messages.CLIENT_BODY, CLIENT_SLOT)


## Returns the fields of a table.
static func layout(name: String) -> Layout:
	var known: Layout = _layouts.get(name)
	if known:
		return known
	known = Layout.new()
	var spec: String = Messages.TABLES[name]
	for field in spec.split(" ", false):
		var parts := field.split(":")
		known.names.append(parts[0])
		known.encodings.append(parts[1])
		known.inline.append(parts[1] if parts[1] in _SCALARS else "offset")
	_layouts[name] = known
	return known


# -- writing ------------------------------------------------------------------------------------------------


static func _encode(message: Messages.Message, name: String, tag: int, slot: int) -> PackedByteArray:
	var builder := FlatBuilder.new()
	var body := _write(builder, message, name)
	var encodings := PackedStringArray()
	encodings.resize(slot + 2)
	encodings.fill("u8")
	encodings[slot + 1] = "offset"
	var values := []
	values.resize(slot + 2)
	values[slot] = tag
	values[slot + 1] = body
	return builder.finish(builder.write_table(encodings, values, PackedInt32Array([slot + 1, slot])))


static func _write(builder: FlatBuilder, message: Messages.Message, name: String) -> int:
	var fields := layout(name)
	var values := []
	var order := PackedInt32Array()
	for slot in fields.names.size():
		var value: Variant = message.get(fields.names[slot])
		var is_scalar := fields.inline[slot] != "offset"
		var is_written := _has_value(value) or is_scalar and name in _COMPLETE
		values.append(_write_object(builder, fields.encodings[slot], value) if is_written and not is_scalar else value)
		if is_written:
			order.append(slot)
	return builder.write_table(fields.inline, values, order)


static func _has_value(value: Variant) -> bool:
	return value is Messages.Message or (value != null and not not value)


static func _write_object(builder: FlatBuilder, encoding: String, value: Variant) -> int:
	match encoding:
		"text":
			return builder.write_text(value)
		"bytes":
			return builder.write_bytes(value)
		"texts":
			var texts := PackedInt32Array()
			for text: String in value:
				texts.append(builder.write_text(text))
			return builder.write_offsets(texts)
	if not encoding.begins_with("["):
		return _write(builder, value, encoding)
	var tables := PackedInt32Array()
	for item: Messages.Message in value:
		tables.append(_write(builder, item, encoding.trim_prefix("[").trim_suffix("]")))
	return builder.write_offsets(tables)


# -- reading ------------------------------------------------------------------------------------------------


static func _decode(data: PackedByteArray, body: PackedStringArray, slot: int) -> Result:
	var result := Result.new()
	var reader := FlatReader.new(data)
	var slots := reader.slots(reader.root())
	if reader.error or slots.size() < slot + 2 or not slots[slot] or not slots[slot + 1]:
		result.error = reader.error if reader.error else "the message has no body"
		return result
	var tag := reader.u8(slots[slot])
	if tag > 0 and tag <= body.size():  # others are those of a newer server
		var message := _read(reader, reader.follow(slots[slot + 1]), body[tag - 1])
		result.message = message if not reader.error else null
	result.error = reader.error
	return result


static func _read(reader: FlatReader, table: int, name: String) -> Messages.Message:
	var message := Messages.create(name)
	var fields := layout(name)
	var slots := reader.slots(table)
	for slot in mini(slots.size(), fields.names.size()):
		if slots[slot] and not reader.error:
			_read_field(reader, message, fields.names[slot], fields.encodings[slot], slots[slot])
	_check(reader, message)
	return message


static func _read_field(
	reader: FlatReader, message: Messages.Message, name: String, encoding: String, position: int
) -> void:
	match encoding:
		"u8":
			message.set(name, reader.u8(position))
		"bool":
			message.set(name, reader.u8(position) != 0)
		"u16":
			message.set(name, reader.u16(position))
		"u32":
			message.set(name, reader.u32(position))
		"u64":
			message.set(name, reader.u64(position))
		"f32":
			message.set(name, reader.f32(position))
		"f64":
			message.set(name, reader.f64(position))
		"text":
			message.set(name, reader.text(position))
		"bytes":
			message.set(name, reader.bytes(position))
		"texts":
			var texts := PackedStringArray()
			for item in reader.items(position):
				texts.append(reader.text(item))
			message.set(name, texts)
		_:
			_read_tables(reader, message, name, encoding, position)


static func _read_tables(
	reader: FlatReader, message: Messages.Message, name: String, encoding: String, position: int
) -> void:
	if not encoding.begins_with("["):
		message.set(name, _read(reader, reader.follow(position), encoding))
		return
	var tables: Array = message.get(name)
	var table_name := encoding.trim_prefix("[").trim_suffix("]")
	for item in reader.items(position):
		if reader.error:
			return
		tables.append(_read(reader, reader.follow(item), table_name))


## Maps error codes of newer servers to INTERNAL, and refuses enumerations whose other values have no meaning.
static func _check(reader: FlatReader, message: Messages.Message) -> void:
	if message is Messages.Reply:
		message.error = _known(message.error)
	elif message is Messages.ErrorMessage or message is Messages.Goodbye:
		message.code = _known(message.code)
	elif message is Messages.FieldDescription and message.kind >= Messages.FieldKind.size():
		reader.error = "%d is not a kind of a field" % message.kind
	elif message is Messages.MatchStatus and message.state >= Messages.QueueState.size():
		reader.error = "%d is not a state of the queue" % message.state


static func _known(code: int) -> int:
	return code if code < Messages.ErrorCode.size() else Messages.ErrorCode.INTERNAL
