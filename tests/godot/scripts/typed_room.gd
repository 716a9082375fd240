## Plays in the room "garden" with its generated classes. Argument: the URL.
extends SceneTree


func _initialize() -> void:
	await process_frame
	var rooms: GDScript = load("res://generated/garden.gd")
	var client: Node = await root.get_node("Tickwire").connect_to_url(OS.get_cmdline_user_args()[0])
	var stranger: RefCounted = rooms.GardenOptions.new()
	stranger.is_stranger = true
	var refused: RefCounted = await rooms.GardenRoom.join(client, stranger)
	var refusal: String = client.last_error.code()
	var garden: RefCounted = await rooms.GardenRoom.join(client, null, {"name": "typed"})
	var reply: RefCounted = await garden.commands.plant(7.5)
	var inputs: RefCounted = rooms.GardenInputs.new()
	inputs.dx = 1.0
	garden.send_input(inputs)
	while not garden.tables.flowers.has(reply.value) or not garden.tables.walkers.x(garden.room.entity):
		await client.state
	print(JSON.stringify({
		"typed": {
			"refused": [refused, refusal],
			"flower": garden.tables.flowers.x(reply.value),
			"walker": garden.tables.walkers.x(garden.room.entity),
			"missing": [garden.tables.flowers.x(4_000_000), garden.tables.flowers.colour(4_000_000)],
			"ids": Array(garden.tables.flowers.ids()),
			"id": reply.value,
		}
	}))
	client.close()
	quit()
