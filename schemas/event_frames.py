"""An event's frame, encoded once for all of its receivers: only its number differs from session to session.

The bytes are those that `encode_server` makes of an `Event`. The number is a field of fixed width, so a frame is what
stands before it, the number, and what stands after it. Pure; imports schemas only.
"""

from __future__ import annotations

from struct import Struct

from tickwire.schemas.codec import decode_server, encode_server
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.flat_tables import STRING_BYTES_MAX, Reader
from tickwire.schemas.framing import binary_frame, frame_header, header_bytes
from tickwire.schemas.messages import Event

PAYLOAD_BYTES_MAX = 256 * 1024
"""As much as a session keeps of all its events: a larger one would be lost with the first connection that breaks."""
_NUMBER = Struct("<I")
_BODY_SLOT = 4  # of the union in ServerMessage; its type is in the slot before


class EventFrame:
    """One event in a WebSocket frame, without its number.

    Attributes:
        after: the bytes behind the number.
        before: the bytes in front of it.
        size: of the frame, in bytes.
    """

    __slots__ = ("after", "before", "size")

    def __init__(self, before: bytes, after: bytes) -> None:
        self.before = before
        self.after = after
        self.size = len(before) + _NUMBER.size + len(after)

    def numbered(self, number: int) -> bytes:
        """Return the frame under a session's number."""
        return b"".join((self.before, _NUMBER.pack(number), self.after))


_PREFIX = encode_server(Event(1, "a", b"a"))[:52]
"""All that stands before the offset of the name, in every event that has a name and a payload."""
_NAME_AFTER = 12
"""From the offset of the name to the name: itself, the number, and the payload's length; the payload comes on top."""


def encode_event(name: str, payload: bytes) -> EventFrame:
    """Encode an event for any number of receivers, from the precomputed layout.

    Raises:
        ValueError: the name or the payload is too long.
    """
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"an event's payload has at most {PAYLOAD_BYTES_MAX} bytes; this one has {len(payload)}")
    text = name.encode()
    if len(text) > STRING_BYTES_MAX:
        raise ValueError(f"an event's name has at most {STRING_BYTES_MAX} bytes")
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
    """Take the number out of an event's frame.

    Raises:
        MalformedMessage: the frame holds no event.
    """
    if len(frame) < 2 or not isinstance(decode_server(frame[header_bytes(frame) :]), Event):
        raise MalformedMessage("the frame holds no event")
    return _without_number(frame)


def _without_number(frame: bytes) -> EventFrame:
    head = header_bytes(frame)
    reader = Reader(frame[head:])
    body = reader.follow(reader.slots(reader.root())[_BODY_SLOT])
    at = head + reader.slots(body)[0]
    return EventFrame(frame[:at], frame[at + _NUMBER.size :])
