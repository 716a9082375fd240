## A room that the client has joined. It stays the same object when the room moves to another shard.
extends RefCounted

const _ClientCore := preload("core/client_core.gd")
const _Field := preload("core/field.gd")
const _Messages := preload("core/messages.gd")
const _Reply := preload("reply.gd")
const _World := preload("core/world.gd")
const _WorldTable := preload("core/world_table.gd")

## The room sent an event. [member client].event reports those of all rooms.
signal event(name: String, payload: Variant)

var room_type: String
var room_id: String
## The name with which the room was joined, and the code of a private room; may be empty.
var room_name: String
var room_code: String
## The team in a match, from 1; 0 without teams.
var team: int
## The id of the player's own entity; 0: none.
var entity: int
var tick_rate_hz: float
## The fields of an input.
var input_fields: Array[_Field]
## The client node.
var client: Node

## Whether the client is in the room.
var is_joined: bool:
	get:
		return is_instance_valid(client) and client.room == self
## The mirrored state; null after the client has left the room.
var world: _World:
	get:
		return client.world if is_joined else null


## Returns a table by its name; null if there is none, or the client has left the room.
func table(name: String) -> _WorldTable:
	return world.table(name) if is_joined else null


## Sends an input, in the game's units. Missing fields are zero. Returns its sequence number; 0 if it was not sent: the client is not
## connected, or has left the room.
func send_input(values: Dictionary) -> int:
	return client.send_input(values) if is_joined else 0


## Runs a command and returns the reply. The command runs at most once, also across reconnects.
func command(name: String, arguments: Variant = null) -> _Reply:
	if not is_joined:
		return _Reply.from_error(_Reply._Errors.ClientError.new("the client has left the room"))
	return await client.command(name, arguments)


## Takes the fields of a Joined message.
func update(joined: _Messages.Joined, core: _ClientCore) -> void:
	room_type = joined.room_type
	room_id = joined.room_id
	room_name = joined.room_name
	room_code = joined.room_code
	team = joined.team
	entity = joined.entity
	tick_rate_hz = joined.tick_rate_hz
	input_fields = core.input_fields
