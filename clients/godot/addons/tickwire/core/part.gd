## The part of a state frame for one channel. See docs/protocol.md, "State frames".
extends RefCounted

var channel := 0
var is_keyframe := false
var has_checksum := false
## The first byte of its packed bytes, and the byte behind them.
var start := 0
var end := 0
