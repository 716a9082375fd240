## The golden vectors: the client has the contents that the encoder had, after every frame.
extends "res://cases/test_case.gd"

const ClientCore := preload("res://addons/tickwire/core/client_core.gd")
const Codec := preload("res://addons/tickwire/core/codec.gd")
const Crc32 := preload("res://addons/tickwire/core/crc32.gd")
const FrameHead := preload("res://addons/tickwire/core/frame_head.gd")
const Messages := preload("res://addons/tickwire/core/messages.gd")
const World := preload("res://addons/tickwire/core/world.gd")


# vectors: schemas/golden/**/*.json
func vector_golden(path: String) -> void:
	var golden: Dictionary = read_json(path)
	if "description" in golden:
		_run_frames(golden)
	elif golden.name == "authentication":
		_run_messages(golden)
	else:
		_run_acknowledgements(golden)


func _run_frames(golden: Dictionary) -> void:
	var core := ClientCore.new()
	var welcome := Messages.Welcome.new()
	welcome.generation = 1
	core.receive(Codec.encode_server(welcome), 0)
	var joined := Messages.Joined.new()
	joined.room_id = "room"
	joined.description = create_table("StateDescription", golden.description)
	core.receive(Codec.encode_server(joined), 0)
	for step: Dictionary in golden.steps:
		var data: PackedByteArray = step.frame.hex_decode()
		core.receive(data, 0)
		equal(core.world.tick, int(step.tick), "tick")
		_compare_channels(core.world, step)
		_compare_values(core.world, step.get("values", {}))
	equal([core.mismatches, core.resyncs, core.outgoing.size()], [0, 0, 0], "mismatches, resyncs, outgoing")


func _run_messages(golden: Dictionary) -> void:
	for step: Dictionary in golden.steps:
		var data: PackedByteArray = step.message.hex_decode()
		var decoded := Codec.decode_client(data) if step.side == "client" else Codec.decode_server(data)
		equal([Messages.name_of(decoded.message), decoded.message.to_dictionary()], [step.type, _whole(step.fields)], step.type)
		var encoded := Codec.encode_client(decoded.message) if step.side == "client" else Codec.encode_server(decoded.message)
		equal(encoded.hex_encode(), step.message, step.type)


## JSON has no integers.
func _whole(fields: Dictionary) -> Dictionary:
	var whole := {}
	for name: String in fields:
		whole[name] = int(fields[name]) if fields[name] is float else fields[name]
	return whole


func _run_acknowledgements(golden: Dictionary) -> void:
	for step: Dictionary in golden.steps:
		var head := FrameHead.new()
		var data: PackedByteArray = step.frame.hex_decode()
		equal(head.read(data, 0, int(step.last_seq)), FrameHead.Type.ACK, "type")
		equal([head.tick, head.seq], [int(step.tick), int(step.seq)], "tick and number")


func _compare_channels(world: World, step: Dictionary) -> void:
	var numbers := Array(world.channel_numbers())
	numbers.sort()
	var expected: Array = step.channels.keys().map(func(key: String) -> int: return int(key))
	expected.sort()
	equal(numbers, expected, "channels at tick %d" % step.tick)
	for key: String in step.channels:
		var crc := Crc32.new()
		var tables: Dictionary = step.channels[key].tables
		for state in world.channel_tables(int(key)):
			state.add_to(crc)
			var table: Dictionary = tables[state.layout.name]
			var about := "%s of channel %s at tick %d" % [state.layout.name, key, step.tick]
			equal(Array(state.ids), _integers(table.ids), "ids of " + about)
			equal(state.columns.map(_array), table.columns.map(_integers), "columns of " + about)
			equal(state.texts.map(_hex), table.texts, "texts of " + about)
		# the four bytes in the order of the wire
		var bytes := PackedByteArray([0, 0, 0, 0])
		bytes.encode_u32(0, crc.value())
		equal(bytes.hex_encode(), step.channels[key].checksum, "checksum of channel %s at tick %d" % [key, step.tick])


func _compare_values(world: World, values: Dictionary) -> void:
	for table_name: String in values:
		var table := world.table(table_name)
		for group: String in values[table_name]:
			for row in table.size():
				var value := _components(table.value_at(row, group))
				var expected: Array = values[table_name][group][row]
				for index in expected.size():
					check(absf(value[index] - expected[index]) < 2e-5, "%s of row %d: %s, not %s" % [group, row, value, expected])


func _components(value: Variant) -> Array:
	if value is Vector2:
		return [value.x, value.y]
	return [value.x, value.y, value.z] if value is Vector3 else [value.x, value.y, value.z, value.w]


func _array(numbers: PackedInt64Array) -> Array:
	return Array(numbers)


func _hex(texts: Array) -> Array:
	return texts.map(func(text: PackedByteArray) -> String: return text.hex_encode())


## JSON numbers are floats; those with more than 53 bits are not in the vectors.
func _integers(numbers: Array) -> Array:
	return numbers.map(func(number: float) -> int: return int(number))


## Returns a table from its fields by name.
func create_table(name: String, fields: Dictionary) -> Messages.Message:
	var table := Messages.create(name)
	var layout := Codec.layout(name)
	for index in layout.names.size():
		var field := layout.names[index]
		var value: Variant = fields.get(field)
		if value is Array and layout.encodings[index].begins_with("["):
			var items: Array = table.get(field)
			for item: Dictionary in value:
				items.append(create_table(layout.encodings[index].trim_prefix("[").trim_suffix("]"), item))
		elif value is Array:
			table.set(field, PackedStringArray(value))
		elif value != null:
			table.set(field, int(value) if layout.encodings[index].begins_with("u") else value)
	return table
