## The client's heartbeat: when to send a Ping, and when the connection counts as lost.
##
## It counts Pings and measures no time. After a pause of the whole process (a suspended laptop, a debugger) only one interval
## counts as silent, and a Ping is sent before the connection can be lost.
extends RefCounted

const _PING_INTERVAL_MS_MAX := 3000
## Prevents a flood of Pings if the interval in Welcome is 0.
const _PING_INTERVAL_MS_MIN := 100
## After two Pings without any message, the connection ends instead of a third Ping: with an interval of 3 s, 6 to 9 s after the
## path died. A network that stalls for 5 s does not count as dead.
const _UNANSWERED_PINGS_MAX := 2

var _unanswered := 0


## Returns the time between two Pings: the server's interval, within the limits above.
static func ping_interval_ms(heartbeat_interval_ms: int) -> int:
	return clampi(heartbeat_interval_ms, _PING_INTERVAL_MS_MIN, _PING_INTERVAL_MS_MAX)


## Records that a message was received. Every message counts, not only a Pong.
func record_received() -> void:
	_unanswered = 0


## Records that a Ping is sent; call it once every interval. Returns false if the previous Pings were not answered: the connection
## is lost, and the Ping must not be sent.
func record_ping() -> bool:
	if _unanswered >= _UNANSWERED_PINGS_MAX:
		return false
	_unanswered += 1
	return true


## Records a Ping that is sent because the path may be dead: one more silent interval ends the connection.
func record_probe() -> void:
	_unanswered = _UNANSWERED_PINGS_MAX
