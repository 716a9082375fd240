"""The exceptions of the client.

ClientError            the base class
├── Disconnected       the connection is closed for good, or could not be opened
│   └── ConnectFailed  the connection could not be opened
├── Refused            the server refused a request; `error` has the reason, and whether and when to retry
├── NotMatched         the player left the matchmaking queue without a match
├── CommandFailed      the room rejected a command
├── SessionLost        the server did not keep the session: the client is in no room
└── MessageTooLarge    the server would not accept the message, and it was not sent
"""

from __future__ import annotations

from tickwire.schemas.messages import Error, MatchStatus, Reply


class ClientError(Exception):
    """An error that the client cannot handle itself."""


class Disconnected(ClientError):
    """The connection is closed for good, or could not be opened.

    Args:
        message: the reason.
        may_return: whether the caller may try again.
        retry_after_s: the delay that the server advised; 0 without advice.
    """

    def __init__(self, message: str, *, may_return: bool = True, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.may_return = may_return
        self.retry_after_s = retry_after_s


class ConnectFailed(Disconnected):
    """The connection could not be opened."""


class Refused(ClientError):
    """The server refused a request; `error` has the reason, and whether and when to retry."""

    def __init__(self, error: Error) -> None:
        super().__init__(f"{error.code.name}: {error.message}")
        self.error = error


class CommandFailed(ClientError):
    """The room rejected a command."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"{reply.error.name}: {reply.message}")
        self.reply = reply


class NotMatched(ClientError):
    """The player left the queue without a match; `status.reason` says why: cancelled, timed out, a friend left."""

    def __init__(self, status: MatchStatus) -> None:
        super().__init__(f"{status.state.name}: {status.reason}")
        self.status = status


class SessionLost(ClientError):
    """The server did not keep the session. The client is in no room; whether a command ran is unknown."""


class MessageTooLarge(ClientError):
    """The server would not accept the message. It was not sent, and the session continues.

    Args:
        what: the message, or the text in it.
        size: its size in bytes.
        limit: the largest size that the server accepts.
    """

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(f"{what} has {size} bytes; the server accepts at most {limit}")
        self.size = size
        self.limit = limit
