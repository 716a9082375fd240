## Checks and decodes UTF-8 of a peer.
##
## PackedByteArray.get_string_from_utf8 reports invalid bytes as an error of the engine, so they are checked before.
extends RefCounted


## Returns whether bytes are UTF-8 (RFC 3629): no surrogates, no longer form than needed, nothing above U+10FFFF.
static func is_utf8(data: PackedByteArray) -> bool:
	var size := data.size()
	var at := 0
	while at < size:
		var first := data[at]
		at += 1
		if first < 0x80:
			continue
		var count := 1 if first < 0xe0 else 2 if first < 0xf0 else 3
		if first < 0xc2 or first > 0xf4 or at + count > size:
			return false
		var low := 0xa0 if first == 0xe0 else 0x90 if first == 0xf0 else 0x80
		var high := 0x9f if first == 0xed else 0x8f if first == 0xf4 else 0xbf
		if data[at] < low or data[at] > high:
			return false
		for index in range(at + 1, at + count):
			if data[index] & 0xc0 != 0x80:
				return false
		at += count
	return true


## Returns bytes that [method is_utf8] accepts as a text. A String cannot contain U+0000: it is replaced by U+FFFD.
static func decode(data: PackedByteArray) -> String:
	if not data.has(0):
		return data.get_string_from_utf8()
	var without := PackedByteArray()
	for byte in data:
		if byte:
			without.append(byte)
		else:
			without.append_array([0xef, 0xbf, 0xbd])
	return without.get_string_from_utf8()
