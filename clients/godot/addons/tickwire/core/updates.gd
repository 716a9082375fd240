## The updates that the core returns for received messages. Names are in the past tense.
##
## [code]if update is Updates.StateApplied[/code] tells them apart.
extends RefCounted

const Messages := preload("messages.gd")


## The base class.
class Update:
	extends RefCounted


## The session is open.
class Welcomed:
	extends Update

	var welcome: Messages.Welcome
	## Whether the previous session was resumed.
	var has_resumed := false
	## The room that the client was in before and is not in now; empty: none.
	var lost_room_id := ""
	## Whether the server did not keep the previous session.
	var has_lost_session := false
	## Whether the answer to an earlier Join follows: the server processes it, or has seated the player in a room that the
	## client was not in before.
	var is_join_in_flight := false


## The player joined a room; its state follows.
class SeatTaken:
	extends Update

	var joined: Messages.Joined
	## Whether the client was in this room before: it moved to another shard, and the message answers no Join.
	var is_same_room := false


## The player left the room, or the room closed.
class SeatLost:
	extends Update

	var reason := ""


## The world advanced.
class StateApplied:
	extends Update

	var tick := 0
	## The channels that the frame names.
	var channels: PackedInt32Array
	var is_keyframe := false
	## False if a checksum differed.
	var has_agreed := true


## The inputs up to a number are part of the state of a tick.
class InputAcknowledged:
	extends Update

	var tick := 0
	var seq := 0


## The room sent an event.
class EventReceived:
	extends Update

	var event: Messages.Event
	## The number of lost events before it.
	var missed := 0


## A command was answered.
class ReplyReceived:
	extends Update

	var reply: Messages.Reply
	## Whether the reply is final; otherwise the command is sent again.
	var is_decided := true


## A round trip was measured.
class PongReceived:
	extends Update

	var rtt_us := 0
	## The server's clock (UTC) minus the client's.
	var clock_offset_us := 0


## The player's status in the matchmaking queue changed; after FOUND a Redirect follows.
class QueueChanged:
	extends Update

	var status: Messages.MatchStatus
	## Whether it is about the current queue entry, and not an abandoned one.
	var is_current := true
	## Whether the wait ended without a match.
	var is_end := false


## The room is on another shard.
class Redirected:
	extends Update

	var redirect: Messages.Redirect
	## Whether it leads to a found match, and does not answer a Join.
	var is_match := false
	## Whether the room moves the player to another room: SeatLost follows.
	var is_move := false


## The server did not keep all events while the client was disconnected.
class EventsLost:
	extends Update

	var error: Messages.ErrorMessage


## The server changed its send rate, because the connection is too slow or has recovered.
class RateChanged:
	extends Update

	var rate: Messages.Rate


## The server sent an Error. The connection may stay open.
class ErrorReceived:
	extends Update

	var error: Messages.ErrorMessage


## The server answered a request for open rooms.
class RoomsListed:
	extends Update

	var answer: Messages.RoomList


## The server answered Authenticate: the session is the player's.
class SessionAuthenticated:
	extends Update

	var answer: Messages.Authenticated


## The server requests a new token, because the session's token expires soon.
class TokenRequested:
	extends Update

	## The time until then.
	var expires_in_ms := 0


## The server sent Goodbye, and closes the connection.
class Ended:
	extends Update

	var goodbye: Messages.Goodbye


## The bytes are not a message: close the connection.
class Malformed:
	extends Update

	var reason := ""
