## The fields of a table, shared by all channels.
extends RefCounted

const Field := preload("field.gd")
const Group := preload("group.gd")
const Messages := preload("messages.gd")

var name: String
var fields: Array[Field] = []
## The fields that are columns of integers, and those that are bytes.
var columns: Array[Field] = []
var texts: Array[Field] = []
var groups: Array[Group] = []
## The reason why the description is invalid; empty: it is not.
var error := ""


func _init(description: Messages.TableDescription) -> void:
	name = description.name
	for one in description.fields:
		var field := Field.new(one)
		error = error if error else field.error
		fields.append(field)
		if field.is_text:
			texts.append(field)
		else:
			columns.append(field)
	for one in description.groups:
		if one.kind < Messages.GroupKind.size():  # a newer server has other kinds: their fields are read one by one
			var group := Group.new(one, fields)
			error = error if error else group.error
			groups.append(group)
