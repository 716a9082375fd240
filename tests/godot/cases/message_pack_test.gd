## MessagePack beyond the vectors: 64-bit integers, timestamps, types of Godot, and bytes that are not MessagePack.
extends "res://cases/test_case.gd"

const MessagePack := preload("res://addons/tickwire/core/message_pack.gd")


func test_integers_have_64_bits() -> void:
	for pair: Array in [
		[9223372036854775807, "cf7fffffffffffffff"],
		[-9223372036854775807 - 1, "d38000000000000000"],
		[9007199254740993, "cf0020000000000001"],
		[-9007199254740993, "d3ffdfffffffffffff"],
	]:
		equal(MessagePack.encode(pair[0]).data.hex_encode(), pair[1], "encoded")
		equal(_decode(pair[1]), pair[0], pair[1])
	equal(_decode("cfffffffffffffffff"), 18446744073709551616.0, "an integer that GDScript does not have")
	equal(_decode("d1fffe"), -2, "16 bits")
	equal(_decode("ca3f000000"), 0.5, "float of 32 bits")


func test_a_timestamp_keeps_its_nanoseconds() -> void:
	for pair: Array in [
		["d6ff00000001", [1, 0]],
		["d7ff0000000500000001", [(1 << 32) + 1, 1]],
		["c70cff3b9ac9ffffffffffffffffff", [-1, 999_999_999]],
	]:
		var moment: MessagePack.Timestamp = _decode(pair[0])
		equal([moment.seconds, moment.nanoseconds], pair[1], pair[0])
	var encoded := MessagePack.encode({"at": MessagePack.Timestamp.new(-1, 999_999_999)})
	equal(encoded.data.hex_encode(), "81a26174c70cff3b9ac9ffffffffffffffffff", "encoded")
	equal(MessagePack.Timestamp.new(2, 500_000_000).to_unix_time(), 2.5, "unix time")


func test_types_of_godot_are_encoded_as_plain_values() -> void:
	for pair: Array in [
		[&"name", "name"],
		[Vector2i(1, -1), [1, -1]],
		[Vector3(0.5, 0.25, -1), [0.5, 0.25, -1.0]],
		[Quaternion(0, 0, 0, 1), [0.0, 0.0, 0.0, 1.0]],
		[PackedStringArray(["a", "b"]), ["a", "b"]],
		[PackedVector2Array([Vector2(1, 2)]), [[1.0, 2.0]]],
		[PackedByteArray([1, 2]), PackedByteArray([1, 2])],
	]:
		var encoded := MessagePack.encode(pair[0])
		equal(encoded.error, "", str(pair[0]))
		equal(MessagePack.decode(encoded.data).value, pair[1], str(pair[0]))


func test_values_without_a_form_are_refused() -> void:
	var deep: Array = [null]
	for level in 64:
		deep = [deep]
	for value: Variant in [RefCounted.new(), Color.RED, [Transform2D()], {"a": NodePath("b")}, deep]:
		var encoded := MessagePack.encode(value)
		check(encoded.error != "" and encoded.data.is_empty(), str(value).left(40))
	equal(MessagePack.encode(deep[0]).error, "", "64 levels")


func test_a_list_that_contains_itself_is_refused() -> void:
	var list := []
	for count in 1000:
		list.append(list)
	check(MessagePack.encode(list).error != "", "a cycle")
	list.clear()


func test_other_bytes_are_refused() -> void:
	for hex: String in [
		"c1", "92c0", "81a161", "a2c3", "a1ff", "a3eda080", "d4ff00", "c70101ff", "d6fe00000000", "c703ff000000",
		"d7ffffffffff00000000", "dd7fffffff", "dfffffffff", "dbffffffff", "c6ffffffff", "819190c0", "8180c0", "c0c0",
		"91".repeat(65) + "c0", "cb00", "c7",
	]:
		var decoded := MessagePack.decode(hex.hex_decode())
		check(decoded.error != "" and decoded.value == null, hex)
	equal(_decode("91".repeat(63) + "90") != null, true, "64 levels")
	equal(MessagePack.decode(PackedByteArray()).error, "", "no bytes are null")


func _decode(hex: String) -> Variant:
	var decoded := MessagePack.decode(hex.hex_decode())
	equal(decoded.error, "", hex)
	return decoded.value
