"""The WebSocket close codes of this server.

    1000  normal               1003  a text message           1011  internal error
    1001  going away           1008  policy violation
    4000 to 4499  the client should reconnect    4500 to 4999  it should not

1002 (protocol), 1007 and 1009 (too big) are sent by the WebSocket library itself.
"""

from __future__ import annotations

import enum

REASON_BYTES_MAX = 123
"""RFC 6455, section 5.5: a control frame holds 125 bytes, two of which are the code."""

MOVED_TO = "moved to "
"""The reason of a close with MOVED begins so if it has the address of the session's shard."""


class SessionCloseCode(enum.IntEnum):
    """Close codes that this server sends."""

    NORMAL = 1000
    GOING_AWAY = 1001
    TEXT_MESSAGE = 1003
    POLICY = 1008
    INTERNAL = 1011
    SILENT = 4000
    SLOW_CONSUMER = 4001
    UNAVAILABLE = 4002
    MOVED = 4003
    FLOOD = 4004
    TOKEN_EXPIRED = 4005
    UPGRADE_REQUIRED = 4500
    REPLACED = 4501
    UNAUTHORIZED = 4502
    ALREADY_CONNECTED = 4503
    KICKED = 4504
    BANNED = 4505


def moved_reason(url: str) -> str:
    """Return the reason of a close with MOVED, which repeats the address of the Redirect before it.

    Some WebSocket libraries drop messages that arrive together with a close: that of Godot, for example.
    """
    reason = f"{MOVED_TO}{url}"
    return reason if len(reason.encode()) <= REASON_BYTES_MAX else "the session is on another shard"


def truncate_reason(reason: str) -> str:
    """Return a reason that fits into a close frame, truncated between characters."""
    return reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")
