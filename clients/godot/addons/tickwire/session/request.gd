## A pending request, and the updates that answer it.
##
## An Error ends only the request that it answers. After a reconnect a request is sent again, unless the server is still processing
## it.
extends RefCounted

const _Messages := preload("../core/messages.gd")
const _Updates := preload("../core/updates.gd")

const _Code := _Messages.ErrorCode
## Errors that answer no request, for servers that do not set request_type.
const _NO_ANSWER: Array[int] = [_Code.RATE_LIMITED, _Code.UNSUPPORTED, _Code.RESYNC]

## Join, Leave, MatchRequest, ListRooms or Authenticate.
var type: String
var data: PackedByteArray
## Of a ListRooms.
var id: int


func _init(message_type: String, message: PackedByteArray, list_id := 0) -> void:
	type = message_type
	data = message
	id = list_id


## Returns whether an Error answers a request of this type.
static func is_answer(error: _Messages.ErrorMessage, request_type: String) -> bool:
	if error.request_type:
		return error.request_type == _Messages.request_type(request_type)
	return error.code not in _NO_ANSWER


## Returns whether an update answers this request.
func is_answered_by(update: _Updates.Update) -> bool:
	if update is _Updates.ErrorReceived:
		return is_answer(update.error, type)
	if update is _Updates.SeatTaken:
		return type == "Join" and not update.is_same_room
	if update is _Updates.SeatLost:
		return type == "Leave"
	if update is _Updates.Redirected:
		if update.redirect.is_resume:  # the session moves, with its requests
			return false
		return not update.is_move and type == ("MatchRequest" if update.is_match else "Join")
	if update is _Updates.RoomsListed:
		return type == "ListRooms" and update.answer.id == id
	if update is _Updates.SessionAuthenticated:
		return type == "Authenticate"
	if update is _Updates.QueueChanged:
		return type == "MatchRequest" and update.is_end
	return false


## Returns whether the answer follows on the new connection, without sending the request again.
func is_in_flight(update: _Updates.Welcomed) -> bool:
	return type == "Join" and update.is_join_in_flight
