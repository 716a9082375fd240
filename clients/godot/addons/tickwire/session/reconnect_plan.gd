## Plans when and where a client reconnects, and which closes are final. The caller passes clock and randomness.
##
## The rules are documented in docs/protocol.md. A [i]series[/i] of attempts begins when a stable connection is lost. It has a
## deadline and growing pauses.
extends RefCounted

const _Backoff := preload("../core/backoff.gd")
const _Messages := preload("../core/messages.gd")

## The time limits of one attempt: until the WebSocket is open, and from Hello to Welcome.
const CONNECT_MS_MAX := 5_000
const HELLO_MS_MAX := 10_000
## The limit of consecutive Redirects that are followed without a pause. More of them mean that shards redirect in a circle.
const REDIRECTS_MAX := 5
## The first attempt that goes to the initial URL, as does every second one after it: the shard may be gone.
const _INITIAL_URL_ATTEMPT_FIRST := 4
## A connection that is lost before this time continues the previous series of attempts and its deadline.
const _STABLE_CONNECTION_MS := 5_000
## The minimum time in which a client that left its session for another shard tries to open a new one.
const _VISIT_MS := 10_000
const _FINAL_CLOSE_CODES: Array[int] = [1000, 1002, 1003, 1007, 1008, 1009]
## The server cannot serve the session now; the client sent too many messages or bytes.
const _CLOSED_AFTER_ERROR: Array[int] = [4002, 4004]
## The code of a connection that broke without a close.
const NO_CODE := 0

## The last known address of the session's shard.
var url: String
## The address of the next attempt and the pause before it: see [method next].
var next_url := ""
var pause_ms := 0

var _initial_url: String
var _reconnect_ms: float
var _random: Callable
var _backoff: _Backoff
var _deadline_ms := NAN  # before the first series
var _connected_ms := 0.0
var _attempts := 0
var _redirects := 0
var _advice_ms := 0
var _was_initial_url := false
var _stays_at_initial_url := false
var _redirect_url := ""  # the target of a Redirect, until the attempt


## Returns whether the server closed the connection for good. Its [param goodbye] takes precedence over the code.
static func is_final_close(code: int, goodbye: _Messages.Goodbye) -> bool:
	if goodbye:
		return not goodbye.come_back
	return code in _FINAL_CLOSE_CODES or (code >= 4500 and code <= 4999)


## Returns the delay that the server advised before the next connection; 0 without advice. The newest Error on the connection counts
## only if the close code refers to it.
static func advice_from(code: int, goodbye: _Messages.Goodbye, refusal: _Messages.ErrorMessage) -> int:
	if goodbye:
		return goodbye.retry_after_ms
	return refusal.retry_after_ms if refusal and code in _CLOSED_AFTER_ERROR else 0


func _init(initial_url: String, reconnect_ms: float, random: Callable) -> void:
	url = initial_url
	_initial_url = initial_url
	_reconnect_ms = reconnect_ms
	_random = random
	_backoff = _Backoff.new(random)


## Records that the session has a connection.
func connected(to: String, now_ms: float) -> void:
	url = to
	_connected_ms = now_ms


## Records that the connection was lost. [param advice_ms]: how long the server asked to wait.
func lost(now_ms: float, advice_ms := 0) -> void:
	if is_nan(_deadline_ms) or now_ms - _connected_ms >= _STABLE_CONNECTION_MS:
		_begin(now_ms, _reconnect_ms)
	_attempts = 0
	_advice_ms = advice_ms
	_stays_at_initial_url = false


## Records that the session moved to another shard: the next attempt goes there, without a pause.
func redirected(to: String) -> void:
	url = to
	_redirect_url = to
	_advice_ms = 0  # it was about another shard


## Begins a series for a new session on another shard. The first attempt goes there, without a pause. If it fails, later ones go to
## the initial URL: the shard may be dead.
func visit(to: String, now_ms: float) -> void:
	_begin(now_ms, maxf(_reconnect_ms, _VISIT_MS))
	url = _initial_url
	_redirect_url = to


## Records that the last attempt failed. If the server answered with a retryable error and this was the initial URL, later attempts
## skip the session's shard, which does not answer.
func failed(advice_ms: int, was_refused: bool) -> void:
	if _redirect_url:  # the attempt was redirected, and did not fail
		return
	_advice_ms = advice_ms
	_redirects = 0
	if was_refused:
		_stays_at_initial_url = _was_initial_url


## Moves the deadline: the client's timers were late by this time.
func extend(ms: float) -> void:
	_deadline_ms += ms


## Begins the series again, with short pauses: the network may work again.
func restart(now_ms: float) -> void:
	_begin(now_ms, _reconnect_ms)


## Plans the next attempt: [member next_url] and [member pause_ms]. Returns false if it would begin after the deadline of the series.
func next(now_ms: float) -> bool:
	next_url = _redirect_url
	_redirect_url = ""
	pause_ms = 0
	if next_url and _redirects < REDIRECTS_MAX:
		_redirects += 1
		_attempts = 0
		_stays_at_initial_url = false
		_was_initial_url = false
		return true
	_redirects = 0
	pause_ms = _backoff.next_ms(_advice_ms)
	if is_nan(_deadline_ms) or now_ms + pause_ms > _deadline_ms:
		return false
	_attempts += 1
	var is_initial_turn := _attempts >= _INITIAL_URL_ATTEMPT_FIRST and _attempts % 2 == 0
	_was_initial_url = _stays_at_initial_url or is_initial_turn
	next_url = _initial_url if _was_initial_url else url
	return true


func _begin(now_ms: float, duration_ms: float) -> void:
	_deadline_ms = now_ms + duration_ms
	_backoff = _Backoff.new(_random)
	_attempts = 0
	_redirects = 0
	_advice_ms = 0
	_stays_at_initial_url = false
