## The calls of a session machine for a seat: joins, leaves, moves and the rooms of matches, one by one.
## [codeblock]
## join ───────────────────────────> requested --SeatTaken--> resolved
## match, move --leaves its room-->  ^  └--Redirect--> visiting --connected--> requested there, with the ticket
##                                   └--after a pause, at the initial URL--└--the shard cannot be reached
## [/codeblock]
## The server processes one Join at a time. A Redirect without an address leads to a room on the same shard.
extends RefCounted

const _Backoff := preload("../core/backoff.gd")
const _ClientCore := preload("../core/client_core.gd")
const _ConnectionMachine := preload("connection_machine.gd")
const _Deadlines := preload("deadlines.gd")
const _Errors := preload("errors.gd")
const _Messages := preload("../core/messages.gd")
const _PendingCall := preload("pending_call.gd")
const _ReconnectPlan := preload("reconnect_plan.gd")
const _Request := preload("request.gd")
const _Updates := preload("../core/updates.gd")

const _Kind := _PendingCall.Kind
const _Step := _PendingCall.SeatStep

## The call that is processed; the others wait for it.
var active: _PendingCall:
	get:
		return _queue[0] if _queue else null

var _core: _ClientCore
var _connection: _ConnectionMachine
var _deadlines: _Deadlines
var _random: Callable
var _send: Callable
var _resolve: Callable
var _reject: Callable
var _queue: Array[_PendingCall] = []


## [param user] has the methods send(data), resolve(call, value) and reject(call, error); it is not kept alive.
func _init(
	core: _ClientCore, connection: _ConnectionMachine, deadlines: _Deadlines, random: Callable, user: Object
) -> void:
	_core = core
	_connection = connection
	_deadlines = deadlines
	_random = random
	_send = Callable(user, "send")
	_resolve = Callable(user, "resolve")
	_reject = Callable(user, "reject")


## Adds a call, and begins it if no other is processed.
func add(waiting: _PendingCall, now_ms: float) -> void:
	_queue.append(waiting)
	if _queue.size() == 1:
		_begin(waiting, now_ms)


## Removes a call that has ended, and begins the next one. A Join without an answer is abandoned. Idempotent.
func remove(ended: _PendingCall, now_ms: float) -> void:
	if ended not in _queue:
		return
	var was_active := active == ended
	_queue.erase(ended)
	if not was_active:
		return
	_deadlines.cancel(ended.number)
	if ended.step == _Step.REQUESTED and ended.request:
		_core.abandon_join()
	if _queue and _connection.phase != _ConnectionMachine.Phase.CLOSED:
		_begin(_queue[0], now_ms)


## Removes all calls.
func clear() -> void:
	_queue.clear()


func _begin(waiting: _PendingCall, now_ms: float) -> void:
	waiting.until_ms = now_ms + _PendingCall.JOIN_MS_MAX
	waiting.backoff = _Backoff.new(_random)
	if waiting.kind == _Kind.LEAVE:
		_leave(waiting, now_ms)
	elif waiting.kind == _Kind.JOIN:
		_request(waiting, waiting.first, now_ms)
	elif waiting.kind == _Kind.MATCH and _core.joined:
		waiting.step = _Step.LEAVING
		_leave(waiting, now_ms)
	elif waiting.redirect:
		_follow(waiting, waiting.redirect, now_ms)


func _leave(waiting: _PendingCall, now_ms: float) -> void:
	waiting.request = _Request.new("Leave", _core.leave())
	_deadlines.set_at(waiting.number, now_ms + _PendingCall.CALL_MS_MAX)
	_send.call(waiting.request.data)


# Sends a Join, or waits until an abandoned Join has its answer: the server refuses another one until then.
func _request(waiting: _PendingCall, data: PackedByteArray, now_ms: float) -> void:
	_deadlines.set_at(waiting.number, now_ms + _PendingCall.CALL_MS_MAX)
	if _core.is_abandoning_join:
		waiting.step = _Step.ABANDONED
		waiting.request = null
		waiting.unsent = data
		return
	waiting.step = _Step.REQUESTED
	waiting.request = _Request.new("Join", data)
	_send.call(data)


## Continues a call that waited for the answer to an abandoned Join.
func abandoned_join_answered(now_ms: float) -> void:
	if active and active.step == _Step.ABANDONED:
		_request(active, active.unsent, now_ms)


## Handles the answer to the request of the active call.
func answered(waiting: _PendingCall, answer: _Updates.Update, now_ms: float) -> void:
	waiting.request = null
	if answer is _Updates.SeatTaken:
		_resolve.call(waiting, answer.joined)
	elif answer is _Updates.Redirected:
		waiting.redirects += 1
		if waiting.redirects > _ReconnectPlan.REDIRECTS_MAX:
			var text := "redirected more than %d times" % _ReconnectPlan.REDIRECTS_MAX
			_reject.call(waiting, _Errors.ClientError.new(text))
		else:
			_follow(waiting, answer.redirect, now_ms)
	elif answer is _Updates.ErrorReceived:
		_reject.call(waiting, _Errors.Refused.new(answer.error))
	elif waiting.kind == _Kind.LEAVE:
		_resolve.call(waiting, null)
	elif waiting.redirect:
		_follow(waiting, waiting.redirect, now_ms)


func _follow(waiting: _PendingCall, redirect: _Messages.Redirect, now_ms: float) -> void:
	waiting.redirect = redirect
	if not redirect.url:
		_request_with_ticket(waiting, redirect, now_ms)
	elif _connection.is_downgrade(redirect.url):
		_reject.call(waiting, _ConnectionMachine.downgrade_error(redirect.url))
	else:
		waiting.step = _Step.VISITING
		_deadlines.set_at(waiting.number, now_ms + _PendingCall.JOIN_MS_MAX)
		_connection.visit(redirect.url, now_ms)


func _request_with_ticket(waiting: _PendingCall, redirect: _Messages.Redirect, now_ms: float) -> void:
	var options := {"name": redirect.room_name, "ticket": redirect.ticket}
	if waiting.options != null:
		options["options"] = waiting.options
	var data := _core.join(redirect.room_type, options)
	if _core.failure:  # too large for this shard
		_reject.call(waiting, _Errors.from_failure(_core.failure))
	else:
		_request(waiting, data, now_ms)


## Continues on a new connection: sends the request again, unless the server still processes it.
func welcomed(update: _Updates.Welcomed, now_ms: float) -> void:
	var waiting := active
	if not waiting:
		return
	if waiting.step == _Step.VISITING and waiting.redirect:
		if _connection.url == waiting.redirect.url:
			_request_with_ticket(waiting, waiting.redirect, now_ms)
		else:
			_shard_unreachable(waiting, waiting.redirect, now_ms)
	elif waiting.step == _Step.ABANDONED:
		if not _core.is_abandoning_join:
			abandoned_join_answered(now_ms)
	elif waiting.request and not waiting.request.is_in_flight(update):
		_send.call(waiting.request.data)


# Handles a Redirect to a shard that failed. The client is connected to its initial URL.
func _shard_unreachable(waiting: _PendingCall, redirect: _Messages.Redirect, now_ms: float) -> void:
	if waiting.kind == _Kind.MATCH:
		var status := _Messages.MatchStatus.new()
		status.state = _Messages.QueueState.CANCELLED
		status.mode = waiting.mode
		status.reason = "the shard of the match cannot be reached"
		_reject.call(waiting, _Errors.NotMatched.new(status))
		return
	var pause_ms := waiting.backoff.next_ms() if waiting.backoff else 0
	if waiting.kind == _Kind.MOVE or now_ms + pause_ms > waiting.until_ms:
		var text := "the room's shard, %s, cannot be reached" % redirect.url
		_reject.call(waiting, _Errors.Disconnected.new(text))
		return
	waiting.step = _Step.PAUSE
	waiting.redirects = 0
	_deadlines.set_at(waiting.number, now_ms + pause_ms)


## Handles the deadline of the active call: the pause is over, or no answer arrived.
func deadline_due(waiting: _PendingCall, now_ms: float) -> void:
	if waiting.step == _Step.PAUSE:
		_request(waiting, waiting.first, now_ms)
	else:
		_reject.call(waiting, _Errors.TimedOut.new("no answer in time"))
