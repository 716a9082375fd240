## A room that any player may join; join it with its [member room_id].
extends RefCounted

const _Messages := preload("core/messages.gd")
const _MessagePack := preload("core/message_pack.gd")

var room_id: String
var players: int
var max_players: int
var labels: Dictionary


static func from_message(room: _Messages.ListedRoom) -> RefCounted:
	var made := new()
	made.room_id = room.room_id
	made.players = room.players
	made.max_players = room.players_max
	var decoded: Variant = _MessagePack.decode(room.labels).value
	made.labels = decoded if decoded is Dictionary else {}
	return made
