## A player for the test in which all clients meet in one room: see tests/harness/players.py.
## Arguments: URL, ROOM, SECONDS, NAME.
extends SceneTree

const INPUT_S := 0.05
const COUNT_S := 0.4

var _client: Node
var _room: RefCounted
var _sent := 0
var _counts := []
var _beats := []
var _is_counting := false
var _is_over := false


func _initialize() -> void:
	await process_frame  # the autoload exists from the first frame on
	var arguments := OS.get_cmdline_user_args()
	create_timer(float(arguments[2])).timeout.connect(_fail.bind("the round did not end in time"))
	_client = await root.get_node("Tickwire").connect_to_url(arguments[0])
	if not _client:
		return _fail(str(root.get_node("Tickwire").last_error))
	_client.disconnected.connect(func(_reason: String) -> void: _print({"event": "disconnected"}))
	_client.reconnected.connect(func(_is_same: bool) -> void: _print({"event": "reconnected"}))
	_client.state.connect(_on_state)
	_client.event.connect(_on_event)
	_client.closed.connect(func(error: RefCounted) -> void: _fail(str(error)))
	_room = await _client.join("playground", {"name": arguments[1], "options": {"name": arguments[3]}})
	if not _room:
		return _fail(str(_client.last_error))
	_print({"event": "joined", "entity": _room.entity})
	_send_inputs()
	_send_counts()
	while not _is_over or _is_counting:
		await process_frame
	_finish()


func _send_inputs() -> void:
	var step := 0
	while not _is_over:
		if _client.send_input({"dx": cos(step / 10.0), "dy": sin(step / 10.0)}):
			_sent += 1
		step += 1
		await create_timer(INPUT_S).timeout


func _send_counts() -> void:
	while not _is_over:
		_is_counting = true
		var reply: RefCounted = await _room.command("count", {})
		_is_counting = false
		if not reply.is_ok:
			return _fail(str(reply.error))
		_counts.append(reply.value)
		await create_timer(COUNT_S).timeout


func _on_state(tick: int) -> void:
	var world: RefCounted = _client.world
	_print({"tick": tick, "crc": world.checksum()})
	var rounds: RefCounted = world.table("rounds")
	_is_over = _is_over or Array(rounds.ids()).any(func(id: int) -> bool: return rounds.value(id, "is_over"))


func _on_event(name: String, payload: Variant) -> void:
	if name == "beat":
		_beats.append(payload.number)


func _finish() -> void:
	var squares: RefCounted = _client.world.table("squares")
	var names := Array(squares.ids()).map(func(id: int) -> String: return squares.value(id, "name"))
	names.sort()
	_print({
		"done": {
			"resumes": _client.resumes,
			"sessions_lost": _client.sessions_lost,
			"mismatches": _client.core.mismatches,
			"resyncs": _client.core.resyncs,
			"sent": _sent,
			"acknowledged": _client.acknowledged_seq,
			"counts": _counts,
			"beats": _beats,
			"crc": _client.world.checksum(),
			"tick": _client.world.tick,
			"names": names,
		}
	})
	_client.closed.disconnect(_client.closed.get_connections()[0].callable)
	_client.close()
	for _frame in 10:  # the close is sent
		await process_frame
	quit()


func _fail(text: String) -> void:
	_print({"error": text})
	quit(1)


func _print(line: Dictionary) -> void:
	print(JSON.stringify(line))
