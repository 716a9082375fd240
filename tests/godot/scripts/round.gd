## Plays a round in the room "garden" with the client node, and prints lines of JSON. Arguments: the URL, the room's name.
##
## The connection is dropped in the middle, so that the session is resumed.
extends SceneTree

const INPUTS := 12


func _initialize() -> void:
	await process_frame  # the autoload exists from the first frame on
	var arguments := OS.get_cmdline_user_args()
	await _play(root.get_node("Tickwire"), arguments[0], arguments[1])
	quit()


func _play(tickwire: Node, url: String, room_name: String) -> void:
	var client: Node = await tickwire.connect_to_url(url, {"token": func() -> String: return "", "reconnect_s": INF})
	if not client:
		return _print({"error": str(tickwire.last_error)})
	client.state.connect(func(tick: int) -> void: _print({"tick": tick, "crc": client.world.checksum()}))
	client.disconnected.connect(func(_reason: String) -> void: _print({"event": "disconnected"}))
	client.reconnected.connect(func(is_same: bool) -> void: _print({"event": "reconnected", "is_same": is_same}))
	client.event.connect(_fail_in_a_listener)
	var events := []
	client.event.connect(func(name: String, _payload: Variant) -> void: events.append(name))
	var room: RefCounted = await client.join("garden", {"name": room_name})
	if not room:
		return _print({"error": str(client.last_error)})
	var first: RefCounted = await room.command("plant", {"x": 3.5})
	await _walk(client, room, INPUTS)
	client.drop()
	var seq: int = room.send_input({"dx": 1.0})
	var second: RefCounted = await room.command("plant", {"x": 4.5, "count": 2})
	var failed: RefCounted = await room.command("plant", {"x": "no number"})
	await _walk(client, room, INPUTS)
	await client.state  # the state of a tick follows its acknowledgement
	while not room.table("flowers").has(second.value):
		await client.state
	var x: float = room.table("walkers").number(room.entity, "x")
	_print({
		"done": {
			"x": x,
			"flowers": room.table("flowers").size(),
			"planted": [first.value, second.value],
			"failure": [failed.error.kind(), failed.error.code()],
			"seq_while_disconnected": seq,
			"events": events,
			"resumes": client.resumes,
			"sessions_lost": client.sessions_lost,
			"mismatches": client.core.mismatches,
			"resyncs": client.core.resyncs,
			"has_rtt": client.rtt_ms < 5000,
		}
	})
	print("left: ", await client.leave(), ", room: ", client.room)
	client.close()
	await _frames(20)
	_print({"closed": [client.session_state, str(await client.join("garden")), client.last_error.kind()]})


func _walk(client: Node, room: RefCounted, count: int) -> void:
	for _step in count:
		while not room.send_input({"dx": 1.0}):
			await process_frame
		await client.acknowledged


func _frames(count: int) -> void:
	for _frame in count:
		await process_frame


func _print(line: Dictionary) -> void:
	print(JSON.stringify(line))


func _fail_in_a_listener(_name: String, _payload: Variant) -> void:
	var nothing: Variant = null
	nothing.fails()
