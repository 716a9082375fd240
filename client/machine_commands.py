"""The commands of the session machine: values that a shell carries out, in order. Pure.

schemas/scenarios/README.md defines them for clients in other languages.
"""

from __future__ import annotations

from typing import Any

import msgspec


class RequestToken(msgspec.Struct, frozen=True):
    """Get the player's token, and answer with `token_received` or `token_failed`. It replaces an earlier request.

    It is requested for an attempt to connect, and on an open connection when the session's token expires.
    """


class Connect(msgspec.Struct, frozen=True):
    """Open a WebSocket, and answer with `connected`, `connect_failed` or `connection_lost`."""

    url: str


class Send(msgspec.Struct, frozen=True):
    """Send a message on the newest connection."""

    data: bytes


class CloseSocket(msgspec.Struct, frozen=True):
    """Close the newest connection. Later events of it must not be passed to the machine.

    Args:
        code: 1000 ends the session; with any other code the shell need not wait, and may break the connection.
        reason: for a developer.
    """

    code: int
    reason: str


class SetTimer(msgspec.Struct, frozen=True):
    """Call `timer_fired` at this time, on the machine's clock. It replaces the previous timer; None: no timer."""

    at_ms: float | None


class Resolve(msgspec.Struct, frozen=True):
    """A call has succeeded.

    Args:
        call: its number.
        value: a Joined (join, match), a RoomList (list_rooms), a Reply (command), the player id (authenticate), or
            None.
    """

    call: int
    value: Any


class Reject(msgspec.Struct, frozen=True):
    """A call has failed, with a ClientError or a TimeoutError."""

    call: int
    error: Exception


class Emit(msgspec.Struct, frozen=True):
    """Call the listeners of an event."""

    event: str
    value: Any


class StoreSession(msgspec.Struct, frozen=True):
    """Save a text, from which `open` resumes the session after a restart of the program."""

    text: str


class ClearSession(msgspec.Struct, frozen=True):
    """Delete the saved text."""


MachineCommand = (
    RequestToken | Connect | Send | CloseSocket | SetTimer | Resolve | Reject | Emit | StoreSession | ClearSession
)
