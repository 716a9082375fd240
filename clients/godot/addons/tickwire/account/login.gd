## The login of a player: saves it, and renews its tokens. One call of the API that changes it runs at a time, to its end: a
## renewal whose response is discarded would leave a used token, which ends the login when it is used again.
extends RefCounted

const _ApiCalls := preload("api_calls.gd")
const _Errors := preload("../session/errors.gd")
const _SavedLogin := preload("saved_login.gd")

## An access token with less time left is renewed before it is used.
const RENEW_MS := 60_000.0

signal _released

## The login as it was saved last.
var saved: _SavedLogin
## Whether the last login has created the account.
var is_new := false

var _calls: _ApiCalls
var _storage: Object
var _now_ms: Callable  # may stop while the computer sleeps
var _wall_s: Callable  # may be set back
var _is_busy := false
var _stored_text := ""  # of the storage, as it was read or written last
var _access_token := ""
var _renew_at_ms := 0.0
var _renew_at_s := 0.0


func _init(calls: _ApiCalls, storage: Object, now_ms: Callable, wall_s: Callable) -> void:
	saved = _SavedLogin.new(calls.url)
	_calls = calls
	_storage = storage
	_now_ms = now_ms
	_wall_s = wall_s


## Renews the saved login; the outcome has an error if there is none that the server accepts.
func restore() -> _ApiCalls.Outcome:
	await _begin()
	return _end(await _renew())


## Logs in. [param create_body] returns the request for the saved login.
func log_in(path: String, create_body: Callable) -> _ApiCalls.Outcome:
	await _begin()
	await _load()
	return _end(await _accept(await _calls.fetch(HTTPClient.METHOD_POST, path, create_body.call(saved))))


## Returns credentials of the device, which are saved before they are first sent.
func prepare_device() -> Dictionary:
	await _begin()
	await _load()
	saved.prepare_device()
	await _save()
	_end(null)
	return {"device_id": saved.device_id, "secret": saved.device_secret}


## Returns an outcome whose text is an access token.
func token() -> _ApiCalls.Outcome:
	await _begin()
	var outcome := _ApiCalls.Outcome.new()
	if not _access_token or float(_now_ms.call()) > _renew_at_ms or float(_wall_s.call()) > _renew_at_s:
		outcome = await _renew()
	if not outcome.error:
		outcome.text = _access_token
	return _end(outcome)


## Renews an access token that the server has refused, when it is next needed.
func discard_token(refused: String) -> void:
	if _access_token == refused:
		_access_token = ""


## Logs out, here and on the server, unless it [param is_ended] there already.
func end(everywhere: bool, is_ended: bool) -> _ApiCalls.Outcome:
	await _begin()
	await _load()
	var outcome := _ApiCalls.Outcome.new()
	if saved.refresh_token and not is_ended:
		var body := {"refresh_token": saved.refresh_token, "everywhere": everywhere}
		outcome = await _calls.fetch(HTTPClient.METHOD_POST, "/v1/logout", body)
		if _is_refusal(outcome, 401):  # the server has ended the login already
			outcome = _ApiCalls.Outcome.new()
	if not outcome.error:
		await _forget()
	return _end(outcome)


## Deletes everything that was saved, after the account was deleted.
func delete() -> void:
	await _begin()
	saved = _SavedLogin.new(_calls.url)
	_access_token = ""
	_stored_text = ""
	if _storage:
		await _storage.clear()
	_end(null)


# Waits until no other call is running.
func _begin() -> void:
	while _is_busy:
		await _released
	_is_busy = true


# Adopts the login that another program has saved in the storage: it may have used the token of this one. The login of another player
# is adopted by a client without a login only.
func _load() -> void:
	var loaded: Variant = await _storage.load() if _storage else ""
	var text: String = loaded if loaded is String else ""
	if text == _stored_text:  # so that a text which could not be saved is not lost
		return
	_stored_text = text
	var stored := _SavedLogin.new(_calls.url)
	stored.read(text)
	if text and saved.player_id in ["", stored.player_id]:
		saved = stored


func _end(outcome: _ApiCalls.Outcome) -> _ApiCalls.Outcome:
	_is_busy = false
	_released.emit()
	return outcome


func _renew() -> _ApiCalls.Outcome:
	await _load()
	var used := saved.refresh_token
	if not used:
		return _ApiCalls.Outcome.failed(_Errors.NotLoggedIn.new("log in first"))
	var outcome := await _calls.fetch(HTTPClient.METHOD_POST, "/v1/token", {"refresh_token": used})
	if _is_refusal(outcome, 401):
		await _load()
		if saved.refresh_token not in ["", used]:  # another program has renewed the login during the call
			return await _renew()
		await _forget()
		return _ApiCalls.Outcome.failed(_Errors.NotLoggedIn.new("the server has ended the login: log in again"))
	return await _accept(outcome)


# Keeps the response to a login or a renewal.
func _accept(outcome: _ApiCalls.Outcome) -> _ApiCalls.Outcome:
	if outcome.error:
		return outcome
	var result := outcome.fields()
	for field: String in ["player_id", "access_token", "refresh_token"]:
		if not result.get(field) is String or not result[field]:
			return _ApiCalls.Outcome.failed(_Errors.ApiError.new(502, "INTERNAL", "the response is not a login"))
	saved.player_id = result.player_id
	saved.refresh_token = result.refresh_token
	saved.player_url = str(result.get("player_url", ""))
	if result.get("known_client"):
		saved.known_client = str(result.known_client)
	is_new = result.get("is_new") == true
	_access_token = result.access_token
	var expires_in_s: Variant = result.get("expires_in_s")
	var for_ms: float = (expires_in_s * 1000.0 if expires_in_s is float else 0.0) - RENEW_MS
	_renew_at_ms = float(_now_ms.call()) + for_ms
	_renew_at_s = float(_wall_s.call()) + for_ms / 1000.0
	await _save()
	return outcome


func _forget() -> void:
	_access_token = ""
	if saved.player_id:
		saved.log_out()
		await _save()


func _save() -> void:
	var text := saved.to_text()
	if not _storage or text == _stored_text:
		return
	await _storage.save(text)
	_stored_text = text


static func _is_refusal(outcome: _ApiCalls.Outcome, status: int) -> bool:
	return outcome.error is _Errors.ApiError and outcome.error.get("status") == status
