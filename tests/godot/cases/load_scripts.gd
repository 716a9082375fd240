## Loads all scripts of the addon, and prints the name of each.
extends SceneTree


func _init() -> void:
	_load_folder("res://addons/tickwire")
	quit()


func _load_folder(path: String) -> void:
	for file in DirAccess.get_files_at(path):
		if file.ends_with(".gd") and load(path.path_join(file)):
			print("loaded ", file)
	for folder in DirAccess.get_directories_at(path):
		_load_folder(path.path_join(folder))
