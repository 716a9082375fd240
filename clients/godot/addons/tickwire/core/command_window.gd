## The commands of a session that have no reply yet, and the times to send them.
##
##     waiting --sent--> in flight --Reply--> answered and removed
##        ^                 └--RATE_LIMITED, UNAVAILABLE, resume, no answer in time--┐
##        └--------------------------------------------------------------------------┘
##
## At most the IDS_MAX ids from the oldest unanswered one on are in flight: the server keeps the replies of the last 64 ids,
## and refuses older ids with COMMAND_TOO_OLD. Within the window the rates stay below the session's limits in Welcome.
extends RefCounted

const Backoff := preload("backoff.gd")
const Messages := preload("messages.gd")

## The number of commands that the server runs for one session at a time.
const IDS_MAX := 16
## The limit of commands without a reply, sent or not.
const COMMANDS_MAX := 1024
## A command without a reply on one connection is sent again after this time.
const ANSWER_MS_MAX := 10_000.0
## The share of the session's message and byte rates for commands; inputs, pings and requests use the rest.
const RATE_SHARE := 0.5
const _UNDECIDED: PackedInt32Array = [Messages.ErrorCode.UNAVAILABLE, Messages.ErrorCode.RATE_LIMITED]

var _random: Callable
var _commands: Dictionary = {}  # by id, ascending: its _Command
var _messages := _Budget.new()
var _bytes := _Budget.new()


class _Command:
	extends RefCounted

	var data: PackedByteArray
	var backoff: Backoff
	var due_ms := 0.0


## A token bucket of one second. A rate of 0 means no limit, and nothing is spent. One item may be larger than the bucket.
##
## It counts thousandths of tokens, so that whole milliseconds have whole results in every language.
class _Budget:
	extends RefCounted

	var _rate := 0.0
	var _at_ms := 0.0
	var _thousandths := INF

	## Sets the rate. Tokens that were spent before a resume stay spent.
	func limit(rate: float) -> void:
		_rate = rate
		if rate:
			_thousandths = minf(_thousandths, rate * 1000)

	## Returns the time from which tokens may be spent.
	func available_ms(now_ms: float) -> float:
		if _rate:
			_thousandths = minf(_rate * 1000, _thousandths + (now_ms - _at_ms) * _rate)
		_at_ms = now_ms
		return now_ms if not _rate or _thousandths >= 0 else now_ms + ceilf(-_thousandths / _rate)

	func spend(amount: float) -> void:
		if _rate:
			_thousandths -= amount * 1000


## Returns whether a reply is final. Otherwise the command is sent again under its id.
static func is_decided(reply: Messages.Reply) -> bool:
	return reply.ok or (not reply.retry_after_ms and reply.error not in _UNDECIDED)


## [param random] returns random numbers from 0 to 1; it spreads the pauses before a command is sent again.
func _init(random: Callable) -> void:
	_random = random


func size() -> int:
	return _commands.size()


func is_full() -> bool:
	return _commands.size() >= COMMANDS_MAX


## Adds a command, whose id is greater than all that were added before.
func add(id: int, data: PackedByteArray) -> void:
	var command := _Command.new()
	command.data = data
	command.backoff = Backoff.new(_random)
	_commands[id] = command


## Removes a command that was answered or abandoned. Idempotent.
func remove(id: int) -> void:
	_commands.erase(id)


## Removes all commands, when the session ends and no reply can arrive.
func clear() -> void:
	_commands.clear()


## Begins a connection: all commands are due on it, within the server's limits.
func welcomed(welcome: Messages.Welcome) -> void:
	_messages.limit(welcome.messages_per_second_max * RATE_SHARE)
	_bytes.limit(welcome.bytes_per_second_max * RATE_SHARE)
	for command: _Command in _commands.values():
		command.due_ms = 0.0


## Records a reply. If the outcome is unknown, the command is due again after a pause.
func replied(reply: Messages.Reply, now_ms: float) -> void:
	if is_decided(reply):
		remove(reply.id)
	elif reply.id in _commands:
		var command: _Command = _commands[reply.id]
		command.due_ms = now_ms + command.backoff.next_ms(reply.retry_after_ms)


## Returns the messages to send now, in the order of their ids. They count as sent.
func due(now_ms: float) -> Array[PackedByteArray]:
	var messages: Array[PackedByteArray] = []
	for command in _in_window():
		if _next_ms(command, now_ms) <= now_ms:
			messages.append(command.data)
			_messages.spend(1)
			_bytes.spend(command.data.size())
			command.due_ms = now_ms + ANSWER_MS_MAX
	return messages


## Returns the time of the next due command, if no reply arrives before; INF without commands.
func next_due_ms(now_ms: float) -> float:
	var first_ms := INF
	for command in _in_window():
		first_ms = minf(first_ms, _next_ms(command, now_ms))
	return first_ms


func _in_window() -> Array[_Command]:
	var window: Array[_Command] = []
	if _commands.is_empty():
		return window
	var oldest: int = _commands.keys()[0]
	for id: int in _commands:
		if id >= oldest + IDS_MAX:
			break
		window.append(_commands[id])
	return window


func _next_ms(command: _Command, now_ms: float) -> float:
	return maxf(command.due_ms, maxf(_messages.available_ms(now_ms), _bytes.available_ms(now_ms)))
