## Reads the section of a frame for one table: the entities that left and entered, the columns and the texts.
##
## The state before is not changed; the result is another one. Layout: docs/protocol.md, "Packed".
extends RefCounted

const BitReader := preload("bit_reader.gd")
const ColumnReader := preload("column_reader.gd")
const Field := preload("field.gd")
const TableState := preload("table_state.gd")
const Text := preload("text.gd")

const _HAS_LEFT := 1
const _HAS_ENTERED := 2
const _HAS_TEXTS := 4
const _ENTITIES_MAX := 65536
const _WIDTH_BITS := 6


## The entities of a section.
class _Rows:
	extends RefCounted

	## The rows of the state before that stay.
	var kept := PackedInt32Array()
	var entered := PackedInt64Array()
	## For each row of the new state: its index among those that stay, or -1 - its index among those that entered.
	var order := PackedInt32Array()


## Returns the state after a section. The reader's error is set if the section does not fit the state.
static func read(bits: BitReader, state: TableState, flags: int) -> TableState:
	var next := _read_moved(bits, state, flags) if flags & (_HAS_LEFT | _HAS_ENTERED) else _read_same(bits, state)
	if flags & _HAS_TEXTS and not bits.error:
		_read_texts(bits, next)
	return next


static func _read_same(bits: BitReader, state: TableState) -> TableState:
	var next := TableState.new(state.layout)
	next.ids = state.ids
	next.before = state.columns
	next.texts = state.texts
	bits.to_bits()
	if state.ids.size():
		var columns: Array[PackedInt64Array] = []
		for index in state.columns.size():
			columns.append(
				ColumnReader.read(bits, state.layout.columns[index], state.columns[index], state.before[index])
			)
			if bits.error:
				return next
		next.columns = columns
	bits.to_bytes()
	return next


static func _read_moved(bits: BitReader, state: TableState, flags: int) -> TableState:
	var next := TableState.new(state.layout)
	var left := bits.ascending(state.ids.size()) if flags & _HAS_LEFT else PackedInt64Array()
	var rows := _Rows.new()
	rows.entered = bits.ascending(1 << 32) if flags & _HAS_ENTERED else PackedInt64Array()
	if rows.entered.size() and rows.entered[0] == 0:
		bits.fail("an entity has the id 0, which is reserved")
	if state.ids.size() - left.size() + rows.entered.size() > _ENTITIES_MAX:
		bits.fail("a channel has more than %d entities" % _ENTITIES_MAX)
	if not bits.error:
		next.ids = _merge(bits, state.ids, left, rows)
	if bits.error:
		return next
	bits.to_bits()
	var values := _read_entered(bits, state.layout.columns, rows.entered.size())
	var changes := _read_entered(bits, state.layout.columns, rows.entered.size())
	var columns: Array[PackedInt64Array] = []
	var before: Array[PackedInt64Array] = []
	for index in state.columns.size():
		if bits.error:
			return next
		var last := _pick(state.columns[index], rows.kept)
		var now := last
		if rows.kept.size():
			now = ColumnReader.read(bits, state.layout.columns[index], last, _pick(state.before[index], rows.kept))
		_check(bits, state.layout.columns[index], values[index])
		columns.append(_arrange(now, values[index], rows.order))
		before.append(_arrange(last, _subtract(values[index], changes[index]), rows.order))
	next.columns = columns
	next.before = before
	bits.to_bytes()
	next.texts = _arrange_texts(state.texts, rows)
	return next


## Fills in the rows that stay and the order of the new state, and returns its ids.
static func _merge(bits: BitReader, ids: PackedInt64Array, left: PackedInt64Array, rows: _Rows) -> PackedInt64Array:
	var merged := PackedInt64Array()
	var gone := 0
	var fresh := 0
	for row in ids.size():
		if gone < left.size() and left[gone] == row:
			gone += 1
			continue
		while fresh < rows.entered.size() and rows.entered[fresh] < ids[row]:
			merged.append(rows.entered[fresh])
			rows.order.append(-1 - fresh)
			fresh += 1
		if fresh < rows.entered.size() and rows.entered[fresh] == ids[row]:
			bits.fail("an entity entered that already exists")
		merged.append(ids[row])
		rows.order.append(rows.kept.size())
		rows.kept.append(row)
	for index in range(fresh, rows.entered.size()):
		merged.append(rows.entered[index])
		rows.order.append(-1 - index)
	return merged


## Reads a number of each entity that entered, column after column.
static func _read_entered(bits: BitReader, fields: Array[Field], count: int) -> Array[PackedInt64Array]:
	var columns: Array[PackedInt64Array] = []
	for field in fields:
		var numbers := PackedInt64Array()
		if count and bits.has_bits(_WIDTH_BITS):
			var width := bits.number(_WIDTH_BITS)
			if width > BitReader.WIDTH_MAX:
				bits.fail("a number of %d bits is too wide" % width)
			if bits.has_bits(count * width):
				numbers.resize(count)
				for row in count:
					numbers[row] = BitReader.unzigzag(bits.number(width))
		columns.append(numbers)
	return columns


static func _check(bits: BitReader, field: Field, values: PackedInt64Array) -> void:
	for value in values:
		if value < field.least or value > field.greatest:
			bits.fail("a value of %s is out of its range" % field.name)


static func _pick(column: PackedInt64Array, kept: PackedInt32Array) -> PackedInt64Array:
	if kept.size() == column.size():
		return column
	var picked := PackedInt64Array()
	picked.resize(kept.size())
	for index in kept.size():
		picked[index] = column[kept[index]]
	return picked


static func _subtract(values: PackedInt64Array, changes: PackedInt64Array) -> PackedInt64Array:
	var earlier := values.duplicate()
	for index in mini(values.size(), changes.size()):
		earlier[index] -= changes[index]
	return earlier


static func _arrange(stayed: PackedInt64Array, entered: PackedInt64Array, order: PackedInt32Array) -> PackedInt64Array:
	if entered.is_empty():
		return stayed
	var arranged := PackedInt64Array()
	arranged.resize(order.size())
	for row in order.size():
		var source := order[row]
		arranged[row] = entered[-1 - source] if source < 0 else stayed[source]
	return arranged


static func _arrange_texts(texts: Array[Array], rows: _Rows) -> Array[Array]:
	var arranged: Array[Array] = []
	for column: Array in texts:
		var moved := []
		for source in rows.order:
			moved.append(PackedByteArray() if source < 0 else column[rows.kept[source]])
		arranged.append(moved)
	return arranged


static func _read_texts(bits: BitReader, state: TableState) -> void:
	var fields := state.layout.texts
	var texts: Array[Array] = []
	for column: Array in state.texts:
		texts.append(column.duplicate())
	var position := 0
	for number in bits.varint():
		var step := bits.varint()
		if number and not step:
			bits.fail("a list has the same number twice")
		position += step
		if position >= state.ids.size() * fields.size():
			bits.fail("the text %d does not exist" % position)
		if bits.error:
			return
		var field := fields[position % fields.size()]
		var length := bits.varint()
		if length > field.bytes_max:
			bits.fail("a text of %s has %d bytes; at most %d are allowed" % [field.name, length, field.bytes_max])
		var text := bits.bytes(length)
		if field.kind == Field.Kind.TEXT and not Text.is_utf8(text):
			bits.fail("a text of %s is not UTF-8" % field.name)
		@warning_ignore("integer_division")
		var row := position / fields.size()
		texts[position % fields.size()][row] = text
	state.texts = texts
