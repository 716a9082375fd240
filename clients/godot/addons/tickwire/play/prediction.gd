## Client-side prediction of the player's own entity: inputs apply immediately, and again on top of each server state.
##
## The server's state arrives one round trip late and contains the inputs up to a sequence number. Later inputs are applied
## again; if the game's step equals the server's, the result is the position that the player already sees. As in Gambetta's
## "Client-Side Prediction and Server Reconciliation". Where it differs, [method sample] hides the correction over some frames.
extends RefCounted

const _Field := preload("../core/field.gd")
const _Smoother := preload("smoother.gd")

const _PENDING_MAX := 128


class _Pending:
	var seq: int
	var input: Dictionary
	## The state after this input; empty before the first server state.
	var after: Dictionary


## The predicted state; empty before the first server state.
var now: Dictionary:
	get:
		return _state
## The number of inputs that the server has not acknowledged.
var unacknowledged: int:
	get:
		return _pending.size()

var _step: Callable
var _inputs: Array = []
var _first_local: Dictionary
var _local: Dictionary
var _tick_ms: float
var _smoother: _Smoother
var _clock_ms: Callable
var _pending: Array[_Pending] = []
var _confirmed: Dictionary = {}
var _state: Dictionary = {}
var _acknowledged_seq := -1  # waits for the state of its tick
var _client: Object
var _read: Callable


## [param step] applies an input to a state for one tick, and returns the new state:
## [code]func(state: Dictionary, input: Dictionary) -> Dictionary[/code]. It must not change its arguments.
## (As everywhere in Godot, a Callable of a method does not keep its RefCounted object: the game must keep it.)
## [br][param options] may have those of Smoother (fields, angles, half_life_ms, snap_distance), and
## [br][code]inputs[/code]: [code]room.input_fields[/code]: inputs are quantised as the server does before they are applied;
## [br][code]local[/code]: fields of the state that the server does not send, with their first values: they follow from inputs;
## [br][code]tick_ms[/code]: the time between two inputs: [method sample] then moves between the last two steps;
## [br][code]clock_ms[/code]: a Callable, by default Time.get_ticks_usec() / 1000.
func _init(step: Callable, options := {}) -> void:
	_step = step
	_inputs = options.get("inputs", [])
	_first_local = options.get("local", {})
	_local = _first_local.duplicate()
	_tick_ms = options.get("tick_ms", 0.0)
	_smoother = _Smoother.new(options)
	_clock_ms = options.get("clock_ms", func() -> float: return Time.get_ticks_usec() / 1000.0)


## Returns the state to draw: between the last two steps, and without jumps where the server has corrected the prediction.
## Empty before the first server state.
func sample() -> Dictionary:
	return _smoother.sample(_state, _clock_ms.call(), _tick_ms) if _state else {}


## Applies an input that was sent. [param seq] is the result of [code]send_input[/code]; 0 means that the input was not sent, and
## changes nothing.
func sent(seq: int, input: Dictionary) -> void:
	if not seq:
		return
	var pending := _Pending.new()
	pending.seq = seq
	pending.input = _quantised(input)
	_pending.append(pending)
	if _pending.size() > _PENDING_MAX:
		_pending.pop_front()
	if _state:
		_smoother.stepped(_state, _clock_ms.call())
		_state = _step.call(_state, pending.input)
		pending.after = _state


## Applies a server state, which contains all inputs up to [param seq].
func confirmed(state: Dictionary, seq: int) -> void:
	_remove_until(seq)
	_confirmed = _local.merged(state, true)
	_replay()


## Applies an acknowledgement: the last server state contains all inputs up to [param seq]. If no new state was sent, these inputs
## changed nothing at the server.
func acknowledged(seq: int) -> void:
	_remove_until(seq)
	if _confirmed:
		_confirmed = _confirmed.merged(_local, true)
	_replay()


## Discards pending inputs, after the connection that they were sent on was lost.
func clear_pending() -> void:
	if _pending:
		acknowledged(_pending[-1].seq)


## Discards the state and all pending inputs.
func reset() -> void:
	_pending.clear()
	_confirmed = {}
	_state = {}
	_local = _first_local.duplicate()
	_acknowledged_seq = -1
	_smoother.reset()


## Updates the prediction from a client's signals, until [method stop_following] or the end of the object of [param read].
## [param read] returns the own entity's state in the client's world as a Dictionary; empty if the entity does not exist. Keep the
## prediction: the signals do not.
func follow(client: Object, read: Callable) -> void:
	stop_following()
	_client = client
	_read = read
	var listeners := _listeners()
	for event: String in listeners:
		client.connect(event, listeners[event])


## Ends [method follow]. Idempotent.
func stop_following() -> void:
	if is_instance_valid(_client):
		var listeners := _listeners()
		for event: String in listeners:
			_client.disconnect(event, listeners[event])
	_client = null


func _listeners() -> Dictionary:
	return {
		"state": _on_state,
		"acknowledged": _on_acknowledged,
		"pong": _on_pong,
		"reconnected": _on_reconnected,
		"joined": _on_joined,
		"left": _on_left,
	}


func _on_state(_tick: int) -> void:
	if not _read.is_valid():
		stop_following()
		return
	_acknowledged_seq = -1
	var state: Dictionary = _read.call()
	if state:
		confirmed(state, _client.get("acknowledged_seq"))


# The acknowledgement arrives before the state of its tick, if that tick has one. It is applied with that state, or with the next
# acknowledgement or pong.
func _on_acknowledged(seq: int, _tick: int) -> void:
	_apply_acknowledgement()
	_acknowledged_seq = seq


func _on_pong(_rtt_ms: float) -> void:
	_apply_acknowledgement()


func _on_reconnected(_is_same_session: bool) -> void:
	clear_pending()


func _on_joined(_room: Object) -> void:
	clear_pending()


func _on_left(_reason: String) -> void:
	reset()


func _apply_acknowledgement() -> void:
	var seq := _acknowledged_seq
	_acknowledged_seq = -1
	if seq >= 0:
		acknowledged(seq)


func _quantised(input: Dictionary) -> Dictionary:
	if _inputs.is_empty():
		return input.duplicate()
	var values := {}
	for field: _Field in _inputs:
		values[field.name] = field.value(field.quantise(float(input.get(field.name, 0.0))))
	return values


func _remove_until(seq: int) -> void:
	var last := {}
	while _pending and _pending[0].seq <= seq:
		last = _pending.pop_front().after
	if last:
		for name: String in _local:
			_local[name] = last[name]


func _replay() -> void:
	var before := _state
	_state = _confirmed
	if not _confirmed:
		return
	for pending in _pending:
		_state = _step.call(_state, pending.input)
		pending.after = _state
	if before:
		_smoother.corrected(before, _state, _clock_ms.call())
