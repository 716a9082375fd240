## The account of one player: logs in over the player HTTP API, keeps and renews the tokens, and connects.
## [codeblock]
## var account := Tickwire.open_account("https://api.game.example")
## if await account.restore() or await account.login_device():
##     var client := await account.connect_session()
## [/codeblock]
## A player begins with the account of the device, and may link an e-mail address later ([method link_email]): then the same account
## opens on another device with [method login_email].
##
## The node must be in the tree, and works while the tree is paused. A call that fails returns false, null or an empty text, and
## [member last_error] has the reason: an ApiError, ApiUnreachable or NotLoggedIn.
extends Node

const _ApiCalls := preload("account/api_calls.gd")
const _Client := preload("client.gd")
const _Errors := preload("session/errors.gd")
const _Login := preload("account/login.gd")
const _SavedLogin := preload("account/saved_login.gd")
const _SessionFile := preload("session_file.gd")

## Why the last call failed; null if it succeeded. Read it right after the call.
var last_error: _Errors.ClientError
## The player who is logged in; empty without one.
var player_id: String:
	get:
		return _login.saved.player_id
## The WebSocket address for players; empty if the server has not sent one.
var player_url: String:
	get:
		return _login.saved.player_url
## Whether the last login has created the account.
var is_new: bool:
	get:
		return _login.is_new

var _calls: _ApiCalls
var _login: _Login


## [param api_url] is the URL of the player HTTP API: https, or http on loopback. [param options] may have:
## [br][code]storage[/code]: keeps the login between runs of the game, by default a SessionFile in
## [code]user://tickwire_login.json[/code]; null keeps nothing. Its text logs the player in: it is as secret as a password;
## [br][code]tls[/code]: TLSOptions for https;
## [br][code]now_ms[/code] and [code]wall_s[/code]: a monotonic clock and that of the computer, for tests.
func _init(api_url: String, options := {}) -> void:
	process_mode = Node.PROCESS_MODE_ALWAYS
	_calls = _ApiCalls.new(api_url, options.get("tls"))
	add_child(_calls)
	var storage: Variant = options.get("storage", _SessionFile.new("user://tickwire_login.json"))
	var now_ms: Callable = options.get("now_ms", Time.get_ticks_msec)
	_login = _Login.new(_calls, storage, now_ms, options.get("wall_s", Time.get_unix_time_from_system))


# -- logins: they return whether the player is logged in ------------------------------------------------------


## Continues the saved login. Returns whether there is one that the server accepts.
func restore() -> bool:
	return _is_ok(await _login.restore())


## Logs in with the account of this device. Its credentials are saved before they are sent, so that a lost response loses no account.
## [param create]: whether to create an account if the device has none.
func login_device(create := true) -> bool:
	var device := await _login.prepare_device()
	return await _log_in("device", device.merged({"create": create}))


## Logs in with an e-mail address.
func login_email(email: String, password: String, create := false) -> bool:
	var body := {"email": email, "password": password, "create": create}
	var with_client := func(saved: _SavedLogin) -> Dictionary:
		return body.merged({"known_client": saved.known_client}) if saved.known_client else body
	return _is_ok(await _login.log_in("/v1/login/email", with_client))


## Logs in with an ID token of an OpenID Connect issuer, whose name is in the server's settings.
func login_oidc(issuer: String, id_token: String, nonce := "", create := true) -> bool:
	return await _log_in("oidc/" + issuer.uri_encode(), _oidc(id_token, nonce).merged({"create": create}))


## Logs in with a Steam session ticket, hexadecimal.
func login_steam(ticket: String, create := true) -> bool:
	return await _log_in("steam", {"ticket": ticket, "create": create})


## Logs in with an identity token of Sign in with Apple.
func login_apple(identity_token: String, nonce := "", create := true) -> bool:
	return await _log_in("apple", _apple(identity_token, nonce).merged({"create": create}))


## Ends the login, or with [param everywhere] the logins of all devices and all sessions. The credentials of the device stay, so that
## [method login_device] opens the same account. Returns whether the login has ended.
func logout(everywhere := false) -> bool:
	return _is_ok(await _login.end(everywhere, false))


# -- tokens and sessions --------------------------------------------------------------------------------------


## Returns a valid access token, which is renewed before it ends. One renewal runs at a time.
func token() -> String:
	var outcome := await _login.token()
	return outcome.text if _is_ok(outcome) else ""


## Opens a session of the player. Returns the client, a child of this node, or null. See Client.open for the [param options]; the token
## is that of the account. [param url] is by default the address that the server has sent.
func connect_session(options := {}, url := "") -> _Client:
	if not await token():
		return null
	var address := url if url else player_url
	if not address:
		last_error = _Errors.ClientError.new(
			"the API has sent no address for players: pass url, or set api.player_url on the server"
		)
		return null
	var client := _Client.new()
	add_child(client)
	var own := options.duplicate()
	own["token"] = _token_or_null
	if await client.open(address, own):
		last_error = null
		return client
	last_error = client.last_error
	client.queue_free()
	return null


# -- the account: the calls return whether they have succeeded ------------------------------------------------


## Returns the account: player_id, created_at, and identities with provider, subject and linked_at. Empty if the call failed.
func get_account() -> Dictionary:
	var outcome := await _authorized(HTTPClient.METHOD_GET, "")
	return outcome.fields() if _is_ok(outcome) else {}


## Links this device to the account. IDENTITY_TAKEN: the device opens another account.
func link_device() -> bool:
	return await _link("device", await _login.prepare_device())


## Links an e-mail address with a password: the account then opens on other devices.
func link_email(email: String, password: String) -> bool:
	return await _link("email", {"email": email, "password": password})


## Links an identity of an OpenID Connect issuer.
func link_oidc(issuer: String, id_token: String, nonce := "") -> bool:
	return await _link("oidc/" + issuer.uri_encode(), _oidc(id_token, nonce))


## Links a Steam account.
func link_steam(ticket: String) -> bool:
	return await _link("steam", {"ticket": ticket})


## Links an Apple account.
func link_apple(identity_token: String, nonce := "") -> bool:
	return await _link("apple", _apple(identity_token, nonce))


## Unlinks an identity. The last one cannot be unlinked.
func unlink(provider: String, subject: String) -> bool:
	var path := "/identities/%s/%s" % [provider.uri_encode(), subject.uri_encode()]
	return _is_ok(await _authorized(HTTPClient.METHOD_DELETE, path))


## Changes the password. The logins of all other devices end.
func change_password(old: String, changed: String) -> bool:
	return _is_ok(await _authorized(HTTPClient.METHOD_POST, "/password", {"old": old, "new": changed}))


## Merges the account of another AccountClient into this one: its holdings and identities move here, and it ends. The other client is
## logged out afterwards.
func merge(other: Node) -> bool:
	var other_login: _Login = other.get("_login")
	if not _is_ok(await other_login.token()):
		return false
	var body := {"refresh_token": other_login.saved.refresh_token}
	if not _is_ok(await _authorized(HTTPClient.METHOD_POST, "/merge", body)):
		return false
	return _is_ok(await other_login.end(false, true))


## Returns all data that the server stores about the player, a JSON document in each line; empty if the call failed.
func export() -> String:
	var outcome := await _authorized(HTTPClient.METHOD_GET, "/export")
	return outcome.text if _is_ok(outcome) else ""


## Deletes the account and all data of the player permanently, and the login and the device's credentials here.
func delete() -> bool:
	if not _is_ok(await _authorized(HTTPClient.METHOD_DELETE, "")):
		return false
	await _login.delete()
	return true


# -- parts ----------------------------------------------------------------------------------------------------


func _log_in(provider: String, body: Dictionary) -> bool:
	return _is_ok(await _login.log_in("/v1/login/" + provider, func(_saved: _SavedLogin) -> Dictionary: return body))


func _link(provider: String, body: Dictionary) -> bool:
	return _is_ok(await _authorized(HTTPClient.METHOD_POST, "/identities/" + provider, body))


# Calls with the access token, which is renewed once if the server refuses it, as after a revocation.
func _authorized(method: HTTPClient.Method, path: String, body: Variant = null) -> _ApiCalls.Outcome:
	var access := await _login.token()
	if access.error:
		return access
	var outcome := await _calls.fetch(method, "/v1/account" + path, body, access.text)
	var refusal := outcome.error as _Errors.ApiError
	if not refusal or refusal.status != 401 or refusal.code() != "UNAUTHORIZED":
		return outcome
	_login.discard_token(access.text)
	access = await _login.token()
	return access if access.error else await _calls.fetch(method, "/v1/account" + path, body, access.text)


# A session whose token cannot be renewed now tries again later, and does not become that of a guest.
func _token_or_null() -> Variant:
	var outcome := await _login.token()
	return null if outcome.error else outcome.text


func _is_ok(outcome: _ApiCalls.Outcome) -> bool:
	last_error = outcome.error
	return not outcome.error


static func _oidc(id_token: String, nonce: String) -> Dictionary:
	return {"id_token": id_token, "nonce": nonce} if nonce else {"id_token": id_token}


static func _apple(identity_token: String, nonce: String) -> Dictionary:
	return {"identity_token": identity_token, "nonce": nonce} if nonce else {"identity_token": identity_token}
