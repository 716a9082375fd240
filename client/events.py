"""The events that a game receives, with decoded payloads, and their listeners."""

from __future__ import annotations

import inspect
import logging
from asyncio import CancelledError
from collections.abc import Callable
from typing import Any

import msgspec

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
        payload: decoded: None, bool, int, float, str, bytes, list, dict or datetime. None if `raw` is malformed.
        raw: the payload's bytes.
    """

    number: int
    name: str
    payload: Any
    raw: bytes


class ListenerError(msgspec.Struct, frozen=True):
    """An exception that a listener raised, or an event that could not be passed to the listeners.

    Args:
        error: the exception; MalformedMessage if the payload of an event cannot be decoded.
        event: the name that the listener was added for.
    """

    error: BaseException
    event: str


class Listeners:
    """The listeners of a client, by name.

    An exception in a listener is passed to the `error` listeners; without any it is logged. The client continues.
    A listener that returns a coroutine has not run: this counts as an exception.

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
                result = listener(value)
                if inspect.iscoroutine(result):  # from a lambda or a partial function, which `add` cannot recognise
                    result.close()
                    raise TypeError(f"the listener for {name!r} returned a coroutine, which nothing runs")
            # The game's code must not stop the client. A plain function is not cancelled: a CancelledError comes from
            # the result of some future that it reads.
            except (Exception, CancelledError) as error:  # noqa: BLE001 it is reported
                self.failures += 1
                self.report(error, name, f"a listener for {name!r} raised")

    def report(self, error: BaseException, name: str, text: str) -> None:
        """Pass an exception to the `error` listeners; without any, and for one of an `error` listener, log it.

        Args:
            error: the exception.
            name: the listeners that it concerns.
            text: the text for the log.
        """
        if name != "error" and self.has("error"):
            self.notify("error", ListenerError(error, name))
        else:
            log.error(text, exc_info=error)
