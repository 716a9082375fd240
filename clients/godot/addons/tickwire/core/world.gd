## The mirrored state of a room: the tables of each channel, and a view of each table over all channels.
##
## Read entities by table: [code]world.table("ships").value(id, "position")[/code].
extends RefCounted

const BitReader := preload("bit_reader.gd")
const Crc32 := preload("crc32.gd")
const Messages := preload("messages.gd")
const Part := preload("part.gd")
const SectionReader := preload("section_reader.gd")
const TableLayout := preload("table_layout.gd")
const TableState := preload("table_state.gd")
const WorldTable := preload("world_table.gd")

## What became of a part.
enum Outcome {
	APPLIED,
	## The part was applied, and its checksum differs.
	DISAGREES,
	## The client does not have the baseline of the delta: a frame is missing. The world is unchanged.
	WRONG_BASELINE,
	## The part does not fit the baseline. The world is unchanged.
	MALFORMED,
}

const _NEVER := -1

## The tick of the last frame, in all channels.
var tick := 0
## The room's tables and fields, from Joined.
var description: Messages.StateDescription
## The reason why the description is invalid; empty: it is not.
var error := ""

var _layouts: Array[TableLayout] = []
var _empty: Array[TableState] = []
var _channels: Dictionary = {}  # by number: its _Channel
var _tables: Dictionary = {}  # by name: its WorldTable


class _Channel:
	extends RefCounted

	## The tick of the last frame that named the channel.
	var last_tick := _NEVER
	var tables: Array[TableState] = []


func _init(of: Messages.StateDescription) -> void:
	description = of
	for one in of.tables:
		var layout := TableLayout.new(one)
		error = error if error else layout.error
		_layouts.append(layout)
		_empty.append(TableState.new(layout))
		_tables[layout.name] = WorldTable.new(layout)


## Returns whether this world has a description.
func fits(other: Messages.StateDescription) -> bool:
	return description.to_dictionary() == other.to_dictionary()


## Removes all entities, before the room's state is sent again. References to the tables stay valid.
func clear() -> void:
	finish(0, {})


func table_names() -> PackedStringArray:
	return PackedStringArray(_tables.keys())


func has_table(name: String) -> bool:
	return name in _tables


## Returns a table by its name, merged over all channels; null if the room has no such table.
## It is the same object for the life of the world.
func table(name: String) -> WorldTable:
	return _tables.get(name)


## Returns the numbers of the channels that the client received.
func channel_numbers() -> PackedInt32Array:
	return PackedInt32Array(_channels.keys())


## Returns a channel's tables, in the order of the description; empty before its first keyframe.
func channel_tables(number: int) -> Array[TableState]:
	var channel: _Channel = _channels.get(number)
	var none: Array[TableState] = []
	return channel.tables if channel else none


## Returns the checksum of all tables. It is equal for equal worlds, in all clients and languages.
func checksum() -> int:
	var crc := Crc32.new()
	for name: String in _tables:
		table(name).add_to(crc)
	return crc.value()


# -- frames -------------------------------------------------------------------------------------------------


## Applies the part of a frame for one channel. Call [method finish] after all parts of the frame.
## [param bits] reads the message, and [param age] is the age of the frame's baseline, in ticks.
func apply(bits: BitReader, part: Part, frame_tick: int, age: int) -> Outcome:
	var channel: _Channel = _channels.get(part.channel)
	if not part.is_keyframe and tick != frame_tick - age:
		return Outcome.WRONG_BASELINE
	var tables := _empty
	if channel and not part.is_keyframe:
		tables = channel.tables
		if channel.last_tick != frame_tick - 1:
			for one in tables:
				one.clear_history()
	var next := tables.duplicate()
	bits.select(part.start, part.end)
	_read(bits, next)
	var agrees := true
	if part.has_checksum and not bits.error:
		agrees = bits.u32() == _checksum(next)
	if bits.at != bits.end:
		bits.fail("unexpected bytes after the last section")
	if bits.error:
		return Outcome.MALFORMED
	if not channel:
		channel = _Channel.new()
		_channels[part.channel] = channel
	for index in next.size():
		if next[index] == tables[index]:  # nothing in it has changed
			next[index].clear_history()
	channel.tables = next
	channel.last_tick = frame_tick
	return Outcome.APPLIED if agrees else Outcome.DISAGREES


## Ends a frame: sets the tick, and removes the channels that are not keys of [param keep]; null keeps all.
func finish(frame_tick: int, keep: Variant) -> void:
	tick = frame_tick
	if keep != null:
		for number: int in _channels.keys():
			if number not in keep:
				_channels.erase(number)
	for index in _layouts.size():
		var tables: Array[TableState] = []
		for channel: _Channel in _channels.values():
			if channel.tables[index].ids.size():
				tables.append(channel.tables[index])
		table(_layouts[index].name).set_states(tables)


## Discards the previous values of all channels after a resume, as the server does.
func clear_history() -> void:
	for channel: _Channel in _channels.values():
		channel.last_tick = _NEVER


## Reads the sections of a part, and replaces the tables that they change.
func _read(bits: BitReader, tables: Array[TableState]) -> void:
	var seen := 0
	var tag := bits.varint()
	while tag and not bits.error:
		var index := tag >> 3
		if index <= seen or index > tables.size():
			bits.fail("the section for table %d is out of order or out of range" % (index - 1))
			return
		seen = index
		tables[index - 1] = SectionReader.read(bits, tables[index - 1], tag & 7)
		tag = bits.varint()


static func _checksum(tables: Array[TableState]) -> int:
	var crc := Crc32.new()
	for state in tables:
		state.add_to(crc)
	return crc.value()
