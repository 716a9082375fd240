## Exponential backoff with jitter, never shorter than the delay that the server advised.
##
## The whole delay is random, which spreads the reconnects of the clients that lost the same server at the same moment.
extends RefCounted

const FIRST_S := 0.25
const MAX_S := 10.0
## Many clients receive the same advice: each adds a random delay of up to this share.
const ADVICE_SPREAD := 0.25

var _random: Callable
var _ceiling_s := FIRST_S


## [param random] returns random numbers from 0 to 1.
func _init(random: Callable) -> void:
	_random = random


## Returns the delay before the next attempt, in seconds. An [param advised_s] of 0 means no advice.
func next_s(advised_s := 0.0) -> float:
	var jittered_s: float = _ceiling_s * _random.call()
	_ceiling_s = minf(MAX_S, _ceiling_s * 2)
	return maxf(jittered_s, advised_s * (1.0 + ADVICE_SPREAD * _random.call()))
