## Reports the entities of a table that enter, change and leave, so that a scene need not scan whole tables.
## [codeblock]
## var ships := Tickwire.EntityTracker.new("ships", ["hp"])
## ships.entered.connect(add_ship)
## ships.follow(client)
## [/codeblock]
## An entity that moves from one channel to another neither leaves nor enters.
extends RefCounted

const _World := preload("../core/world.gd")

signal entered(id: int)
## A tracked field has changed.
signal changed(id: int)
signal left(id: int)

var _table: String
var _fields: PackedStringArray
var _world: _World
var _known: Dictionary = {}  # the values of the tracked fields by id


## [param fields] are those whose changes are reported; vectors and quaternions too.
func _init(table: String, fields := PackedStringArray()) -> void:
	_table = table
	_fields = fields


## Reports the changes of a client's rooms. Returns a Callable that stops it.
func follow(client: Node) -> Callable:
	var on_state := func(_tick: int) -> void:
		if client.world:
			update(client.world)
	var on_left := func(_reason: String) -> void: end()
	client.state.connect(on_state)
	client.left.connect(on_left)
	return func() -> void:
		client.state.disconnect(on_state)
		client.left.disconnect(on_left)


## Reports the changes since the last call. A different world means that all entities left and new ones entered.
func update(world: _World) -> void:
	if world != _world:
		end()
	_world = world
	if not world.has_table(_table):
		return
	var table := world.table(_table)
	for id: int in _known.keys():
		if not table.has(id):
			_remove(id)
	for id in table.ids():
		var values := []
		for field in _fields:
			values.append(table.value(id, field))
		var before: Variant = _known.get(id)
		_known[id] = values
		if before == null:
			entered.emit(id)
		elif before != values:
			changed.emit(id)


## Reports all entities as left, when the world is gone.
func end() -> void:
	for id: int in _known.keys():
		_remove(id)
	_world = null


func _remove(id: int) -> void:
	_known.erase(id)
	left.emit(id)
