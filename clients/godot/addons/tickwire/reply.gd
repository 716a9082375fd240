## The outcome of a command.
extends RefCounted

const _Errors := preload("session/errors.gd")

## Whether the room has run the command.
var is_ok := false
## The result of the command.
var value: Variant = null
## Why it failed, if it did.
var error: _Errors.ClientError


static func from_value(result: Variant) -> RefCounted:
	var reply := new()
	reply.is_ok = true
	reply.value = result
	return reply


static func from_error(reason: _Errors.ClientError) -> RefCounted:
	var reply := new()
	reply.error = reason
	return reply


func _to_string() -> String:
	return "ok: %s" % [value] if is_ok else str(error)
