"""A session's events: numbered, sent in order, and kept until its client is known to have them.

An event is encoded once for all receivers (schemas/event_frames.py); an outbox holds what it shares with the others,
and puts its own numbers in when it is written.

    pushed -> unsent --a tick's write--> sent --acknowledged, or pushed out by newer ones--> forgotten
                 ^------------------------'  a resume: what the client has not seen is sent again

At most EVENTS_MAX events and EVENT_BYTES_MAX bytes are kept; above that the oldest are forgotten, and a client that
comes back for them is told how many it has lost. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from tickwire.schemas.errors import WireError
from tickwire.schemas.event_frames import EventFrame, event_frame_from_bytes

EVENTS_MAX = 512
EVENT_BYTES_MAX = 256 * 1024
UNSENT_MAX = 256
"""A connection that takes what it is sent is written to when so many events wait for a tick. One that does not, and
has left more than this for two ticks, belongs to a client that takes too little."""

LOST_MAX = 1_000_000
"""More than a shard sends to one session in the second that is lost with it."""


class Outbox:
    """The events of one session.

    Attributes:
        last_number: of the newest event; 0 before the first.
        unsent: how many wait for the next write.
        has_lost_unsent: whether an event was forgotten before it was sent: the client must come back to learn of it.
    """

    __slots__ = ("_bytes", "_frames", "_restored_at", "_unsent_bytes", "has_lost_unsent", "last_number", "unsent")

    def __init__(self) -> None:
        self.last_number = 0
        self.unsent = 0
        self.has_lost_unsent = False
        self._frames: deque[EventFrame] = deque()
        self._bytes = self._unsent_bytes = 0
        self._restored_at: int | None = None

    @property
    def frames(self) -> tuple[bytes, ...]:
        """All that is kept, the oldest first, as it is sent."""
        return tuple(frame.with_number(number) for number, frame in enumerate(self._frames, self._first))

    @property
    def restored_at(self) -> int | None:
        """The number of the newest event when the outbox was restored; None once a client has resumed."""
        return self._restored_at

    def restore(self, last_number: int, frames: Iterable[bytes], *, restored_at: int | None = None) -> None:
        """Restore the outbox as it was saved, perhaps a moment before its shard was lost.

        What comes before a frame that cannot be read is forgotten: the client is told how many it has lost.

        Args:
            restored_at: set if it had been restored before and no client has resumed since: events above this number
                may get other numbers in `rewind`.
        """
        self.last_number = last_number
        for frame in reversed(list(frames)):
            try:
                self._frames.appendleft(event_frame_from_bytes(frame))
            except WireError:
                break
        self._bytes = sum(frame.size for frame in self._frames)
        self._restored_at = last_number if restored_at is None else restored_at

    def __len__(self) -> int:
        return len(self._frames)

    def has_room_for(self, frame: EventFrame) -> bool:
        """Whether one more event may wait for the next write; else those that wait should be written first."""
        return self.unsent < UNSENT_MAX and self._unsent_bytes + frame.size <= EVENT_BYTES_MAX

    def push(self, frame: EventFrame) -> None:
        """Adds an event under the next number."""
        self.last_number += 1
        self._frames.append(frame)
        self._bytes += frame.size
        self._unsent_bytes += frame.size
        self.unsent += 1
        while len(self._frames) > 1 and (len(self._frames) > EVENTS_MAX or self._bytes > EVENT_BYTES_MAX):
            self._forget_oldest()

    def retract(self, number: int) -> None:
        """Forget the unsent events above `number`: what they tell of has not happened after all."""
        while self.unsent and self.last_number > number:
            size = self._frames.pop().size
            self._bytes -= size
            self._unsent_bytes -= size
            self.last_number -= 1
            self.unsent -= 1

    def take(self) -> bytes:
        """The frames of all unsent events; they count as sent."""
        unsent = islice(self._frames, len(self._frames) - self.unsent, None)
        first = self.last_number - self.unsent + 1
        self.unsent = self._unsent_bytes = 0
        return b"".join([frame.with_number(number) for number, frame in enumerate(unsent, first)])

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
        self.has_lost_unsent = False
        self.acknowledge(last_seen)
        self.unsent, self._unsent_bytes = len(self._frames), self._bytes
        return max(0, self._first - last_seen - 1)

    def _renumber(self, fresh: int, last_seen: int) -> None:
        """The shard that was lost had sent more than was kept: those numbers are taken, and what has happened since
        gets the next ones."""
        kept = list(self._frames)[len(self._frames) - min(fresh, len(self._frames)) :]
        self.last_number = last_seen + fresh
        self._frames = deque(kept)
        self._bytes = self._unsent_bytes = sum(frame.size for frame in kept)
        self.unsent = len(kept)

    @property
    def _first(self) -> int:
        return self.last_number - len(self._frames) + 1

    def _forget_oldest(self) -> None:
        size = self._frames.popleft().size
        self._bytes -= size
        if self.unsent > len(self._frames):
            self.unsent = len(self._frames)
            self._unsent_bytes -= size
            self.has_lost_unsent = True
