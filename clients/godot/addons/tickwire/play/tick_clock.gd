## Computes the tick to render now. Pure: the caller passes the time.
##
## A frame is never early, only late, so the least delayed of the last frames shows when ticks happen.
extends RefCounted

const _OFFSETS_MAX := 64
## After this number of late frames in a row, the room's ticks themselves have shifted, for example because a tick blocked.
const _LATE_FRAMES := 4

var _tick_rate_hz: float
var _delay_ticks: float
var _offsets_ms := PackedFloat64Array()
var _last_tick := 0
var _least_ms := INF


## [param delay_ticks] is the delay of rendering; two ticks hide one tick that is lost or late.
func _init(tick_rate_hz: float, delay_ticks := 2.0) -> void:
	_tick_rate_hz = tick_rate_hz
	_delay_ticks = delay_ticks


## Records that the state of a tick arrived.
func observe(tick: int, now_ms: float) -> void:
	if tick < _last_tick:
		_offsets_ms.clear()  # the room was restored, so its old ticks are meaningless
	_last_tick = tick
	_offsets_ms.append(now_ms - tick * 1000.0 / _tick_rate_hz)
	if _offsets_ms.size() > _OFFSETS_MAX:
		_offsets_ms.remove_at(0)
	_least_ms = _least(0)
	var least_of_last := _least(maxi(0, _offsets_ms.size() - _LATE_FRAMES))
	if least_of_last - _least_ms > _delay_ticks * 500 / _tick_rate_hz:
		_offsets_ms = _offsets_ms.slice(-_LATE_FRAMES)
		_least_ms = least_of_last


## Returns the tick to render, with its fraction; minus infinity before the first frame.
func render_tick(now_ms: float) -> float:
	return (now_ms - _least_ms) * _tick_rate_hz / 1000 - _delay_ticks


func _least(from: int) -> float:
	var found := INF
	for index in range(from, _offsets_ms.size()):
		found = minf(found, _offsets_ms[index])
	return found
