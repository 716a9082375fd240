"""The outbox of a session: its events, numbered, sent in order, and kept until the client has acknowledged them.

An event is encoded once for all receivers (schemas/event_frames.py). Outboxes share the encoded event; each fills in
its own number when the event is written.

    pushed -> unsent --a tick's write--> sent --acknowledged, or displaced by newer events--> discarded
                 ^------------------------'  a resume: events that the client has not seen are sent again

An outbox keeps at most EVENTS_MAX events and EVENT_BYTES_MAX bytes. Beyond that it discards the oldest events, and a
client that resumes receives the number of events that it has lost. Pure.
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
"""The number of unsent events at which a connection is written to before the next tick. A client whose congested
connection has left more than this unsent for two ticks is a slow consumer."""

_NO_FRAMES: deque[EventFrame] = deque(maxlen=0)
"""The frames of every empty outbox. A deque allocates space for 64 items at once, and most outboxes are empty."""

LOST_MAX = 1_000_000
"""Above the number of events that a shard sends to one session in the second of state that a crash can lose."""


class Outbox:
    """The events of one session.

    Attributes:
        last_number: the number of the newest event; 0 before the first.
        unsent: the number of events that wait for the next write.
        has_lost_unsent: whether an event was discarded before it was sent; the client must resume to learn of it.
    """

    __slots__ = ("_bytes", "_frames", "_restored_at", "_unsent_bytes", "has_lost_unsent", "last_number", "unsent")

    def __init__(self) -> None:
        self.last_number = 0
        self.unsent = 0
        self.has_lost_unsent = False
        self._frames = _NO_FRAMES
        self._bytes = self._unsent_bytes = 0
        self._restored_at: int | None = None

    @property
    def frames(self) -> tuple[bytes, ...]:
        """All events that are kept, the oldest first, as encoded frames."""
        return tuple(frame.with_number(number) for number, frame in enumerate(self._frames, self._first))

    @property
    def restored_at(self) -> int | None:
        """The number of the newest event when the outbox was restored; None once a client has resumed."""
        return self._restored_at

    def restore(self, last_number: int, frames: Iterable[bytes], *, restored_at: int | None = None) -> None:
        """Restore the outbox from a save, which may be a moment older than the loss of its shard.

        Events before a frame that cannot be decoded are discarded; the client learns how many it has lost.

        Args:
            last_number: the number of the newest event.
            frames: the saved events, the oldest first.
            restored_at: the number of the newest event at an earlier restore, if no client has resumed since.
                `rewind` may renumber events above it.
        """
        self.last_number = last_number
        kept: deque[EventFrame] = deque()
        for frame in reversed(list(frames)):
            try:
                kept.appendleft(event_frame_from_bytes(frame))
            except WireError:
                break
        self._frames = kept or _NO_FRAMES
        self._bytes = sum(frame.size for frame in self._frames)
        self._restored_at = last_number if restored_at is None else restored_at

    def __len__(self) -> int:
        return len(self._frames)

    def can_hold(self, frame: EventFrame) -> bool:
        """Return whether one more event can wait for the next write; if not, write the waiting events first."""
        return self.unsent < UNSENT_MAX and self._unsent_bytes + frame.size <= EVENT_BYTES_MAX

    def push(self, frame: EventFrame) -> None:
        """Append an event under the next number."""
        self.last_number += 1
        if self._frames is _NO_FRAMES:
            self._frames = deque()
        self._frames.append(frame)
        self._bytes += frame.size
        self._unsent_bytes += frame.size
        self.unsent += 1
        while len(self._frames) > 1 and (len(self._frames) > EVENTS_MAX or self._bytes > EVENT_BYTES_MAX):
            self._discard_oldest()

    def append(self, other: Outbox) -> None:
        """Append the events of another outbox, of which none was sent. Those that it has discarded keep numbers."""
        if lost := other.last_number - len(other):
            while self._frames:  # the numbers of the events that are kept are successive
                self._discard_oldest()
            self.last_number += lost
        for frame in other._frames:
            self.push(frame)

    def retract(self, number: int) -> None:
        """Remove the unsent events above `number`, because the hook that sent them has failed."""
        while self.unsent and self.last_number > number:
            size = self._frames.pop().size
            self._bytes -= size
            self._unsent_bytes -= size
            self.last_number -= 1
            self.unsent -= 1

    def dequeue(self) -> bytes:
        """Return the frames of all unsent events, and mark them as sent."""
        unsent = islice(self._frames, len(self._frames) - self.unsent, None)
        first = self.last_number - self.unsent + 1
        self.unsent = self._unsent_bytes = 0
        return b"".join([frame.with_number(number) for number, frame in enumerate(unsent, first)])

    def acknowledge(self, number: int) -> None:
        """Discard the events up to `number`, which the client has received. Events that were never sent are kept."""
        sent = len(self._frames) - self.unsent
        for _ in range(min(sent, number - self._first + 1)):
            self._discard_oldest()
        if not self._frames:
            self._frames = _NO_FRAMES

    def rewind(self, last_seen: int) -> int:
        """Mark all events above `last_seen` as unsent again, for a client that resumes.

        Args:
            last_seen: the number of the last event that the client has received.

        Returns:
            The number of events that the client has lost for good.
        """
        if self._restored_at is not None and 0 < last_seen - self._restored_at <= LOST_MAX:
            self._renumber(self.last_number - self._restored_at, last_seen)
        self._restored_at = None
        self.has_lost_unsent = False
        self.acknowledge(last_seen)
        self.unsent, self._unsent_bytes = len(self._frames), self._bytes
        return max(0, self._first - last_seen - 1)

    def _renumber(self, fresh: int, last_seen: int) -> None:
        """Renumber the events since the restore, because the lost shard had sent more events than it had saved.

        The client has seen their numbers, so the new events continue after `last_seen`.
        """
        kept = list(self._frames)[len(self._frames) - min(fresh, len(self._frames)) :]
        self.last_number = last_seen + fresh
        self._frames = deque(kept) if kept else _NO_FRAMES
        self._bytes = self._unsent_bytes = sum(frame.size for frame in kept)
        self.unsent = len(kept)

    @property
    def _first(self) -> int:
        return self.last_number - len(self._frames) + 1

    def _discard_oldest(self) -> None:
        size = self._frames.popleft().size
        self._bytes -= size
        if self.unsent > len(self._frames):
            self.unsent = len(self._frames)
            self._unsent_bytes -= size
            self.has_lost_unsent = True
