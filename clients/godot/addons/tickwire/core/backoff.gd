## Exponential backoff with jitter, never shorter than the delay that the server advised.
##
## The whole delay is random, which spreads the reconnects of the clients that lost the same server at the same moment.
extends RefCounted

const FIRST_MS := 250.0
const MAX_MS := 10_000.0
## Many clients receive the same advice: each adds a random delay of up to this share.
const ADVICE_SPREAD := 0.25

var _random: Callable
var _ceiling_ms := FIRST_MS


## [param random] returns random numbers from 0 to 1.
func _init(random: Callable) -> void:
	_random = random


## Returns the delay before the next attempt, in whole milliseconds. Draws two random numbers. An [param advised_ms] of 0
## means no advice.
func next_ms(advised_ms: float = 0.0) -> int:
	var jittered_ms := to_whole_ms(_ceiling_ms * float(_random.call()))
	_ceiling_ms = minf(MAX_MS, _ceiling_ms * 2)
	return maxi(jittered_ms, to_whole_ms(advised_ms * (1.0 + ADVICE_SPREAD * float(_random.call()))))


## Rounds to whole milliseconds, halves up, as all clients do.
static func to_whole_ms(ms: float) -> int:
	return floori(ms + 0.5)
