"""The events that a game receives, with decoded payloads, and their listeners."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import Event
from tickwire.schemas.payloads import decode_payload

log = logging.getLogger("tickwire.client")

Listener = Callable[[Any], object]
LISTENER_NAMES = (
    "state", "event", "joined", "left", "acknowledged", "match", "disconnected", "reconnected", "pong", "refused",
    "closed", "error",
)  # fmt: skip


class RoomEvent(msgspec.Struct, frozen=True):
    """An event of the room.

    Args:
        number: counts from 1 in each session.
        name: chosen by the game.
        payload: decoded: None, bool, int, float, str, bytes, list, dict or datetime. None if `raw` is not msgpack.
        raw: the payload's bytes.
    """

    number: int
    name: str
    payload: Any
    raw: bytes


def room_event_from(event: Event) -> RoomEvent:
    """Decode an event. If the payload is not msgpack, a warning is logged and the payload is None."""
    try:
        payload = decode_payload(event.payload) if event.payload else None
    except MalformedMessage:
        log.warning("the payload of event %d %r cannot be decoded", event.number, event.name[:64])
        payload = None
    return RoomEvent(event.number, event.name, payload, event.payload)


class ListenerError(msgspec.Struct, frozen=True):
    """An exception that a listener raised.

    Args:
        error: the exception.
        name: the name that the listener was added for.
    """

    error: Exception
    name: str


class Listeners:
    """The listeners of a client, by name.

    An exception in a listener is passed to the `error` listeners; without any it is logged. The client continues.

    Attributes:
        failures: the number of calls that raised.
    """

    def __init__(self) -> None:
        self.failures = 0
        self._listeners: dict[str, list[Listener]] = {name: [] for name in LISTENER_NAMES}

    def add(self, name: str, listener: Listener) -> Callable[[], None]:
        """Add a listener.

        Returns:
            A function that removes it. Idempotent.

        Raises:
            ValueError: the name is unknown, or the listener is a coroutine function.
        """
        if name not in self._listeners:
            raise ValueError(f"unknown listener name {name!r}; the names are {', '.join(LISTENER_NAMES)}")
        if inspect.iscoroutinefunction(listener):
            raise ValueError(f"the listener for {name!r} must be a plain function, which may create a task")
        listeners = self._listeners[name]
        listeners.append(listener)

        def remove() -> None:
            if listener in listeners:
                listeners.remove(listener)

        return remove

    def has(self, name: str) -> bool:
        """Return whether there is a listener for a name."""
        return bool(self._listeners[name])

    def notify(self, name: str, value: Any) -> None:
        """Call the listeners, in the order in which they were added."""
        for listener in tuple(self._listeners[name]):
            try:
                listener(value)
            except Exception as error:  # the game's code must not stop the client
                self.failures += 1
                if name != "error" and self.has("error"):
                    self.notify("error", ListenerError(error, name))
                else:
                    log.exception("a listener for %r raised", name)
