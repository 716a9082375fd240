## A login as the game's storage keeps it between runs. The names are those of the Python client.
extends RefCounted

const VERSION := 1
const _ApiCalls := preload("api_calls.gd")

## The API that the login belongs to; a login of another API is not used.
var api_url := ""
## The player; empty when logged out, as are the next two.
var player_id := ""
var refresh_token := ""
## The WebSocket address for players.
var player_url := ""
## The credentials of the device's account; they survive a logout.
var device_id := ""
var device_secret := ""
## Proves an earlier login with a password; it survives a logout.
var known_client := ""

const _NAMES: Array[String] = [
	"api_url", "player_id", "refresh_token", "player_url", "device_id", "device_secret", "known_client",
]


func _init(expected_url: String) -> void:
	api_url = expected_url


## Returns the text to save.
func to_text() -> String:
	var fields := {"version": VERSION}
	for field in _NAMES:
		if get(field):
			fields[field] = get(field)
	return JSON.stringify(fields, "", false)


## Decodes a saved text into this login. A text that is invalid, or of another API or a later version, is not used.
func read(text: String) -> void:
	var json := JSON.new()
	if json.parse(text) != OK or not json.data is Dictionary:
		return
	var fields: Dictionary = json.data
	var version: Variant = fields.get("version", float(VERSION))
	if not version is float or version != VERSION or not fields.get("api_url") is String or fields["api_url"] != api_url:
		return
	for field in _NAMES:
		if fields.get(field) is String:
			set(field, fields[field])


## Creates the credentials of the device, if they are missing.
func prepare_device() -> void:
	if not device_id:
		device_id = _ApiCalls.random_text(18)
		device_secret = _ApiCalls.random_text(32)


## Keeps what remains after a logout.
func log_out() -> void:
	player_id = ""
	refresh_token = ""
	player_url = ""
