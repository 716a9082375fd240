## Runs the cases of plan.json, and writes a line of JSON with the result of each to results.jsonl.
##
## An error of a script ends its function and nothing else, so errors are counted by a logger: a case with one has failed.
extends SceneTree

const TestCase := preload("res://cases/test_case.gd")


class Errors:
	extends Logger

	var lines: PackedStringArray = []

	func _log_error(
		function: String, file: String, line: int, code: String, rationale: String, _editor_notify: bool,
		_error_type: int, _script_backtraces: Array[ScriptBacktrace]
	) -> void:
		lines.append("%s:%d in %s: %s %s" % [file, line, function, code, rationale])


func _init() -> void:
	var errors := Errors.new()
	OS.add_logger(errors)
	var results := FileAccess.open("res://results.jsonl", FileAccess.WRITE)
	for case: Dictionary in TestCase.read_json("res://plan.json"):
		errors.lines.clear()
		var failures := _run(case)
		failures.append_array(errors.lines)
		results.store_line(JSON.stringify({"name": case.name, "failures": failures}))
	results.close()
	OS.remove_logger(errors)
	quit()


func _run(case: Dictionary) -> PackedStringArray:
	var script: GDScript = load("res://cases/" + case.script)
	if not script or not script.can_instantiate():
		return ["the script cannot be loaded"]
	var instance: TestCase = script.new()
	if case.path:
		instance.call(case.function, case.path)
	else:
		instance.call(case.function)
	return instance.failures
