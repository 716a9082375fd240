## Closes a client while its storage loads, and saves in a file that cannot be replaced.
extends SceneTree


class Store:
	extends RefCounted

	signal opened
	var calls := []

	func load() -> String:
		calls.append("load")
		await opened
		return ""

	func save(_text: String) -> void:
		calls.append("save")

	func clear() -> void:
		calls.append("clear")


func _initialize() -> void:
	await process_frame
	var tickwire := root.get_node("Tickwire")
	var store := Store.new()
	var client: Node = tickwire.Client.new()
	root.add_child(client)
	client.closed.connect(func(error: RefCounted) -> void: store.calls.append("closed: " + error.message))
	_open(client, store)
	client.close()
	store.opened.emit()
	for _frame in 5:
		await process_frame
	print(JSON.stringify({"state": client.session_state, "calls": store.calls}))
	client.queue_free()
	DirAccess.make_dir_absolute("user://folder.json")
	tickwire.SessionFile.new("user://folder.json").save("text")
	quit()


func _open(client: Node, store: Store) -> void:
	var is_open: bool = await client.open("ws://127.0.0.1:9/", {"session_storage": store})
	print(JSON.stringify({"open": [is_open, client.last_error.kind()]}))
