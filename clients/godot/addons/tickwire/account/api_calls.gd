## Calls of the player HTTP API: with a deadline, and repeated while the API is not available.
##
## Each call is safe to repeat: logins and renewals by themselves, all other changes by their Idempotency-Key.
extends Node

const _Backoff := preload("../core/backoff.gd")
const _Errors := preload("../session/errors.gd")

const DEADLINE_S := 10.0
const ATTEMPTS_MAX := 4
## A longer delay that the server advised is the caller's decision.
const RETRY_MS_MAX := 15_000
## The largest response; the export of a player is the largest one.
const BODY_BYTES_MAX := 8 << 20


## The response to a call, or the error.
class Outcome:
	extends RefCounted

	var text := ""
	var error: _Errors.ClientError

	## Returns the decoded JSON object; empty if the text is not JSON, such as a proxy's page.
	func fields() -> Dictionary:
		var json := JSON.new()
		return json.data if json.parse(text) == OK and json.data is Dictionary else {}

	static func failed(reason: _Errors.ClientError) -> Outcome:
		var outcome := Outcome.new()
		outcome.error = reason
		return outcome


## The URL of the API; empty if it is not https, or http on loopback: passwords and tokens are sent to it.
var url := ""

var _tls: TLSOptions
var _random := RandomNumberGenerator.new()  # a Callable does not keep it


func _init(api_url: String, tls: TLSOptions = null) -> void:
	var accepted := RegEx.create_from_string("^(https://[^/]|http://(localhost|127\\.0\\.0\\.1|\\[::1\\])(:[0-9]+)?(/|$))")
	if accepted.search(api_url):
		url = api_url.rstrip("/")
	_tls = tls


## Makes one call, with repetitions while the API is not available. [param body] is sent as JSON; null sends none.
func fetch(method: HTTPClient.Method, path: String, body: Variant = null, token := "") -> Outcome:
	if not url:
		return Outcome.failed(_Errors.ClientError.new(
			"the URL of the API must start with https://; http:// is allowed for loopback addresses"
		))
	if not is_inside_tree():
		return Outcome.failed(_Errors.ClientError.new("the client of accounts is not in the tree: call add_child first"))
	var headers: PackedStringArray = []
	if token:
		headers.append("Authorization: Bearer " + token)
	if method != HTTPClient.METHOD_GET:
		headers.append("Idempotency-Key: " + random_text(16))
	if body != null:
		headers.append("Content-Type: application/json")
	var text := "" if body == null else JSON.stringify(body, "", false)
	var backoff := _Backoff.new(_random.randf)
	var attempt := 1
	while true:
		var outcome := await _fetch_once(method, path, headers, text)
		if not outcome.error:
			return outcome
		var refusal: _Errors.ApiError = outcome.error
		var delay_ms := backoff.next_ms(refusal.retry_after_ms)
		if not refusal.is_temporary() or attempt == ATTEMPTS_MAX or delay_ms > RETRY_MS_MAX:
			return outcome
		attempt += 1
		await get_tree().create_timer(delay_ms / 1000.0, true, false, true).timeout
	return null


func _fetch_once(method: HTTPClient.Method, path: String, headers: PackedStringArray, text: String) -> Outcome:
	var http := HTTPRequest.new()
	http.timeout = DEADLINE_S
	http.body_size_limit = BODY_BYTES_MAX
	http.max_redirects = 0
	if _tls:
		http.set_tls_options(_tls)
	add_child(http)
	var problem := http.request(url + path, headers, method, text)
	if problem:
		http.queue_free()
		return Outcome.failed(_Errors.ApiUnreachable.new("the API does not answer: " + error_string(problem)))
	var response: Array = await http.request_completed
	http.queue_free()
	var result: HTTPRequest.Result = response[0]
	var status: int = response[1]
	var outcome := Outcome.new()
	var contents: PackedByteArray = response[3]
	outcome.text = contents.get_string_from_utf8()
	if result != HTTPRequest.RESULT_SUCCESS:
		outcome.error = _Errors.ApiUnreachable.new("the API does not answer: HTTPRequest has result %d" % result)
	elif status < 200 or status >= 300:
		outcome.error = _to_error(status, outcome.fields(), response[2])
	return outcome


## Returns letters, digits, - and _, with 8 bits of randomness for each byte.
static func random_text(bytes: int) -> String:
	var text := Marshalls.raw_to_base64(Crypto.new().generate_random_bytes(bytes))
	return text.replace("+", "-").replace("/", "_").rstrip("=")


static func _to_error(status: int, problem: Dictionary, headers: PackedStringArray) -> _Errors.ApiError:
	var code: Variant = problem.get("code")
	var detail: Variant = problem.get("detail")
	var error := _Errors.ApiError.new(status, code if code is String else "INTERNAL", detail if detail is String else "")
	for header in headers:
		var value := header.get_slice(":", 1).strip_edges()
		if header.to_lower().begins_with("retry-after:") and value.is_valid_int():
			error.retry_after_ms = maxi(0, value.to_int() * 1000)
	var advised: Variant = problem.get("retry_after_ms")
	if advised is float and advised > 0:
		error.retry_after_ms = int(advised)
	return error
