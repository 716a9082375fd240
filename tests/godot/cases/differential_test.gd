## Changed frames and messages have the same effect as in Python: see tests/harness/godot_differential.py.
extends "res://cases/test_case.gd"

const ClientCore := preload("res://addons/tickwire/core/client_core.gd")
const Codec := preload("res://addons/tickwire/core/codec.gd")
const FrameHead := preload("res://addons/tickwire/core/frame_head.gd")
const Messages := preload("res://addons/tickwire/core/messages.gd")
const Updates := preload("res://addons/tickwire/core/updates.gd")

static var _changed: Dictionary = {}


# vectors: schemas/golden/**/*.json
func vector_frames(path: String) -> void:
	var name := path.get_file().get_basename() + path.get_base_dir().get_file()
	var frames: Dictionary = _read("frames").get(name, {"games": []})  # acknowledgements have none
	for game: Array in frames.games:
		var core := ClientCore.new()
		core.receive(frames.joined.hex_decode(), 0)
		for step: Array in game:
			var update := core.receive(step[0].hex_decode(), 0)
			var expected: Array = step[1].slice(0, 1) + step[1].slice(1, 4).map(_int) + [step[1][4].map(_int)]
			equal(
				[_name(update), core.world.tick, core.world.checksum(), core.mismatches, _channels(core)], expected, step[0]
			)
			if failures.size() > 3:
				return


func test_messages() -> void:
	for pair: Array in _read("messages"):
		equal(_decode(pair[0].hex_decode()), pair[1], pair[0])
		if failures.size() > 3:
			return


func _read(key: String) -> Variant:
	if _changed.is_empty():
		_changed = read_json("res://changed.json")
	return _changed[key]


func _name(update: Updates.Update) -> String:
	if update is Updates.StateApplied:
		return "StateApplied"
	if update is Updates.InputAcknowledged:
		return "InputAcknowledged"
	if update is Updates.Malformed:
		return "Malformed"
	return "" if update == null else "another"


func _channels(core: ClientCore) -> Array:
	var channels := core.outgoing.map(func(data: PackedByteArray) -> int:
		var request: Messages.Resync = Codec.decode_client(data).message
		return request.channel
	)
	core.outgoing.clear()
	channels.sort()
	return channels


func _decode(data: PackedByteArray) -> Variant:
	match FrameHead.new().read(data, 0, 0):
		FrameHead.Type.STATE, FrameHead.Type.ACK:
			return "struct"
		FrameHead.Type.UNKNOWN:
			return "unknown"
		FrameHead.Type.MALFORMED:
			return "malformed"
	var result := Codec.decode_server(data)
	if result.error:
		return "malformed"
	if not result.message:
		return "unknown"
	var name := Messages.name_of(result.message)
	return {"type": "Error" if name == "ErrorMessage" else name, "fields": _fields(result.message)}


func _fields(message: Messages.Message) -> Dictionary:
	var fields := {}
	var layout := Codec.layout(Messages.name_of(message))
	for index in layout.names.size():
		fields[layout.names[index]] = _plain(layout.encodings[index], message.get(layout.names[index]))
	return fields


## Returns a value as the JSON of Python has it, whose integers are floats here.
func _plain(encoding: String, value: Variant) -> Variant:
	match encoding:
		"bytes":
			var bytes: PackedByteArray = value
			return bytes.hex_encode()
		"u64":
			return str(value)
		"f32", "f64":
			return "nan" if is_nan(value) else PackedFloat64Array([value]).to_byte_array().hex_encode()
		"u8", "u16", "u32":
			return float(value)
		"texts":
			return Array(value)
	if value is Messages.Message:
		return _fields(value)
	return value.map(_fields) if value is Array else value


func _int(number: float) -> int:
	return int(number)
