## The policy of a client: events go in with the time, commands come out in order. Pure.
## [codeblock]
## shell --open, join, connected, message_received, timer_fired, ...--> SessionMachine
## shell <--Connect, Send, SetTimer, Resolve, Emit, ...---------------- take_commands
## [/codeblock]
## A shell opens sockets, runs one timer and passes results to the game. It carries out the commands in order, after each call of a
## method. All clients have this machine, and agree on schemas/scenarios; the README there defines the events and commands.
## ConnectionMachine connects, SeatMachine joins rooms; here are the messages, commands, matches and lists.
extends RefCounted

const _ClientCore := preload("../core/client_core.gd")
const _Commands := preload("machine_commands.gd")
const _ConnectionMachine := preload("connection_machine.gd")
const _Deadlines := preload("deadlines.gd")
const _Errors := preload("errors.gd")
const _Messages := preload("../core/messages.gd")
const _PendingCall := preload("pending_call.gd")
const _Request := preload("request.gd")
const _SeatMachine := preload("seat_machine.gd")
const _Updates := preload("../core/updates.gd")

const _Kind := _PendingCall.Kind
const _Phase := _ConnectionMachine.Phase

## How long match waits, unless the caller chooses another time.
const MATCH_MS_MAX := 300_000

## The protocol, and the connection.
var core: _ClientCore
var connection: _ConnectionMachine
## The number of connections that continued the session, and of the sessions that the server did not keep.
var resumes := 0
var sessions_lost := 0
## Whether the session is open and connected.
var is_connected_now: bool:
	get:
		return connection.phase == _Phase.OPEN

var _commands: Array[_Commands.Command] = []
var _deadlines := _Deadlines.new()
var _timer_ms := INF  # infinite: no timer
var _seats: _SeatMachine
var _calls: Dictionary = {}  # PendingCall by number, in the order of the calls
var _last_call := 0
var _open: _PendingCall
var _match: _PendingCall
var _lists: Array[_PendingCall] = []
var _authentications: Array[_PendingCall] = []  # the first one has been sent
var _renewal_until_ms := 0.0  # when the token of the session expires
var _by_command: Dictionary = {}  # PendingCall by the id of its command
var _move: _Messages.Redirect  # from the Redirect of a move until the room's Left
var _seated_call := 0  # the call that got the newest seat
var _has_reported_loss := false  # disconnected was emitted, and reconnected not yet
var _now_ms := 0.0  # the time of the current event


## [param options]: url; build; reconnect_ms; has_storage. [param random] returns random numbers from 0 to 1.
func _init(options: Dictionary, random: Callable) -> void:
	var defaults := {"build": "", "reconnect_ms": 60_000, "has_storage": false}
	core = _ClientCore.new(random)
	connection = _ConnectionMachine.new(options.merged(defaults), core, _deadlines, random, self)
	connection.use_commands(_commands)
	_seats = _SeatMachine.new(core, connection, _deadlines, random, self)


## Returns the commands since the last call, in order. The last one may be SetTimer.
func take_commands() -> Array[_Commands.Command]:
	_set_timer()
	var commands := _commands.duplicate()
	_commands.clear()
	return commands


func _set_timer() -> void:
	if not _deadlines.has_changed:
		return
	_deadlines.has_changed = false
	var next_ms := _deadlines.next_ms()
	if next_ms != _timer_ms:
		_timer_ms = next_ms
		_commands.append(_Commands.SetTimer.new(next_ms))


# -- the game's calls -------------------------------------------------------------------------------------


## Connects for the first time, or resumes the session of an earlier run of the program.
## [param stored] is the text of the last StoreSession; empty without one.
func open(stored: String, now_ms: float) -> int:
	_now_ms = now_ms
	_open = _new_call(_Kind.OPEN)
	var number := _open.number
	connection.open(stored, now_ms)
	return number


## Joins a room, on whichever shard it is.
func join(room_type: String, options: Dictionary, now_ms: float) -> int:
	_now_ms = now_ms
	var waiting := _new_call(_Kind.JOIN)
	waiting.options = options.get("options")
	if not _check_open(waiting):
		return waiting.number
	waiting.first = core.join(room_type, options)
	if not _check_encoded(waiting):
		return waiting.number
	_seats.add(waiting, now_ms)
	return waiting.number


## Leaves the room.
func leave(now_ms: float) -> int:
	_now_ms = now_ms
	var waiting := _new_call(_Kind.LEAVE)
	if _check_open(waiting):
		_seats.add(waiting, now_ms)
	return waiting.number


## Waits in a queue until a match is found, and joins its room.
func match(mode: String, options: Dictionary, timeout_ms: float, now_ms: float) -> int:
	_now_ms = now_ms
	var waiting := _new_call(_Kind.MATCH)
	if _match:
		reject(waiting, _Errors.ClientError.new("another match is waiting: call cancel_match first"))
		return waiting.number
	waiting.mode = mode
	waiting.timeout_ms = timeout_ms
	waiting.options = options.get("options")
	if not _check_open(waiting):
		return waiting.number
	var data := core.match_request(mode, options)
	if _check_encoded(waiting):
		_match = waiting
		waiting.request = _Request.new("MatchRequest", data)
		_deadlines.set_at(waiting.number, now_ms + timeout_ms)
		send(data)
	return waiting.number


## Leaves the queue. A match in progress fails, unless the match was final before.
func cancel_match(now_ms: float) -> void:
	_now_ms = now_ms
	if _match and _match.request:
		_match.is_cancelled = true
	send(core.match_cancel())


## Requests open rooms of a type. One request waits at a time: an Error does not say which one it answers.
func list_rooms(room_type: String, labels: Dictionary, limit: int, now_ms: float) -> int:
	_now_ms = now_ms
	var waiting := _new_call(_Kind.LIST_ROOMS)
	if not _check_open(waiting):
		return waiting.number
	var data := core.list_rooms(room_type, labels, limit)
	if _check_encoded(waiting):
		waiting.request = _Request.new("ListRooms", data, core.list_id)
		_lists.append(waiting)
		if _lists.size() == 1:
			_begin(waiting)
	return waiting.number


## Logs in during the session, or renews its token. One token is checked at a time.
func authenticate(token: String, now_ms: float) -> int:
	_now_ms = now_ms
	var waiting := _new_call(_Kind.AUTHENTICATE)
	_add_authentication(waiting, token)
	return waiting.number


## Runs a command in the room. It is sent again until it is answered, and runs at most once.
func command(name: String, payload: Variant, timeout_ms: float, now_ms: float) -> int:
	_now_ms = now_ms
	var waiting := _new_call(_Kind.COMMAND)
	waiting.name = name
	if not core.world:
		reject(waiting, _Errors.ClientError.new("the client is in no room: join first"))
		return waiting.number
	if not _check_open(waiting):
		return waiting.number
	waiting.command_id = core.command(name, payload)
	if _check_encoded(waiting):
		_by_command[waiting.command_id] = waiting
		_deadlines.set_at(waiting.number, now_ms + timeout_ms)
		connection.command_added()
		_send_commands()
	return waiting.number


## Sends an input, in the game's units. Returns its sequence number; 0 if it was not sent: the client is not connected or in no room,
## or the input is invalid, see [code]core.failure[/code].
func send_input(values: Dictionary) -> int:
	if not is_connected_now:
		return 0
	var data := core.input(values)
	if core.failure:
		return 0
	_commands.append(_Commands.Send.new(data))
	return core.input_seq


## Stops waiting for a call: a seat or a queue entry that it would get is released. Idempotent.
func abandon(number: int, now_ms: float) -> void:
	_now_ms = now_ms
	var waiting: _PendingCall = _calls.get(number)
	if waiting:
		_end(waiting, true)
	elif number and number == _seated_call and core.joined:  # resolved, and not received
		send(core.leave())
	if waiting and waiting.kind == _Kind.OPEN:
		connection.close(_ConnectionMachine.NORMAL, "abandoned")
	_flush()


## Checks the path at once: the network changed, a timer was late, or the game is visible again.
func network_changed(now_ms: float) -> void:
	_now_ms = now_ms
	connection.network_changed(now_ms)


## Breaks the connection, as a bad network does.
func drop(now_ms: float) -> void:
	_now_ms = now_ms
	connection.drop("dropped", now_ms)


## Ends the session, its seat and its queue entry. Idempotent.
func close(now_ms: float) -> void:
	_now_ms = now_ms
	if connection.phase != _Phase.CLOSED:
		connection.close(_ConnectionMachine.NORMAL, "closed")


# -- the shell's events -----------------------------------------------------------------------------------


## Answers RequestToken.
func token_received(token: String, now_ms: float) -> void:
	_now_ms = now_ms
	if is_connected_now:
		_renew(token)
	else:
		connection.token_received(token, now_ms)


## Answers RequestToken: the application's function failed.
func token_failed(reason: String, now_ms: float) -> void:
	_now_ms = now_ms
	connection.token_failed(reason, now_ms)


## Answers Connect: the WebSocket is open.
func connected(now_ms: float) -> void:
	_now_ms = now_ms
	connection.connected(now_ms)


## Answers Connect: the WebSocket could not be opened.
func connect_failed(error: _Errors.ConnectFailed, now_ms: float) -> void:
	_now_ms = now_ms
	connection.connect_failed(error, now_ms)


## Reports the end of the newest connection, unless Close caused it. A [param code] of 0 means that there was no close.
## [param reason]: why this side closed; empty if the server or the network did.
func connection_lost(code: int, reason: String, now_ms: float) -> void:
	_now_ms = now_ms
	connection.connection_lost(code, reason, now_ms)


## Reports that the time of the last SetTimer has come.
func timer_fired(now_ms: float) -> void:
	_timer_ms = INF
	_deadlines.has_changed = true
	_run_due(now_ms)


## Applies a message of the newest connection. Returns the update, for the shell's own counters; null if there is nothing new.
func message_received(data: PackedByteArray, now_ms: float) -> _Updates.Update:
	if connection.phase != _Phase.HELLO and connection.phase != _Phase.OPEN:
		return null
	connection.heartbeat.record_received()
	var update: _Updates.Update = core.receive(data, int(now_ms * 1000))
	if update is _Updates.Malformed:  # the server would send it again after a reconnect
		var text := "the server sent a message that cannot be decoded: %s" % update.reason
		connection.close(_ConnectionMachine.PROTOCOL_ERROR, text)
		return null
	_update_received(update, now_ms)
	return update


func _update_received(update: _Updates.Update, now_ms: float) -> void:
	_now_ms = now_ms
	if update is _Updates.StateApplied:
		_emit("state", update)
	elif update is _Updates.InputAcknowledged:
		_emit("acknowledged", update)
	elif update:
		if update is _Updates.ErrorReceived and connection.phase == _Phase.HELLO:
			_emit("refused", _Errors.Refused.new(update.error))
			connection.refused(_login_refused(update.error), now_ms)
		else:
			_handle(update)
	if core.outgoing:
		_flush()
		_continue_seats()
	if _timer_ms <= now_ms:  # timers may be late
		_run_due(now_ms)


# -- updates ----------------------------------------------------------------------------------------------


func _handle(update: _Updates.Update) -> void:
	if update is _Updates.Welcomed:
		_welcomed(update)
	elif update is _Updates.Redirected:
		if update.redirect.is_resume:
			_moved(update.redirect.url)
		elif update.is_move:
			_move = update.redirect
	elif update is _Updates.SeatTaken:
		_emit("joined", update.joined)
		connection.store()
	elif update is _Updates.SeatLost:
		_seat_lost(update.reason)
	elif update is _Updates.ErrorReceived:
		_emit("refused", _Errors.Refused.new(update.error))
		connection.refusal = update.error
	elif update is _Updates.EventsLost:
		_emit("refused", _Errors.Refused.new(update.error))
	elif update is _Updates.EventReceived:
		_emit("event", update.event)
	elif update is _Updates.ReplyReceived:
		_replied(update.reply, update.is_decided)
	elif update is _Updates.QueueChanged:
		if update.is_current:
			_emit("match", update.status)
	elif update is _Updates.PongReceived:
		_emit("pong", update)
	elif update is _Updates.TokenRequested:
		_renewal_until_ms = _now_ms + update.expires_in_ms
		_request_renewal()
	elif update is _Updates.Ended:
		connection.goodbye = update.goodbye
	_answer(update)
	if _open and connection.phase == _Phase.OPEN:
		_open_answered(update)
	_continue_seats()
	_follow_move()


func _continue_seats() -> void:
	if not core.is_abandoning_join:
		_seats.abandoned_join_answered(_now_ms)


func _welcomed(update: _Updates.Welcomed) -> void:
	if connection.phase != _Phase.HELLO:
		return
	connection.welcomed(update.welcome, _now_ms)
	resumes += int(update.has_resumed)
	sessions_lost += int(update.has_lost_session)
	_flush()
	_deadlines.cancel(_Deadlines.RENEWAL)
	if _calls.has(_Deadlines.RENEWAL):  # Hello had a token
		_end(_calls[_Deadlines.RENEWAL], false)
	if _has_reported_loss:
		_has_reported_loss = false
		_emit("reconnected", update.has_resumed)
	if update.has_lost_session:
		_fail_commands(_Errors.SessionLost, "the session was lost")
	if update.lost_room_id:
		var reason := update.welcome.left_reason
		_seat_lost(reason if reason else "the seat was lost while the client was disconnected")
	_seats.welcomed(update, _now_ms)
	_send_requests_again()
	_send_commands()
	if not _open:
		return
	if update.has_resumed and update.is_join_in_flight:  # the seat of the earlier run of the program follows
		_deadlines.set_at(_open.number, _now_ms + _PendingCall.CALL_MS_MAX)
	else:
		resolve(_open, null)


# Ends open once the client has the seat of an earlier run of the program, or will not get it.
func _open_answered(update: _Updates.Update) -> void:
	var is_over := update is _Updates.SeatTaken or update is _Updates.SeatLost
	if update is _Updates.Redirected:
		is_over = not update.redirect.is_resume
	elif update is _Updates.ErrorReceived:
		is_over = _Request.is_answer(update.error, "Join")
	if is_over:
		resolve(_open, null)


func _send_requests_again() -> void:
	if _match and _match.request and _match.request.type == "MatchRequest":
		send(_match.request.data)
		if _match.is_cancelled:
			send(core.match_cancel())
	for waiting: Array[_PendingCall] in [_lists, _authentications]:
		if waiting and waiting[0].request:
			send(waiting[0].request.data)


func _moved(url: String) -> void:
	if connection.is_downgrade(url):
		_emit("error", _ConnectionMachine.downgrade_error(url))
	else:
		connection.moved(url)


func _seat_lost(reason: String) -> void:
	_fail_commands(_Errors.ClientError, "the seat was lost")
	_emit("left", reason)
	connection.store()


# Enters the room to which the player is moved, once it has left its room.
func _follow_move() -> void:
	if not _move or core.joined:
		return
	var redirect := _move
	_move = null
	var before: _PendingCall = _calls.get(_PendingCall.MOVE_NUMBER)
	if before:
		_end(before, true)
	var moving := _PendingCall.new(_PendingCall.MOVE_NUMBER, _Kind.MOVE)
	moving.redirect = redirect
	_calls[_PendingCall.MOVE_NUMBER] = moving
	_seats.add(moving, _now_ms)


# Passes an update to the oldest call whose request it answers.
func _answer(update: _Updates.Update) -> void:
	for waiting: _PendingCall in _calls.values():
		if waiting.request and waiting.request.is_answered_by(update):
			_answered(waiting, update)
			return


func _answered(waiting: _PendingCall, answer: _Updates.Update) -> void:
	if _seats.active == waiting:
		_seats.answered(waiting, answer, _now_ms)
	elif waiting.kind == _Kind.LIST_ROOMS:
		if answer is _Updates.ErrorReceived:
			reject(waiting, _Errors.Refused.new(answer.error))
		elif answer is _Updates.RoomsListed:
			resolve(waiting, answer.answer)
	elif waiting.kind == _Kind.MATCH:
		_match_answered(waiting, answer)
	elif answer is _Updates.ErrorReceived:
		reject(waiting, _Errors.Refused.new(answer.error))
	elif answer is _Updates.SessionAuthenticated:
		connection.authenticated(waiting.token)
		resolve(waiting, answer.answer)


func _match_answered(waiting: _PendingCall, answer: _Updates.Update) -> void:
	if answer is _Updates.ErrorReceived:
		reject(waiting, _Errors.Refused.new(answer.error))
	elif answer is _Updates.QueueChanged:
		var late := _Errors.TimedOut.new("no match was found within %s s" % (waiting.timeout_ms / 1000))
		reject(waiting, late if waiting.is_late else _Errors.NotMatched.new(answer.status))
	elif answer is _Updates.Redirected:
		waiting.request = null
		waiting.redirect = answer.redirect
		_deadlines.cancel(waiting.number)
		_seats.add(waiting, _now_ms)


func _replied(reply: _Messages.Reply, is_decided: bool) -> void:
	var waiting: _PendingCall = _by_command.get(reply.id)
	if waiting and is_decided:
		if reply.ok:
			resolve(waiting, reply)
		else:
			reject(waiting, _Errors.CommandFailed.new(reply))
	_send_commands()


# -- the connection's events ------------------------------------------------------------------------------


## Reports the loss of the connection; the machine reconnects.
func disconnected(reason: String) -> void:
	_deadlines.cancel(_Deadlines.COMMANDS)
	_has_reported_loss = true
	_emit("disconnected", reason)


## Ends all calls.
func closed(error: _Errors.ClientError) -> void:
	_seats.clear()
	_deadlines.clear()
	_lists.clear()
	_authentications.clear()
	connection.login_token = ""
	for waiting: _PendingCall in _calls.values():
		reject(waiting, error if waiting.kind == _Kind.OPEN else connection.disconnected_error())
	_emit("closed", connection.disconnected_error())


# -- time -------------------------------------------------------------------------------------------------


func _run_due(now_ms: float) -> void:
	_now_ms = now_ms
	while _deadlines.pop_due(now_ms):
		var key := _deadlines.due_key
		if key == _Deadlines.ATTEMPT:
			connection.attempt_due(_deadlines.due_ms, now_ms)
		elif key == _Deadlines.HEARTBEAT:
			connection.heartbeat_due(_deadlines.due_ms, now_ms)
		elif key == _Deadlines.COMMANDS:
			_send_commands()
		elif _calls.has(key):
			_call_due(_calls[key])
		elif key == _Deadlines.RENEWAL and is_connected_now:
			_request_renewal()
	_flush()


func _call_due(waiting: _PendingCall) -> void:
	if _seats.active == waiting:
		_seats.deadline_due(waiting, _now_ms)
	elif waiting.kind == _Kind.OPEN:
		resolve(waiting, null)
	elif waiting.kind == _Kind.MATCH and not waiting.is_late:
		waiting.is_late = true
		waiting.is_cancelled = true
		_deadlines.set_at(waiting.number, _now_ms + _PendingCall.CANCEL_MS_MAX)
		send(core.match_cancel())
	else:
		reject(waiting, _Errors.TimedOut.new("no answer in time"))


# -- tokens -----------------------------------------------------------------------------------------------


func _add_authentication(waiting: _PendingCall, token: String) -> void:
	if not _check_open(waiting):
		return
	var data := core.authenticate(token)
	if not _check_encoded(waiting):
		return
	waiting.request = _Request.new("Authenticate", data)
	waiting.token = token
	_authentications.append(waiting)
	if _authentications.size() == 1:
		_begin_authentication(waiting)


func _begin_authentication(waiting: _PendingCall) -> void:
	if waiting.kind == _Kind.AUTHENTICATE:
		connection.login_token = waiting.token
	_begin(waiting)


# Returns the Error that answers a Hello. One with the token of a login ends the login, not the session.
func _login_refused(error: _Messages.ErrorMessage) -> _Messages.ErrorMessage:
	if error.retryable or not connection.login_token:
		return error
	reject(_authentications[0], _Errors.Refused.new(error))
	var retryable := _Messages.ErrorMessage.new()
	retryable.code = error.code
	retryable.message = error.message
	retryable.retry_after_ms = error.retry_after_ms
	retryable.retryable = true
	return retryable


# Requests a new token, now and after a pause, until the token of the session expires.
func _request_renewal() -> void:
	_commands.append(_Commands.RequestToken.new())
	_try_renewal_later(_PendingCall.RENEWAL_MS)


func _try_renewal_later(pause_ms: float) -> void:
	if _now_ms + pause_ms < _renewal_until_ms:
		_deadlines.set_at(_Deadlines.RENEWAL, _now_ms + pause_ms)


func _renew(given: String) -> void:
	var token := connection.renewed_token(given)
	if token and not _calls.has(_Deadlines.RENEWAL):
		var waiting := _PendingCall.new(_Deadlines.RENEWAL, _Kind.RENEWAL)
		_calls[_Deadlines.RENEWAL] = waiting
		_add_authentication(waiting, token)


func _renewal_failed(error: _Errors.ClientError) -> void:
	if not is_connected_now:
		return
	var advice_ms := 0
	if error is _Errors.Refused:
		if not error.error.retryable:
			return
		advice_ms = error.error.retry_after_ms
	_try_renewal_later(maxf(_PendingCall.RENEWAL_MS, advice_ms))


# -- parts ------------------------------------------------------------------------------------------------


func _new_call(kind: _Kind) -> _PendingCall:
	_last_call += 1
	var waiting := _PendingCall.new(_last_call, kind)
	_calls[_last_call] = waiting
	return waiting


func _check_open(waiting: _PendingCall) -> bool:
	if connection.phase == _Phase.CLOSED:
		reject(waiting, connection.disconnected_error())
		return false
	return true


# Rejects a call whose message the core could not encode.
func _check_encoded(waiting: _PendingCall) -> bool:
	if core.failure:
		reject(waiting, _Errors.from_failure(core.failure))
		return false
	return true


func _begin(waiting: _PendingCall) -> void:
	_deadlines.set_at(waiting.number, _now_ms + _PendingCall.CALL_MS_MAX)
	if waiting.request:
		send(waiting.request.data)


## Sends a message, if the session is open.
func send(data: PackedByteArray) -> void:
	if is_connected_now:
		_commands.append(_Commands.Send.new(data))


# Sends the core's own messages. Without a connection they wait for the next one.
func _flush() -> void:
	if not is_connected_now:
		return
	for data in core.outgoing:
		_commands.append(_Commands.Send.new(data))
	core.outgoing.clear()


# Sends the commands that are due, and sets the deadline of the next one.
func _send_commands() -> void:
	if not is_connected_now:
		return
	var now_us := int(_now_ms * 1000)
	for data in core.commands_due(now_us):
		_commands.append(_Commands.Send.new(data))
	var next_us := core.next_command_us(now_us)
	if next_us < 0:
		_deadlines.cancel(_Deadlines.COMMANDS)
	else:
		_deadlines.set_at(_Deadlines.COMMANDS, next_us / 1000.0)


func _emit(event: String, value: Variant) -> void:
	_commands.append(_Commands.Emit.new(event, value))


func _fail_commands(kind: GDScript, reason: String) -> void:
	for waiting: _PendingCall in _by_command.values():
		reject(waiting, kind.new("%s before the room answered '%s'" % [reason, waiting.name]))


# -- the end of a call ------------------------------------------------------------------------------------


## Ends a call with its result.
func resolve(waiting: _PendingCall, value: Variant) -> void:
	if waiting.kind == _Kind.JOIN or waiting.kind == _Kind.MATCH:
		_seated_call = waiting.number
	if waiting.kind != _Kind.MOVE and waiting.kind != _Kind.RENEWAL:
		_commands.append(_Commands.Resolve.new(waiting.number, value))
	_end(waiting, false)


## Ends a call with an error. A move has no caller: its error is reported. A renewal is tried again.
func reject(waiting: _PendingCall, error: _Errors.ClientError) -> void:
	if waiting.kind == _Kind.MOVE:
		_emit("error", error)
	elif waiting.kind != _Kind.RENEWAL:
		_commands.append(_Commands.Reject.new(waiting.number, error))
	_end(waiting, not error is _Errors.NotMatched)
	if waiting.kind == _Kind.RENEWAL:
		_renewal_failed(error)


# Removes a call, and begins the next of its kind. After a failure a match leaves the queue.
func _end(waiting: _PendingCall, is_failure: bool) -> void:
	_calls.erase(waiting.number)
	_deadlines.cancel(waiting.number)
	if waiting == _open:
		_open = null
	if waiting == _match:
		_match = null
		if is_failure:
			core.abandon_match()
			_flush()
	if waiting.kind == _Kind.COMMAND and waiting.command_id:
		_by_command.erase(waiting.command_id)
		core.abandon_command(waiting.command_id)
		_send_commands()
	if waiting in _lists:
		var was_first := _lists[0] == waiting
		_lists.erase(waiting)
		if was_first and _lists:
			_begin(_lists[0])
	if waiting in _authentications:
		var was_first := _authentications[0] == waiting
		_authentications.erase(waiting)
		if was_first:
			connection.login_token = ""
			if _authentications:
				_begin_authentication(_authentications[0])
	_seats.remove(waiting, _now_ms)
