## The page of the arena: connects, joins, and shows the chat. Start it with [code]-- --server=ws://127.0.0.1:8080/ --name=ann[/code].
extends Control

const Pilot := preload("pilot.gd")
const Rooms := preload("rooms.gd")

const _LINES_MAX := 8

@export var server := "ws://127.0.0.1:8080/"
@export var pilot_name := "pilot"

var client: Tickwire.Client
var arena: Rooms.ArenaRoom

@onready var _view: Node2D = $View
@onready var _status: Label = $Status
@onready var _lines: Label = $Lines
@onready var _words: LineEdit = $Words


func _ready() -> void:
	for argument in OS.get_cmdline_user_args():
		if argument.begins_with("--server="):
			server = argument.trim_prefix("--server=")
		elif argument.begins_with("--name="):
			pilot_name = argument.trim_prefix("--name=")
	_words.text_submitted.connect(_say)
	_start()


func _start() -> void:
	_status.text = "connecting to %s" % server
	client = await Tickwire.connect_to_url(server)
	if not client:
		_status.text = str(Tickwire.last_error)
		return
	client.disconnected.connect(func(reason: String) -> void: _status.text = "reconnecting: %s" % reason)
	client.closed.connect(func(error: Tickwire.Disconnected) -> void: _status.text = error.message)
	client.reconnected.connect(func(_is_same: bool) -> void: _show_ships())
	client.state.connect(func(_tick: int) -> void: _show_ships())
	client.joined.connect(func(_room: Tickwire.Room) -> void: _fetch_names())
	client.left.connect(func(reason: String) -> void: _add_line("you left: %s" % reason))
	var options := Rooms.PilotOptions.new()
	options.name = pilot_name
	arena = await Rooms.ArenaRoom.join(client, options)
	if not arena:
		_status.text = str(client.last_error)
		return
	arena.events.named.connect(func(named: Rooms.Named) -> void: _view.names[named.id] = named.name)
	arena.events.said.connect(func(said: Rooms.Said) -> void: _add_line("%s: %s" % [said.name, said.words]))
	arena.events.scored.connect(func(scored: Rooms.Scored) -> void: _add_line("%s scores: %d" % [scored.name, scored.score]))
	_view.start(arena, Pilot.new(arena))
	_fetch_names()


func _show_ships() -> void:
	if arena and arena.room.is_joined:
		_status.text = "%d ships · %d ms" % [arena.tables.ships.size(), roundi(client.rtt_ms) if client.rtt_ms > 0 else 0]


func _fetch_names() -> void:
	if not arena:
		return
	var reply := await arena.commands.names()
	if reply.is_ok:
		for id: String in reply.value:
			_view.names[int(id)] = reply.value[id]


func _say(words: String) -> void:
	_words.clear()
	_words.release_focus()
	if not arena or not words.strip_edges():
		return
	var reply := await arena.commands.say(words)
	if not reply.is_ok:
		_add_line(reply.error.message)


func _add_line(text: String) -> void:
	_lines.text = "\n".join((_lines.text.split("\n") + PackedStringArray([text])).slice(-_LINES_MAX))


func _exit_tree() -> void:
	if client:
		client.close()
