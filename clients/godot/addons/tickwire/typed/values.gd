## Converts between objects of generated code and values of MessagePack.
extends RefCounted


## Returns a value as it is sent: objects with the method to_value become dictionaries, also inside of lists and dictionaries.
static func to_plain(value: Variant) -> Variant:
	if value is Array:
		return value.map(to_plain)
	if value is Dictionary:
		return convert_map(value, to_plain)
	if value is Object and value.has_method("to_value"):
		return value.to_value()
	return value


## Returns the fields of all objects and dictionaries in one dictionary, without those that are null.
static func merge(objects: Array) -> Dictionary:
	var all := {}
	for object: Variant in objects:
		if object != null:
			all.merge(to_plain(object))
	return all


static func convert_list(value: Variant, converter: Callable) -> Array:
	return value.map(converter) if value is Array else []


static func convert_map(value: Variant, converter: Callable) -> Dictionary:
	var made := {}
	if value is Dictionary:
		for key: Variant in value:
			made[key] = converter.call(value[key])
	return made


static func convert_tuple(value: Variant, converts: Array) -> Array:
	var made := []
	if value is Array:
		for index in mini(value.size(), converts.size()):
			made.append(converts[index].call(value[index]))
	return made


## Converts a value that is an object of one class, or something else.
static func convert_object(value: Variant, converter: Callable) -> Variant:
	return converter.call(value) if value is Dictionary else value


## Converts an object of one of several classes, by the value of a field.
static func convert_tagged(value: Variant, key: String, converts: Dictionary) -> Variant:
	var tag: Variant = value.get(key) if value is Dictionary else null
	return converts[tag].call(value) if converts.has(tag) else value
