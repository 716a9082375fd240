## Bytes of a peer that are no message end in an update, and never in an error of the script: run_cases.gd counts those.
extends "res://cases/test_case.gd"

const ClientCore := preload("res://addons/tickwire/core/client_core.gd")
const Codec := preload("res://addons/tickwire/core/codec.gd")
const GoldenTest := preload("res://cases/golden_test.gd")
const MessagePack := preload("res://addons/tickwire/core/message_pack.gd")
const Messages := preload("res://addons/tickwire/core/messages.gd")
const Updates := preload("res://addons/tickwire/core/updates.gd")

const _SEED := 7

var _random := RandomNumberGenerator.new()


func test_mutated_messages() -> void:
	_random.seed = _SEED
	var malformed := 0
	for vector: Dictionary in read_json("res://vectors.json").server:
		var data: PackedByteArray = vector.hex.hex_decode()
		for turn in 25:
			var core := ClientCore.new()
			if core.receive(_mutate(data), 0) is Updates.Malformed:
				malformed += 1
	check(malformed > 300, "only %d of the messages were malformed" % malformed)


func test_truncated_messages() -> void:
	for vector: Dictionary in read_json("res://vectors.json").server:
		var data: PackedByteArray = vector.hex.hex_decode()
		for size in range(0, data.size(), 1 + (data.size() >> 6)):
			ClientCore.new().receive(data.slice(0, size), 0)


func test_mutated_payloads() -> void:
	_random.seed = _SEED
	for vector: Dictionary in read_json("res://vectors.json").payloads:
		var data: PackedByteArray = vector.hex.hex_decode()
		for turn in 20 if data.size() < 1000 else 0:
			MessagePack.decode(_mutate(data))


func test_random_bytes() -> void:
	_random.seed = _SEED
	for turn in 3000:
		var data := PackedByteArray()
		for index in _random.randi_range(0, 60):
			data.append(_random.randi() & 255)
		ClientCore.new().receive(data, 0)
		MessagePack.decode(data)


# vectors: schemas/golden/**/*.json
func vector_mutated_frames(path: String) -> void:
	_random.seed = _SEED
	var golden: Dictionary = read_json(path)
	if "description" not in golden:
		return
	var joined := Messages.Joined.new()
	joined.description = GoldenTest.new().create_table("StateDescription", golden.description)
	var seat := Codec.encode_server(joined)
	var refused := 0
	for count in golden.steps.size():
		for turn in 3:
			var core := ClientCore.new()
			core.receive(seat, 0)
			for index in count:
				core.receive(golden.steps[index].frame.hex_decode(), 0)
			var update := core.receive(_mutate(golden.steps[count].frame.hex_decode()), 0)
			refused += int(core.resyncs > 0 or update is Updates.Malformed)
			_check_ranges(core)
	check(refused > golden.steps.size() >> 1, "only %d frames were refused" % refused)


func _check_ranges(core: ClientCore) -> void:
	if not core.world:
		return
	for name in core.world.table_names():
		var table := core.world.table(name)
		for field in table.fields:
			for integer in table.quantised(field.name):
				check(integer >= field.least and integer <= field.greatest, "%s has %d" % [field.name, integer])
		for id in table.ids():
			table.entity(id)


## Returns a message with some bytes changed, removed or added.
func _mutate(data: PackedByteArray) -> PackedByteArray:
	var mutated := data.duplicate()
	for change in _random.randi_range(1, 3):
		var at := _random.randi_range(0, maxi(0, mutated.size() - 1))
		match _random.randi_range(0, 5):
			0:
				mutated = mutated.slice(0, at)
			1:
				mutated.insert(at, _random.randi() & 255)
			2:
				if at < mutated.size():
					mutated[at] = 255
			_:
				if at < mutated.size():
					mutated[at] ^= 1 << _random.randi_range(0, 7)
	return mutated
