## The commands of the session machine: values that a shell carries out, in order.
##
## schemas/scenarios/README.md defines them for all clients.
extends RefCounted


class Command:
	extends RefCounted


## Get the player's token, and answer with token_received or token_failed. It replaces an earlier request.
class RequestToken:
	extends Command


## Open a WebSocket, and answer with connected, connect_failed or connection_lost.
class Connect:
	extends Command
	var url: String

	func _init(to: String) -> void:
		url = to


## Send a message on the newest connection.
class Send:
	extends Command
	var data: PackedByteArray

	func _init(message: PackedByteArray) -> void:
		data = message


## Close the newest connection. Later events of it must not be passed to the machine.
class CloseSocket:
	extends Command
	## 1000 ends the session; with any other code the shell need not wait, and may break the connection.
	var code: int
	var reason: String

	func _init(close_code: int, text: String) -> void:
		code = close_code
		reason = text


## Call timer_fired at this time, on the machine's clock. It replaces the previous timer.
class SetTimer:
	extends Command
	## Infinite: no timer.
	var at_ms: float

	func _init(time_ms: float) -> void:
		at_ms = time_ms


## A call has succeeded, with a Joined (join, match), a RoomList (list_rooms), a Reply (command), an Authenticated (authenticate),
## or null.
class Resolve:
	extends Command
	var call_number: int
	var value: Variant

	func _init(number: int, result: Variant) -> void:
		call_number = number
		value = result


## A call has failed, with a ClientError.
class Reject:
	extends Command
	var call_number: int
	var error: RefCounted

	func _init(number: int, reason: RefCounted) -> void:
		call_number = number
		error = reason


## Emit a signal.
class Emit:
	extends Command
	var event: String
	var value: Variant

	func _init(name: String, argument: Variant) -> void:
		event = name
		value = argument


## Save a text, from which the session is resumed after a restart of the program.
class StoreSession:
	extends Command
	var text: String

	func _init(stored: String) -> void:
		text = stored


## Delete the saved text.
class ClearSession:
	extends Command
