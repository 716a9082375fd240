"""Keeps the events of a session for the game, and delivers them to its listeners."""

from __future__ import annotations

import inspect
from collections import Counter, deque
from collections.abc import Callable

import msgspec

from tickwire.client.events import Listener, Listeners, RoomEvent
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.event_names import to_event_name
from tickwire.schemas.messages import Event, Goodbye
from tickwire.schemas.payloads import decode_payload, decode_value

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
        self._listening: Counter[str | None] = Counter()  # listeners by the name of their event; None: all events

    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """Add a listener for events. The first one receives the events of the room that arrived before it.

        Returns:
            A function that removes the listener.

        Raises:
            ValueError: the listener is a coroutine function.
        """
        return self._add(listener, None)

    def add_typed_listener(self, kind: type, listener: Listener) -> Callable[[], None]:
        """Add a listener for the events of one class, as `add_listener`. A payload that does not fit is an error.

        Args:
            kind: a class that msgspec can decode, with the name of the event.
            listener: receives the payload as an instance of the class.
        """
        name = to_event_name(kind)

        def receive(event: RoomEvent) -> object:
            return listener(decode_payload(event.raw, kind)) if event.name == name else None

        if inspect.iscoroutinefunction(listener):
            raise ValueError(f"the listener for {kind.__name__} must be a plain function, which may create a task")
        return self._add(receive, name)

    def _add(self, listener: Listener, name: str | None) -> Callable[[], None]:
        remove = self._listeners.add("event", listener)
        self._listening[name] += 1
        # All are removed first: a listener may add another one.
        waiting = [event for event in self._undelivered if name in (None, event.name)]
        for event in waiting:
            self._undelivered.remove(event)
        for event in waiting:
            self._listeners.notify("event", event)
        is_added = True

        def stop() -> None:
            nonlocal is_added
            remove()
            self._listening[name] -= is_added
            is_added = False

        return stop

    def joined(self) -> None:
        """Begin a room: a later listener does not receive events of the room before."""
        self._undelivered.clear()

    def received(self, event: Event) -> None:
        """Store an event of the room and deliver it; report one with a malformed payload to the `error` listeners."""
        try:
            decoded = RoomEvent(event.number, event.name, decode_value(event.payload), event.payload)
        except MalformedMessage as error:
            self._store(RoomEvent(event.number, event.name, None, event.payload))
            text = f"the payload of event {event.number} {event.name[:64]!r} cannot be decoded"
            self._listeners.report(error, "event", text)
            return
        self._store(decoded)
        if self._listening[None] or self._listening[decoded.name]:
            self._listeners.notify("event", decoded)
        else:
            self._undelivered.append(decoded)

    def goodbye_received(self, goodbye: Goodbye) -> None:
        """Store the server's Goodbye as an event with the number 0."""
        self._store(RoomEvent(0, "goodbye", goodbye.message, msgspec.msgpack.encode(goodbye.message)))

    def _store(self, event: RoomEvent) -> None:
        self.dropped += len(self.events) == EVENTS_MAX
        self.events.append(event)
