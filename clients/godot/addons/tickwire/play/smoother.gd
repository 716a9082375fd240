## Hides the corrections of a prediction: each one becomes an offset that decays, so that the drawn entity does not jump.
##
## The decay is exponential in time, not in frames: it looks the same on every display. Pure: the caller passes the time.
extends RefCounted

const _Interpolation := preload("interpolation.gd")

const _HALF_LIFE_MS := 100.0

var _fields: PackedStringArray
var _angles: PackedStringArray
var _half_life_ms: float
var _snap_distance: float
var _offset: Dictionary = {}
var _offset_ms := 0.0
## The state before the newest step; empty before the first one.
var _previous: Dictionary = {}
var _stepped_ms := 0.0


## [param options] may have:
## [code]fields[/code] whose corrections are smoothed, by default x, y and z;
## [code]angles[/code], fields in radians, which are smoothed by the shorter way;
## [code]half_life_ms[/code], the time in which half of a correction is applied, 100 by default; 0 applies it at once;
## [code]snap_distance[/code], above which (of the fields, together) a correction is applied at once: the entity was moved.
func _init(options := {}) -> void:
	_fields = options.get("fields", PackedStringArray(["x", "y", "z"]))
	_angles = options.get("angles", PackedStringArray())
	_half_life_ms = options.get("half_life_ms", _HALF_LIFE_MS)
	_snap_distance = options.get("snap_distance", INF)


## Records a step of the prediction from a state.
func stepped(from: Dictionary, now_ms: float) -> void:
	_previous = from.duplicate()
	_stepped_ms = now_ms


## Records that the server has corrected the prediction.
func corrected(before: Dictionary, after: Dictionary, now_ms: float) -> void:
	_decay(now_ms)
	var squares := 0.0
	for name in _names(after):
		var error := _difference(name, before[name], after[name])
		var offset: float = _offset.get(name, 0.0) + error
		if name in _angles:
			offset = _Interpolation.shorter_turn(offset)
		else:
			squares += offset * offset
		_offset[name] = offset
		if _previous:
			_previous[name] -= error
	if sqrt(squares) > _snap_distance or _half_life_ms <= 0:
		_offset.clear()


## Returns a copy of a state with the offset, between the last two steps if these have a duration.
func sample(state: Dictionary, now_ms: float, tick_ms: float) -> Dictionary:
	_decay(now_ms)
	var drawn := state.duplicate()
	var left := 0.0
	if _previous and tick_ms > 0:
		left = clampf(1 - (now_ms - _stepped_ms) / tick_ms, 0, 1)
	for name in _names(state):
		var back := _difference(name, _previous[name], state[name]) if left else 0.0
		drawn[name] += left * back + _offset.get(name, 0.0)
	return drawn


func reset() -> void:
	_offset.clear()
	_previous.clear()


func _names(state: Dictionary) -> PackedStringArray:
	var names := PackedStringArray()
	for name in _fields + _angles:
		if state.has(name):
			names.append(name)
	return names


func _difference(name: String, from: float, to: float) -> float:
	return _Interpolation.shorter_turn(from - to) if name in _angles else from - to


func _decay(now_ms: float) -> void:
	var share := pow(0.5, maxf(0, now_ms - _offset_ms) / _half_life_ms) if _half_life_ms > 0 else 0.0
	for name: String in _offset:
		_offset[name] *= share
	_offset_ms = maxf(_offset_ms, now_ms)
