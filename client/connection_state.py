"""The states of a client's connection. Pure."""

from __future__ import annotations

import enum


class ConnectionState(enum.Enum):
    """The state of a client's connection."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"
