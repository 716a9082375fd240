## Connects without and with a token, and prints why it was refused. Arguments: URL, token.
extends SceneTree


func _initialize() -> void:
	await process_frame
	var arguments := OS.get_cmdline_user_args()
	var tickwire := root.get_node("Tickwire")
	var guest: Node = await tickwire.connect_to_url(arguments[0])
	print(JSON.stringify({"guest": [guest, tickwire.last_error.kind(), tickwire.last_error.code()]}))
	var no_token := func() -> Variant: return 5
	var broken: Node = await tickwire.connect_to_url(arguments[0], {"token": no_token})
	print(JSON.stringify({"broken": [broken, tickwire.last_error.kind()]}))
	var missing: Node = await tickwire.connect_to_url("ws://127.0.0.1:9/")
	print(JSON.stringify({"no_server": [missing, tickwire.last_error.kind()]}))
	var late_token := func() -> String:
		await process_frame
		return arguments[1]
	var client: Node = await tickwire.connect_to_url(arguments[0], {"token": late_token})
	print(JSON.stringify({"player": client != null}))
	client.close()
	quit()
