## The core: sessions, rooms, frames that are missing, events, commands, and the matchmaking queue.
extends "res://cases/test_case.gd"

const ClientCore := preload("res://addons/tickwire/core/client_core.gd")
const Codec := preload("res://addons/tickwire/core/codec.gd")
const Messages := preload("res://addons/tickwire/core/messages.gd")
const Updates := preload("res://addons/tickwire/core/updates.gd")

const _S := 1_000_000


func test_hello_asks_for_a_new_session_and_then_for_the_same_one() -> void:
	var core := ClientCore.new()
	var first := _hello(core)
	equal([first.schema_version, first.build, first.resume_token, first.attempt], [5, "1.0", "", 1], "first")
	_welcome(core, 1, "token")
	_join(core, "room-1")
	core.receive(_keyframe(70), 0)
	core.receive(_event(3), 0)
	var second := _hello(core)
	equal(
		[second.resume_token, second.last_tick, second.last_event, second.room_id, second.attempt],
		["token", 70, 3, "room-1", 2], "second"
	)


func test_a_resume_keeps_the_room_unless_the_seat_is_lost() -> void:
	for room_id: String in ["room-1", ""]:
		var core := _seated()
		var update := _welcome(core, 2, "next", room_id)
		check(update.has_resumed and not update.has_lost_session and not update.is_join_in_flight, "resumed")
		equal(update.lost_room_id, "" if room_id else "room-1", "lost room")
		equal(core.world != null, room_id != "", "world")


func test_a_new_session_discards_everything() -> void:
	var core := _seated()
	core.command("buy")
	core.input({})
	core.receive(_event(5), 0)
	var update := _welcome(core, 1, "other")
	check(update.has_lost_session and not update.has_resumed, "the session is lost")
	equal([update.lost_room_id, core.world, core.event_number], ["room-1", null, 0], "room, world, events")
	equal(core.commands_due(0).size(), 0, "commands")
	_join(core, "room-1")
	core.input({})
	equal(core.input_seq, 1, "inputs")


func test_a_stored_session_is_asked_for_with_a_keyframe() -> void:
	var core := ClientCore.new()
	core.restore("stored", 9, 16, 1024)
	var hello := _hello(core)
	equal(
		[hello.resume_token, hello.last_tick, hello.room_id, hello.last_event, hello.attempt], ["stored", 0, "", 9, 17], "hello"
	)
	check(_welcome(core, 1, "new").has_lost_session, "lost")
	core = ClientCore.new()
	core.restore("stored", 9, 16, 1024)
	check(_welcome(core, 2, "new", "room-1").is_join_in_flight, "Joined follows")
	_join(core, "room-1")
	equal(core.command("buy"), 1025, "the id of the next command")


func test_a_room_that_moves_keeps_its_world() -> void:
	var core := _seated()
	var world := core.world
	check(_join(core, "room-1").is_same_room, "same room")
	equal(core.world, world, "world")
	equal(core.world.table("dots").size(), 0, "entities")
	check(not _join(core, "room-2").is_same_room, "another room")
	check(core.world != world, "another world")


func test_a_frame_that_is_missing_is_requested_for_all_channels_until_it_arrives() -> void:
	var core := _seated()
	core.receive(_keyframe(70), 0)
	equal(core.receive(_delta(75, 2), 0), null, "update")
	equal(_resyncs(core), [[0, 75]], "requests")
	check(core.state.is_awaiting_keyframe() and core.state.baseline_tick() == 0, "awaits a keyframe")
	for tick in range(76, 75 + 64):
		core.receive(_delta(tick, 1), 0)
	equal(_resyncs(core), [], "no request yet")
	core.receive(_delta(75 + 64, 1), 0)
	equal(_resyncs(core), [[0, 139]], "requested again")
	check(core.receive(_keyframe(140), 0) is Updates.StateApplied, "keyframe")
	check(core.receive(_delta(141, 1), 0) is Updates.StateApplied, "delta")
	equal([core.resyncs, core.mismatches, core.world.tick], [2, 0, 141], "counters")


func test_a_wrong_checksum_is_reported_and_requested() -> void:
	var core := _seated()
	var update: Updates.StateApplied = core.receive(_keyframe(70, true), 0)
	check(not update.has_agreed and update.is_keyframe, "disagrees")
	equal([core.mismatches, _resyncs(core)], [1, [[0, 70]]], "counters")


func test_a_frame_outside_of_a_room_is_ignored() -> void:
	var core := ClientCore.new()
	equal(core.receive(_keyframe(70), 0), null, "update")


func test_events_arrive_once_and_in_order() -> void:
	var core := _seated()
	for pair: Array in [[1, 0], [2, 0], [5, 2]]:
		var update: Updates.EventReceived = core.receive(_event(pair[0]), 0)
		equal([update.event.number, update.event.name, update.missed], [pair[0], "scored", pair[1]], "event")
	equal(core.receive(_event(4), 0), null, "an old event")
	equal([core.events_missed, core.events_repeated], [2, 1], "counters")
	var ping: Messages.Ping = Codec.decode_client(core.ping(5)).message
	equal([ping.client_time_us, ping.last_event, ping.generation], [5, 5, 1], "ping")


func test_an_abandoned_join_leaves_its_seat() -> void:
	var core := ClientCore.new()
	_welcome(core, 1, "token")
	core.abandon_join()
	equal(core.receive(_joined("room-1"), 0), null, "update")
	check(Codec.decode_client(core.outgoing[0]).message is Messages.Leave, "Leave")
	check(not core.is_abandoning_join and core.world == null, "in no room")


func test_the_round_trip_gives_the_offset_of_the_clock() -> void:
	var pong := Messages.Pong.new()
	pong.client_time_us = 1000
	pong.server_time_us = 501_000
	var update: Updates.PongReceived = ClientCore.new().receive(Codec.encode_server(pong), 3000)
	equal([update.rtt_us, update.clock_offset_us], [2000, 499_000], "times")


func test_inputs_are_numbered_and_name_the_newest_tick() -> void:
	var core := ClientCore.new()
	core.input({"dx": 1.0})
	equal(core.failure.kind, "NoRoom", "failure")
	_welcome(core, 1, "token")
	_join(core, "room-1")
	core.receive(_keyframe(70), 0)
	for seq: int in [1, 2]:
		var message: Messages.InputMessage = Codec.decode_client(core.input({"dx": 1.0})).message
		equal([message.seq, message.tick, message.payload.hex_encode()], [seq, 70, "03000000"], "input")
	equal([core.failure, core.input_seq], [null, 2], "no failure")
	core.input({"dy": 1.0})
	equal([core.failure.kind, core.input_seq], ["InvalidValue", 2], "failure")


func test_commands_stay_within_the_window_and_are_sent_again() -> void:
	var core := _seated()
	for index in 20:
		equal(core.command("buy", {"count": index}), index + 1, "id")
	equal(_command_ids(core, 0), range(1, 17), "the window")
	equal(_command_ids(core, 0), [], "in flight")
	core.receive(_reply(1, true), 0)
	equal(_command_ids(core, 0), [17], "after the first reply")
	core.receive(_reply(2, false, Messages.ErrorCode.RATE_LIMITED, 1000), 0)
	equal(core.next_command_us(0), 1_125_000, "advice of 1 s, and a share of it")
	equal(_command_ids(core, 1_125_000), [2], "again")
	equal(_command_ids(core, 10 * _S), range(3, 18), "without a reply for 10 s")
	core.abandon_command(2)
	var update := _welcome(core, 2, "next", "room-1")
	check(update.has_resumed, "resumed")
	equal(_command_ids(core, 11 * _S), range(3, 19), "after a resume")


func test_commands_use_half_of_the_rate() -> void:
	var core := ClientCore.new()
	_welcome(core, 1, "token", "", 8)
	_join(core, "room-1")
	for index in 10:
		core.command("buy")
	# a budget of 4 and one beyond it, as the budget may be exceeded by the last one
	equal(_command_ids(core, 0), range(1, 6), "at once")
	equal(core.next_command_us(0), 250_000, "the next")
	equal(_command_ids(core, 250_000), [6], "one more")


func test_too_many_commands_are_refused() -> void:
	var core := _seated()
	for index in 1024:
		core.command("buy")
	equal([core.command("buy"), core.failure.kind], [0, "TooManyCommands"], "refused")
	equal(core.commands_unanswered, 1024, "unanswered")


func test_large_messages_are_not_sent() -> void:
	var core := ClientCore.new()
	_welcome(core, 1, "token", "", 0, 2048)
	_join(core, "room-1")
	equal(core.join("x".repeat(4097)).size(), 0, "a text that is too long")
	equal(core.failure.kind, "MessageTooLarge", "failure")
	check(core.failure.message.contains("the room_type of a Join has 4097 bytes"), core.failure.message)
	check(core.join("arena").size() > 0 and core.failure == null, "a message that fits")
	equal([core.command("say", "x".repeat(2048)), core.failure.kind], [0, "MessageTooLarge"], "a large message")
	equal([core.command("say", [RefCounted.new()]), core.failure.kind], [0, "InvalidValue"], "no value")
	equal(core.command("say", "x"), 1, "the first id")


func test_requests_have_their_options() -> void:
	var core := ClientCore.new()
	var join: Messages.Join = Codec.decode_client(core.join("arena", {
		"name": "lobby", "room_id": "id", "code": "code", "is_private": true, "ticket": "t", "labels": {"map": "ice"},
		"party": ["friends", 3], "options": {"skin": 2},
	})).message
	equal(join.to_dictionary(), {
		"room_type": "arena", "room_name": "lobby", "ticket": "t", "options": "81a4736b696e02".hex_decode(), "room_id": "id",
		"code": "code", "is_private": true, "labels": "81a36d6170a3696365".hex_decode(), "party": "friends", "party_size": 3,
	}, "join")
	var request: Messages.MatchRequest = Codec.decode_client(core.match_request("duel", {"latencies": {"eu": 5}})).message
	equal([request.mode, request.latencies.hex_encode()], ["duel", "81a2657505"], "match")
	var list: Messages.ListRooms = Codec.decode_client(core.list_rooms("arena", {}, 7)).message
	equal([list.id, list.room_type, list.limit, core.list_id], [1, "arena", 7, 1], "list")


func test_a_match_that_was_abandoned_is_not_reported_as_current() -> void:
	var core := ClientCore.new()
	_welcome(core, 1, "token")
	core.match_request("duel")
	check(_status(core, Messages.QueueState.WAITING).is_current, "waiting")
	core.abandon_match()
	check(Codec.decode_client(core.outgoing[0]).message is Messages.MatchCancel, "MatchCancel")
	core.match_request("duel")
	check(not _status(core, Messages.QueueState.CANCELLED).is_current, "the answer to the cancellation")
	check(_status(core, Messages.QueueState.WAITING).is_current, "the new entry")
	check(_status(core, Messages.QueueState.FOUND).is_current, "found")
	check((core.receive(_redirect(), 0) as Updates.Redirected).is_match, "the redirect of the match")
	check(not (core.receive(_redirect(), 0) as Updates.Redirected).is_match, "a redirect of a join")


func test_a_redirect_from_a_seat_is_a_move() -> void:
	var core := _seated()
	check((core.receive(_redirect(), 0) as Updates.Redirected).is_move, "a move")


func test_the_queue_is_left_again_after_a_resume() -> void:
	var core := ClientCore.new()
	_welcome(core, 1, "token")
	core.match_request("duel")
	_status(core, Messages.QueueState.WAITING)
	core.abandon_match()
	core.match_request("duel")
	core.abandon_match()
	_hello(core)
	equal(core.outgoing.size(), 0, "nothing before Welcome")
	_welcome(core, 2, "next")
	equal(core.outgoing.size(), 1, "one cancellation")
	check(Codec.decode_client(core.outgoing[0]).message is Messages.MatchCancel, "MatchCancel")
	core.match_request("duel")
	check(not _status(core, Messages.QueueState.CANCELLED).is_current, "its answer")
	check(_status(core, Messages.QueueState.WAITING).is_current, "the new entry")


func test_other_messages_become_updates() -> void:
	var core := _seated()
	var error := Messages.ErrorMessage.new()
	error.code = Messages.ErrorCode.RESYNC
	check(core.receive(Codec.encode_server(error), 0) is Updates.EventsLost, "EventsLost")
	error.code = Messages.ErrorCode.ROOM_FULL
	check(core.receive(Codec.encode_server(error), 0) is Updates.ErrorReceived, "ErrorReceived")
	check(ClientCore.is_answer(error, "Leave") and ClientCore.is_answer(error, "Join"), "an error without a type")
	error.request_type = Messages.request_type("Join")
	check(ClientCore.is_answer(error, "Join") and not ClientCore.is_answer(error, "Leave"), "an error with a type")
	var rate := Messages.Rate.new()
	rate.ticks_per_update = 2
	check(core.receive(Codec.encode_server(rate), 0) is Updates.RateChanged, "RateChanged")
	equal(core.rate.ticks_per_update, 2, "rate")
	check(core.receive(Codec.encode_server(Messages.RoomList.new()), 0) is Updates.RoomsListed, "RoomsListed")
	check(core.receive(Codec.encode_server(Messages.Authenticated.new()), 0) is Updates.SessionAuthenticated, "answer")
	check(core.receive(Codec.encode_server(Messages.TokenExpiring.new()), 0) is Updates.TokenRequested, "request")
	check(core.receive(Codec.encode_server(Messages.Goodbye.new()), 0) is Updates.Ended, "Ended")
	equal(core.receive(PackedByteArray([7, 0, 0]), 0), null, "a struct of a newer server")
	equal(core.unknown_messages, 1, "unknown")
	var left: Updates.SeatLost = core.receive(Codec.encode_server(Messages.Left.new()), 0)
	equal([left.reason, core.world, core.rate.ticks_per_update], ["", null, 1], "left")


func test_a_room_with_an_invalid_description_is_refused() -> void:
	for change: Array in [["bits", 0], ["bits", 54], ["kind", 5], ["kind", 7], ["kind", 200]]:
		var core := ClientCore.new()
		var joined := _room("room-1")
		joined.description.tables[0].fields[0].set(change[0], change[1])
		check(core.receive(Codec.encode_server(joined), 0) is Updates.Malformed, str(change))
		equal(core.world, null, "world")
	var wrong := _room("room-1")
	wrong.description.inputs[0].kind = Messages.FieldKind.BLOB
	wrong.description.inputs[0].bytes_max = 4
	check(ClientCore.new().receive(Codec.encode_server(wrong), 0) is Updates.Malformed, "an input of bytes")


func test_acknowledgements_restore_the_number_of_the_input() -> void:
	var core := _seated()
	core._inputs.seq = 65_540
	var data := PackedByteArray([5, 0, 255, 255, 0, 0, 0, 0])
	data.encode_u32(4, 80_000)
	var update: Updates.InputAcknowledged = core.receive(data, 0)
	equal([update.tick, update.seq, core.acknowledged_seq], [80_000, 65_535, 65_535], "acknowledgement")


func test_a_core_is_freed_with_its_world() -> void:
	var core := _seated()
	core.receive(_keyframe(70), 0)
	core.command("buy")
	var kept: Array[WeakRef] = [weakref(core), weakref(core.world), weakref(core.world.table("dots")), weakref(core.state)]
	core = null
	for reference in kept:
		equal(reference.get_ref(), null, "an object that is still referenced")


# -- messages of a server -----------------------------------------------------------------------------------


func _hello(core: ClientCore) -> Messages.Hello:
	return Codec.decode_client(core.hello("1.0", "jwt")).message


func _welcome(
	core: ClientCore, generation: int, token: String, room_id := "", messages_per_second := 0, bytes_max := 0
) -> Updates.Welcomed:
	var message := Messages.Welcome.new()
	message.generation = generation
	message.resume_token = token
	message.room_id = room_id
	message.messages_per_second_max = messages_per_second
	message.message_bytes_max = bytes_max
	return core.receive(Codec.encode_server(message), 0)


func _room(room_id: String) -> Messages.Joined:
	var joined := Messages.Joined.new()
	joined.room_id = room_id
	var table := Messages.TableDescription.new()
	table.name = "dots"
	table.fields.append(_field("x"))
	joined.description.tables.append(table)
	joined.description.inputs.append(_field("dx", 2))
	return joined


func _field(name: String, greatest := 255) -> Messages.FieldDescription:
	var field := Messages.FieldDescription.new()
	field.name = name
	field.kind = Messages.FieldKind.UINT if greatest == 255 else Messages.FieldKind.REAL
	field.bits = 8
	field.low = -2
	field.high = greatest
	field.step = 1
	return field


func _joined(room_id: String) -> PackedByteArray:
	return Codec.encode_server(_room(room_id))


func _join(core: ClientCore, room_id: String) -> Updates.SeatTaken:
	return core.receive(_joined(room_id), 0)


func _seated() -> ClientCore:
	var core := ClientCore.new()
	_welcome(core, 1, "token")
	_join(core, "room-1")
	return core


## Returns a keyframe without entities.
func _keyframe(tick: int, has_wrong_checksum := false) -> PackedByteArray:
	var data := PackedByteArray([1 | (8 if has_wrong_checksum else 0), 0, 0, 0, 0, 0, 0, 0, 0])
	data.encode_u32(4, tick)
	if has_wrong_checksum:
		data.append_array([1, 2, 3, 4])
	return data


func _delta(tick: int, age: int) -> PackedByteArray:
	var data := PackedByteArray([3, age, 0, 0, 0])
	data.encode_u16(2, tick & 0xffff)
	return data


func _event(number: int) -> PackedByteArray:
	var event := Messages.Event.new()
	event.number = number
	event.name = "scored"
	return Codec.encode_server(event)


func _reply(id: int, ok: bool, error := 0, retry_after_ms := 0) -> PackedByteArray:
	var reply := Messages.Reply.new()
	reply.id = id
	reply.ok = ok
	reply.error = error
	reply.retry_after_ms = retry_after_ms
	return Codec.encode_server(reply)


func _redirect() -> PackedByteArray:
	var redirect := Messages.Redirect.new()
	redirect.ticket = "ticket"
	return Codec.encode_server(redirect)


func _status(core: ClientCore, state: Messages.QueueState) -> Updates.QueueChanged:
	var status := Messages.MatchStatus.new()
	status.state = state
	return core.receive(Codec.encode_server(status), 0)


func _resyncs(core: ClientCore) -> Array:
	var requests := core.outgoing.map(func(data: PackedByteArray) -> Array:
		var request: Messages.Resync = Codec.decode_client(data).message
		return [request.channel, request.tick]
	)
	core.outgoing.clear()
	return requests


func _command_ids(core: ClientCore, now_us: int) -> Array:
	return core.commands_due(now_us).map(func(data: PackedByteArray) -> int:
		var command: Messages.Command = Codec.decode_client(data).message
		return command.id
	)
