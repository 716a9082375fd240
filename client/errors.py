"""What a client's calls raise.

ClientError            something the client cannot go on from by itself
├── Disconnected       the connection is lost for good, or could not be made
│   └── ConnectFailed  the connection could not be made
├── Refused       the server refused; `error` says why, and whether and when to come back
├── NotMatched         the place in the matchmaking queue is gone
├── CommandFailed      a command was answered with no
├── SessionLost        the server did not keep the session: the client is in no room any more
└── MessageTooLarge    a message that the server would not accept, and that was not sent
"""

from __future__ import annotations

from tickwire.schemas.messages import Error, MatchStatus, Reply


class ClientError(Exception):
    """Something the client cannot go on from by itself."""


class Disconnected(ClientError):
    """The connection is lost for good, or could not be made.

    Args:
        message: why.
        may_return: whether trying again makes sense.
        retry_after_s: when, as the server advised; 0 for no advice.
    """

    def __init__(self, message: str, *, may_return: bool = True, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.may_return = may_return
        self.retry_after_s = retry_after_s


class ConnectFailed(Disconnected):
    """The connection could not be made."""


class Refused(ClientError):
    """The server refused; `error` says why, and whether and when to come back."""

    def __init__(self, error: Error) -> None:
        super().__init__(f"{error.code.name}: {error.message}")
        self.error = error


class CommandFailed(ClientError):
    """A command was answered with no."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"{reply.error.name}: {reply.message}")
        self.reply = reply


class NotMatched(ClientError):
    """The place in the queue is gone: given up, timed out, or a friend has left; `status.reason` says which."""

    def __init__(self, status: MatchStatus) -> None:
        super().__init__(f"{status.state.name}: {status.reason}")
        self.status = status


class SessionLost(ClientError):
    """The server did not keep the session: the client is in no room any more; what was asked may have been done."""


class MessageTooLarge(ClientError):
    """A message that the server would not accept: it was not sent, and the session continues.

    Args:
        what: the message, or the text in it.
        size: in bytes.
        limit: the largest size that the server accepts.
    """

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(f"{what} has {size} bytes; the server accepts at most {limit}")
        self.size = size
        self.limit = limit
