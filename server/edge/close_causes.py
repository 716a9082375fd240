"""Finds out why a WebSocket connection has ended, from the state of the WebSocket library."""

from __future__ import annotations

from websockets.frames import Close, CloseCode
from websockets.server import ServerProtocol

_FAILURES = {
    CloseCode.PROTOCOL_ERROR: "protocol_error",
    CloseCode.INVALID_DATA: "bad_utf8",
    CloseCode.MESSAGE_TOO_BIG: "message_too_big",
}
"""The close codes that the library sends by itself, and the labels that count them."""


def find_client_close_code(library: ServerProtocol) -> int | None:
    """Return the code with which the client closed the connection; None if the server closed it, or it broke.

    An answer to a close of the server does not count: some libraries answer every close with 1000.
    """
    return library.close_rcvd.code if library.close_rcvd is not None and library.close_rcvd_then_sent else None


def find_failure(library: ServerProtocol) -> Close | None:
    """Return the close that the library has sent because of invalid bytes, not an echo of the peer's close."""
    close = library.close_sent if library.parser_exc is not None else None
    return close if close is not None and close.code in _FAILURES else None


def describe_failure(close: Close | None) -> str:
    """Return why a connection failed: the peer sent a frame that is too large or invalid. Empty without a failure."""
    return f"{close.reason or 'the peer violated the protocol'} ({close.code})" if close is not None else ""


def failure_label(close: Close) -> str:
    """Return the label that counts a failure."""
    return _FAILURES[CloseCode(close.code)]
