## Measures the time to decode a tick. The first argument after `--` is a file of tests/godot/measure.py.
extends SceneTree

const ClientCore := preload("res://addons/tickwire/core/client_core.gd")
const Codec := preload("res://addons/tickwire/core/codec.gd")
const GoldenTest := preload("res://cases/golden_test.gd")
const Messages := preload("res://addons/tickwire/core/messages.gd")
const TestCase := preload("res://cases/test_case.gd")
const World := preload("res://addons/tickwire/core/world.gd")


func _init() -> void:
	var golden := GoldenTest.new()
	for work: Dictionary in TestCase.read_json(OS.get_cmdline_user_args()[0]):
		var frames: Array[PackedByteArray] = []
		for frame: String in work.frames:
			frames.append(frame.hex_decode())
		var plain := PackedFloat64Array()
		var with_checksum := PackedFloat64Array()
		for turn in 5:
			var core := ClientCore.new()
			var joined := Messages.Joined.new()
			joined.description = golden.create_table("StateDescription", work.description)
			core.receive(Codec.encode_server(joined), 0)
			_measure(core, frames, plain, with_checksum)
		print(JSON.stringify({
			"entities": work.entities,
			"frame_bytes": frames[1].size(),
			"decode_us": _median(plain),
			"decode_with_checksum_us": _median(with_checksum),
		}))
	quit()


func _measure(
	core: ClientCore, frames: Array[PackedByteArray], plain: PackedFloat64Array, with_checksum: PackedFloat64Array
) -> void:
	for index in frames.size():
		var frame := frames[index]
		var start := Time.get_ticks_usec()
		core.receive(frame, 0)
		var passed := Time.get_ticks_usec() - start
		if index:
			(with_checksum if frame[0] >> 3 & 1 else plain).append(passed)
	assert(core.mismatches == 0 and core.resyncs == 0 and core.world.tick == frames.size())


func _median(times: PackedFloat64Array) -> float:
	times.sort()
	return times[times.size() >> 1] if times.size() else NAN
