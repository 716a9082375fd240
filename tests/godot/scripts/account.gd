## Makes calls of an account, and prints a line for each: its result, or its error. Arguments: the URL, the file of the login, and calls.
extends SceneTree

var now_ms := 0.0
var wall_s := 0.0
var other: Node  # with the same file


func _initialize() -> void:
	await process_frame
	var arguments := OS.get_cmdline_user_args()
	var account := _open(arguments[0], arguments[1])
	for line in arguments.slice(2):
		var words := line.split(" ")
		var said: String = await _call(account, words)
		var error: RefCounted = account.last_error
		if error:
			said = error.kind()
			if "status" in error:
				said += " %d %s %d" % [error.status, error.code(), error.retry_after_ms]
		print(JSON.stringify({"call": words[0], "said": said}))
	quit()


func _open(url: String, file: String) -> Node:
	var tickwire := root.get_node("Tickwire")
	return tickwire.open_account(url, {
		"storage": tickwire.SessionFile.new(file), "now_ms": func() -> float: return now_ms,
		"wall_s": func() -> float: return wall_s,
	})


func _call(account: Node, words: PackedStringArray) -> String:
	match words[0]:
		"other":
			if not other:
				other = _open(OS.get_cmdline_user_args()[0], OS.get_cmdline_user_args()[1])
			return await _call(other, words.slice(1))
		"device":
			await account.login_device()
			return "%s %s" % [account.is_new, account.player_id]
		"email":
			await account.login_email(words[1], words[2])
			return "%s %s" % [account.is_new, account.player_id]
		"restore":
			return "%s %s" % [await account.restore(), account.player_id]
		"advance":
			now_ms += float(words[1]) * 1000
			return ""
		"sleep":
			wall_s += float(words[1])
			return ""
		"token":
			return await account.token()
		"tokens":
			return await _tokens(account)
		"get":
			var details: Dictionary = await account.get_account()
			return "%s %d" % [details.get("player_id"), details.get("identities", []).size()]
		"export":
			return await account.export()
		"connect":
			var client: Node = await account.connect_session()
			var room: RefCounted = await client.join(words[1])
			client.close()
			return "joined" if room else "no room"
		_:
			return str(await _change(account, words))


func _change(account: Node, words: PackedStringArray) -> bool:
	match words[0]:
		"link-email":
			return await account.link_email(words[1], words[2])
		"unlink":
			return await account.unlink(words[1], words[2])
		"merge":
			return await account.merge(_open(OS.get_cmdline_user_args()[0], words[1]))
		"logout":
			return await account.logout(words.size() > 1)
		_:
			return await account.delete()


func _tokens(account: Node) -> String:
	var found: PackedStringArray = []
	for _caller in 5:
		_append_token(account, found)
	while found.size() < 5:
		await process_frame
	return " ".join(found)


func _append_token(account: Node, found: PackedStringArray) -> void:
	var made: String = await account.token()
	found.append(made)
