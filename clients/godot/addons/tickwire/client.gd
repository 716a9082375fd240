## The client of one session: calls are awaited, and messages of the server are signals, in the order of arrival.
## [codeblock]
## var client := await Tickwire.connect_to_url("ws://127.0.0.1:8080/")
## var room := await client.join("arena")
## [/codeblock]
## The node must be in the tree, and works while the tree is paused. GDScript has no exceptions: a call that fails returns null (or an
## empty list, or false), and [member last_error] has the reason. An error in a listener is printed by the engine and ends that
## listener only; the client and the other listeners continue.
extends Node

const _Codec := preload("core/codec.gd")
const _ClientCore := preload("core/client_core.gd")
const _Commands := preload("session/machine_commands.gd")
const _Errors := preload("session/errors.gd")
const _Machine := preload("session/session_machine.gd")
const _Messages := preload("core/messages.gd")
const _MessagePack := preload("core/message_pack.gd")
const _OpenRoom := preload("open_room.gd")
const _Reply := preload("reply.gd")
const _Room := preload("room.gd")
const _Transport := preload("transport.gd")
const _Updates := preload("core/updates.gd")
const _World := preload("core/world.gd")

## The world advanced to this tick.
signal state(tick: int)
## An event of the room. See Room.event.
signal event(name: String, payload: Variant)
## The client is in a room: it has joined, was moved, or has resumed the session of an earlier run of the game.
signal joined(room: _Room)
## The player is no longer in the room.
signal left(reason: String)
## The inputs up to this number are part of the state of a tick.
signal acknowledged(seq: int, tick: int)
## The player's place in the queue. (In other clients this event is called match, which is a method here.)
signal match_status(status: _Messages.MatchStatus)
## The connection was lost, and the client reconnects.
signal disconnected(reason: String)
## The client reconnected; is_same_session: the session was resumed.
signal reconnected(is_same_session: bool)
## A round trip was measured: see [member rtt_ms].
signal pong(rtt_ms: float)
## The server sent an Error.
signal refused(error: _Errors.Refused)
## The client could not follow the server, or decode an event.
signal error(error: _Errors.ClientError)
## The session has ended for good.
signal closed(error: _Errors.Disconnected)

const _ANSWER_MS := 15_000.0
const _REPORT_COMMAND := "tickwire.report"
## The code and the reason of a close when the session is on another shard.
const _MOVED := 4003
const _MOVED_TO := "moved to "
const _DEFAULT_BUILD := "tickwire-godot"


class _Call:
	signal ended
	var is_over := false
	var value: Variant = null
	var error: _Errors.ClientError

	func end(result: Variant, reason: _Errors.ClientError) -> void:
		value = result
		error = reason
		is_over = true
		ended.emit()


## Why the last call failed; null if it succeeded. Read it right after the call.
var last_error: _Errors.ClientError
## The mirrored state of the room; null outside of a room.
var world: _World:
	get:
		return core.world if core else null
## The room that the client is in; null outside of a room.
var room: _Room:
	get:
		return _room if core and core.joined else null
## connecting, connected, reconnecting or closed. (In other clients it is called state, which is a signal here.)
var session_state: String:
	get:
		return _machine.connection.state if _machine else "closed"
## The time of a round trip, and the server's clock (UTC) minus the client's, both in milliseconds; NAN before the first measurement.
var rtt_ms := NAN
var clock_offset_ms := NAN
## The sequence number of the newest input that is part of the world.
var acknowledged_seq: int:
	get:
		return core.acknowledged_seq if core else 0
## How often the session was resumed, and how many sessions the server did not keep.
var resumes: int:
	get:
		return _machine.resumes if _machine else 0
var sessions_lost: int:
	get:
		return _machine.sessions_lost if _machine else 0
## The protocol, for figures such as core.mismatches.
var core: _ClientCore

var _machine: _Machine
var _random := RandomNumberGenerator.new()  # a Callable does not keep it
var _options: Dictionary
var _room: _Room
var _has_left_room := false
var _transport: _Transport
var _is_closed := false  # the game has called close
var _is_connected := false  # the machine knows that the transport is open
var _closing: Array[_Transport] = []
var _calls: Dictionary = {}  # _Call by number
var _queue: Array[_Commands.Command] = []
var _is_running := false
var _timer_ms := INF
var _token_request := 0
var _text_to_store: Variant = null  # null: nothing, "": clear
var _is_storing := false


func _init() -> void:
	process_mode = Node.PROCESS_MODE_ALWAYS
	process_priority = -100  # messages arrive before the game's nodes use them


## Connects. Returns whether the session is open. [param options] may have:
## [br][code]token[/code]: the player's token, or a Callable that returns it, which may be a coroutine; it is called for each connection;
## [br][code]build[/code]: the game's version, for the server's logs;
## [br][code]reconnect_s[/code]: how long the client tries to reconnect, 60 by default; 0 disables reconnecting, and INF has no
## limit;
## [br][code]session_storage[/code]: a SessionFile, or an object with the same methods: the session then survives a restart;
## [br][code]tls[/code]: TLSOptions for wss.
func open(url: String, options := {}) -> bool:
	if _machine:
		last_error = _Errors.ClientError.new("the client was opened before: use a new one")
		return false
	_options = options
	var machine_options := {
		"url": url,
		"build": options.get("build", _DEFAULT_BUILD),
		"reconnect_ms": roundf(options.get("reconnect_s", 60.0) * 1000),
		"has_storage": options.get("session_storage") != null,
	}
	_machine = _Machine.new(machine_options, _random.randf)
	core = _machine.core
	var stored := ""
	if machine_options.has_storage:
		var text: Variant = await options.session_storage.load()
		stored = text if text is String else ""
	var number := _machine.open(stored, _now_ms())
	if _is_closed:  # while the storage was loading
		_machine.close(_now_ms())
	var outcome := await _wait(number)
	return outcome.error == null


# -- calls ------------------------------------------------------------------------------------------------


## Joins a room, on whichever shard it is. Returns it, or null. [param options] may have: [code]name[/code] of one room;
## [code]room_id[/code]; [code]code[/code] of a private room; [code]is_private[/code]: create a room that can be joined only with its
## code; [code]labels[/code] of the room, a Dictionary; [code]party[/code]: [code][code, size][/code]; [code]options[/code] for the
## room's on_join, a Dictionary.
func join(room_type: String, options := {}) -> _Room:
	if not _is_ready():
		return null
	var outcome := await _wait(_machine.join(room_type, options, _now_ms()))
	return _room if not outcome.error else null


## Leaves the room. Returns whether the client is out of the room.
func leave() -> bool:
	if not _is_ready():
		return false
	return (await _wait(_machine.leave(_now_ms()))).error == null


## Waits in a queue until a match is found, and joins its room. Returns it, or null. [param options] may have [code]party[/code],
## [code]latencies[/code], [code]labels[/code] and [code]options[/code].
func match(mode: String, options := {}, timeout_s := 300.0) -> _Room:
	if not _is_ready():
		return null
	var outcome := await _wait(_machine.match(mode, options, timeout_s * 1000, _now_ms()))
	return _room if not outcome.error else null


## Leaves the queue. [method match] returns null, unless the match was already final.
func cancel_match() -> void:
	if _machine:
		_machine.cancel_match(_now_ms())
		_run()


## Logs in during the session, or renews its token, without a new connection. Returns the player's id; empty if the token was
## refused, see [member last_error]: the session then continues.
##
## A guest's session becomes that of the token's player, who keeps its seat. The room knows the player by the guest's id until the next
## join. The token is used for later connections, too, until the callable [code]token[/code] returns another one than before. If there
## is such a callable, the client renews the token itself: the server requests it some time before the token expires.
func authenticate(token: String) -> String:
	if not _is_ready():
		return ""
	var outcome := await _wait(_machine.authenticate(token, _now_ms()))
	return outcome.value.player_id if not outcome.error else ""


## Returns rooms of a type that any player may join now, the fullest first.
func list_rooms(room_type: String, labels := {}, limit := 0) -> Array[_OpenRoom]:
	var rooms: Array[_OpenRoom] = []
	if not _is_ready():
		return rooms
	var outcome := await _wait(_machine.list_rooms(room_type, labels, limit, _now_ms()))
	if not outcome.error:
		for listed: _Messages.ListedRoom in outcome.value.rooms:
			rooms.append(_OpenRoom.from_message(listed))
	return rooms


## Runs a command in the room: arguments by name, or the first argument alone. It runs at most once, also across reconnects.
func command(command_name: String, arguments: Variant = null, timeout_s := _ANSWER_MS / 1000) -> _Reply:
	if not _is_ready():
		return _Reply.from_error(last_error)
	var outcome := await _wait(_machine.command(command_name, arguments, timeout_s * 1000, _now_ms()))
	if outcome.error:
		return _Reply.from_error(outcome.error)
	var decoded := _MessagePack.decode(outcome.value.payload)
	if decoded.error:
		last_error = _Errors.ClientError.new("the reply to %s cannot be decoded: %s" % [command_name, decoded.error])
		return _Reply.from_error(last_error)
	return _Reply.from_value(decoded.value)


## Reports what is wrong in the match: the server logs it and stores the last seconds of the room. The reply's value has report_id and
## is_recorded. [param reason]: the player's words, 1 to 500 characters.
func report(reason: String) -> _Reply:
	return await command(_REPORT_COMMAND, {"reason": reason})


## Sends an input, in the game's units. Missing fields are zero. Returns its sequence number; 0 if it was not sent: the client is not
## connected, or is in no room.
func send_input(values: Dictionary) -> int:
	if not _is_ready():
		return 0
	var seq := _machine.send_input(values)
	last_error = _Errors.from_failure(core.failure) if core.failure else null
	_run()
	return seq


## Ends the session, and frees the seat and the queue entry.
func close() -> void:
	if _machine:
		_is_closed = true
		_machine.close(_now_ms())
		_run()


## Drops the connection, as a bad network does; the session is then resumed. For demonstrations and tests.
func drop() -> void:
	if _machine:
		_machine.drop(_now_ms())
		_run()


## Checks the path at once: the network has changed, or the game is visible again.
func network_changed() -> void:
	if _machine:
		_machine.network_changed(_now_ms())
		_run()


# -- the shell of the machine -----------------------------------------------------------------------------


func _process(_delta: float) -> void:
	_closing = _closing.filter(func(old: _Transport) -> bool: return old.is_closing())
	if _transport:
		_poll(_transport)
	if _machine and _timer_ms <= _now_ms():
		_timer_ms = INF
		_machine.timer_fired(_now_ms())
		_run()


func _notification(what: int) -> void:
	if what == NOTIFICATION_APPLICATION_RESUMED:
		network_changed()


func _poll(transport: _Transport) -> void:
	var is_alive := transport.poll()
	var has_redirect := false
	if transport.is_open and not _is_connected:
		_is_connected = true
		_machine.connected(_now_ms())
		_run()
	while _transport == transport:  # a listener, or the machine, may close it
		var data := transport.next_message()
		if data.is_empty():
			break
		var update := _machine.message_received(data, _now_ms())
		has_redirect = has_redirect or (update is _Updates.Redirected and update.redirect.is_resume)
		_run()
	if is_alive or _transport != transport:
		return
	if not has_redirect and transport.close_code == _MOVED and transport.close_reason.begins_with(_MOVED_TO):
		_follow_reason(transport.close_reason.trim_prefix(_MOVED_TO))
	elif transport.reopen():
		return
	_transport = null
	if _is_connected:
		_machine.connection_lost(transport.close_code, transport.close_reason, _now_ms())
	else:
		_machine.connect_failed(_connect_error("the handshake failed"), _now_ms())
	_run()


# The engine discards a Redirect that arrives together with the close after it: the reason of the close has the same address.
func _follow_reason(url: String) -> void:
	var redirect := _Messages.Redirect.new()
	redirect.url = url
	redirect.is_resume = true
	_machine.message_received(_Codec.encode_server(redirect), _now_ms())
	_run()


# Carries out the commands of the machine, in order. A listener may call the client: its commands follow those that wait.
func _run() -> void:
	_queue.append_array(_machine.take_commands())
	if _is_running:
		return
	_is_running = true
	while _queue:
		_execute(_queue.pop_front())
	_is_running = false


func _execute(next: _Commands.Command) -> void:
	if next is _Commands.Emit:
		_emit(next.event, next.value)
	elif next is _Commands.Send:
		if _transport:
			_transport.send(next.data)
	elif next is _Commands.SetTimer:
		_timer_ms = next.at_ms
	elif next is _Commands.Resolve:
		_end_call(next.call_number, next.value, null)
	elif next is _Commands.Reject:
		_end_call(next.call_number, null, next.error)
	elif next is _Commands.RequestToken:
		_request_token()
	elif next is _Commands.Connect:
		_connect(next.url)
	elif next is _Commands.CloseSocket:
		_close_transport(next.code, next.reason)
	elif next is _Commands.StoreSession:
		_store(next.text)
	elif next is _Commands.ClearSession:
		_store("")


func _connect(url: String) -> void:
	_transport = _Transport.new()
	_is_connected = false
	var problem := _transport.open(url, _options.get("tls"))
	if problem:
		_transport = null
		_machine.connect_failed(_connect_error(problem), _now_ms())
		_run()


func _connect_error(problem: String) -> _Errors.ConnectFailed:
	return _Errors.ConnectFailed.new("cannot connect to %s: %s" % [_machine.connection.url, problem])


func _close_transport(code: int, reason: String) -> void:
	if _transport:
		_transport.close(code, reason)
		_closing.append(_transport)
	_transport = null


# Calls the game's function, which may be a coroutine. A later request replaces this one.
func _request_token() -> void:
	_token_request += 1
	var request := _token_request
	var token: Variant = _options.get("token", "")
	if token is Callable:
		token = await token.call()
	if request != _token_request:
		return
	if token is String or token is StringName:
		_machine.token_received(token, _now_ms())
	else:
		_machine.token_failed("the function of the token returned no text", _now_ms())
	_run()


# Saves texts one after another; of those that wait, only the newest.
func _store(text: String) -> void:
	_text_to_store = text
	if _is_storing:
		return
	_is_storing = true
	while _text_to_store != null:
		var next: String = _text_to_store
		_text_to_store = null
		if next:
			await _options.session_storage.save(next)
		else:
			await _options.session_storage.clear()
	_is_storing = false


func _emit(event_name: String, value: Variant) -> void:
	match event_name:
		"state":
			state.emit(value.tick)
		"acknowledged":
			acknowledged.emit(value.seq, value.tick)
		"event":
			_emit_event(value)
		"joined":
			_enter_room(value)
		"left":
			_has_left_room = true
			left.emit(value)
		"match":
			match_status.emit(value)
		"pong":
			rtt_ms = value.rtt_us / 1000.0
			clock_offset_ms = value.clock_offset_us / 1000.0
			pong.emit(rtt_ms)
		_:
			emit_signal(event_name, value)


func _emit_event(message: _Messages.Event) -> void:
	var decoded := _MessagePack.decode(message.payload)
	if decoded.error:
		error.emit(_Errors.ClientError.new("the event %s cannot be decoded: %s" % [message.name, decoded.error]))
		return
	event.emit(message.name, decoded.value)
	if room:
		room.event.emit(message.name, decoded.value)


func _enter_room(message: _Messages.Joined) -> void:
	if not _room or _room.room_id != message.room_id or _has_left_room:
		_room = _Room.new()
		_room.client = self
	_has_left_room = false
	_room.update(message, core)
	joined.emit(_room)


# -- parts ------------------------------------------------------------------------------------------------


func _is_ready() -> bool:
	last_error = null if _machine else _Errors.ClientError.new("the client is not open: call open first")
	return _machine != null


# Waits for the end of a call, which may have come already.
func _wait(number: int) -> _Call:
	var waiting := _Call.new()
	_calls[number] = waiting
	_run()
	if not waiting.is_over:
		await waiting.ended
	last_error = waiting.error
	return waiting


func _end_call(number: int, value: Variant, reason: _Errors.ClientError) -> void:
	var waiting: _Call = _calls.get(number)
	_calls.erase(number)
	if waiting:
		waiting.end(value, reason)


static func _now_ms() -> float:
	return Time.get_ticks_usec() / 1000.0
