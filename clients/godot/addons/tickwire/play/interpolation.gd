## Entity interpolation: smooth motion between two snapshots of a table, rendered slightly in the past.
##
## A snapshot is the state at one tick. Rendered on arrival, motion jumps with every tick and stops when a tick is late. The
## world is therefore rendered some ticks behind: late ticks have arrived by then, and values between two ticks can be computed.
## As in Valve's "Source Multiplayer Networking".
## [codeblock]
## client.state.connect(func(tick): clock.observe(tick, now()); ships.push(client.world))
## ships.sample(clock.render_tick(now()))  # in each frame
## for id in ships.ids:
##     draw(ships.number(id, "x"), ships.number(id, "y"))
## [/codeblock]
extends RefCounted

const _Field := preload("../core/field.gd")
const _World := preload("../core/world.gd")

const _SNAPSHOTS_MAX := 16


class _Snapshot:
	var tick := 0
	var ids := PackedInt64Array()
	var rows: Dictionary = {}  # by id
	var columns: Array = []  # by name's index: PackedFloat64Array, or Array of vectors


## The entities at the sampled tick, ascending.
var ids := PackedInt64Array()

var _table: String
var _names: PackedStringArray
var _snapshots: Array[_Snapshot] = []  # oldest first
var _world: _World
var _indices: Dictionary = {}  # by name
var _kinds: PackedInt32Array = []  # by index: Field.Kind; -1 for a vector or a quaternion
var _older: _Snapshot
var _newer: _Snapshot
var _fraction := 0.0


## [param names] are the fields, vectors and quaternions to read.
func _init(table: String, names: PackedStringArray) -> void:
	_table = table
	_names = names


## Adds a snapshot of the table; call it after each state. A different world discards all snapshots. If the tick went back, that
## tick and later ones are discarded.
func push(world: _World) -> void:
	if world != _world:
		_begin(world)
	if _indices.is_empty():
		return
	while _snapshots and _snapshots[-1].tick >= world.tick:
		_snapshots.pop_back()
	var snapshot: _Snapshot = _snapshots.pop_front() if _snapshots.size() >= _SNAPSHOTS_MAX else _Snapshot.new()
	_fill(snapshot, world)
	_snapshots.append(snapshot)


## Selects a tick, which may be between two snapshots: [member ids], [method number] and [method vector] then refer to it.
## Before the oldest and after the newest snapshot nothing moves. An entity that exists only in the newer snapshot is not
## included yet.
func sample(tick: float) -> void:
	_older = null
	_newer = null
	_fraction = 0.0
	for index in range(_snapshots.size() - 1, -1, -1):
		_older = _snapshots[index]
		if _older.tick <= tick:
			break
		_newer = _older
	ids = _older.ids if _older else PackedInt64Array()
	if _newer == _older:
		_newer = null  # all snapshots are newer
	if _newer:
		_fraction = (tick - _older.tick) / (_newer.tick - _older.tick)


## Returns a number of an entity of [member ids] in the game's units. Numbers that cannot be interpolated (a number of lives) are
## those of the older snapshot. NAN if there is no such entity, or the field is not one of the constructor's.
func number(id: int, name: String) -> float:
	var index: int = _indices.get(name, -1)
	var row: int = _older.rows.get(id, -1) if _older else -1
	if index < 0 or row < 0 or _kinds[index] < 0:
		return NAN
	var here: float = _older.columns[index][row]
	var there := _row_in_newer(id)
	var kind := _kinds[index]
	if there < 0 or (kind != _Field.Kind.REAL and kind != _Field.Kind.ANGLE):
		return here
	var difference: float = _newer.columns[index][there] - here
	return here + _fraction * (shorter_turn(difference) if kind == _Field.Kind.ANGLE else difference)


## Returns a Vector2, Vector3, Vector4 or Quaternion of an entity of [member ids]; rotations turn by the shorter way, at a
## constant speed. Null if there is no such entity, or the name is not one of the constructor's.
func vector(id: int, name: String) -> Variant:
	var index: int = _indices.get(name, -1)
	var row: int = _older.rows.get(id, -1) if _older else -1
	if index < 0 or row < 0 or _kinds[index] >= 0:
		return null
	var here: Variant = _older.columns[index][row]
	var there := _row_in_newer(id)
	if there < 0:
		return here
	if here is Quaternion:
		return here.slerp(_newer.columns[index][there], _fraction)
	return here.lerp(_newer.columns[index][there], _fraction)


## Wraps the difference of two angles to the shorter direction, from -PI to PI.
static func shorter_turn(difference: float) -> float:
	return fposmod(difference + PI, TAU) - PI


func _row_in_newer(id: int) -> int:
	return _newer.rows.get(id, -1) if _newer else -1


func _begin(world: _World) -> void:
	_world = world
	_snapshots.clear()
	_indices.clear()
	_kinds.clear()
	if not world.has_table(_table):
		return
	var kinds := {}
	for field in world.table(_table).fields:
		kinds[field.name] = field.kind
	for group in world.table(_table).groups:
		kinds[group.name] = -1
	for name in _names:
		if kinds.has(name):
			_indices[name] = _kinds.size()
			_kinds.append(kinds[name])
		else:
			push_error("tickwire: the table %s has no field %s" % [_table, name])


func _fill(snapshot: _Snapshot, world: _World) -> void:
	var table := world.table(_table)
	snapshot.tick = world.tick
	snapshot.ids = table.ids()
	snapshot.rows.clear()
	for row in snapshot.ids.size():
		snapshot.rows[snapshot.ids[row]] = row
	snapshot.columns.resize(_kinds.size())
	for name: String in _indices:
		var index: int = _indices[name]
		snapshot.columns[index] = _vectors(table, name) if _kinds[index] < 0 else table.numbers(name)


func _vectors(table: Object, name: String) -> Array:
	var found := []
	for row: int in table.size():
		found.append(table.value_at(row, name))
	return found
