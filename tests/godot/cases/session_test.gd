## Parts of the session that the scenarios do not name one by one: the stored text, and its file.
extends "res://cases/test_case.gd"

const SessionFile := preload("res://addons/tickwire/session_file.gd")
const StoredSession := preload("res://addons/tickwire/session/stored_session.gd")

const URL := "wss://play.game.example/"


func _stored() -> StoredSession:
	var stored := StoredSession.new()
	stored.url = "wss://shard-7.game.example/"
	stored.initial_url = URL
	stored.player = "ann"
	stored.resume_token = "token"
	stored.last_event = 4_000_000_000
	stored.attempt = 17
	stored.command_id = 1025
	return stored


func test_stored_session_is_read_again() -> void:
	var text := _stored().to_text()
	var read: StoredSession = StoredSession.from_text(text, URL)
	equal(read.to_text(), text, "the same text")
	equal(JSON.parse_string(text).keys(), [
		"version", "url", "initial_url", "player", "resume_token", "last_event", "attempt", "command_id",
	], "the fields, as in all clients")
	check(not "." in text.substr(text.find("last_event")), "whole numbers: " + text)


func test_stored_session_that_does_not_fit_is_refused() -> void:
	var text := _stored().to_text()
	equal(StoredSession.from_text(text, "wss://other.game.example/"), null, "another game")
	equal(StoredSession.from_text(text.replace("\"version\":1", "\"version\":2"), URL), null, "another version")
	equal(StoredSession.from_text(text.replace("wss://shard", "ws://shard"), URL), null, "a plain connection")
	equal(StoredSession.from_text(text.replace("17", "\"17\""), URL), null, "a text instead of a number")
	equal(StoredSession.from_text(text.replace("17", "17.5"), URL), null, "not a whole number")
	for broken: String in ["", "{", "[]", "null", "{}", text.left(50)]:
		equal(StoredSession.from_text(broken, URL), null, "a text that is none: %s" % broken)


func test_player_is_the_subject_of_the_token() -> void:
	var claims := Marshalls.utf8_to_base64('{"sub": "ann?>", "exp": 1}').replace("+", "-").replace("/", "_").rstrip("=")
	equal(StoredSession.player_from_token("x.%s.y" % claims), "ann?>", "base64url without padding")
	for token: String in ["", "a.b", "a.!!!.c", "a.e30.c", "a..c", "a.W10.c", "a.eyJzdWIiOiAxfQ.c", "a.b.c.d", "a.AAAAA.c"]:
		equal(StoredSession.player_from_token(token), "", "no subject: %s" % token)


func test_session_file_keeps_a_text() -> void:
	var file := SessionFile.new("user://session_test.json")
	file.clear()
	equal(file.load(), "", "nothing is saved")
	file.save("one")
	file.save("two")
	equal(SessionFile.new("user://session_test.json").load(), "two", "the newest text")
	file.clear()
	file.clear()
	equal(file.load(), "", "cleared")
