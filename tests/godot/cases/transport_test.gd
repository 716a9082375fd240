## The transport, with a server in the same process.
extends "test_case.gd"

const _Transport := preload("res://addons/tickwire/transport.gd")

const _WAIT_MS_MAX := 10_000


func test_a_close_with_a_long_reason_arrives() -> void:
	var server := TCPServer.new()
	equal(server.listen(0, "127.0.0.1"), OK, "the server")
	var transport := _Transport.new()
	equal(transport.open("ws://127.0.0.1:%d/" % server.get_local_port()), "", "the handshake begins")
	var accepted := WebSocketPeer.new()
	accepted.supported_protocols = transport.peer.supported_protocols
	var until := Time.get_ticks_msec() + _WAIT_MS_MAX
	while not transport.is_open and Time.get_ticks_msec() < until:
		if server.is_connection_available():
			accepted.accept_stream(server.take_connection())
		accepted.poll()
		transport.poll()
	transport.close(1002, "the server sent a message that cannot be decoded: ".repeat(4))
	while accepted.get_ready_state() != WebSocketPeer.STATE_CLOSED and Time.get_ticks_msec() < until:
		accepted.poll()
		transport.is_closing()
	equal(accepted.get_close_code(), 1002, "the close code")
