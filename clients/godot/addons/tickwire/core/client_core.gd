## The protocol of a client without I/O: turns received bytes into updates and a world, and requests into bytes.
##
## The caller passes each WebSocket message to [method receive], and sends the bytes that the other methods return and those
## in [member outgoing]. After a frame that does not fit or a wrong checksum the core requests a keyframe, and repeats the
## request if none arrives. The core outlives connections: the next [method hello] asks for the same session; after a resume,
## commands without a reply are sent again. The caller passes clock readings, in microseconds.
##
## A method that cannot encode its message returns no bytes, and [member failure] has the reason.
extends RefCounted

const Codec := preload("codec.gd")
const CommandWindow := preload("command_window.gd")
const Field := preload("field.gd")
const FrameHead := preload("frame_head.gd")
const InputEncoder := preload("input_encoder.gd")
const MatchQueue := preload("match_queue.gd")
const MessageEncoder := preload("message_encoder.gd")
const Messages := preload("messages.gd")
const StateReceiver := preload("state_receiver.gd")
const Updates := preload("updates.gd")
const World := preload("world.gd")

## Errors that answer no request, for servers that do not set request_type.
const _NO_ANSWER: PackedInt32Array = [
	Messages.ErrorCode.RATE_LIMITED, Messages.ErrorCode.UNSUPPORTED, Messages.ErrorCode.RESYNC
]


## The reason why a message was not encoded.
class Failure:
	extends RefCounted

	## MessageTooLarge, InvalidValue, NoRoom or TooManyCommands.
	var kind := ""
	var message := ""


## Messages of the protocol itself. Send them after each [method receive], and after [method abandon_match].
var outgoing: Array[PackedByteArray] = []
## The mirrored state of the room.
var state := StateReceiver.new(outgoing)
## The sequence number of the newest input that is part of the world.
var acknowledged_seq := 0
## Resumes this session; empty without a session, or if it cannot be resumed.
var resume_token := ""
## The rate at which the server sends the state.
var rate := _usual_rate()
## Counted over all sessions; expected to stay 0.
var events_missed := 0
var events_repeated := 0
var unknown_messages := 0
## The reason why the last message was not encoded; null: it was.
var failure: Failure

## The mirrored world of the room, and the room's Joined message; null outside of a room.
var world: World:
	get:
		return state.world
var joined: Messages.Joined:
	get:
		return state.joined
## The numbers of requested keyframes and of wrong checksums, over all sessions. Expected to stay 0.
var resyncs: int:
	get:
		return state.resyncs
var mismatches: int:
	get:
		return state.mismatches
## Whether an abandoned Join has no answer yet. The next Join must wait for it.
var is_abandoning_join: bool:
	get:
		return _is_abandoning_join
## The fields of this room's inputs, and the sequence number of the last input.
var input_fields: Array[Field]:
	get:
		return _inputs.fields
var input_seq: int:
	get:
		return _inputs.seq
## The id of the last request for open rooms, which its RoomList returns.
var list_id: int:
	get:
		return _list_id
## The number of commands without a reply.
var commands_unanswered: int:
	get:
		return _commands.size()
## The number of the last Hello, the id of the last command, and the number of the newest event.
var attempt := 0
var command_id := 0
var event_number := 0

var _encoder := MessageEncoder.new()
var _inputs := InputEncoder.new()
var _head := FrameHead.new()
var _match_queue := MatchQueue.new()
var _commands: CommandWindow
var _generation := 0
var _list_id := 0
var _has_session := false
var _is_abandoning_join := false


## [param random] returns random numbers from 0 to 1; it spreads the pauses before a command is sent again.
func _init(random: Callable = func() -> float: return 0.5) -> void:
	_commands = CommandWindow.new(random)


# -- to the server ------------------------------------------------------------------------------------------


## Encodes the first message on a connection. It asks to resume the previous session, if there was one.
func hello(build: String = "", token: String = "") -> PackedByteArray:
	_encoder.begin()
	outgoing.clear()
	attempt += 1
	var message := Messages.Hello.new()
	message.schema_version = Messages.SCHEMA_VERSION
	message.build = build
	message.token = token
	message.attempt = attempt
	message.resume_token = resume_token
	if resume_token:
		message.last_tick = state.baseline_tick()
		message.last_event = event_number
		message.room_id = state.room_id()
	return _encode(message)


## Continues a session of an earlier run of the program. The next [method hello] asks for it and a keyframe.
## [param last_attempt] and [param last_command_id] are at least those of its last Hello and of its last command.
func restore(token: String, last_event: int, last_attempt: int, last_command_id: int) -> void:
	resume_token = token
	_has_session = true
	event_number = last_event
	attempt = last_attempt
	command_id = last_command_id


## Discards the session: the next [method hello] asks for a new one.
func discard_session() -> void:
	resume_token = ""
	_has_session = false
	_is_abandoning_join = false
	_commands.clear()
	_match_queue.reset()
	state.leave()
	_inputs.reset()
	acknowledged_seq = 0
	event_number = 0
	rate = _usual_rate()


## Encodes a request for a seat in a room of a type. Options: name, options, room_id, code, is_private, labels, party
## (an array of the code and the number of members) and ticket.
func join(room_type: String, options: Dictionary = {}) -> PackedByteArray:
	_encoder.begin()
	var party: Array = options.get("party", ["", 0])
	var message := Messages.Join.new()
	message.room_type = room_type
	message.room_name = options.get("name", "")
	message.ticket = options.get("ticket", "")
	message.options = _encoder.pack(options.get("options", {}))
	message.room_id = options.get("room_id", "")
	message.code = options.get("code", "")
	message.is_private = options.get("is_private", false)
	message.labels = _encoder.pack(options.get("labels", {}))
	message.party = party[0]
	message.party_size = party[1]
	return _encode(message)


## Encodes a request to enter the queue of a mode. Options: options, party, latencies (milliseconds by region) and labels.
func match_request(mode: String, options: Dictionary = {}) -> PackedByteArray:
	_encoder.begin()
	var party: Array = options.get("party", ["", 0])
	var message := Messages.MatchRequest.new()
	message.mode = mode
	message.options = _encoder.pack(options.get("options", {}))
	message.party = party[0]
	message.party_size = party[1]
	message.latencies = _encoder.pack(options.get("latencies", {}))
	message.labels = _encoder.pack(options.get("labels", {}))
	var data := _encode(message)
	if not failure:
		_match_queue.request(mode)
	return data


## Encodes a request for open rooms. RoomList returns its [member list_id].
func list_rooms(room_type: String, labels: Dictionary = {}, limit: int = 0) -> PackedByteArray:
	_encoder.begin()
	_list_id += 1
	var message := Messages.ListRooms.new()
	message.id = _list_id
	message.room_type = room_type
	message.labels = _encoder.pack(labels)
	message.limit = limit
	return _encode(message)


## Encodes the request to authenticate the player of the running session.
func authenticate(token: String) -> PackedByteArray:
	_encoder.begin()
	var message := Messages.Authenticate.new()
	message.token = token
	return _encode(message)


## Encodes the request to leave the queue. The answer is CANCELLED, or FOUND if the match was already final.
func match_cancel() -> PackedByteArray:
	return Codec.encode_client(Messages.MatchCancel.new())


## Leaves the queue without waiting for the answer. Does nothing if the wait is over.
##
## The MatchCancel is added to [member outgoing], and is sent again after a resume until it is answered. Later messages about
## the abandoned queue entry are not reported as current.
func abandon_match() -> void:
	if _match_queue.abandon():
		outgoing.append(match_cancel())


## Abandons a Join without an answer: if its seat arrives, the core leaves the room.
func abandon_join() -> void:
	_is_abandoning_join = true


## Encodes the request to leave the room.
func leave() -> PackedByteArray:
	return Codec.encode_client(Messages.Leave.new())


## Encodes the request to end the session, its seat and its queue entry.
func end_session() -> PackedByteArray:
	return Codec.encode_client(Messages.EndSession.new())


## Encodes an input, in the game's units by name. Missing fields are zero. Its number is [member input_seq].
func input(values: Dictionary) -> PackedByteArray:
	failure = null
	if not world:
		return _fail("NoRoom", "an input needs a room: join first")
	var payload := _inputs.pack(values)
	if _inputs.error:
		return _fail("InvalidValue", _inputs.error)
	return _inputs.encode(world.tick, payload)


## Adds a command for the room, and returns its id, which the Reply repeats; 0 if there is a [member failure].
## [method commands_due] returns it until it is answered.
func command(name: String, payload: Variant = null) -> int:
	_encoder.begin()
	if _commands.is_full():
		_fail("TooManyCommands", "%d commands have no reply yet: wait for some before sending more" % _commands.size())
		return 0
	var message := Messages.Command.new()
	message.id = command_id + 1
	message.name = name
	message.payload = _encoder.pack(payload)
	var data := _encode(message)
	if failure:
		return 0
	command_id = message.id
	_commands.add(command_id, data)
	return command_id


## Returns the commands to send now on the session's connection: new ones, and those to be sent again.
func commands_due(now_us: int) -> Array[PackedByteArray]:
	return _commands.due(now_us / 1000.0)


## Returns the time of the next due command, if no reply arrives before; -1 without commands.
func next_command_us(now_us: int) -> int:
	var due_ms := _commands.next_due_ms(now_us / 1000.0)
	return -1 if due_ms == INF else ceili(due_ms * 1000)


## Removes a command: it is not sent again. Idempotent.
func abandon_command(id: int) -> void:
	_commands.remove(id)


## Encodes a Ping: the heartbeat, a clock reading that the server returns, and the number of the last event.
## Send the first one directly after Welcome, because it confirms the resume token.
func ping(now_us: int) -> PackedByteArray:
	var message := Messages.Ping.new()
	message.client_time_us = now_us
	message.last_event = event_number
	message.generation = _generation
	return Codec.encode_client(message)


# -- from the server ----------------------------------------------------------------------------------------


## Applies one message. Returns null if it contains nothing new, or if this build does not know its type.
func receive(data: PackedByteArray, now_us: int) -> Updates.Update:
	match _head.read(data, world.tick if world else 0, _inputs.seq):
		FrameHead.Type.STATE:
			return state.receive(_head, data)
		FrameHead.Type.ACK:
			return _acknowledged()
		FrameHead.Type.UNKNOWN:
			unknown_messages += 1
			return null
		FrameHead.Type.MALFORMED:
			return _malformed(_head.error)
	var decoded := Codec.decode_server(data)
	if decoded.error:
		return _malformed(decoded.error)
	if not decoded.message:
		unknown_messages += 1
		return null
	return _received(decoded.message, now_us)


func _received(message: Messages.Message, now_us: int) -> Updates.Update:
	if message is Messages.Event:
		return _event(message)
	if message is Messages.Reply:
		return _replied(message, now_us)
	if message is Messages.Pong:
		return _pong(message, now_us)
	if message is Messages.Welcome:
		return _welcomed(message)
	if message is Messages.Joined:
		return _seat_taken(message)
	if message is Messages.Left:
		return _seat_lost(message)
	if message is Messages.Redirect:
		return _redirected(message)
	if message is Messages.MatchStatus:
		return _queue_changed(message)
	if message is Messages.ErrorMessage:
		return _refused(message)
	if message is Messages.Rate:
		rate = message
		var changed := Updates.RateChanged.new()
		changed.rate = message
		return changed
	if message is Messages.RoomList:
		var listed := Updates.RoomsListed.new()
		listed.answer = message
		return listed
	if message is Messages.Authenticated:
		var authenticated := Updates.SessionAuthenticated.new()
		authenticated.answer = message
		return authenticated
	if message is Messages.TokenExpiring:
		var requested := Updates.TokenRequested.new()
		requested.expires_in_ms = message.expires_in_ms
		return requested
	var ended := Updates.Ended.new()
	ended.goodbye = message
	return ended


func _malformed(reason: String) -> Updates.Malformed:
	var update := Updates.Malformed.new()
	update.reason = reason
	return update


func _acknowledged() -> Updates.InputAcknowledged:
	acknowledged_seq = _head.seq
	var update := Updates.InputAcknowledged.new()
	update.tick = _head.tick
	update.seq = _head.seq
	return update


func _welcomed(welcome: Messages.Welcome) -> Updates.Welcomed:
	var update := Updates.Welcomed.new()
	update.welcome = welcome
	update.has_resumed = welcome.generation > 1
	update.has_lost_session = _has_session and not update.has_resumed
	var previous_room_id := state.room_id()
	if not update.has_resumed:
		discard_session()
	_has_session = true
	resume_token = welcome.resume_token
	_generation = welcome.generation
	_encoder.message_bytes_max = welcome.message_bytes_max
	_commands.welcomed(welcome)
	# A client that joins from a seat is refused, so that a seat in the same room does not come from its Join.
	update.is_join_in_flight = (
		welcome.is_joining or (welcome.room_id != "" and welcome.room_id != previous_room_id)
	)
	if not update.is_join_in_flight:
		_is_abandoning_join = false
	if update.has_resumed:
		_resumed(welcome)
	if previous_room_id and not joined:
		update.lost_room_id = previous_room_id
	return update


func _resumed(welcome: Messages.Welcome) -> void:
	rate = _usual_rate()
	state.resumed(welcome.room_id)
	if _match_queue.has_cancelled():
		_match_queue.resumed()
		outgoing.append(match_cancel())


func _seat_taken(message: Messages.Joined) -> Updates.Update:
	var is_same_room := message.room_id == state.room_id()
	if _is_abandoning_join and not is_same_room:
		_is_abandoning_join = false
		outgoing.append(leave())
		return null
	var inputs := InputEncoder.new()
	inputs.seq = _inputs.seq
	var error := inputs.enter(message.description.inputs)
	error = error if error else state.enter(message)
	if error:  # before anything has changed
		return _malformed(error)
	_inputs = inputs
	var update := Updates.SeatTaken.new()
	update.joined = message
	update.is_same_room = is_same_room
	return update


func _seat_lost(message: Messages.Left) -> Updates.SeatLost:
	state.leave()
	rate = _usual_rate()
	var update := Updates.SeatLost.new()
	update.reason = message.reason
	return update


func _event(event: Messages.Event) -> Updates.EventReceived:
	if event.number <= event_number:
		events_repeated += 1
		return null
	var update := Updates.EventReceived.new()
	update.event = event
	update.missed = event.number - event_number - 1
	events_missed += update.missed
	event_number = event.number
	return update


func _replied(reply: Messages.Reply, now_us: int) -> Updates.ReplyReceived:
	_commands.replied(reply, now_us / 1000.0)
	var update := Updates.ReplyReceived.new()
	update.reply = reply
	update.is_decided = CommandWindow.is_decided(reply)
	return update


func _pong(pong: Messages.Pong, now_us: int) -> Updates.PongReceived:
	# The server read its clock half a round trip ago, if both directions take equally long: RFC 5905, section 8.
	var update := Updates.PongReceived.new()
	update.rtt_us = maxi(0, now_us - pong.client_time_us)
	update.clock_offset_us = pong.server_time_us + (update.rtt_us >> 1) - now_us
	return update


func _redirected(redirect: Messages.Redirect) -> Updates.Redirected:
	var update := Updates.Redirected.new()
	update.redirect = redirect
	if redirect.is_resume:
		return update
	var meaning := _match_queue.redirect_received()
	if meaning == MatchQueue.Meaning.PROGRESS:
		update.is_match = true
	elif meaning != MatchQueue.Meaning.UNRELATED:
		return null
	elif world:  # a Join from a seat is refused
		update.is_move = true
	else:
		_is_abandoning_join = false
	return update


func _queue_changed(status: Messages.MatchStatus) -> Updates.QueueChanged:
	var meaning := _match_queue.status_received(status)
	var update := Updates.QueueChanged.new()
	update.status = status
	update.is_current = meaning != MatchQueue.Meaning.NONE
	update.is_end = meaning == MatchQueue.Meaning.END
	return update


func _refused(error: Messages.ErrorMessage) -> Updates.Update:
	if error.code == Messages.ErrorCode.RESYNC:
		var lost := Updates.EventsLost.new()
		lost.error = error
		return lost
	if is_answer(error, "Join"):
		_is_abandoning_join = false
	var update := Updates.ErrorReceived.new()
	update.error = error
	return update


## Returns whether an Error answers a request, by the name of its message.
static func is_answer(error: Messages.ErrorMessage, request: String) -> bool:
	if error.request_type:
		return error.request_type == Messages.request_type(request)
	return error.code not in _NO_ANSWER


func _encode(message: Messages.Message) -> PackedByteArray:
	failure = null
	if not _encoder.error:
		var data := _encoder.encode(message)
		if not _encoder.error:
			return data
	return _fail(_encoder.error_kind, _encoder.error)


func _fail(kind: String, message: String) -> PackedByteArray:
	failure = Failure.new()
	failure.kind = kind
	failure.message = message
	return PackedByteArray()


static func _usual_rate() -> Messages.Rate:
	var usual := Messages.Rate.new()
	usual.ticks_per_update = 1
	return usual
