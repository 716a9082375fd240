## Applies state frames to the mirrored world of the room, and recovers from frames that cannot be applied.
##
## A delta needs the frame before it. After a frame that is missing, malformed or has a wrong checksum, the receiver requests
## a keyframe of the channel and ignores the channel's deltas until the keyframe arrives:
##
##     current --wrong baseline, malformed, wrong checksum--> awaiting a keyframe --keyframe, resume, new room--> current
extends RefCounted

const BitReader := preload("bit_reader.gd")
const Codec := preload("codec.gd")
const FrameHead := preload("frame_head.gd")
const Messages := preload("messages.gd")
const Part := preload("part.gd")
const Updates := preload("updates.gd")
const World := preload("world.gd")

## The number of ticks after which a keyframe that did not arrive is requested again.
const RESYNC_AGAIN_TICKS := 64
const _HAS_CHECKSUM := 1
const _HAS_PARTS := 2
const _IS_COMPLETE := 4

## The mirrored state of the room, and its Joined message; null outside of a room.
var world: World
var joined: Messages.Joined
## The numbers of requested keyframes and of wrong checksums, over all sessions. Expected to stay 0.
var resyncs := 0
var mismatches := 0

var _outgoing: Array[PackedByteArray]
var _awaiting_keyframe: Dictionary = {}  # by channel: the tick of the request
var _bits := BitReader.new()


## The requests for keyframes are appended to [param outgoing].
func _init(outgoing: Array[PackedByteArray]) -> void:
	_outgoing = outgoing


## Returns the id of the room; empty outside of a room.
func room_id() -> String:
	return joined.room_id if joined else ""


## Returns the tick that the server may send a delta to after a resume; 0 if the world is absent or incorrect.
func baseline_tick() -> int:
	return world.tick if world and _awaiting_keyframe.is_empty() else 0


## Returns whether a channel's deltas are ignored until its keyframe arrives.
func is_awaiting_keyframe() -> bool:
	return not _awaiting_keyframe.is_empty()


## Begins the state of a room. A room that moved to another shard keeps its World, without entities.
## Returns the reason why its description is invalid; empty: it is not. Nothing has changed then.
func enter(message: Messages.Joined) -> String:
	if world and room_id() == message.room_id and world.fits(message.description):
		world.clear()
	else:
		var next := World.new(message.description)
		if next.error:
			return next.error
		world = next
	joined = message
	_awaiting_keyframe.clear()
	return ""


## Discards the room and its state.
func leave() -> void:
	world = null
	joined = null
	_awaiting_keyframe.clear()


## Continues the state on a new connection, whose Welcome names the room; empty: the seat was lost.
func resumed(welcome_room_id: String) -> void:
	_awaiting_keyframe.clear()
	if not room_id():
		return
	if not welcome_room_id:
		leave()
	elif welcome_room_id == room_id() and world:
		world.clear_history()


## Applies a frame. Returns null if the client is in no room, or none of the frame's parts could be applied; Malformed if
## its parts cannot be read.
func receive(head: FrameHead, data: PackedByteArray) -> Updates.Update:
	if not world:
		return null
	_bits.open(data)
	var parts := _parts(head)
	if _bits.error:
		var malformed := Updates.Malformed.new()
		malformed.reason = _bits.error
		return malformed
	var update := Updates.StateApplied.new()
	update.tick = head.tick
	update.is_keyframe = true
	var applied := 0
	for part in parts:
		update.channels.append(part.channel)
		update.is_keyframe = update.is_keyframe and part.is_keyframe
		if _apply(part, head, update):
			applied += 1
	_finish(head, update.channels)
	return update if applied or parts.is_empty() else null


## Returns the parts of a frame. The error of the reader is set if they are invalid.
func _parts(head: FrameHead) -> Array[Part]:
	var parts: Array[Part] = []
	_bits.select(head.start, head.end)
	if not head.flags & _HAS_PARTS:
		var only := Part.new()
		only.channel = head.channel
		only.is_keyframe = head.age == 0
		only.has_checksum = head.flags & _HAS_CHECKSUM != 0
		only.start = head.start
		only.end = head.end
		parts.append(only)
		return parts
	var seen := {}
	while _bits.at < _bits.end and not _bits.error:
		var tag := _bits.varint()
		var part := Part.new()
		part.channel = tag >> 2
		part.is_keyframe = tag & 2 != 0
		part.has_checksum = tag & 1 != 0
		var length := _bits.varint()
		part.start = _bits.skip(length)
		part.end = part.start + length
		if part.channel > 0xffff or part.channel in seen or not (part.is_keyframe or head.age):
			_bits.fail("channel %d is invalid or appears twice" % part.channel)
		seen[part.channel] = true
		parts.append(part)
	return parts


## Applies one part. Returns whether it could be applied, also if its checksum differs.
func _apply(part: Part, head: FrameHead, update: Updates.StateApplied) -> bool:
	if not part.is_keyframe and part.channel in _awaiting_keyframe:
		if head.tick - _awaiting_keyframe[part.channel] >= RESYNC_AGAIN_TICKS:
			_request_keyframe(part.channel, head.tick)
		return false
	match world.apply(_bits, part, head.tick, head.age):
		World.Outcome.WRONG_BASELINE:  # a frame is missing, and it may have changed other channels
			var channels := world.channel_numbers()
			if not channels.has(part.channel):
				channels.append(part.channel)
			for channel in channels:
				_request_keyframe(channel, head.tick)
			return false
		World.Outcome.MALFORMED:
			_request_keyframe(part.channel, head.tick)
			return false
		World.Outcome.DISAGREES:
			mismatches += 1
			update.has_agreed = false
			_request_keyframe(part.channel, head.tick)
			return true
	_awaiting_keyframe.erase(part.channel)
	return true


func _finish(head: FrameHead, named: PackedInt32Array) -> void:
	if not head.flags & _IS_COMPLETE:
		world.finish(head.tick, null)
		return
	var keep := {}
	for channel in named:
		keep[channel] = true
	world.finish(head.tick, keep)
	for channel: int in _awaiting_keyframe.keys():
		if channel not in keep:
			_awaiting_keyframe.erase(channel)


func _request_keyframe(channel: int, tick: int) -> void:
	resyncs += 1
	_awaiting_keyframe[channel] = tick
	var request := Messages.Resync.new()
	request.channel = channel
	request.tick = tick
	_outgoing.append(Codec.encode_client(request))
