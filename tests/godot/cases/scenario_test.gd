## The scenario vectors: the session machine returns the same commands as all others. See schemas/scenarios/README.md.
extends "res://cases/test_case.gd"

const Codec := preload("res://addons/tickwire/core/codec.gd")
const Commands := preload("res://addons/tickwire/session/machine_commands.gd")
const Errors := preload("res://addons/tickwire/session/errors.gd")
const Machine := preload("res://addons/tickwire/session/session_machine.gd")
const Messages := preload("res://addons/tickwire/core/messages.gd")
const Updates := preload("res://addons/tickwire/core/updates.gd")

var _random: Array
var _random_index := 0


# vectors: schemas/scenarios/*.json
func vector_scenario(path: String) -> void:
	var scenario: Dictionary = read_json(path)
	_random = scenario.random
	_random_index = 0
	var machine := Machine.new(scenario.options, _next_random)
	for index in scenario.steps.size():
		var step: Dictionary = scenario.steps[index]
		var about := "step %d at %d ms, %s" % [index, step.at_ms, step.event.type]
		_pass_event(machine, step.event, step.at_ms, about)
		var commands: Array = machine.take_commands().map(_command_to_json)
		if not _matches(step.commands, JSON.parse_string(JSON.stringify(commands, "", false, true))):
			equal(JSON.stringify(commands), JSON.stringify(step.commands), about)
			return


func _next_random() -> float:
	var number: float = _random[_random_index % _random.size()]
	_random_index += 1
	return number


func _pass_event(machine: Machine, event: Dictionary, now: float, about: String) -> void:
	var number := -1
	match event.type:
		"open":
			number = machine.open(event.stored, now)
		"join":
			number = machine.join(event.room_type, _with_integers(event.options), now)
		"leave":
			number = machine.leave(now)
		"match":
			number = machine.match(event.mode, _with_integers(event.options), event.timeout_ms, now)
		"authenticate":
			number = machine.authenticate(event.token, now)
		"list_rooms":
			number = machine.list_rooms(event.room_type, event.labels if event.labels else {}, int(event.limit), now)
		"command":
			number = machine.command(event.name, _with_integers(event.payload), event.timeout_ms, now)
		"send_input":
			equal(machine.send_input(event.values), int(event.seq), about + ": number of the input")
		"abandon":
			machine.abandon(int(event.call), now)
		"token_received":
			machine.token_received(event.token, now)
		"token_failed":
			machine.token_failed("no token", now)
		"connect_failed":
			var error := Errors.ConnectFailed.new("the server cannot be reached")
			error.retry_after_ms = int(event.retry_after_ms)
			machine.connect_failed(error, now)
		"connection_lost":
			machine.connection_lost(int(event.code) if event.code != null else 0, "", now)
		"message_received":
			machine.message_received(event.hex.hex_decode(), now)
		"cancel_match", "network_changed", "drop", "close", "connected", "timer_fired":
			machine.call(event.type, now)
		_:
			check(false, "unknown event: " + event.type)
	if number >= 0:
		equal(number, int(event.call), about + ": number of the call")


## Returns whether a value has all members of the expected one.
func _matches(expected: Variant, actual: Variant) -> bool:
	if typeof(expected) != typeof(actual):
		return false
	if expected is Array:
		if expected.size() != actual.size():
			return false
		for index in expected.size():
			if not _matches(expected[index], actual[index]):
				return false
		return true
	if not expected is Dictionary:
		return expected == actual
	for key: String in expected:
		if not actual.has(key) or not _matches(expected[key], actual[key]):
			return false
	return not expected.has("fields") or expected.fields.size() == actual.fields.size()


## JSON of Godot has no integers: those of payloads are restored, which are encoded in another way.
func _with_integers(value: Variant) -> Variant:
	if value is Array:
		return value.map(_with_integers)
	if value is Dictionary:
		var converted := {}
		for key: Variant in value:
			converted[key] = _with_integers(value[key])
		return converted
	return int(value) if value is float and value == floorf(value) else value


func _command_to_json(command: Commands.Command) -> Dictionary:
	if command is Commands.Connect:
		return {"type": "Connect", "url": command.url}
	if command is Commands.Send:
		return {"type": "Send", "message": _message_to_json(Codec.decode_client(command.data).message)}
	if command is Commands.SetTimer:
		return {"type": "SetTimer", "at_ms": null if command.at_ms == INF else command.at_ms}
	if command is Commands.Resolve:
		return {"type": "Resolve", "call": command.call_number, "value": _value_to_json(command.value)}
	if command is Commands.Reject:
		return {"type": "Reject", "call": command.call_number}.merged(_error_to_json(command.error))
	if command is Commands.Emit:
		return {"type": "Emit", "event": command.event, "value": _value_to_json(command.value)}
	if command is Commands.StoreSession:
		return {"type": "StoreSession", "session": JSON.parse_string(command.text)}
	if command is Commands.CloseSocket:
		return {"type": "Close", "code": command.code}
	return {"type": "RequestToken" if command is Commands.RequestToken else "ClearSession"}


func _message_to_json(message: Messages.Message) -> Dictionary:
	var name := Messages.name_of(message)
	var defaults := Messages.create(name).to_dictionary()
	var fields := message.to_dictionary()
	for field: String in fields.keys():
		if fields[field] == defaults[field]:
			fields.erase(field)
		elif fields[field] is PackedByteArray:
			fields[field] = fields[field].hex_encode()
	return {"type": "Input" if name == "InputMessage" else name, "fields": fields}


func _value_to_json(value: Variant) -> Variant:
	if value is Messages.Joined:
		return {"room_id": value.room_id, "room_type": value.room_type, "entity": value.entity}
	if value is Messages.RoomList:
		return {"rooms": value.rooms.map(func(room: Messages.ListedRoom) -> String: return room.room_id)}
	if value is Messages.Authenticated:
		return {"player_id": value.player_id}
	if value is Messages.Reply:
		return {"id": value.id, "payload": value.payload.hex_encode()}
	if value is Messages.Event:
		return {"number": value.number, "name": value.name, "payload": value.payload.hex_encode()}
	if value is Messages.MatchStatus:
		return {"state": Messages.QueueState.find_key(value.state), "mode": value.mode}
	if value is Updates.StateApplied:
		return {"tick": value.tick}
	if value is Updates.InputAcknowledged:
		return {"tick": value.tick, "seq": value.seq}
	if value is Updates.PongReceived:
		return {
			"rtt_ms": floori(value.rtt_us / 1000.0), "clock_offset_ms": floori(value.clock_offset_us / 1000.0)
		}
	if value is Errors.ClientError:
		return _error_to_json(value)
	return {"has_resumed": value} if value is bool else null


func _error_to_json(error: Errors.ClientError) -> Dictionary:
	if error is Errors.Refused or error is Errors.CommandFailed:
		return {"error": error.kind(), "code": error.code()}
	if error is Errors.NotMatched:
		return {"error": "NotMatched", "state": Messages.QueueState.find_key(error.status.state)}
	if error is Errors.TimedOut:
		return {"error": "Timeout"}
	return {"error": "Disconnected" if error is Errors.Disconnected else error.kind()}
