## The own ship: reads the player's input in each tick of the room, sends it, and predicts the ship.
extends RefCounted

const Rooms := preload("rooms.gd")
const ShipStep := preload("ship_step.gd")

const _SNAP_DISTANCE := 80.0

var _arena: Rooms.ArenaRoom
var _ship_step: ShipStep
var _prediction: Tickwire.Prediction
var _tick_s: float
var _waited_s := 0.0


func _init(arena: Rooms.ArenaRoom) -> void:
	_arena = arena
	_tick_s = 1.0 / arena.room.tick_rate_hz
	_ship_step = ShipStep.new(arena.room.tick_rate_hz)
	_prediction = Tickwire.Prediction.new(_ship_step.apply, {
		"inputs": arena.room.input_fields,
		"fields": ["x", "y"],
		"angles": ["heading"],
		"local": {"speed": 0.0},  # the server does not send it: it follows from the inputs
		"snap_distance": _SNAP_DISTANCE,
		"tick_ms": _tick_s * 1000,
	})
	_prediction.follow(arena.room.client, _read_ship)


## Ends the prediction.
func stop() -> void:
	_prediction.stop_following()


## Returns the ship to draw: x, y, heading and speed; empty before its first state.
func ship() -> Dictionary:
	return _prediction.sample()


## Sends an input for each tick of the room that has passed. [param pointer] is the position to fly to, relative to the ship, while a
## finger or a button is down, and [constant Vector2.INF] otherwise.
func fly(delta: float, pointer: Vector2) -> void:
	_waited_s = minf(_waited_s + delta, 2 * _tick_s)
	if _waited_s < _tick_s:
		return
	_waited_s -= _tick_s
	var inputs := _read_inputs(pointer)
	_prediction.sent(_arena.send_input(inputs), inputs.to_value())


func _read_ship() -> Dictionary:
	var id := _arena.room.entity
	var ships := _arena.tables.ships
	return {"x": ships.x(id), "y": ships.y(id), "heading": ships.heading(id)} if ships.has(id) else {}


func _read_inputs(pointer: Vector2) -> Rooms.ArenaInputs:
	var inputs := Rooms.ArenaInputs.new()
	inputs.turn = _is_down(KEY_RIGHT, KEY_D) - _is_down(KEY_LEFT, KEY_A)
	inputs.thrust = _is_down(KEY_UP, KEY_W) - 0.5 * _is_down(KEY_DOWN, KEY_S)
	inputs.fire = Input.is_key_pressed(KEY_SPACE)
	if pointer.is_finite() and _prediction.now:
		var way := angle_difference(_prediction.now.heading, pointer.angle())
		inputs.turn = clampf(way * 2, -1, 1)
		inputs.thrust = 1.0 if absf(way) < 1.2 else 0.2
	return inputs


static func _is_down(key: Key, other: Key) -> float:
	return 1.0 if Input.is_key_pressed(key) or Input.is_key_pressed(other) else 0.0
