## Encodes messages with contents from the game, and checks the limits of the server before.
extends RefCounted

const Codec := preload("codec.gd")
const FlatReader := preload("flat_reader.gd")
const Messages := preload("messages.gd")
const MessagePack := preload("message_pack.gd")

## The size of the largest message that the server accepts, from Welcome; 0: unknown.
var message_bytes_max := 0
## The reason why the last call failed; empty: it did not.
var error := ""
## The name of that error: MessageTooLarge or InvalidValue.
var error_kind := ""


## Returns the bytes of a message; none if the server would not accept it.
func encode(message: Messages.Message) -> PackedByteArray:
	var name := Messages.name_of(message)
	for field in Codec.layout(name).names:
		var value: Variant = message.get(field)
		if value is String and value.to_utf8_buffer().size() > FlatReader.TEXT_BYTES_MAX:
			_set_too_large("the %s of a %s" % [field, name], value.to_utf8_buffer().size(), FlatReader.TEXT_BYTES_MAX)
			return PackedByteArray()
	var data := Codec.encode_client(message)
	if message_bytes_max > 0 and data.size() > message_bytes_max:
		_set_too_large("the %s" % name, data.size(), message_bytes_max)
		return PackedByteArray()
	return data


## Begins a message: forgets the last error.
func begin() -> void:
	error = ""
	error_kind = ""


## Returns a value as MessagePack; none for an empty map, and for a value that MessagePack cannot represent.
func pack(value: Variant) -> PackedByteArray:
	if value is Dictionary and value.is_empty():
		return PackedByteArray()
	var encoded := MessagePack.encode(value)
	if encoded.error:
		error = encoded.error
		error_kind = "InvalidValue"
	return encoded.data


func _set_too_large(what: String, size: int, limit: int) -> void:
	error = "%s has %d bytes; the server accepts at most %d" % [what, size, limit]
	error_kind = "MessageTooLarge"
