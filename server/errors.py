"""The errors of a shard, one tree.

    TickwireError                 has a code (shared by protocol, metrics and docs) and `retryable`
    ├── ConfigError               the operator's fault: a setting is wrong; the message names its key
    ├── RecordingDamaged          a recording cannot be read (server/recording/frames.py)
    ├── ReplayFailed              a recording cannot be replayed with this code (server/recording/room_builder.py)
    ├── PeerError                 the client's fault
    │   ├── Malformed             bytes that are not a message
    │   ├── InvalidArgument       the options of a Join do not have the types that the room declares
    │   ├── Unsupported           a message type that this build does not know
    │   ├── Unauthorized          no valid token or ticket
    │   │   └── InvalidToken      a token that is refused, with a reason for the metrics
    │   ├── Banned                an operator has banned the player for a while
    │   ├── AlreadyConnected      the player has a session, and may have only one
    │   ├── OutOfOrder            a message that the session's state does not allow (Input before Joined)
    │   ├── RateLimited           a limit of the client was exceeded
    │   ├── NoSuchRoomType        Join for a room type that this build does not host
    │   ├── NoSuchRoom            no room with this id or code, or the ticket's room is not on this shard
    │   ├── NoSuchMode            MatchRequest for a mode that this build does not have
    │   ├── RoomLocked            the requested room is locked against joins
    │   ├── RequestInProgress     HTTP: a request with the same Idempotency-Key runs at present
    │   ├── IdempotencyKeyReused  HTTP: the Idempotency-Key belongs to another request
    │   ├── Forbidden             the caller is known, and may not do this (HTTP only)
    │   ├── NotFound              nothing has the id of the request (HTTP only)
    │   ├── RequestTimeout        the request did not arrive in time (HTTP only)
    │   ├── Conflict              the request contradicts the present state (HTTP only)
    │   ├── IdentityTaken         the identity belongs to another account (HTTP only)
    │   └── JoinRefused           the game refuses the player, with its reason
    └── ServerError               the fault of the server or of a store
        ├── RoomFull              the requested room has no seat left
        ├── RoomClosed            the room has ended
        ├── RoomFailed            the room's code raised an exception; retrying does not help
        ├── Unavailable           a store does not answer, or the shard drains; retry later
        │   ├── Locked            another call is changing the data; nothing was written
        │   └── VersionConflict   another call has changed the data meanwhile; nothing was written
        ├── StaleEpoch            another shard owns this room now; nothing was written
        ├── KeyReused             an idempotency key belongs to another transaction already; nothing was written
        └── Internal              a defect in the server's code, or in the game's
            └── NotSavable        MongoDB cannot store the room's state; retrying does not help

Imports none of our packages, so that every package may raise these errors.
"""

from __future__ import annotations

import errno
from typing import ClassVar


class TickwireError(Exception):
    """The base class of all errors of a shard. `str()` returns a message for a developer.

    Args:
        message: the message, without secrets.
        retry_after_ms: when a retry makes sense; 0 if that is unknown.
        detail: the message for operators. It may contain hosts and reasons that players must not receive.
    """

    code: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after_ms: int = 0, detail: str = "") -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms
        self._detail = detail

    @property
    def detail(self) -> str:
        """The message for operators; the same as for clients unless `detail` was passed."""
        return self._detail or str(self)


class ConfigError(TickwireError):
    """A setting is missing or wrong; the message names its key."""

    code = "CONFIG"


def listen_error(section: str, host: str, port: int, error: OSError) -> ConfigError:
    """Return the error for a socket that cannot listen.

    Args:
        section: the section of the settings with the address: "listen" or "operations".
        host: the address.
        port: the port.
        error: the error of the operating system.
    """
    if error.errno == errno.EADDRINUSE:
        return ConfigError(f"{section}.port: {port} on {host} is in use; set another port, or 0 for a free one")
    if error.errno in (errno.EACCES, errno.EPERM):
        return ConfigError(f"{section}.port: {port} on {host} is not permitted; set a port above 1023")
    return ConfigError(f"{section}.host: cannot listen on {host}: {error.strerror or error}")


class PeerError(TickwireError):
    """The client has sent an invalid or forbidden message."""

    code = "MALFORMED"


class Malformed(PeerError):
    """The bytes are not a message of the protocol."""

    code = "MALFORMED"


class InvalidArgument(PeerError):
    """The options of a Join do not have the types that the room declares; the message names the path."""

    code = "INVALID_ARGUMENT"


class Unsupported(PeerError):
    """The message type is unknown to this build."""

    code = "UNSUPPORTED"


class Unauthorized(PeerError):
    """The token is invalid, or the ticket is expired, forged or for another player."""

    code = "UNAUTHORIZED"


class InvalidToken(Unauthorized):
    """A player's token is refused.

    Args:
        message: the message, which never contains the token.
        reason: the reason, as the metrics count it: "expired", "signature" and others.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Banned(PeerError):
    """An operator has banned the player; the message says until when, and why."""

    code = "BANNED"


class AlreadyConnected(PeerError):
    """The player has a session on this shard already, and the policy is to refuse another one."""

    code = "ALREADY_CONNECTED"


class OutOfOrder(PeerError):
    """The session's state does not allow this message."""

    code = "OUT_OF_ORDER"


class RateLimited(PeerError):
    """The client has exceeded a limit."""

    code = "RATE_LIMITED"
    retryable = True


class NoSuchRoomType(PeerError):
    """The room type of a Join is not hosted by this build."""

    code = "NO_SUCH_ROOM_TYPE"


class NoSuchRoom(PeerError):
    """The room of a Join does not exist on this shard, or not any more."""

    code = "NO_SUCH_ROOM"
    retryable = True


class NoSuchMode(PeerError):
    """The mode of a MatchRequest does not exist in this build."""

    code = "NO_SUCH_MODE"


class RoomLocked(PeerError):
    """The requested room is locked: it admits no more players."""

    code = "ROOM_LOCKED"


class RequestInProgress(PeerError):
    """A request with the same Idempotency-Key runs at present, or has ended in a crash; retry for its answer."""

    code = "REQUEST_IN_PROGRESS"
    retryable = True


class IdempotencyKeyReused(PeerError):
    """The client has used an Idempotency-Key again for another request; nothing was done."""

    code = "IDEMPOTENCY_KEY_REUSED"


class JoinRefused(PeerError):
    """The room's `on_join` refused the player; the message is the game's."""

    code = "COMMAND_FAILED"


class Forbidden(PeerError):
    """The caller is authenticated, and may not do this."""

    code = "FORBIDDEN"


class NotFound(PeerError):
    """Nothing has the id that the request names."""

    code = "NOT_FOUND"


class RequestTimeout(PeerError):
    """The request did not arrive in full within its time limit."""

    code = "REQUEST_TIMEOUT"
    retryable = True


class Conflict(PeerError):
    """The request contradicts the present state; the message says how."""

    code = "CONFLICT"


class IdentityTaken(PeerError):
    """The identity belongs to another account already, or to this one with other credentials."""

    code = "IDENTITY_TAKEN"


class ServerError(TickwireError):
    """The server has failed, or a store that it depends on."""

    code = "INTERNAL"


class RoomFull(ServerError):
    """Every seat of the requested room is taken or reserved."""

    code = "ROOM_FULL"
    retryable = True


class RoomClosed(ServerError):
    """The room has ended, or its code raised an exception and its policy closed it."""

    code = "ROOM_CLOSED"
    retryable = True


class RoomFailed(ServerError):
    """The room's code raised an exception in its creation or in the join; retrying does not help."""

    code = "ROOM_FAILED"


class Unavailable(ServerError):
    """Redis or MongoDB does not answer, or the shard is draining."""

    code = "UNAVAILABLE"
    retryable = True


class Locked(Unavailable):
    """A call has waited up to its time limit for data that another call is changing."""


class VersionConflict(Unavailable):
    """The data has changed since it was read; nothing was written. Read it again."""


class StaleEpoch(ServerError):
    """A newer epoch of this room exists on another shard; the write was rejected.

    Args:
        newest: the newer epoch; 0 if it is unknown.
    """

    code = "STALE_EPOCH"

    def __init__(self, message: str, *, newest: int = 0) -> None:
        super().__init__(message)
        self.newest = newest


class KeyReused(ServerError):
    """A game has used an idempotency key again for other changes or another player; nothing was written."""

    code = "KEY_REUSED"


class Internal(ServerError):
    """A defect in the server's code."""

    code = "INTERNAL"


class NotSavable(Internal):
    """MongoDB cannot store the room's state: for example a key with a NUL, or an integer of more than 64 bits."""
