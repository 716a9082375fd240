"""Keeps the events of a session for the game, and delivers them to its listeners."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from tickwire.client.events import Listener, Listeners, RoomEvent, room_event_from
from tickwire.schemas.messages import Event, Goodbye

EVENTS_MAX = 1024


class EventLog:
    """The received events.

    Args:
        listeners: the listeners of the session.

    Attributes:
        events: the events, oldest first; above EVENTS_MAX the oldest are dropped and counted.
        dropped: the number of dropped events.
    """

    def __init__(self, listeners: Listeners) -> None:
        self.events: deque[RoomEvent] = deque(maxlen=EVENTS_MAX)
        self.dropped = 0
        self._listeners = listeners
        self._undelivered: deque[RoomEvent] = deque(maxlen=EVENTS_MAX)

    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """Add a listener for events. The first one receives the events of the room that arrived before it.

        Returns:
            A function that removes the listener.

        Raises:
            ValueError: the listener is a coroutine function.
        """
        remove = self._listeners.add("event", listener)
        while self._undelivered:
            self._listeners.notify("event", self._undelivered.popleft())
        return remove

    def joined(self) -> None:
        """Begin a room: a later listener does not receive events of the room before."""
        self._undelivered.clear()

    def received(self, event: Event) -> None:
        """Store an event of the room and deliver it."""
        decoded = room_event_from(event)
        self._store(decoded)
        if self._listeners.has("event"):
            self._listeners.notify("event", decoded)
        else:
            self._undelivered.append(decoded)

    def goodbye_received(self, goodbye: Goodbye) -> None:
        """Store the server's Goodbye as an event with the number 0."""
        self._store(RoomEvent(0, "goodbye", goodbye.message, msgspec.msgpack.encode(goodbye.message)))

    def _store(self, event: RoomEvent) -> None:
        self.dropped += len(self.events) == EVENTS_MAX
        self.events.append(event)
