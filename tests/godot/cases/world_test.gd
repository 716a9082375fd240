## What a game reads of the world: values by table and entity, merged over all channels.
extends "res://cases/test_case.gd"

const BitReader := preload("res://addons/tickwire/core/bit_reader.gd")
const Crc32 := preload("res://addons/tickwire/core/crc32.gd")
const Field := preload("res://addons/tickwire/core/field.gd")
const Group := preload("res://addons/tickwire/core/group.gd")
const Messages := preload("res://addons/tickwire/core/messages.gd")
const TableState := preload("res://addons/tickwire/core/table_state.gd")
const TableLayout := preload("res://addons/tickwire/core/table_layout.gd")
const WorldTable := preload("res://addons/tickwire/core/world_table.gd")
const World := preload("res://addons/tickwire/core/world.gd")


func test_values_have_the_types_of_godot() -> void:
	var table := _table([_state([7, 9], 0)])
	equal([table.size(), Array(table.ids()), table.has(9), table.has(8)], [2, [7, 9], true, false], "entities")
	var expected := {
		"name": "n7", "position_x": -3.0, "position_y": -2.5, "heading": TAU / 4, "alive": true, "mood": 1, "friend": 4,
		"seal": PackedByteArray([7]), "position": Vector2(-3.0, -2.5),
	}
	equal(table.entity(7), expected, "entity")
	for name: String in expected:
		equal(table.value(7, name), expected[name], name)
	equal([table.label(7, "mood"), table.label(7, "heading"), table.label(8, "mood")], ["merry", "", ""], "labels")
	equal(table.number(9, "position_x"), -2.5, "number")
	equal(Array(table.numbers("position_x")), [-3.0, -2.5], "numbers")
	equal(Array(table.quantised("position_x")), [14, 15], "integers")


func test_what_does_not_exist_has_no_value() -> void:
	var table := _table([_state([7], 0)])
	equal([table.value(8, "mood"), table.value(7, "none"), table.value_at(1, "mood"), table.value_at(-1, "position")], [null, null, null, null], "values")
	check(is_nan(table.number(8, "mood")) and is_nan(table.number(7, "name")) and is_nan(table.number_at(1, "mood")), "numbers")
	equal([table.entity(8), table.row(8), table.has_field("mood"), table.has_field("none")], [{}, -1, true, false], "others")
	equal([table.numbers("name").size(), table.quantised("none").size()], [0, 0], "columns")


func test_tables_of_several_channels_are_merged() -> void:
	var table := _table([_state([3, 8], 0), _state([1, 8, 9], 1)])
	equal(Array(table.ids()), [1, 3, 8, 9], "ids")
	# entity 8 moves between the channels: the first one counts
	equal(Array(table.quantised("position_x")), [15, 14, 15, 17], "integers")
	equal([table.value(1, "name"), table.value(8, "name"), table.value(9, "seal")], ["n1", "n8", PackedByteArray([9])], "texts")
	var alone := Crc32.new()
	var merged := Crc32.new()
	_state([3, 8], 0).add_to(alone)
	_table([_state([3], 0), _state([8], 1)]).add_to(merged)
	equal(merged.value(), alone.value(), "equal worlds have equal checksums")


func test_quaternions_are_those_of_the_description() -> void:
	equal(Group._unpack(50, 0.5, 0.5, 0.5), Quaternion(0.5, -0.5, 0.5, 0.5), "x is dropped")
	equal(Group._unpack(0, 0, 0, 0), Quaternion(0, 0, 0, 1), "w is dropped")
	equal(Group._unpack(255, 3, 0, 0), Quaternion(-1, 0, 0, 0), "an unknown order and a number that is too large")
	equal(Group._permutations(PackedInt32Array([3, 0, 1, 2])).size(), 24, "orders")


func test_values_are_rounded_half_to_even() -> void:
	for pair: Array in [[0.5, 0], [1.5, 2], [2.5, 2], [-0.5, 0], [-1.5, -2], [0.4999, 0], [2.51, 3], [-2.51, -3]]:
		equal(Field.round_half_to_even(pair[0]), pair[1], str(pair[0]))


func test_wide_numbers_are_exact() -> void:
	var bits := BitReader.new()
	bits.open("ffffffffffffffffff".hex_decode())
	bits.select(0, 9)
	bits.to_bits()
	equal([bits.number(3), bits.number(60), bits.number(0)], [7, (1 << 60) - 1, 0], "numbers")
	equal([bits.has_bits(9), bits.has_bits(10), bits.error != ""], [true, false, true], "bits left")
	equal([BitReader.unzigzag(0), BitReader.unzigzag(1), BitReader.unzigzag(2), BitReader.unzigzag((1 << 60) - 1)], [0, -1, 1, -(1 << 59)], "zigzag")


func test_worlds_know_their_tables() -> void:
	var description := Messages.StateDescription.new()
	description.tables.append(_description())
	var world := World.new(description)
	equal([Array(world.table_names()), world.has_table("ships"), world.has_table("none")], [["ships"], true, false], "tables")
	equal([world.table("none"), world.table("ships") == world.table("ships"), world.error], [null, true, ""], "table")
	var other := Messages.StateDescription.new()
	other.tables.append(_description())
	check(world.fits(other), "an equal description")
	other.tables[0].fields[0].bytes_max = 9
	check(not world.fits(other), "another description")


func _description() -> Messages.TableDescription:
	var table := Messages.TableDescription.new()
	table.name = "ships"
	for spec: Array in [
		["name", Field.Kind.TEXT, 0], ["position_x", Field.Kind.REAL, 8], ["position_y", Field.Kind.REAL, 8],
		["heading", Field.Kind.ANGLE, 4], ["alive", Field.Kind.BOOL, 1], ["mood", Field.Kind.ENUM, 2],
		["friend", Field.Kind.ENTITY, 32], ["seal", Field.Kind.BLOB, 0],
	]:
		var field := Messages.FieldDescription.new()
		field.name = spec[0]
		field.kind = spec[1]
		field.bits = spec[2]
		field.low = -10
		field.high = 10
		field.step = 0.5
		field.bytes_max = 8
		if field.kind == Field.Kind.ENUM:
			field.labels = PackedStringArray(["calm", "merry", "curious"])
		table.fields.append(field)
	var group := Messages.GroupDescription.new()
	group.name = "position"
	group.first = 1
	group.size = 2
	table.groups.append(group)
	return table


func _state(ids: Array, offset: int) -> TableState:
	var layout := TableLayout.new(_description())
	equal(layout.error, "", "description")
	var state := TableState.new(layout)
	state.ids = PackedInt64Array(ids)
	for column: Array in [[14, 1], [15, 0], [4, 0], [1, 0], [1, 0], [4, 0]]:
		var integers := PackedInt64Array()
		for index in ids.size():
			integers.append(column[0] + column[1] * (index + offset))
		state.columns[state.columns.find(PackedInt64Array())] = integers
	state.texts[0] = ids.map(func(id: int) -> PackedByteArray: return ("n%d" % id).to_utf8_buffer())
	state.texts[1] = ids.map(func(id: int) -> PackedByteArray: return PackedByteArray([id]))
	return state


func _table(states: Array[TableState]) -> WorldTable:
	var table := WorldTable.new(states[0].layout)
	table.set_states(states)
	return table
