## Saves the session, or the login of an account, in a file, so that the game continues it when it is started again. In a browser,
## user:// is kept by the page.
##
## An object of the game with these three methods may be used instead, such as one that uses the platform's secret store. They may be
## coroutines. The text permits to continue the session, until the server's resume window is over.
extends RefCounted

var _path: String


func _init(path := "user://tickwire_session.json") -> void:
	_path = path


## Returns the saved text; empty without one.
func load() -> String:
	return FileAccess.get_file_as_string(_path) if FileAccess.file_exists(_path) else ""


## Saves a text. A file that is half written would be ignored by the client, and the session lost: it is replaced as a whole.
func save(text: String) -> void:
	var file := FileAccess.open(_path + ".new", FileAccess.WRITE)
	var result := FileAccess.get_open_error()
	if file:
		file.store_string(text)
		result = file.get_error()
		file.close()
	if not result:
		result = DirAccess.rename_absolute(_path + ".new", _path)
	if result:
		push_warning("tickwire: the session cannot be saved in %s: %s" % [_path, error_string(result)])


## Deletes the saved text.
func clear() -> void:
	if FileAccess.file_exists(_path):
		DirAccess.remove_absolute(_path)
