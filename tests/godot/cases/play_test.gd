## The clock of ticks, interpolation, prediction and its smoother.
extends "res://cases/test_case.gd"

const ClientCore := preload("res://addons/tickwire/core/client_core.gd")
const Codec := preload("res://addons/tickwire/core/codec.gd")
const Field := preload("res://addons/tickwire/core/field.gd")
const Golden := preload("res://cases/golden_test.gd")
const Interpolation := preload("res://addons/tickwire/play/interpolation.gd")
const Messages := preload("res://addons/tickwire/core/messages.gd")
const Prediction := preload("res://addons/tickwire/play/prediction.gd")
const Smoother := preload("res://addons/tickwire/play/smoother.gd")
const TickClock := preload("res://addons/tickwire/play/tick_clock.gd")

var _now_ms := 0.0


func near(actual: float, expected: float, about: String) -> void:
	check(absf(actual - expected) < 1e-9, "%s: %s instead of %s" % [about, actual, expected])


# -- TickClock --------------------------------------------------------------------------------------------


func test_clock_renders_behind_the_least_delayed_frame() -> void:
	var clock := TickClock.new(20)
	equal(clock.render_tick(0), -INF, "before the first frame")
	for tick in range(100, 110):
		clock.observe(tick, tick * 50.0 + (30.0 if tick % 3 else 10.0))
	near(clock.render_tick(110 * 50 + 10), 108, "two ticks behind")


func test_clock_restarts_when_the_tick_goes_back() -> void:
	var clock := TickClock.new(20)
	clock.observe(1000, 0)
	clock.observe(10, 60_000)
	near(clock.render_tick(60_000), 8, "the old ticks are discarded")


func test_clock_follows_ticks_that_have_shifted() -> void:
	var clock := TickClock.new(20)
	for tick in 40:
		clock.observe(tick, tick * 50.0)
	for tick in range(40, 43):
		clock.observe(tick, tick * 50.0 + 500)
	near(clock.render_tick(43 * 50.0), 41, "three late frames may be late")
	clock.observe(43, 43 * 50.0 + 500)
	near(clock.render_tick(43 * 50.0 + 500), 41, "four are a shift")


# -- Interpolation ----------------------------------------------------------------------------------------


## Returns a core in a room, before the frames of a golden vector.
func _core_in_room(golden: Dictionary) -> ClientCore:
	var core := ClientCore.new()
	var welcome := Messages.Welcome.new()
	welcome.generation = 1
	core.receive(Codec.encode_server(welcome), 0)
	_join(core, golden)
	return core


func _join(core: ClientCore, golden: Dictionary) -> void:
	var joined := Messages.Joined.new()
	joined.room_id = "room"
	joined.description = Golden.new().create_table("StateDescription", golden.description)
	core.receive(Codec.encode_server(joined), 0)


# vectors: schemas/golden/version_4/coming_and_going.json
func vector_interpolation_between_snapshots(path: String) -> void:
	var golden: Dictionary = read_json(path)
	var core := _core_in_room(golden)
	var ships := Interpolation.new("ships", ["x", "heading", "hp"])
	ships.sample(5)
	equal(ships.ids, PackedInt64Array(), "no snapshot yet")
	var rows: Dictionary = {}  # by tick: entities by id
	for step: Dictionary in golden.steps:
		core.receive(step.frame.hex_decode(), 0)
		ships.push(core.world)
		rows[core.world.tick] = {}
		for id in core.world.table("ships").ids():
			rows[core.world.tick][id] = core.world.table("ships").entity(id)
	_compare_sample(ships, rows, 2, 3, 0.25)
	_compare_sample(ships, rows, 8, 10, 0.5)
	_compare_sample(ships, rows, 12, 13, 0)
	ships.sample(99)
	equal(Array(ships.ids), rows[13].keys(), "nothing moves after the newest snapshot")
	ships.sample(-INF)
	equal(Array(ships.ids), rows[1].keys(), "nothing moves before the oldest snapshot")
	ships.sample(13)
	check(is_nan(ships.number(4_000_000, "x")), "a number of no entity")
	check(is_nan(ships.number(ships.ids[0], "y")), "a field that was not named")


func _compare_sample(ships: Interpolation, rows: Dictionary, before: int, after: int, share: float) -> void:
	ships.sample(before + share * (after - before))
	equal(Array(ships.ids), rows[before].keys(), "the entities of tick %d" % before)
	for id in ships.ids:
		var older: Dictionary = rows[before][id]
		var newer: Dictionary = rows[after].get(id, older)
		near(ships.number(id, "x"), lerpf(older.x, newer.x, share), "x of %d" % id)
		near(ships.number(id, "hp"), older.hp, "hp of %d is not interpolated" % id)
		var turned := angle_difference(lerp_angle(older.heading, newer.heading, share), ships.number(id, "heading"))
		near(turned, 0, "heading of %d" % id)


# vectors: schemas/golden/version_4/groups.json
func vector_interpolation_of_vectors(path: String) -> void:
	var golden: Dictionary = read_json(path)
	var core := _core_in_room(golden)
	var bodies := Interpolation.new("bodies", ["position", "rotation"])
	var values: Array[Dictionary] = []
	for step: Dictionary in golden.steps.slice(0, 2):
		core.receive(step.frame.hex_decode(), 0)
		bodies.push(core.world)
		values.append(core.world.table("bodies").entity(1))
	bodies.sample(1.5)
	var middle: Vector3 = values[0].position.lerp(values[1].position, 0.5)
	check(middle.is_equal_approx(bodies.vector(1, "position")), "position")
	var rotation: Quaternion = values[0].rotation.slerp(values[1].rotation, 0.5)
	check(rotation.is_equal_approx(bodies.vector(1, "rotation")), "rotation")
	equal(bodies.vector(1, "aim"), null, "a vector that was not named")
	equal(bodies.vector(99, "position"), null, "a vector of no entity")


# vectors: schemas/golden/version_4/motion.json
func vector_another_world_discards_snapshots(path: String) -> void:
	var golden: Dictionary = read_json(path)
	var core := _core_in_room(golden)
	var ships := Interpolation.new("ships", ["x"])
	core.receive(golden.steps[0].frame.hex_decode(), 0)
	ships.push(core.world)
	var other := _core_in_room(golden)
	ships.push(other.world)
	ships.sample(1)
	equal(ships.ids.size(), 0, "entities of the other world")


# -- Prediction -------------------------------------------------------------------------------------------


func _clock() -> float:
	return _now_ms


func _step(ship: Dictionary, input: Dictionary) -> Dictionary:
	var speed: float = ship.get("speed", 0.0) + input.get("push", 0.0)
	return ship.merged({"x": ship.x + input.dx + speed, "speed": speed}, true)


func _field(name: String) -> Field:
	var description := Messages.FieldDescription.new()
	description.name = name
	description.kind = Messages.FieldKind.REAL
	description.bits = 6
	description.low = -1
	description.high = 1
	description.step = 0.25
	return Field.new(description)


func _prediction(options := {}) -> Prediction:
	return Prediction.new(_step, options.merged({"clock_ms": _clock}))


func test_prediction_applies_pending_inputs_on_top_of_each_state() -> void:
	var prediction := _prediction()
	prediction.sent(1, {"dx": 1.0})
	equal(prediction.now, {}, "no state yet")
	prediction.confirmed({"x": 10.0}, 0)
	equal(prediction.now.x, 11.0, "with the first input")
	prediction.sent(2, {"dx": 2.0})
	prediction.sent(0, {"dx": 64.0})
	equal(prediction.now.x, 13.0, "an input that was not sent changes nothing")
	prediction.confirmed({"x": 11.0}, 1)
	equal([prediction.now.x, prediction.unacknowledged], [13.0, 1], "after the state with the first input")
	prediction.acknowledged(2)
	equal([prediction.now.x, prediction.unacknowledged], [11.0, 0], "the server ignored the second input")


func test_prediction_quantises_inputs_as_the_server_does() -> void:
	var prediction := _prediction({"inputs": [_field("dx")]})
	prediction.confirmed({"x": 0.0}, 0)
	prediction.sent(1, {"dx": 0.3, "unknown": 5})
	equal(prediction.now.x, 0.25, "the nearest step")
	prediction.sent(2, {"dx": 7})
	equal(prediction.now.x, 1.25, "clamped")
	prediction.sent(3, {})
	equal(prediction.now.x, 1.25, "a missing field is 0")


func test_prediction_keeps_local_fields_of_the_acknowledged_input() -> void:
	var prediction := _prediction({"local": {"speed": 1.0}})
	prediction.confirmed({"x": 0.0}, 0)
	prediction.sent(1, {"dx": 0.0, "push": 2.0})
	prediction.sent(2, {"dx": 0.0, "push": 4.0})
	equal([prediction.now.x, prediction.now.speed], [10.0, 7.0], "two steps")
	prediction.confirmed({"x": 3.0}, 1)
	equal([prediction.now.x, prediction.now.speed], [10.0, 7.0], "the server agrees")


func test_prediction_smooths_corrections_with_a_half_life() -> void:
	var prediction := _prediction({"fields": ["x"], "half_life_ms": 100, "snap_distance": 5.0})
	prediction.confirmed({"x": 0.0}, 0)
	prediction.sent(1, {"dx": 4.0})
	prediction.confirmed({"x": 0.0}, 1)
	equal(prediction.now.x, 0.0, "the server moved nothing")
	near(prediction.sample().x, 4, "it is still drawn where it was")
	_now_ms += 100
	near(prediction.sample().x, 2, "after a half life")
	_now_ms += 200
	near(prediction.sample().x, 0.5, "after three")
	prediction.sent(2, {"dx": 6.0})
	prediction.confirmed({"x": 0.0}, 2)
	near(prediction.sample().x, 0, "an error above the snap distance is dropped")


func test_smoothing_turns_angles_by_the_shorter_way() -> void:
	var smoother := Smoother.new({"fields": [], "angles": ["heading"]})
	smoother.corrected({"heading": 3.0}, {"heading": -3.0}, 0)
	near(smoother.sample({"heading": -3.0}, 0, 0).heading, -3.0 - (TAU - 6.0), "a small turn over the wrap")


func test_sample_moves_between_the_last_two_steps() -> void:
	var prediction := _prediction({"fields": ["x"], "tick_ms": 50.0})
	prediction.confirmed({"x": 0.0}, 0)
	prediction.sent(1, {"dx": 10.0})
	near(prediction.sample().x, 0, "at the time of the step")
	_now_ms += 25
	near(prediction.sample().x, 5, "half a tick later")
	_now_ms += 75
	near(prediction.sample().x, 10, "later")


func test_prediction_discards_inputs_and_states() -> void:
	var prediction := _prediction({"local": {"speed": 1.0}})
	prediction.confirmed({"x": 0.0}, 0)
	prediction.sent(1, {"dx": 5.0})
	prediction.clear_pending()
	equal([prediction.now.x, prediction.unacknowledged], [0.0, 0], "after the connection was lost")
	prediction.reset()
	equal([prediction.now, prediction.sample()], [{}, {}], "after the seat was lost")


class FakeClient:
	extends RefCounted
	signal state(tick: int)
	signal acknowledged(seq: int, tick: int)
	signal pong(rtt_ms: float)
	signal reconnected(is_same_session: bool)
	signal joined(room: Object)
	signal left(reason: String)
	var acknowledged_seq := 0


func test_prediction_follows_a_client() -> void:
	var prediction := _prediction()
	var client := FakeClient.new()
	var ship := {"x": 1.0}
	prediction.follow(client, func() -> Dictionary: return ship)
	client.state.emit(1)
	prediction.sent(1, {"dx": 2.0})
	prediction.sent(2, {"dx": 4.0})
	client.acknowledged_seq = 1
	client.acknowledged.emit(1, 2)
	equal(prediction.now.x, 7.0, "the acknowledgement waits for its state")
	ship["x"] = 3.0
	client.state.emit(2)
	equal(prediction.now.x, 7.0, "the state has the first input")
	client.acknowledged_seq = 2
	client.acknowledged.emit(2, 3)
	client.pong.emit(5.0)
	equal(prediction.now.x, 3.0, "no state came: the second input changed nothing")
	client.left.emit("")
	equal(prediction.now, {}, "left")
	prediction.stop_following()
	prediction.stop_following()
	client.state.emit(4)
	equal(prediction.now, {}, "stopped")
