## One tick of a ship, as examples/arena.py moves it. The prediction applies it to the own ship.
extends RefCounted

const SIZE := 500.0
const _SPEED_MAX := 60.0
const _TURN_RATE := 3.0

var _tick_s: float


func _init(tick_rate_hz: float) -> void:
	_tick_s = 1.0 / tick_rate_hz


## Returns the ship after an input.
func apply(ship: Dictionary, input: Dictionary) -> Dictionary:
	var heading: float = ship.heading + input.turn * _TURN_RATE * _tick_s
	var speed: float = ship.speed + (input.thrust * _SPEED_MAX - ship.speed) * 2 * _tick_s
	return {
		"x": clampf(ship.x + cos(heading) * speed * _tick_s, -SIZE, SIZE),
		"y": clampf(ship.y + sin(heading) * speed * _tick_s, -SIZE, SIZE),
		"heading": heading,
		"speed": speed,
	}
