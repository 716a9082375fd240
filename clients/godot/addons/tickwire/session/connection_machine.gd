## The connections of a session machine: attempts, Hello, heartbeat, loss, redirects and the final close.
## [codeblock]
## closed --open--> token --> opening --> hello --Welcome--> open
##                    ^  └---------└---------└--failed--┐      │
##                    └------------- pause <------------┴-lost-┘
## any phase --final close, final error, time over, close()--> closed
## [/codeblock]
## ReconnectPlan plans when and where; here the steps of an attempt follow each other. Each step has a time limit. The session machine
## handles the messages, and owns the deadlines and the list of commands.
extends RefCounted

const _ClientCore := preload("../core/client_core.gd")
const _Commands := preload("machine_commands.gd")
const _Deadlines := preload("deadlines.gd")
const _Errors := preload("errors.gd")
const _Heartbeat := preload("heartbeat.gd")
const _Messages := preload("../core/messages.gd")
const _ReconnectPlan := preload("reconnect_plan.gd")
const _StoredSession := preload("stored_session.gd")

enum Phase { CLOSED, PAUSE, TOKEN, OPENING, HELLO, OPEN }

## The codes with which a client closes: the session ends; a message cannot be decoded; the session is kept.
const NORMAL := 1000
const PROTOCOL_ERROR := 1002
const RECONNECT := 4000

const _HAS_SOCKET: Array[int] = [Phase.OPENING, Phase.HELLO, Phase.OPEN]

## The phase of the newest connection.
var phase := Phase.CLOSED
## The state, as the game sees it: connecting, connected, reconnecting or closed.
var state := "closed"
## The address of the newest attempt.
var url: String
## The server's Goodbye on the newest connection, and the newest Error on it.
var goodbye: _Messages.Goodbye
var refusal: _Messages.ErrorMessage
## The close code of the last connection; 0 while it is open, or without a close.
var close_code := 0
var close_reason := "never connected"
var heartbeat := _Heartbeat.new()
## Of an Authenticate without an answer: Hello has it, because the server may have adopted it.
var login_token := ""

var _options: Dictionary
var _core: _ClientCore
var _deadlines: _Deadlines
var _commands: Array[_Commands.Command]
var _on_disconnected: Callable
var _on_closed: Callable
var _plan: _ReconnectPlan
var _is_first := true
var _visited_url := ""
var _token := ""
var _given_token := ""  # the application's newest one
var _adopted_token := ""  # of the last login
var _replaced_token: Variant = null  # which the application had given before; null before the first login
var _ping_ms := 0
var _stored: _StoredSession
var _saved: _StoredSession  # the newest StoreSession


## [param options]: url, build, reconnect_ms, has_storage. [param user] has the methods disconnected(reason) and closed(error); it is
## not kept alive.
func _init(options: Dictionary, core: _ClientCore, deadlines: _Deadlines, random: Callable, user: Object) -> void:
	_options = options
	_core = core
	_deadlines = deadlines
	_on_disconnected = Callable(user, "disconnected")
	_on_closed = Callable(user, "closed")
	url = options.url
	_plan = _ReconnectPlan.new(url, options.reconnect_ms, random)


## Appends to this list of commands.
func use_commands(commands: Array[_Commands.Command]) -> void:
	_commands = commands


## Returns the reason of the last close as an error.
func disconnected_error() -> _Errors.Disconnected:
	return _Errors.Disconnected.new("the connection is lost: %s" % close_reason)


## Returns whether an address would carry the token over a plain connection.
func is_downgrade(to: String) -> bool:
	return _options.url.begins_with("wss:") and not to.begins_with("wss:")


## Returns the error for a Redirect from an encrypted connection to a plain one.
static func downgrade_error(to: String) -> _Errors.ClientError:
	return _Errors.ClientError.new("redirected to %s: the token is not sent over a plain connection" % to)


# -- the session ------------------------------------------------------------------------------------------


## Begins the first attempt. [param stored] is the text of the last StoreSession, or empty.
func open(stored: String, now_ms: float) -> void:
	state = "connecting"
	if stored:
		_stored = _StoredSession.from_text(stored, _options.url)
		if not _stored:
			_clear_stored()
	_request_token(now_ms)


## Ends this session and begins a new one on another shard, or at the initial URL if that shard fails.
func visit(to: String, now_ms: float) -> void:
	if phase == Phase.OPEN:
		_commands.append(_Commands.Send.new(_core.end_session()))
		_commands.append(_Commands.CloseSocket.new(NORMAL, "redirected"))
	elif phase in _HAS_SOCKET:
		_commands.append(_Commands.CloseSocket.new(RECONNECT, "redirected"))
	_deadlines.cancel(_Deadlines.HEARTBEAT)
	_core.discard_session()
	_visited_url = to
	_plan.visit(to, now_ms)
	state = "connecting"
	_next_attempt(now_ms)


## Records that the session is on another shard. The server closes, and the next attempt goes there.
func moved(to: String) -> void:
	_plan.redirected(to)


## Ends the connection for good with this code; 1000 also ends the session. The user's closed follows.
func close(code: int, reason: String) -> void:
	if code == NORMAL and phase == Phase.OPEN:
		_commands.append(_Commands.Send.new(_core.end_session()))
	if phase in _HAS_SOCKET:
		_commands.append(_Commands.CloseSocket.new(code, reason))
	if code == NORMAL:
		_clear_stored()
	close_reason = reason
	_finish(disconnected_error())


## Breaks the open connection, or an attempt.
func drop(reason: String, now_ms: float) -> void:
	if phase not in _HAS_SOCKET:
		return
	_commands.append(_Commands.CloseSocket.new(RECONNECT, reason))
	if phase == Phase.OPEN:
		_lost(_ReconnectPlan.NO_CODE, reason, now_ms)
	else:
		_failed(_Errors.Disconnected.new(reason), now_ms)


## Checks the path, or attempts to connect at once.
func network_changed(now_ms: float) -> void:
	if phase == Phase.OPEN:
		_probe(now_ms)
	elif state == "reconnecting" and phase != Phase.TOKEN:
		if phase in _HAS_SOCKET:  # an attempt on the previous network may hang
			_commands.append(_Commands.CloseSocket.new(RECONNECT, "another attempt"))
		_plan.restart(now_ms)
		_request_token(now_ms)


# -- an attempt -------------------------------------------------------------------------------------------


func _next_attempt(now_ms: float) -> void:
	if not _plan.next(now_ms):
		close_reason = "could not reconnect within %s s: %s" % [_seconds(_options.reconnect_ms), close_reason]
		_finish(_Errors.Disconnected.new(close_reason))
		return
	url = _plan.next_url
	if _plan.pause_ms > 0:
		phase = Phase.PAUSE
		_deadlines.set_at(_Deadlines.ATTEMPT, now_ms + _plan.pause_ms)
	else:
		_request_token(now_ms)


func _request_token(now_ms: float) -> void:
	phase = Phase.TOKEN
	_deadlines.set_at(_Deadlines.ATTEMPT, now_ms + _ReconnectPlan.HELLO_MS_MAX)
	_commands.append(_Commands.RequestToken.new())


## Connects with this token.
func token_received(token: String, now_ms: float) -> void:
	if phase != Phase.TOKEN:
		return
	_token = _pick_token(token)
	if _stored:
		_restore(_stored, now_ms)
	phase = Phase.OPENING
	goodbye = null
	refusal = null
	close_code = _ReconnectPlan.NO_CODE
	_deadlines.set_at(_Deadlines.ATTEMPT, now_ms + _ReconnectPlan.CONNECT_MS_MAX)
	_commands.append(_Commands.Connect.new(url))


# Returns the token to use: the application may still return the one that a login has replaced.
func _pick_token(token: String) -> String:
	_given_token = token
	return _adopted_token if _replaced_token is String and token == _replaced_token else token


## Returns the token with which the session can be renewed; empty if the application has no other one.
func renewed_token(given: String) -> String:
	var token := _pick_token(given)
	return "" if token == _token else token


## Uses the token with which the session has authenticated from now on.
func authenticated(token: String) -> void:
	_token = token
	_adopted_token = token
	_replaced_token = _given_token
	store()


## Counts a failed attempt: the application has no token.
func token_failed(reason: String, now_ms: float) -> void:
	if phase == Phase.TOKEN:
		_failed(_Errors.Disconnected.new(reason), now_ms)


## Sends Hello: the WebSocket is open.
func connected(now_ms: float) -> void:
	if phase != Phase.OPENING:
		return
	phase = Phase.HELLO
	_deadlines.set_at(_Deadlines.ATTEMPT, now_ms + _ReconnectPlan.HELLO_MS_MAX)
	var data := _core.hello(_options.build, login_token if login_token else _token)
	if _core.failure:  # the token is too large
		_commands.append(_Commands.CloseSocket.new(RECONNECT, "no Hello"))
		_failed(_Errors.Disconnected.new(_core.failure.message), now_ms)
		return
	if _saved and _core.attempt >= _saved.attempt:
		store()
	_commands.append(_Commands.Send.new(data))


## Counts a failed attempt: the WebSocket could not be opened.
func connect_failed(error: _Errors.ConnectFailed, now_ms: float) -> void:
	if phase == Phase.OPENING:
		_failed(error, now_ms)


## Counts a failed attempt: the server answered the Hello with an Error.
func refused(error: _Messages.ErrorMessage, now_ms: float) -> void:
	_commands.append(_Commands.CloseSocket.new(RECONNECT, "refused"))
	_failed(_Errors.Refused.new(error), now_ms)


## Begins the session on this connection: the resume token is saved and confirmed.
func welcomed(welcome: _Messages.Welcome, now_ms: float) -> void:
	phase = Phase.OPEN
	state = "connected"
	_is_first = false
	_visited_url = ""
	_plan.connected(url, now_ms)
	_deadlines.cancel(_Deadlines.ATTEMPT)
	store()
	heartbeat = _Heartbeat.new()
	_ping_ms = _Heartbeat.ping_interval_ms(welcome.heartbeat_interval_ms)
	_ping(now_ms)


## Handles the end of the newest connection.
func connection_lost(code: int, reason: String, now_ms: float) -> void:
	close_code = code
	var text := reason if reason else "close code %s" % (str(code) if code else "None")
	match phase:
		Phase.OPENING:
			_failed(_Errors.ConnectFailed.new("cannot connect to %s: %s" % [url, text]), now_ms)
		Phase.HELLO:
			var error := _Errors.Disconnected.new("the connection is lost: %s" % text)
			error.may_return = not _ReconnectPlan.is_final_close(code, goodbye)
			_failed(error, now_ms)
		Phase.OPEN:
			_lost(code, text, now_ms)


func _failed(error: _Errors.ClientError, now_ms: float) -> void:
	phase = Phase.PAUSE
	close_reason = error.message
	var is_final := false
	var advised_ms := 0
	if error is _Errors.Refused:
		is_final = not error.error.retryable
		advised_ms = error.error.retry_after_ms
	elif error is _Errors.Disconnected:  # a handshake is always tried again: a proxy may refuse it while it is reloaded
		is_final = not error.may_return and not error is _Errors.ConnectFailed
		advised_ms = error.retry_after_ms
	# Another shard's refusal leads to the initial URL, whose own refusal counts.
	var is_visit: bool = url == _visited_url and url != _options.url
	if _is_first or (is_final and not is_visit):
		_finish(error)
		return
	_plan.failed(advised_ms, error is _Errors.Refused)
	_next_attempt(now_ms)


func _lost(code: int, reason: String, now_ms: float) -> void:
	phase = Phase.PAUSE
	close_reason = reason
	_deadlines.cancel(_Deadlines.HEARTBEAT)
	if not _options.reconnect_ms or _ReconnectPlan.is_final_close(code, goodbye):
		_finish(disconnected_error())
		return
	_plan.lost(now_ms, _ReconnectPlan.advice_from(code, goodbye, refusal))
	state = "reconnecting"
	_on_disconnected.call(reason)
	_next_attempt(now_ms)


func _finish(error: _Errors.ClientError) -> void:
	phase = Phase.CLOSED
	state = "closed"
	_on_closed.call(error)


# -- time -------------------------------------------------------------------------------------------------


## Handles the deadline ATTEMPT: the pause is over, or a step took too long.
func attempt_due(due_ms: float, now_ms: float) -> void:
	_plan.extend(now_ms - due_ms)
	match phase:
		Phase.PAUSE:
			_request_token(now_ms)
		Phase.TOKEN:
			_failed(_Errors.Disconnected.new("no token in time"), now_ms)
		Phase.OPENING:
			_commands.append(_Commands.CloseSocket.new(RECONNECT, "no connection in time"))
			_failed(_Errors.ConnectFailed.new("cannot connect to %s: no answer in time" % url), now_ms)
		Phase.HELLO:
			_commands.append(_Commands.CloseSocket.new(RECONNECT, "no Welcome in time"))
			_failed(_Errors.Disconnected.new("the server did not answer the Hello"), now_ms)


## Handles the deadline HEARTBEAT: sends a Ping, or ends a connection on which nothing arrives.
func heartbeat_due(due_ms: float, now_ms: float) -> void:
	if now_ms - due_ms >= _ping_ms:  # the timer was late: the silence proves nothing
		_probe(now_ms)
	else:
		_ping(now_ms)


func _ping(now_ms: float) -> void:
	if not heartbeat.record_ping():
		_commands.append(_Commands.CloseSocket.new(RECONNECT, "the server does not answer pings"))
		_lost(_ReconnectPlan.NO_CODE, "the server does not answer pings", now_ms)
		return
	if _saved and _saved.last_event != _core.event_number:
		store()
	_send_ping(now_ms)


func _probe(now_ms: float) -> void:
	heartbeat.record_probe()
	_send_ping(now_ms)


func _send_ping(now_ms: float) -> void:
	_commands.append(_Commands.Send.new(_core.ping(int(now_ms * 1000))))
	_deadlines.set_at(_Deadlines.HEARTBEAT, now_ms + _ping_ms)


# -- storage ----------------------------------------------------------------------------------------------


## Saves the session, if it can be resumed.
func store() -> void:
	if not _options.has_storage or not _core.resume_token:
		return
	var attempt := _saved.attempt if _saved else 0
	var command_id := _saved.command_id if _saved else 0
	var stored := _StoredSession.new()
	stored.url = _plan.url if not _saved or phase == Phase.OPEN else _saved.url
	stored.initial_url = _options.url
	stored.player = _StoredSession.player_from_token(_token)
	stored.resume_token = _core.resume_token
	stored.last_event = _core.event_number
	stored.attempt = attempt if _core.attempt < attempt else _core.attempt + _StoredSession.ATTEMPTS_AHEAD
	stored.command_id = command_id if _core.command_id < command_id else _core.command_id + _StoredSession.COMMANDS_AHEAD
	_saved = stored
	_commands.append(_Commands.StoreSession.new(stored.to_text()))


## Saves the session if its saved command id is reached.
func command_added() -> void:
	if _saved and _core.command_id >= _saved.command_id:
		store()


func _restore(stored: _StoredSession, now_ms: float) -> void:
	_stored = null
	if stored.player != _StoredSession.player_from_token(_token):
		_clear_stored()
		return
	_is_first = false
	_core.restore(stored.resume_token, stored.last_event, stored.attempt, stored.command_id)
	_saved = stored
	_visited_url = stored.url
	_plan.visit(stored.url, now_ms)
	_plan.next(now_ms)
	url = _plan.next_url


func _clear_stored() -> void:
	_saved = null
	if _options.has_storage:
		_commands.append(_Commands.ClearSession.new())


static func _seconds(ms: float) -> String:
	var seconds := ms / 1000
	return str(int(seconds)) if seconds == floorf(seconds) else str(seconds)
