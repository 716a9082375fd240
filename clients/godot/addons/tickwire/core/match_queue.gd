## Relates MatchStatus and Redirect messages to the waiting match request.
##
## The server answers a MatchCancel with CANCELLED, or with FOUND and a reason if the match was already final: FOUND without
## a reason and its Redirect were then sent before. A client that leaves the queue and immediately enters it again receives
## messages about the previous entry, which must not end the new wait. The first message about a new entry is WAITING:
##
##     not queued --WAITING--> queued --CANCELLED, TIMED_OUT, abandoned--> not queued
##                               └--FOUND--> the next Redirect leads to the match
extends RefCounted

const Messages := preload("messages.gd")

## The meaning of a queue message for the waiting request.
enum Meaning {
	## A Redirect that answers a Join.
	UNRELATED,
	## The message is about an abandoned queue entry.
	NONE,
	PROGRESS,
	## The wait ended without a match.
	END,
}

const _State := Messages.QueueState

var _requested_mode := ""
var _is_queued := false
var _cancels := 0
var _redirect := Meaning.UNRELATED  # the meaning of the Redirect after FOUND


## Returns whether a MatchCancel has no answer yet. It is sent again after a resume.
func has_cancelled() -> bool:
	return _cancels > 0


## Records that a MatchRequest is sent.
func request(mode: String) -> void:
	_requested_mode = mode


## Records that the client stopped waiting. Returns whether it must send a MatchCancel.
func abandon() -> bool:
	if not _requested_mode:
		return false
	_requested_mode = ""
	_is_queued = false
	_cancels += 1
	return true


## Records a resume: an unanswered MatchCancel is sent again, once.
func resumed() -> void:
	_cancels = mini(_cancels, 1)


## Records a new session, which is not queued. A waiting request is sent again.
func reset() -> void:
	_is_queued = false
	_cancels = 0
	_redirect = Meaning.UNRELATED


func status_received(status: Messages.MatchStatus) -> Meaning:
	if status.state == _State.FOUND:
		return _cancel_answered() if status.reason else _found(status)
	if _cancels:
		_cancels -= int(status.state == _State.CANCELLED)
		return Meaning.NONE
	var was_queued := _is_queued
	_is_queued = status.state == _State.WAITING
	if _is_queued:
		return Meaning.PROGRESS
	return _end() if was_queued else Meaning.NONE


func redirect_received() -> Meaning:
	var meaning := _redirect
	_redirect = Meaning.UNRELATED
	return meaning


## Handles FOUND as the answer to a late MatchCancel; no Redirect follows it.
func _cancel_answered() -> Meaning:
	_cancels = maxi(0, _cancels - 1)
	return Meaning.NONE


func _end() -> Meaning:
	_requested_mode = ""
	return Meaning.END


## Handles a found match. The client joins it if it waits for a match of this mode.
func _found(status: Messages.MatchStatus) -> Meaning:
	_cancels = 0
	_is_queued = false
	var meaning := Meaning.NONE
	if _requested_mode and (not status.mode or status.mode == _requested_mode):
		meaning = Meaning.PROGRESS
	elif _requested_mode:  # the match ends the request for the other mode
		meaning = _end()
	_redirect = meaning
	return meaning
