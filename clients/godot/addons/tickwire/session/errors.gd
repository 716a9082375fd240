## The errors of the client. GDScript has no exceptions: a call that failed returns null, and
## [code]client.last_error[/code] is one of these.
extends RefCounted

const _Messages := preload("../core/messages.gd")


## The base class: an error that the client cannot handle itself.
class ClientError:
	extends RefCounted

	var message: String

	func _init(text := "") -> void:
		message = text

	## Returns the name of the class, as in all clients.
	func kind() -> String:
		return "ClientError"

	func _to_string() -> String:
		return "%s: %s" % [kind(), message]


## The connection is closed for good, or could not be opened.
class Disconnected:
	extends ClientError

	## Whether the caller may try again.
	var may_return := true
	## The delay that the server advised; 0 without advice.
	var retry_after_ms := 0

	func kind() -> String:
		return "Disconnected"


## The connection could not be opened.
class ConnectFailed:
	extends Disconnected

	func kind() -> String:
		return "ConnectFailed"


## The server refused a request; [member error] has the reason, and whether and when to retry.
class Refused:
	extends ClientError

	var error: _Messages.ErrorMessage

	func _init(refusal: _Messages.ErrorMessage) -> void:
		error = refusal
		message = "%s: %s" % [code(), refusal.message]

	## Returns the name of the error code, such as "ROOM_FULL".
	func code() -> String:
		return _Messages.code_name(error.code)

	func kind() -> String:
		return "Refused"


## The player left the matchmaking queue without a match.
class NotMatched:
	extends ClientError

	var status: _Messages.MatchStatus

	func _init(end: _Messages.MatchStatus) -> void:
		status = end
		message = "%s: %s" % [_Messages.QueueState.find_key(end.state), end.reason]

	func kind() -> String:
		return "NotMatched"


## The room rejected a command.
class CommandFailed:
	extends ClientError

	var reply: _Messages.Reply

	func _init(answer: _Messages.Reply) -> void:
		reply = answer
		message = "%s: %s" % [code(), answer.message]

	## Returns the name of the error code, such as "COMMAND_FAILED" or "INVALID_ARGUMENT".
	func code() -> String:
		return _Messages.code_name(reply.error)

	func kind() -> String:
		return "CommandFailed"


## The server did not keep the session. The client is in no room; whether a command ran is unknown.
class SessionLost:
	extends ClientError

	func kind() -> String:
		return "SessionLost"


## The server would not accept the message. It was not sent, and the session continues.
class MessageTooLarge:
	extends ClientError

	func kind() -> String:
		return "MessageTooLarge"


## The server did not answer in time.
class TimedOut:
	extends ClientError

	func kind() -> String:
		return "TimeoutError"


## The player HTTP API has refused a request (RFC 9457).
class ApiError:
	extends ClientError

	## The HTTP status.
	var status := 0
	## When a retry makes sense; 0 if that is unknown.
	var retry_after_ms := 0
	var _code := ""

	func _init(http_status: int, problem_code: String, detail: String) -> void:
		status = http_status
		_code = problem_code
		message = "%s: %s" % [problem_code, detail] if detail else problem_code

	## Returns the code, such as "UNAUTHORIZED", "IDENTITY_TAKEN" or "RATE_LIMITED".
	func code() -> String:
		return _code

	## Returns whether the same request may succeed later.
	func is_temporary() -> bool:
		return status in [429, 502, 503, 504] or _code == "REQUEST_IN_PROGRESS"

	func kind() -> String:
		return "ApiError"


## The player HTTP API does not answer; whether it has run the request is unknown.
class ApiUnreachable:
	extends ApiError

	func _init(detail: String) -> void:
		super(503, "UNAVAILABLE", detail)

	func kind() -> String:
		return "ApiUnreachable"


## The player is not logged in, or the server has ended the login: log in again.
class NotLoggedIn:
	extends ClientError

	func kind() -> String:
		return "NotLoggedIn"


## Returns the error of a message that the core could not encode.
static func from_failure(failure: Object) -> ClientError:
	if failure.kind == "MessageTooLarge":
		return MessageTooLarge.new(failure.message)
	return ClientError.new(failure.message)
