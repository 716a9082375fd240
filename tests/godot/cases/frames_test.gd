## State frames that do not fit: nothing changes, and the channel's keyframe is requested. And what happens at rest.
extends "res://cases/test_case.gd"

const ClientCore := preload("res://addons/tickwire/core/client_core.gd")
const Codec := preload("res://addons/tickwire/core/codec.gd")
const Field := preload("res://addons/tickwire/core/field.gd")
const Messages := preload("res://addons/tickwire/core/messages.gd")
const Updates := preload("res://addons/tickwire/core/updates.gd")

## Table 0 of one column with 8 bits and one text of at most 2 bytes; table 1 of one column with 53 bits.
## A section of table 0 in which the entities 1 and 2 enter with the values 3 and 5, which grow by 1 and 2.
const _ENTERED := "0a02010184e92002"


func test_a_section_that_does_not_fit_is_refused() -> void:
	for pair: Array in [
		["the end is missing", "08"],
		["no bytes", ""],
		["a varint of six bytes", "808080808001"],
		["a table that does not exist", "1800"],
		["a table twice", "0800" + "0800" + "00"],
		["tables in descending order", "1000" + "0800" + "00"],
		["bytes after the end", "0000"],
		["an entity that left does not exist", "0901020000"],
		["more entities left than the message has bytes", "09ffffffff7f"],
		["the same entity left twice", "0902000000"],
		["entity 0 entered", "0a0100000000"],
		["an entity entered that exists", "0a0101000000"],
		["an entity above 32 bits entered", "0a01ffffffff7f000000"],
		["a width of 61 bits", "0a0103" + _bits([[61, 6]]) + "00".repeat(20)],
		["a value out of range", "0a0103" + _bits([[10, 6], [512, 10], [0, 6]]) + "00"],
		["a text that does not exist", "0c00" + "0104" + "00" + "00"],
		["a text that is too long", "0c00" + "0100" + "03616161" + "00"],
		["a text that is longer than the message", "0c00" + "0100" + "02"],
		["a text that is not UTF-8", "0c00" + "0100" + "01ff" + "00"],
		["a text twice", "0c00" + "02000161000162" + "00"],
		["residuals that are missing", "08" + "e101"],
		["a change out of range", "08" + _bits([[1, 1], [0, 2], [8, 6], [7, 8], [0, 8]]) + "00"],
		["a bit for a change is missing", "08" + _bits([[1, 1], [2, 2], [60, 6]])],
		["residuals of 61 bits", "08" + _bits([[1, 1], [0, 2], [61, 6]]) + "00".repeat(20)],
		["a quotient of 25", "08" + _bits([[1, 1], [3, 2], [0, 6], [0, 25], [1, 1], [1, 1], [5, 30], [0, 30]]) + "00"],
		["quotients that do not end", "08" + _bits([[1, 1], [3, 2], [0, 6], [1, 1], [0, 20]])],
		["a remainder that is missing", "08" + _bits([[1, 1], [3, 2], [40, 6], [1, 1], [1, 1], [0, 5]])],
	]:
		var core := _seated()
		_keyframe(core, 10, _ENTERED + "00")
		_check(core, [[1, 2], [3, 5]], pair[0])
		var update := _delta(core, 11, pair[1])
		equal([update, core.resyncs], [null, 1], pair[0])
		_check(core, [[1, 2], [3, 5]], pair[0])


func test_parts_that_do_not_fit_are_malformed() -> void:
	for pair: Array in [
		["a channel twice", "0201000201" + "00"],
		["a channel above 16 bits", "8280100100"],
		["longer than the message", "020200"],
		["a delta without a baseline", "0001" + "00"],
	]:
		var core := _seated()
		var head := PackedByteArray([1 + 8 * 2, 0, 0, 0, 10, 0, 0, 0])
		check(core.receive(head + pair[1].hex_decode(), 0) is Updates.Malformed, pair[0])


func test_a_part_does_not_go_on_in_the_next_one() -> void:
	var core := _seated()
	_keyframe(core, 10, _ENTERED + "00")
	# the second one of RICE would be in the head of the next part
	var short := "08" + _bits([[1, 1], [3, 2], [0, 6], [1, 1], [0, 6]])
	var parts := "00" + _varint(short.length() >> 1) + short + "0601" + "00"
	var head := PackedByteArray([1 + 8 * 2, 1, 0, 0, 11, 0, 0, 0])
	core.receive(head + parts.hex_decode(), 0)
	equal(core.resyncs, 1, "requests")
	_check(core, [[1, 2], [3, 5]], "unchanged")


func test_predictions_use_the_state_before() -> void:
	var core := _seated()
	_keyframe(core, 10, _ENTERED + "00")
	# LINEAR without residuals: the values go on by their change
	var line := "08" + _bits([[1, 1], [1, 2], [0, 6]]) + "00"
	_delta(core, 11, line)
	_check(core, [[1, 2], [4, 7]], "after a tick")
	_delta(core, 12, line)
	_check(core, [[1, 2], [5, 9]], "after two ticks")
	_delta(core, 13, "00")
	_delta(core, 14, line)
	_check(core, [[1, 2], [5, 9]], "a tick in which the table is not named ends the motion")


func test_a_frame_that_does_not_name_a_channel_ends_its_motion() -> void:
	var line := "08" + _bits([[1, 1], [1, 2], [0, 6]]) + "00"
	var core := _seated()
	_keyframe(core, 10, _ENTERED + "00")
	_delta(core, 12, line, 2)
	_check(core, [[1, 2], [3, 5]], "a tick was skipped")
	core = _seated()
	_keyframe(core, 10, _ENTERED + "00")
	core.state.resumed("room")
	_delta(core, 11, line)
	_check(core, [[1, 2], [3, 5]], "after a resume")


func test_residuals_of_each_predictor() -> void:
	for pair: Array in [
		["LAST", [[1, 1], [0, 2], [3, 6], [3, 3], [4, 3]], [1, 7]],
		["LINEAR", [[1, 1], [1, 2], [3, 6], [3, 3], [4, 3]], [2, 9]],
		["CHANGED", [[1, 1], [2, 2], [3, 6], [2, 2], [4, 3]], [3, 7]],
		["RICE", [[1, 1], [3, 2], [1, 6], [2, 2], [1, 1], [1, 1], [0, 1]], [2, 7]],
		["RICE, whole", [[1, 1], [3, 2], [1, 6], [1 << 24, 25], [1, 1], [5, 30], [0, 30], [1, 1]], [1, 6]],
		["nothing has changed", [[0, 1]], [3, 5]],
	]:
		var core := _seated()
		_keyframe(core, 10, _ENTERED + "00")
		_delta(core, 11, "08" + _bits(pair[1]) + "00")
		_check(core, [[1, 2], pair[2]], pair[0])


func test_a_column_of_many_rows_is_read_over_the_borders_of_words() -> void:
	for count: int in [55, 56, 57, 130, 300]:
		var core := _seated()
		var ids: Array = range(1, count + 1)
		_keyframe(core, 10, "0a" + _varint(count) + "01".repeat(count) + _bits([[0, 6], [0, 6]]) + "00")
		var expected: Array = ids.map(func(id: int) -> int: return id % 5)
		# RICE with k = 0: twice the value, as zeros and a one
		var quotients: Array = expected.map(func(value: int) -> Array: return [1 << 2 * value, 2 * value + 1])
		_delta(core, 11, "08" + _bits([[1, 1], [3, 2], [0, 6]] + quotients) + "00")
		_check(core, [ids, expected], "RICE of %d" % count)
		var flags: Array = ids.map(func(id: int) -> Array: return [int(id % 7 == 0), 1])
		var codes: Array = ids.filter(func(id: int) -> bool: return id % 7 == 0).map(func(_id: int) -> Array: return [2, 3])
		_delta(core, 12, "08" + _bits([[1, 1], [2, 2], [3, 6]] + flags + codes) + "00")
		var changed: Array = ids.map(func(id: int) -> int: return id % 5 + int(id % 7 == 0))
		_check(core, [ids, changed], "CHANGED of %d" % count)


func test_wide_numbers_are_exact() -> void:
	var core := _seated()
	var wide := (1 << 53) - 1
	# entity 1 of table 1 enters with the greatest number
	_keyframe(core, 10, "12" + "0101" + _bits([[54, 6], [2 * wide & 0xffffffff, 32], [2 * wide >> 32, 22], [0, 6]]) + "00")
	equal(Array(core.world.table("wide").quantised("n")), [wide], "entered")
	var down := 2 * wide - 1  # zigzag of -wide
	_delta(core, 11, "10" + _bits([[1, 1], [0, 2], [54, 6], [down & 0xffffffff, 32], [down >> 32, 22]]) + "00")
	equal(Array(core.world.table("wide").quantised("n")), [0], "LAST of 54 bits")
	# 2 * 0 - wide is out of range, and the residual corrects it
	var up := 2 * wide
	_delta(core, 12, "10" + _bits([[1, 1], [1, 2], [58, 6], [up & 0xffffffff, 32], [up >> 32, 26]]) + "00")
	equal(Array(core.world.table("wide").quantised("n")), [0], "LINEAR of 58 bits")
	_delta(core, 13, "10" + _bits([[1, 1], [3, 2], [3, 6], [1 << 24, 25], [up & 0xffffffff, 32], [up >> 32, 28]]) + "00")
	equal(Array(core.world.table("wide").quantised("n")), [wide], "RICE, whole")


# -- frames -------------------------------------------------------------------------------------------------


func _seated() -> ClientCore:
	var core := ClientCore.new()
	var joined := Messages.Joined.new()
	joined.room_id = "room"
	for spec: Array in [["small", 8], ["wide", 53]]:
		var table := Messages.TableDescription.new()
		table.name = spec[0]
		var field := Messages.FieldDescription.new()
		field.name = "n"
		field.kind = Field.Kind.UINT
		field.bits = spec[1]
		table.fields.append(field)
		joined.description.tables.append(table)
	var text := Messages.FieldDescription.new()
	text.name = "text"
	text.kind = Field.Kind.TEXT
	text.bytes_max = 2
	joined.description.tables[0].fields.append(text)
	core.receive(Codec.encode_server(joined), 0)
	return core


func _keyframe(core: ClientCore, tick: int, packed: String) -> void:
	var head := PackedByteArray([1, 0, 0, 0, tick, 0, 0, 0])
	check(core.receive(head + packed.hex_decode(), 0) is Updates.StateApplied, "keyframe " + packed)


func _delta(core: ClientCore, tick: int, packed: String, age := 1) -> Updates.Update:
	return core.receive(PackedByteArray([3, age, tick, 0]) + packed.hex_decode(), 0)


func _check(core: ClientCore, expected: Array, about: String) -> void:
	var table := core.world.table("small")
	equal([Array(table.ids()), Array(table.quantised("n"))], expected, about)


## Returns numbers of given widths as whole bytes in hex, lowest bit first.
func _bits(numbers: Array) -> String:
	var bytes := PackedByteArray()
	var at := 0
	for number: Array in numbers:
		for bit: int in number[1]:
			if at >> 3 == bytes.size():
				bytes.append(0)
			bytes[at >> 3] |= (int(number[0]) >> bit & 1) << (at & 7)
			at += 1
	return bytes.hex_encode()


func _varint(number: int) -> String:
	var bytes := PackedByteArray()
	while number > 127:
		bytes.append(number & 127 | 128)
		number >>= 7
	bytes.append(number)
	return bytes.hex_encode()
