## Draws the arena: the own ship as predicted, other ships interpolated, and bullets as they were received.
extends Node2D

const Pilot := preload("pilot.gd")
const Rooms := preload("rooms.gd")
const ShipStep := preload("ship_step.gd")

const _VIEW := 420.0  # world units across the shorter side of the window
const _GRID := 100
const _MARGIN := 25.0
const _SHAPE: PackedVector2Array = [Vector2(1.3, 0), Vector2(-1, 0.8), Vector2(-0.55, 0), Vector2(-1, -0.8)]
const _HP_MAX := 100.0
const _HP_LOW := 40

var arena: Rooms.ArenaRoom
var pilot: Pilot
## The names of the pilots, by the ids of their ships.
var names: Dictionary = {}

var _ships := Tickwire.Interpolation.new("ships", ["x", "y", "heading", "hp"])
var _clock: Tickwire.TickClock


## Begins to draw a room.
func start(joined: Rooms.ArenaRoom, own: Pilot) -> void:
	arena = joined
	pilot = own
	_clock = Tickwire.TickClock.new(joined.room.tick_rate_hz)
	if not joined.room.client.state.is_connected(_on_state):
		joined.room.client.state.connect(_on_state)


func _on_state(tick: int) -> void:
	_clock.observe(tick, _now_ms())
	_ships.push(arena.room.client.world)


func _process(delta: float) -> void:
	if arena and arena.room.is_joined:
		pilot.fly(delta, get_local_mouse_position() - _to_screen(_own_position()) if _is_pointing() else Vector2.INF)
	queue_redraw()


func _is_pointing() -> bool:
	return Input.is_mouse_button_pressed(MOUSE_BUTTON_LEFT) and not get_viewport().gui_get_hovered_control()


func _own_position() -> Vector2:
	var ship := pilot.ship() if pilot else {}
	return Vector2(ship.x, ship.y) if ship else Vector2.ZERO


func _draw() -> void:
	draw_rect(get_viewport_rect(), Color("161a22"))
	_draw_grid()
	if not arena or not arena.room.is_joined:
		return
	for id in arena.tables.bullets.ids():
		var bullet := Vector2(arena.tables.bullets.x(id), arena.tables.bullets.y(id))
		draw_circle(_to_screen(bullet), maxf(2, 2.2 * _scale()), Color("ffd166"))
	_ships.sample(_clock.render_tick(_now_ms()))
	for id in _ships.ids:
		if id != arena.room.entity:
			var at := Vector2(_ships.number(id, "x"), _ships.number(id, "y"))
			_draw_ship(id, at, _ships.number(id, "heading"), int(_ships.number(id, "hp")), Color("b8c1d1"))
	var own := pilot.ship()
	if own:
		var id := arena.room.entity
		_draw_ship(id, Vector2(own.x, own.y), own.heading, arena.tables.ships.hp(id), Color("4f8ff7"))


func _draw_grid() -> void:
	var size := int(ShipStep.SIZE)
	for line in range(-size, size + 1, _GRID):
		draw_line(_to_screen(Vector2(line, -size)), _to_screen(Vector2(line, size)), Color("232936"))
		draw_line(_to_screen(Vector2(-size, line)), _to_screen(Vector2(size, line)), Color("232936"))
	var corner := _to_screen(Vector2(-size, -size))
	draw_rect(Rect2(corner, _to_screen(Vector2(size, size)) - corner), Color("5a6478"), false)


func _draw_ship(id: int, at: Vector2, heading: float, hp: int, colour: Color) -> void:
	var size := maxf(7, 9 * _scale())
	var middle := _to_screen(at)
	draw_colored_polygon(Transform2D(heading, Vector2(size, size), 0, middle) * _SHAPE, colour)
	var bar := Rect2(middle + Vector2(-size, -size * 1.9), Vector2(size * 2, 3))
	draw_rect(bar, Color("3a4355"))
	bar.size.x *= hp / _HP_MAX
	draw_rect(bar, Color("4caf78") if hp > _HP_LOW else Color("e5534b"))
	var font := ThemeDB.fallback_font
	var text_at := middle + Vector2(-100, size * 2.4)
	draw_string(font, text_at, names.get(id, ""), HORIZONTAL_ALIGNMENT_CENTER, 200, 13, Color("8b95a7"))


# -- the view ---------------------------------------------------------------------------------------------


func _scale() -> float:
	var size := get_viewport_rect().size
	return minf(size.x, size.y) / _VIEW


# The own ship is in the middle, but little is visible beyond the walls.
func _centre() -> Vector2:
	var most := (Vector2.ONE * (ShipStep.SIZE + _MARGIN) - get_viewport_rect().size / _scale() / 2).max(Vector2.ZERO)
	return _own_position().clamp(-most, most)


func _to_screen(at: Vector2) -> Vector2:
	return get_viewport_rect().size / 2 + (at - _centre()) * _scale()


static func _now_ms() -> float:
	return Time.get_ticks_usec() / 1000.0
