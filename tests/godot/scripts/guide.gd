## Runs the scripts of docs/godot.md, which are in res://guide, in the room of the guide. Argument: the URL.
extends SceneTree

const FRAMES_MAX := 1200


func _initialize() -> void:
	await process_frame
	var url := OS.get_cmdline_user_args()[0]
	var loaded := []
	for file in DirAccess.get_files_at("res://guide"):
		var script: GDScript = load("res://guide/" + file)
		if script and script.can_instantiate():
			loaded.append(file)
	loaded.sort()
	print(JSON.stringify({"loaded": loaded}))
	await _run_square(url)
	var client: Node = await root.get_node("Tickwire").connect_to_url(url)
	var room: RefCounted = await client.join("field")
	await client.state
	_node("signals").listen(client, room)
	_node("world").show(room)
	await _run_prediction(room)
	client.drop()
	await client.reconnected
	await client.leave()
	await _node("typed").play(client)
	client.close()
	await _node("restart").play(url)  # leaves its session behind
	await _node("restart").play(url)
	var second: Node = root.get_node("Tickwire").get_children().back()
	print(JSON.stringify({"restarted": [second.resumes, second.room.room_type]}))
	quit()


func _node(name: String) -> Node:
	var node: Node = load("res://guide/%s.gd" % name).new()
	root.add_child(node)
	return node


func _run_square(url: String) -> void:
	var node: Node2D = load("res://guide/square.gd").new()
	node.server = url
	root.add_child(node)
	Input.action_press("ui_right")
	var x := 0.0
	for _frame in FRAMES_MAX:
		await process_frame
		if node.room and node.squares.ids.has(node.room.entity):
			x = node.squares.number(node.room.entity, "x")
		if x > 250:
			break
	Input.action_release("ui_right")
	print(JSON.stringify({"square": x}))
	node.room.client.close()
	await process_frame
	await process_frame
	node.queue_free()


func _run_prediction(room: RefCounted) -> void:
	var node := _node("prediction")
	node.start(room)
	await room.client.state
	while not node.prediction.now:
		node.fly({"dx": 0.0, "dy": 0.0})
		await process_frame
	var began: float = node.prediction.now.x
	for _step in 5:
		node.fly({"dx": 0.5, "dy": 0.0})
	var predicted: float = node.prediction.now.x - began
	while node.prediction.unacknowledged:
		await process_frame
	for _frame in 10:
		await process_frame
	print(JSON.stringify({"prediction": [predicted, node.prediction.now.x - began]}))
	node.queue_free()
