## The messages are those of flatc's builder, byte for byte, and payloads those of the server.
extends "res://cases/test_case.gd"

const Codec := preload("res://addons/tickwire/core/codec.gd")
const InputEncoder := preload("res://addons/tickwire/core/input_encoder.gd")
const MessagePack := preload("res://addons/tickwire/core/message_pack.gd")
const Messages := preload("res://addons/tickwire/core/messages.gd")

## Names that Godot has already.
const _RENAMED := {"Error": "ErrorMessage", "Input": "InputMessage"}

static var _vectors: Dictionary = {}


func test_client_messages_have_the_bytes_of_a_builder() -> void:
	for vector: Dictionary in _read("client"):
		var message := _create(vector)
		var data: PackedByteArray = vector.hex.hex_decode()
		equal(Codec.encode_client(message).hex_encode(), vector.hex, _about(vector))
		_compare(Codec.decode_client(data), message, vector)


func test_server_messages_are_read() -> void:
	for vector: Dictionary in _read("server"):
		var message := _create(vector)
		var data: PackedByteArray = vector.hex.hex_decode()
		_compare(Codec.decode_server(data), message, vector)
		equal(Codec.encode_server(message).hex_encode(), vector.hex, _about(vector))


func test_a_message_of_a_newer_server_is_unknown() -> void:
	var data := Codec.encode_server(Messages.Left.new())
	for index in data.size():
		if data[index] == 3:  # the tag of Left
			var newer := data.duplicate()
			newer[index] = 200
			var result := Codec.decode_server(newer)
			if not result.error:
				equal(result.message, null, "message")
				return
	check(false, "no byte of the message is its type")


func test_error_codes_of_newer_servers_are_internal() -> void:
	var message := Messages.Goodbye.new()
	message.code = 200
	var read: Messages.Goodbye = Codec.decode_server(Codec.encode_server(message)).message
	equal(read.code, Messages.ErrorCode.INTERNAL as int, "code")
	equal(Messages.code_name(Messages.ErrorCode.KICKED), "KICKED", "name")


func test_a_message_is_not_longer_than_its_bytes() -> void:
	var left := Messages.Left.new()
	left.reason = "closed"
	var data := Codec.encode_server(left)
	var at := data.hex_encode().find("06000000" + "closed".to_utf8_buffer().hex_encode()) >> 1
	data.encode_u32(at, 4000)
	check(Codec.decode_server(data).error.contains("ends outside"), "a text that ends outside")
	for offset: int in [0, 0x7fffffff, 0xffffffff]:
		data.encode_u32(0, offset)
		check(Codec.decode_server(data).error.contains("points outside"), "a root outside")


func test_a_message_refers_to_each_of_its_bytes_once() -> void:
	var list := Messages.RoomList.new()
	for index in 100:
		var room := Messages.ListedRoom.new()
		room.room_id = "x" if index < 99 else "x".repeat(2000)
		list.rooms.append(room)
	var data := Codec.encode_server(list)
	equal(Codec.decode_server(data).error, "", "each room once")
	var vector := 0
	while data.decode_u32(vector) != 100:
		vector += 4
	var last := vector + 4 + 4 * 99 + data.decode_u32(vector + 4 + 4 * 99)
	for index in 100:
		var position := vector + 4 + 4 * index
		data.encode_u32(position, last - position)
	check(Codec.decode_server(data).error.contains("more bytes than its own size"), "one room 100 times")


func test_payloads_agree_with_the_server() -> void:
	for vector: Dictionary in _read("payloads"):
		var data: PackedByteArray = vector.hex.hex_decode()
		var decoded := MessagePack.decode(data)
		equal(decoded.error, "", vector.hex.left(40))
		# JSON has floats only, and so has the comparison
		equal(JSON.stringify(decoded.value).left(2000), JSON.stringify(_with_integers(vector.value, data)).left(2000), vector.hex.left(40))
		var encoded := MessagePack.encode(decoded.value)
		equal(encoded.data.hex_encode().left(2000), vector.hex.left(2000), "encoded again")


func test_inputs_are_quantised_as_the_server_does() -> void:
	for vector: Dictionary in _read("inputs"):
		var descriptions: Array[Messages.FieldDescription] = []
		for fields: Dictionary in vector.fields:
			var description := Messages.FieldDescription.new()
			for name: String in fields:
				description.set(name, fields[name] if name != "labels" else PackedStringArray(fields[name]))
			descriptions.append(description)
		var inputs := InputEncoder.new()
		equal(inputs.enter(descriptions), "", "error")
		equal(inputs.pack(vector.values).hex_encode(), vector.hex, str(vector.values))


func test_values_that_are_no_input_are_refused() -> void:
	var description := Messages.FieldDescription.new()
	description.name = "dx"
	description.kind = Messages.FieldKind.UINT
	description.bits = 4
	var inputs := InputEncoder.new()
	inputs.enter([description])
	for values: Dictionary in [{"dy": 1.0}, {"dx": NAN}, {"dx": INF}, {"dx": "1"}, {"dx": null}]:
		equal(inputs.pack(values).size(), 0, str(values))
		check(inputs.error.contains("input d"), inputs.error)
	equal(inputs.pack({"dx": true}).hex_encode(), "01000000", "boolean")


func _read(key: String) -> Array:
	if _vectors.is_empty():
		_vectors = read_json("res://vectors.json")
	return _vectors[key]


func _about(vector: Dictionary) -> String:
	return "%s %s" % [vector.type, vector.fields]


func _compare(result: Codec.Result, message: Messages.Message, vector: Dictionary) -> void:
	equal(result.error, "", _about(vector))
	if result.message:
		equal(result.message.to_dictionary(), message.to_dictionary(), _about(vector))
	else:
		check(false, "no message: %s" % _about(vector))


func _create(vector: Dictionary) -> Messages.Message:
	var message := Messages.create(_RENAMED.get(vector.type, vector.type))
	for field: Array in vector.fields:
		check(field[0] in message, "%s has no field %s" % [vector.type, field[0]])
		var value: Variant = _value(field[1], field[2])
		if value is Array:
			var items: Array = message.get(field[0])
			items.append_array(value)
		else:
			message.set(field[0], value)
	return message


func _value(encoding: String, value: Variant) -> Variant:
	match encoding:
		"bytes":
			var text: String = value
			return text.hex_decode()
		"u8", "u16", "u32", "u64":
			return int(value)
		"strings":
			return PackedStringArray(value)
		"table":
			return _create(value)
		"tables":
			return value.map(_create)
	return value


## Returns a value of JSON with the integers that it had: JSON has floats only.
func _with_integers(value: Variant, data: PackedByteArray) -> Variant:
	if value is float and data[0] != 0xcb:
		return int(value)
	if value is Array:
		return value.map(func(item: Variant) -> Variant: return _with_integers(item, PackedByteArray([0])))
	if value is Dictionary:
		var map := {}
		for key: String in value:
			map[key] = _with_integers(value[key], PackedByteArray([0]))
		return map
	return value
