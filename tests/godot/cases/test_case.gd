## The base class of test cases. See tests/harness/godot_cases.py.
extends RefCounted

var failures: PackedStringArray = []


func check(condition: bool, about: String) -> void:
	if not condition:
		failures.append(about)


func equal(actual: Variant, expected: Variant, about: String) -> void:
	if typeof(actual) != typeof(expected) or actual != expected:
		failures.append("%s: %s instead of %s" % [about, _short(actual), _short(expected)])


func _short(value: Variant) -> String:
	return str(value).left(1000)


## Returns the contents of a JSON file.
static func read_json(path: String) -> Variant:
	return JSON.parse_string(FileAccess.get_file_as_string(path))
