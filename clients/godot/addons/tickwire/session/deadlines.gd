## The deadlines of a session machine, which share one timer.
extends RefCounted

## The end of the pause before an attempt, or of a step of the attempt.
const ATTEMPT := -1
const HEARTBEAT := -2
## A command is due.
const COMMANDS := -3
## A new token is requested again, or the renewal of the token has no answer. Keys above 0 are the numbers of calls; 0 is a move to
## another room.
const RENEWAL := -4

## Whether [method next_ms] may be another one; the user resets it.
var has_changed := false
## The key and the time of the deadline that [method pop_due] removed.
var due_key := 0
var due_ms := 0.0

var _at_ms: Dictionary = {}  # by key; of two that are due at the same time, the one that was set first is first


## Sets or replaces a deadline.
func set_at(key: int, at_ms: float) -> void:
	has_changed = true
	_at_ms.erase(key)
	_at_ms[key] = at_ms


## Removes a deadline. Idempotent.
func cancel(key: int) -> void:
	if _at_ms.erase(key):
		has_changed = true


func clear() -> void:
	has_changed = true
	_at_ms.clear()


## Returns the earliest deadline; infinite without any.
func next_ms() -> float:
	var earliest := INF
	for key: int in _at_ms:
		earliest = minf(earliest, _at_ms[key])
	return earliest


## Removes the earliest deadline that is due: [member due_key] and [member due_ms]. Returns false if none is due.
func pop_due(now_ms: float) -> bool:
	due_ms = INF
	for key: int in _at_ms:
		if _at_ms[key] < due_ms:
			due_key = key
			due_ms = _at_ms[key]
	if _at_ms.is_empty() or due_ms > now_ms:
		return false
	has_changed = true
	_at_ms.erase(due_key)
	return true
