"""A session's events: numbered, sent in order, and kept until its client is known to have them.

    pushed -> unsent --a tick's write--> sent --acknowledged, or pushed out by newer ones--> forgotten
                 ^------------------------'  a resume: what the client has not seen is sent again

At most EVENTS_MAX events and EVENT_BYTES_MAX bytes are kept; above that the oldest are forgotten, and a client that
comes back for them is told how many it has lost. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from schemas.codec import decode_server, encode_server
from schemas.framing import binary_frame
from schemas.messages import Event

EVENTS_MAX = 512
EVENT_BYTES_MAX = 256 * 1024
UNSENT_MAX = 256
"""More than this on a connection that stands: the client takes too little."""

LOST_MAX = 1_000_000
"""More than a shard sends to one session in the second that is lost with it."""


class Outbox:
    """The events of one session.

    Attributes:
        last_number: of the newest event; 0 before the first.
        unsent: how many wait for the next write.
    """

    __slots__ = ("_bytes", "_frames", "_restored_at", "last_number", "unsent")

    def __init__(self) -> None:
        self.last_number = 0
        self.unsent = 0
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._restored_at: int | None = None

    @property
    def frames(self) -> tuple[bytes, ...]:
        """All that is kept, the oldest first."""
        return tuple(self._frames)

    @property
    def restored_at(self) -> int | None:
        """The number of the newest event when the outbox was restored; None once a client has resumed."""
        return self._restored_at

    def restore(self, last_number: int, frames: Iterable[bytes], *, restored_at: int | None = None) -> None:
        """Restore the outbox as it was saved, perhaps a moment before its shard was lost.

        Args:
            restored_at: set if it had been restored before and no client has resumed since: events above this number
                may get other numbers in `rewind`.
        """
        self.last_number = last_number
        self._frames.extend(frames)
        self._bytes = sum(map(len, self._frames))
        self._restored_at = last_number if restored_at is None else restored_at

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def is_overdue(self) -> bool:
        """Whether more waits to be sent than a client that listens leaves lying."""
        return self.unsent > UNSENT_MAX

    def push(self, name: str, payload: bytes) -> None:
        """Adds an event under the next number."""
        self.last_number += 1
        frame = binary_frame(encode_server(Event(self.last_number, name, payload)))
        self._frames.append(frame)
        self._bytes += len(frame)
        self.unsent += 1
        while len(self._frames) > 1 and (len(self._frames) > EVENTS_MAX or self._bytes > EVENT_BYTES_MAX):
            self._forget_oldest()

    def retract(self, number: int) -> None:
        """Forget the unsent events above `number`: what they tell of has not happened after all."""
        while self.unsent and self.last_number > number:
            self._bytes -= len(self._frames.pop())
            self.last_number -= 1
            self.unsent -= 1

    def take(self) -> bytes:
        """The frames of all unsent events; they count as sent."""
        data = b"".join(islice(self._frames, len(self._frames) - self.unsent, None))
        self.unsent = 0
        return data

    def acknowledge(self, number: int) -> None:
        """The client has everything up to `number`; a number that was not sent yet is cut to what was."""
        sent = len(self._frames) - self.unsent
        for _ in range(min(sent, number - self._first + 1)):
            self._forget_oldest()

    def rewind(self, last_seen: int) -> int:
        """A client that has seen everything up to `last_seen` is back: the rest is unsent again.

        Returns:
            How many events it has lost for good.
        """
        if self._restored_at is not None and 0 < last_seen - self._restored_at <= LOST_MAX:
            self._renumber(self.last_number - self._restored_at, last_seen)
        self._restored_at = None
        self.acknowledge(last_seen)
        self.unsent = len(self._frames)
        return max(0, self._first - last_seen - 1)

    def _renumber(self, fresh: int, last_seen: int) -> None:
        """The shard that was lost had sent more than was kept: those numbers are taken, and what has happened since
        gets the next ones."""
        kept = list(self._frames)[len(self._frames) - min(fresh, len(self._frames)) :]
        self.last_number = last_seen + fresh
        first = self.last_number - len(kept) + 1
        self._frames = deque(_numbered(frame, first + place) for place, frame in enumerate(kept))
        self._bytes = sum(map(len, self._frames))
        self.unsent = len(self._frames)

    @property
    def _first(self) -> int:
        return self.last_number - len(self._frames) + 1

    def _forget_oldest(self) -> None:
        self._bytes -= len(self._frames.popleft())
        self.unsent = min(self.unsent, len(self._frames))


def _numbered(frame: bytes, number: int) -> bytes:
    """The same event under another number."""
    head = {126: 4, 127: 10}.get(frame[1], 2)  # of a frame without a mask: RFC 6455, section 5.2
    event = decode_server(frame[head:])
    assert isinstance(event, Event), "an outbox holds events alone"
    return binary_frame(encode_server(Event(number, event.name, event.payload)))
