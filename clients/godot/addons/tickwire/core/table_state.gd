## The contents of one table in one channel. Its arrays are never changed, so several states share them.
extends RefCounted

const Crc32 := preload("crc32.gd")
const TableLayout := preload("table_layout.gd")

var layout: TableLayout
## Ascending.
var ids := PackedInt64Array()
## By column: the integers of all entities.
var columns: Array[PackedInt64Array] = []
## By column: the integers one state before.
var before: Array[PackedInt64Array] = []
## By text field: the bytes of all entities.
var texts: Array[Array] = []


## Creates the state without entities.
func _init(of: TableLayout) -> void:
	layout = of
	for column in of.columns:
		columns.append(PackedInt64Array())
	before = columns
	for field in of.texts:
		texts.append([])


## Sets the previous values to the current ones: nothing has changed since.
func clear_history() -> void:
	before = columns


func add_to(crc: Crc32) -> void:
	crc.add_u32s(ids)
	for index in columns.size():
		var field := layout.columns[index]
		if field.least >= 0 and field.greatest <= 0xffffffff:
			crc.add_small_i64s(columns[index])
		else:
			crc.add_i64s(columns[index])
	for column: Array in texts:
		for text: PackedByteArray in column:
			crc.add_u32s(PackedInt64Array([text.size()]))
			crc.add_bytes(text)
