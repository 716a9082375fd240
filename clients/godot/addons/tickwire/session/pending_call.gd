## A call of a session machine that waits for an outcome.
extends RefCounted

const _Backoff := preload("../core/backoff.gd")
const _Messages := preload("../core/messages.gd")
const _Request := preload("request.gd")

## RENEWAL: the machine itself renews the token of the session.
enum Kind { OPEN, JOIN, LEAVE, MOVE, MATCH, LIST_ROOMS, COMMAND, AUTHENTICATE, RENEWAL }

## The step of a call that joins a room.
enum SeatStep {
	NONE,
	ABANDONED,  ## An earlier, abandoned Join has no answer yet.
	LEAVING,  ## The client leaves its room, for that of a match.
	VISITING,  ## The client connects to the shard of the room.
	REQUESTED,
	PAUSE,  ## The shard cannot be reached; the Join is repeated after a pause.
}

## How long a request waits for the server's answer, also across reconnects.
const CALL_MS_MAX := 10_000
## How long a join is repeated while it is redirected to a shard that cannot be reached, and how long the client tries to reach a
## shard. A dead shard leaves the directory within some seconds.
const JOIN_MS_MAX := 30_000
## How long the queue may take to decide between a cancellation and a match.
const CANCEL_MS_MAX := 5_000
## The number of the call with which the machine itself follows a move to another room.
const MOVE_NUMBER := 0
## The time after which a new token is requested again, if there was none.
const RENEWAL_MS := 10_000

## Identifies it in Resolve and Reject.
var number: int
var kind: Kind
## The request that waits for an answer, if there is one; sent again after a reconnect.
var request: _Request
## The first Join, which is repeated at the initial URL; empty if it is to be joined with a ticket.
var first: PackedByteArray
## For the room's on_join.
var options: Variant = null
var step := SeatStep.NONE
## The Join that is sent once an abandoned one has its answer.
var unsent: PackedByteArray
## The Redirect that is being followed, and the number of Redirects in a row.
var redirect: _Messages.Redirect
var redirects := 0
## The pauses of a join that is repeated, and when it is no longer repeated.
var backoff: _Backoff
var until_ms := 0.0
## Of a match: the mode and the time limit; whether it is over its time; whether a MatchCancel must be sent.
var mode := ""
var timeout_ms := 0.0
var is_late := false
var is_cancelled := false
## Of a command.
var command_id := 0
var name := ""
## With which the session authenticates.
var token := ""


func _init(call_number: int, call_kind: Kind) -> void:
	number = call_number
	kind = call_kind
