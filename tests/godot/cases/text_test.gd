## UTF-8 of a peer is checked before Godot reads it.
extends "res://cases/test_case.gd"

const Crc32 := preload("res://addons/tickwire/core/crc32.gd")
const Text := preload("res://addons/tickwire/core/text.gd")


func test_utf8_is_accepted_as_the_standard_says() -> void:
	for hex: String in ["", "61", "c280", "dfbf", "e0a080", "ed9fbf", "ee8080", "efbfbf", "f0908080", "f48fbfbf", "00"]:
		check(Text.is_utf8(hex.hex_decode()), hex)
	for hex: String in [
		"80", "bf", "c0af", "c1bf", "c2", "c261", "e08080", "e09fbf", "eda080", "edbfbf", "e2", "e282", "e28261", "f0808080",
		"f08fbfbf", "f4908080", "f5808080", "ff", "fe", "f09f98", "61f09f9861",
	]:
		check(not Text.is_utf8(hex.hex_decode()), hex)


func test_a_zero_in_a_text_does_not_end_it() -> void:
	equal(Text.decode("610062".hex_decode()), "a\ufffdb", "text")
	equal(Text.decode("c3a4".hex_decode()), "ä", "text")


func test_the_checksum_is_that_of_zlib() -> void:
	var crc := Crc32.new()
	crc.add_bytes("123456789".to_utf8_buffer())
	equal(crc.value(), 0xcbf43926, "check value")
	var numbers := PackedInt64Array([0, 1, 255, 256, 65536, 0xffffffff, 0x80000000])
	var small := Crc32.new()
	var wide := Crc32.new()
	small.add_small_i64s(numbers)
	wide.add_bytes(numbers.to_byte_array())
	equal(small.value(), wide.value(), "numbers of 32 bits")
	var ids := Crc32.new()
	var bytes := Crc32.new()
	ids.add_u32s(numbers)
	for number in numbers:
		bytes.add_bytes(PackedInt64Array([number]).to_byte_array().slice(0, 4))
	equal(ids.value(), bytes.value(), "ids")
