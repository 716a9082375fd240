## Runs the main scene of the sample project for some frames, flies and says something, and prints the ship.
## Arguments: --server=URL, --name=NAME, --screenshot=FILE
extends SceneTree

const FRAMES_MAX := 1200


func _initialize() -> void:
	await process_frame
	var main: Control = load("res://arena/main.tscn").instantiate()
	root.add_child(main)
	for _frame in FRAMES_MAX:
		if main.arena and main.arena.tables.ships.has(main.arena.room.entity):
			break
		await process_frame
	if not main.arena:
		return _end({"error": main.get_node("Status").text})
	var ships: RefCounted = main.arena.tables.ships
	var id: int = main.arena.room.entity
	var began := Vector2(ships.x(id), ships.y(id))
	_press(KEY_UP)
	_press(KEY_SPACE)
	main.get_node("Words").text_submitted.emit("hello")
	var bullets := 0
	for _frame in FRAMES_MAX:
		bullets = maxi(bullets, main.arena.tables.bullets.size())
		var has_moved := Vector2(ships.x(id), ships.y(id)).distance_to(began) > 30
		if has_moved and bullets and "hello" in main.get_node("Lines").text:
			break
		await process_frame
	var view: Node2D = main.get_node("View")
	var drawn: Dictionary = view.pilot.ship()
	for argument in OS.get_cmdline_user_args():
		if argument.begins_with("--screenshot="):
			await RenderingServer.frame_post_draw
			root.get_texture().get_image().save_png(argument.trim_prefix("--screenshot="))
	_end({
		"arena": {
			"entity": id,
			"moved": Vector2(ships.x(id), ships.y(id)).distance_to(began),
			"error": Vector2(ships.x(id), ships.y(id)).distance_to(Vector2(drawn.x, drawn.y)),
			"bullets": bullets,
			"names": view.names.values(),
			"status": main.get_node("Status").text,
			"lines": main.get_node("Lines").text.strip_edges().split("\n"),
		}
	})


func _press(key: Key) -> void:
	var event := InputEventKey.new()
	event.keycode = key
	event.physical_keycode = key
	event.pressed = true
	Input.parse_input_event(event)


func _end(line: Dictionary) -> void:
	print(JSON.stringify(line))
	root.get_children().back().queue_free()
	await process_frame
	await process_frame
	quit()
