## The messages of the protocol: one class for each table of client.fbs and server.fbs, with the same names.
##
## [constant TABLES] has the fields of each table in the order of their slots. It drives the encoder and the decoder of
## codec.gd, and a test compares it with the schemas. Error and Input are called ErrorMessage and InputMessage, because
## Godot has an enumeration and a class of these names.
extends RefCounted

const SCHEMA_VERSION := 5
const SUBPROTOCOL := "tickwire.1"

## The members of the union ClientBody; the tag of a member is its index plus one.
const CLIENT_BODY: PackedStringArray = [
	"Hello", "Join", "Leave", "InputMessage", "Command", "Resync", "Ping", "MatchRequest", "MatchCancel", "EndSession",
	"ListRooms", "Authenticate",
]

## The members of the union ServerBody.
const SERVER_BODY: PackedStringArray = [
	"Welcome", "Joined", "Left", "Event", "Reply", "Pong", "Redirect", "MatchStatus", "ErrorMessage", "Goodbye",
	"Rate", "RoomList", "Authenticated", "TokenExpiring",
]

## The fields of each table: name and encoding. A name of a table is that table, and [Table] a vector of them.
const TABLES := {
	"Hello":
		"schema_version:u16 build:text token:text resume_token:text last_tick:u32 last_event:u32 "
		+ "room_id:text attempt:u32",
	"Join":
		"room_type:text room_name:text ticket:text options:bytes room_id:text code:text is_private:bool "
		+ "labels:bytes party:text party_size:u8",
	"Leave": "",
	"InputMessage": "seq:u32 tick:u32 payload:bytes",
	"Command": "id:u64 name:text payload:bytes",
	"Resync": "channel:u16 tick:u32",
	"Ping": "client_time_us:u64 last_event:u32 generation:u32",
	"MatchRequest": "mode:text options:bytes party:text party_size:u8 latencies:bytes labels:bytes",
	"MatchCancel": "",
	"EndSession": "",
	"ListRooms": "id:u32 room_type:text labels:bytes limit:u16",
	"Authenticate": "token:text",
	"FieldDescription": "name:text kind:u8 bits:u8 low:f64 high:f64 step:f64 labels:texts bytes_max:u16",
	"GroupDescription": "name:text kind:u8 first:u16 size:u8",
	"TableDescription": "name:text fields:[FieldDescription] groups:[GroupDescription]",
	"StateDescription": "tables:[TableDescription] inputs:[FieldDescription]",
	"Welcome":
		"session_id:text resume_token:text server_time_us:u64 heartbeat_interval_ms:u32 "
		+ "message_bytes_max:u32 inputs_per_second_max:u32 generation:u32 resume_window_ms:u32 "
		+ "room_id:text is_joining:bool messages_per_second_max:u32 bytes_per_second_max:u32 "
		+ "left_reason:text",
	"Joined":
		"room_id:text room_type:text room_name:text tick_rate_hz:f32 tick:u32 entity:u32 "
		+ "description:StateDescription room_code:text team:u8",
	"Left": "reason:text",
	"Event": "number:u32 name:text payload:bytes",
	"Reply": "id:u64 ok:bool error:u8 message:text payload:bytes retry_after_ms:u32",
	"Pong": "client_time_us:u64 server_time_us:u64 tick:u32",
	"Redirect": "url:text ticket:text room_type:text room_name:text is_resume:bool",
	"MatchStatus": "state:u8 position:u32 estimate_ms:u32 mode:text reason:text waiting_for:u8",
	"ErrorMessage": "code:u8 message:text retry_after_ms:u32 upgrade_to:u16 retryable:bool request_type:u8",
	"Goodbye": "code:u8 message:text come_back:bool retry_after_ms:u32",
	"Rate": "ticks_per_update:u8 keyframes_only:bool",
	"ListedRoom": "room_id:text players:u32 players_max:u32 labels:bytes",
	"RoomList": "id:u32 rooms:[ListedRoom]",
	"Authenticated": "player_id:text expires_in_ms:u32",
	"TokenExpiring": "expires_in_ms:u32",
}

enum ErrorCode {
	INTERNAL, MALFORMED, UNSUPPORTED, UPGRADE_REQUIRED, UNAUTHORIZED, OUT_OF_ORDER, RATE_LIMITED,
	NO_SUCH_ROOM_TYPE, NO_SUCH_ROOM, ROOM_FULL, ROOM_CLOSED, UNAVAILABLE, STALE_EPOCH, HANDSHAKE_TIMEOUT,
	COMMAND_FAILED, REPLACED, ALREADY_CONNECTED, RESYNC, COMMAND_TOO_OLD, ROOM_LOCKED, NO_SUCH_MODE, KICKED,
	BANNED, KEY_REUSED, STATE_TOO_LARGE, ROOM_FAILED, INVALID_ARGUMENT, NO_SUCH_COMMAND,
}
enum FieldKind { BOOL, UINT, INT, REAL, ANGLE, ENUM, ENTITY, TEXT, BLOB }
enum GroupKind { VECTOR, QUATERNION }
enum QueueState { WAITING, FOUND, CANCELLED, TIMED_OUT }


static var _types_by_name: Dictionary = {}


## Returns the tag of a client's message in the union ClientBody: the value of ErrorMessage.request_type.
static func request_type(name: String) -> int:
	return CLIENT_BODY.find(name) + 1


## Returns a new message or table by its name.
static func create(name: String) -> Message:
	var script: GDScript = _types()[name]
	return script.new()


## Returns the name of a message's table.
static func name_of(message: Message) -> String:
	return _types().find_key(message.get_script())


## Returns the name of an error code.
static func code_name(code: int) -> String:
	var name: Variant = ErrorCode.find_key(code)
	return name if name else "INTERNAL"


static func _types() -> Dictionary:
	if _types_by_name.is_empty():
		_types_by_name = {
			"Hello": Hello,
			"Join": Join,
			"Leave": Leave,
			"InputMessage": InputMessage,
			"Command": Command,
			"Resync": Resync,
			"Ping": Ping,
			"MatchRequest": MatchRequest,
			"MatchCancel": MatchCancel,
			"EndSession": EndSession,
			"ListRooms": ListRooms,
			"Authenticate": Authenticate,
			"FieldDescription": FieldDescription,
			"GroupDescription": GroupDescription,
			"TableDescription": TableDescription,
			"StateDescription": StateDescription,
			"Welcome": Welcome,
			"Joined": Joined,
			"Left": Left,
			"Event": Event,
			"Reply": Reply,
			"Pong": Pong,
			"Redirect": Redirect,
			"MatchStatus": MatchStatus,
			"ErrorMessage": ErrorMessage,
			"Goodbye": Goodbye,
			"Rate": Rate,
			"ListedRoom": ListedRoom,
			"RoomList": RoomList,
			"Authenticated": Authenticated,
			"TokenExpiring": TokenExpiring,
		}
	return _types_by_name


## A message or a table. Two messages of one type are equal if [method to_dictionary] is.
class Message:
	extends RefCounted

	## Returns the fields by name; tables are dictionaries.
	func to_dictionary() -> Dictionary:
		var fields := {}
		for property: Dictionary in get_property_list():
			if property.usage & PROPERTY_USAGE_SCRIPT_VARIABLE:
				fields[property.name] = _plain(get(property.name))
		return fields

	func _plain(value: Variant) -> Variant:
		if value is Message:
			return value.to_dictionary()
		return value.map(_plain) if value is Array else value


## The first message on a connection.
class Hello:
	extends Message
	var schema_version: int
	var build: String
	var token: String
	var resume_token: String
	var last_tick: int
	var last_event: int
	var room_id: String
	var attempt: int


## Take a seat: by ticket, else by id, else by code, else by name, else in any open room of the type.
class Join:
	extends Message
	var room_type: String
	var room_name: String
	var ticket: String
	var options: PackedByteArray
	var room_id: String
	var code: String
	var is_private: bool
	var labels: PackedByteArray
	var party: String
	var party_size: int


## Leave the room.
class Leave:
	extends Message


## An input for the simulation; the newest wins.
class InputMessage:
	extends Message
	var seq: int
	var tick: int
	var payload: PackedByteArray


## A request that is answered by exactly one Reply with the same id.
class Command:
	extends Message
	var id: int
	var name: String
	var payload: PackedByteArray


## A request for a keyframe, because the client's world is wrong or incomplete.
class Resync:
	extends Message
	var channel: int
	var tick: int


## A clock reading, returned in Pong.
class Ping:
	extends Message
	var client_time_us: int
	var last_event: int
	var generation: int


## A request to enter the queue of a mode.
class MatchRequest:
	extends Message
	var mode: String
	var options: PackedByteArray
	var party: String
	var party_size: int
	var latencies: PackedByteArray
	var labels: PackedByteArray


## A request to leave the queue.
class MatchCancel:
	extends Message


## End the session now, with its seat and its queue position; the server closes the connection with 1000.
class EndSession:
	extends Message


## A request for open rooms of a type.
class ListRooms:
	extends Message
	var id: int
	var room_type: String
	var labels: PackedByteArray
	var limit: int


## Authenticates the player of a running session, with a renewed token or as a guest who logs in.
class Authenticate:
	extends Message
	var token: String


## One field, for clients; `low`, `high` and `step` for REAL, `labels` for ENUM, `bytes_max` for TEXT and BLOB.
class FieldDescription:
	extends Message
	var name: String
	var kind: int
	var bits: int
	var low: float
	var high: float
	var step: float
	var labels: PackedStringArray
	var bytes_max: int


## Adjacent fields that are one value: `size` fields from index `first`; `kind` is a GroupKind or a later one.
class GroupDescription:
	extends Message
	var name: String
	var kind: int
	var first: int
	var size: int


## One table's replicated fields, in the order of its columns, and the groups of these fields.
class TableDescription:
	extends Message
	var name: String
	var fields: Array[FieldDescription] = []
	var groups: Array[GroupDescription] = []


## The fields of a room's state and of its inputs, for generic clients.
class StateDescription:
	extends Message
	var tables: Array[TableDescription] = []
	var inputs: Array[FieldDescription] = []


## The session is open.
class Welcome:
	extends Message
	var session_id: String
	var resume_token: String
	var server_time_us: int
	var heartbeat_interval_ms: int
	var message_bytes_max: int
	var inputs_per_second_max: int
	var generation: int
	var resume_window_ms: int
	var room_id: String
	var is_joining: bool
	var messages_per_second_max: int
	var bytes_per_second_max: int
	var left_reason: String


## The seat is taken; state frames follow.
class Joined:
	extends Message
	var room_id: String
	var room_type: String
	var room_name: String
	var tick_rate_hz: float
	var tick: int
	var entity: int
	var description: StateDescription = StateDescription.new()
	var room_code: String
	var team: int


## The seat has been released, by the player or by the room.
class Left:
	extends Message
	var reason: String


## Reliable, in order, numbered per session from 1.
class Event:
	extends Message
	var number: int
	var name: String
	var payload: PackedByteArray


## The one answer to a Command.
class Reply:
	extends Message
	var id: int
	var ok: bool
	var error: int
	var message: String
	var payload: PackedByteArray
	var retry_after_ms: int


## The answer to Ping.
class Pong:
	extends Message
	var client_time_us: int
	var server_time_us: int
	var tick: int


## The room is on another shard: connect to `url` and Join with `ticket`. An empty `url` means this connection.
class Redirect:
	extends Message
	var url: String
	var ticket: String
	var room_type: String
	var room_name: String
	var is_resume: bool


## The player's state in the queue.
class MatchStatus:
	extends Message
	var state: int
	var position: int
	var estimate_ms: int
	var mode: String
	var reason: String
	var waiting_for: int


## A request failed, or a message was not accepted.
class ErrorMessage:
	extends Message
	var code: int
	var message: String
	var retry_after_ms: int
	var upgrade_to: int
	var retryable: bool
	var request_type: int


## The last message before the server closes.
class Goodbye:
	extends Message
	var code: int
	var message: String
	var come_back: bool
	var retry_after_ms: int


## The rate of state updates for this session from now on.
class Rate:
	extends Message
	var ticks_per_update: int
	var keyframes_only: bool


## A room that any player may join.
class ListedRoom:
	extends Message
	var room_id: String
	var players: int
	var players_max: int
	var labels: PackedByteArray


## The answer to ListRooms: open rooms with a free seat, the fullest first.
class RoomList:
	extends Message
	var id: int
	var rooms: Array[ListedRoom] = []


## The answer to Authenticate. [member expires_in_ms] is 0 if the session's token does not expire.
class Authenticated:
	extends Message
	var player_id: String
	var expires_in_ms: int


## The session's token expires in [member expires_in_ms]; 0 if it has expired.
class TokenExpiring:
	extends Message
	var expires_in_ms: int
