## A WebSocket of the engine. The client polls it in each frame.
##
## The engine discards messages that arrive in the same poll as the close after them. The server's answer to a Hello that it does not
## accept is such a message: an Error. [method reopen] therefore repeats a connection that was closed before any message
## arrived, with a queue of one message: the engine then reads two bytes at a time, and stops after each message. That takes 1 µs for
## a byte, too long for a connection on which a game is played.
extends RefCounted

const _Messages := preload("core/messages.gd")

## A message of the server has at most 4 MiB, and the engine's buffer must be larger than a message. Without room for the messages
## that arrive between two frames, the engine would drop them. It is fixed at the handshake.
const _INBOUND_BUFFER_BYTES := 8 << 20
const _OUTBOUND_BUFFER_BYTES := 1 << 20
## How long a connection that was closed is polled, until the server has answered the close.
const _CLOSING_MS_MAX := 2_000
## Browsers allow these codes only, and 1000.
const _BROWSER_CODE_MIN := 3000
const _BROWSER_CODE := 4000
## A close has room for 123 bytes. The engine does not send a close with a longer reason, and browsers raise an exception.
const _REASON_CHARACTERS_MAX := 30

## The peer, for the game's own settings.
var peer := WebSocketPeer.new()
var url := ""
## Whether the handshake has succeeded.
var is_open := false
var close_reason := ""
## The close code of the peer; 0 if the connection broke without a close.
var close_code := 0

var _tls_options: TLSOptions
var _first_sent := PackedByteArray()
var _has_received := false
var _is_reopened := false
var _closed_at_ms := -1


## Begins the handshake. [param tls] may be null: the system's certificates. Returns the reason of a failure, or "".
func open(to: String, tls: TLSOptions = null) -> String:
	url = to
	_tls_options = tls
	peer.inbound_buffer_size = _INBOUND_BUFFER_BYTES
	peer.outbound_buffer_size = _OUTBOUND_BUFFER_BYTES
	peer.supported_protocols = PackedStringArray([_Messages.SUBPROTOCOL])
	var result := peer.connect_to_url(to, tls)
	return "" if result == OK else error_string(result)


## Repeats a connection that was closed before any message arrived, and its first message. Returns false if that is of no use.
func reopen() -> bool:
	if _is_reopened or _has_received or not is_open or not close_code or OS.has_feature("web"):
		return false
	peer = WebSocketPeer.new()
	peer.max_queued_packets = 1
	is_open = false
	_is_reopened = true
	return open(url, _tls_options) == ""


## Receives from the network. Returns whether the connection is open or being opened.
func poll() -> bool:
	peer.poll()
	match peer.get_ready_state():
		WebSocketPeer.STATE_OPEN:
			if not is_open:
				_opened()
		WebSocketPeer.STATE_CLOSED:
			close_code = maxi(0, peer.get_close_code())
			close_reason = peer.get_close_reason()
			return peer.get_available_packet_count() > 0
	return true


## Returns the next message; empty if there is none. Text messages are passed on as well, and cannot be decoded.
func next_message() -> PackedByteArray:
	if _is_reopened and _has_received and peer.get_available_packet_count() == 0:
		poll()  # the message before this one was in the way
	if peer.get_available_packet_count() == 0:
		return PackedByteArray()
	_has_received = true
	return peer.get_packet()


func send(data: PackedByteArray) -> void:
	if _first_sent.is_empty():
		_first_sent = data
	peer.send(data, WebSocketPeer.WRITE_MODE_BINARY)


## Closes the connection. It is closed after some further calls of [method is_closing].
func close(code: int, reason: String) -> void:
	if OS.has_feature("web") and code != 1000 and code < _BROWSER_CODE_MIN:
		code = _BROWSER_CODE
	peer.close(code, reason.left(_REASON_CHARACTERS_MAX))
	peer.poll()  # sends it, also if the game ends in this frame
	_closed_at_ms = Time.get_ticks_msec()


## Sends and receives the close. Returns false when it is over.
func is_closing() -> bool:
	peer.poll()
	while peer.get_available_packet_count() > 0:
		peer.get_packet()
	var is_late := Time.get_ticks_msec() - _closed_at_ms > _CLOSING_MS_MAX
	return peer.get_ready_state() != WebSocketPeer.STATE_CLOSED and not is_late


func _opened() -> void:
	is_open = true
	if not OS.has_feature("web"):
		peer.set_no_delay(true)
	if _is_reopened:
		send(_first_sent)
