## The text from which a client resumes its session after a restart of the program, and whose session it is.
##
## attempt and command_id must increase over the life of a session, but the text is not saved with each of them. The text therefore
## has numbers that are reached later.
extends RefCounted

const VERSION := 1
const ATTEMPTS_AHEAD := 16
const COMMANDS_AHEAD := 1024

## The address of the session's shard, and the one that the client connected to first.
var url := ""
var initial_url := ""
## The player's id, from the token; empty for a guest.
var player := ""
var resume_token := ""
## The newest event that was received.
var last_event := 0
## At least the number of the last Hello, and the id of the last command.
var attempt := 0
var command_id := 0


## Returns the text to save.
func to_text() -> String:
	return JSON.stringify({
		"version": VERSION,
		"url": url,
		"initial_url": initial_url,
		"player": player,
		"resume_token": resume_token,
		"last_event": last_event,
		"attempt": attempt,
		"command_id": command_id,
	}, "", false)


## Decodes a saved text; null if it is invalid, or of a client with another initial address.
static func from_text(text: String, expected_url: String) -> RefCounted:
	var json := JSON.new()
	if json.parse(text) != OK or not json.data is Dictionary:
		return null
	var stored := new()
	var fields: Dictionary = json.data
	for name: String in ["url", "initial_url", "player", "resume_token"]:
		if not fields.get(name) is String:
			return null
		stored.set(name, fields[name])
	for name: String in ["version", "last_event", "attempt", "command_id"]:
		if not fields.get(name) is float or fields[name] != floorf(fields[name]):
			return null
		stored.set(name, int(fields[name]))
	var is_downgrade := expected_url.begins_with("wss:") and not stored.url.begins_with("wss:")
	var is_other: bool = fields["version"] != VERSION or stored.initial_url != expected_url
	return null if is_other or not stored.resume_token or is_downgrade else stored


## Returns the claim [code]sub[/code] of a JSON Web Token, without verification; empty without one. It only prevents that a player
## continues the session of another one on the same device. The server verifies.
static func player_from_token(token: String) -> String:
	var parts := token.split(".")
	if parts.size() != 3:
		return ""
	var payload := parts[1].replace("-", "+").replace("_", "/").rstrip("=")
	if not _is_base64(payload):
		return ""
	var bytes := Marshalls.base64_to_raw(payload + "=".repeat(-payload.length() & 3))
	var json := JSON.new()
	if json.parse(bytes.get_string_from_utf8()) != OK or not json.data is Dictionary:
		return ""
	var player_id: Variant = json.data.get("sub", "")
	return player_id if player_id is String else ""


static func _is_base64(text: String) -> bool:
	if text.is_empty() or text.length() % 4 == 1:
		return false
	for index in text.length():
		var code := text.unicode_at(index)
		var is_letter := (code >= 65 and code <= 90) or (code >= 97 and code <= 122) or (code >= 48 and code <= 57)
		if not is_letter and code != 43 and code != 47:
			return false
	return true
