"""Event frames: an event is encoded once for all receivers, and only its number differs between sessions.

The bytes are equal to those of `encode_server(Event(...))`. The number has a fixed width, so a frame consists of the
bytes before the number, the number, and the bytes after it. Pure; imports schemas only.
"""

from __future__ import annotations

from struct import Struct

from tickwire.schemas.codec import decode_server, encode_server
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.flat_tables import STRING_BYTES_MAX, Reader
from tickwire.schemas.framing import binary_frame, frame_header, header_bytes
from tickwire.schemas.messages import Event

PAYLOAD_BYTES_MAX = 256 * 1024
"""The size of a session's outbox: a larger event would be lost with the first broken connection."""
_NUMBER = Struct("<I")
_BODY_SLOT = 4  # the union in ServerMessage; the union's type is in the slot before


class EventFrame:
    """One event in a WebSocket frame, without its number.

    Args:
        before: the bytes before the number.
        after: the bytes after it.

    Attributes:
        size: the size of the frame, in bytes.
    """

    __slots__ = ("after", "before", "size")

    def __init__(self, before: bytes, after: bytes) -> None:
        self.before = before
        self.after = after
        self.size = len(before) + _NUMBER.size + len(after)

    def with_number(self, number: int) -> bytes:
        """Return the frame with an event number of one session."""
        return b"".join((self.before, _NUMBER.pack(number), self.after))


_PREFIX = encode_server(Event(1, "a", b"a"))[:52]
"""The bytes before the offset of the name: the same in every event with a name and a payload."""
_NAME_AFTER = 12
"""The bytes between the offset of the name and the name, apart from the payload: itself, the number, a length."""


def encode_event(name: str, payload: bytes) -> EventFrame:
    """Encode an event for any number of receivers, from the precomputed layout.

    Args:
        name: the event's name, at most STRING_BYTES_MAX bytes of UTF-8.
        payload: MessagePack, at most PAYLOAD_BYTES_MAX bytes.

    Raises:
        ValueError: the name or the payload is too long.
    """
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"an event's payload may have at most {PAYLOAD_BYTES_MAX} bytes, not {len(payload)}")
    text = name.encode()
    if len(text) > STRING_BYTES_MAX:
        raise ValueError(f"an event's name may have at most {STRING_BYTES_MAX} bytes, not {len(text)}")
    if not text or not payload:
        return _without_number(binary_frame(encode_server(Event(1, name, payload))))
    padded = payload + bytes(-len(payload) % 4)
    after = b"".join(
        (
            _NUMBER.pack(len(payload)),
            padded,
            _NUMBER.pack(len(text)),
            text,
            bytes(4 - len(text) % 4),
        )  # ends with a NUL
    )
    before = _PREFIX + _NUMBER.pack(_NAME_AFTER + len(padded))
    header = frame_header(len(before) + _NUMBER.size + len(after))
    return EventFrame(header + before, after)


def event_frame_from_bytes(frame: bytes) -> EventFrame:
    """Return the frame of an event without its number.

    Raises:
        MalformedMessage: the frame does not contain an event.
    """
    if len(frame) < 2 or not isinstance(decode_server(frame[header_bytes(frame) :]), Event):
        raise MalformedMessage("the frame does not contain an event")
    return _without_number(frame)


def _without_number(frame: bytes) -> EventFrame:
    head = header_bytes(frame)
    reader = Reader(frame[head:])
    body = reader.follow(reader.slots(reader.root())[_BODY_SLOT])
    at = head + reader.slots(body)[0]
    return EventFrame(frame[:at], frame[at + _NUMBER.size :])
