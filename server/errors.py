"""The errors of a shard, one tree.

    TickwireError                 has a code (shared by protocol, metrics and docs) and `retryable`
    ├── ConfigError               the operator's: a setting is wrong; the sentence names its key
    ├── PeerError                 the client's fault
    │   ├── Malformed             bytes that are not a message
    │   ├── Unsupported           a message this build does not know
    │   ├── UpgradeRequired       the client's schema version is not accepted
    │   ├── Unauthorized          no valid token or ticket
    │   ├── Banned                an operator keeps the player out for a while
    │   ├── AlreadyConnected      the player has a session, and may have only one
    │   ├── OutOfOrder            a message that its state does not allow (Input before Joined)
    │   ├── RateLimited           too much, too fast
    │   ├── NoSuchRoomType        Join for a type this build does not host
    │   ├── NoSuchRoom            no room of that id or code, or the ticket's is not here
    │   ├── NoSuchMode            MatchRequest for a mode that this build does not have
    │   ├── RoomLocked            the room asked for takes nobody in
    │   └── JoinRefused           the game refuses the player, with its reason
    └── ServerError               ours, or our stores'
        ├── RoomFull              no seat left in the room asked for
        ├── RoomClosed            the room ended
        ├── RoomFailed            the room's code raised; trying again does not help
        ├── Unavailable           a store does not answer, or the shard drains; come again
        │   ├── Locked            somebody else changes it just now; nothing was written
        │   └── VersionConflict   somebody else has changed it meanwhile; nothing was written
        ├── StaleEpoch            another shard owns this room now; nothing was written
        ├── KeyReused             an idempotency key names another transaction already; nothing was written
        └── Internal              a mistake in our code, or in the game's
            └── NotSavable        a room's state is nothing that MongoDB can hold; trying again does not help

Imports nothing of ours, so that every package may raise these.
"""

from __future__ import annotations

import errno
from typing import ClassVar


class TickwireError(Exception):
    """Something went wrong that has a name. `str()` is a sentence for a developer.

    Args:
        message: the sentence, without secrets.
        retry_after_ms: when coming back makes sense; 0 says nothing about it.
        detail: the same for operators. It may name hosts and reasons that players must not receive.
    """

    code: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after_ms: int = 0, detail: str = "") -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms
        self._detail = detail

    @property
    def detail(self) -> str:
        """The sentence for operators: the message, unless there is another one."""
        return self._detail or str(self)


class ConfigError(TickwireError):
    """A setting is missing or wrong; the sentence names its key."""

    code = "CONFIG"


def listen_error(section: str, host: str, port: int, error: OSError) -> ConfigError:
    """Return the error for a socket that cannot listen.

    Args:
        section: of the settings that name the address: "listen" or "operations".
        error: what the system says.
    """
    if error.errno == errno.EADDRINUSE:
        return ConfigError(f"{section}.port: {port} on {host} is in use; set another port, or 0 for a free one")
    if error.errno in (errno.EACCES, errno.EPERM):
        return ConfigError(f"{section}.port: {port} on {host} is not permitted; set a port above 1023")
    return ConfigError(f"{section}.host: cannot listen on {host}: {error.strerror or error}")


class PeerError(TickwireError):
    """What the client sent is at fault."""

    code = "MALFORMED"


class Malformed(PeerError):
    """Bytes that are not a message of ours."""

    code = "MALFORMED"


class Unsupported(PeerError):
    """A message type that this build does not know."""

    code = "UNSUPPORTED"


class UpgradeRequired(PeerError):
    """The client's schema version is not one that this build speaks."""

    code = "UPGRADE_REQUIRED"


class Unauthorized(PeerError):
    """No valid token, or a ticket that is expired, forged or for somebody else."""

    code = "UNAUTHORIZED"


class Banned(PeerError):
    """An operator keeps the player out; the sentence says until when, and why."""

    code = "BANNED"


class AlreadyConnected(PeerError):
    """The player has a session here already, and the policy is to refuse a second."""

    code = "ALREADY_CONNECTED"


class OutOfOrder(PeerError):
    """A message that the session's state does not allow."""

    code = "OUT_OF_ORDER"


class RateLimited(PeerError):
    """More than a limit allows."""

    code = "RATE_LIMITED"
    retryable = True


class NoSuchRoomType(PeerError):
    """A Join for a room type that this build does not host."""

    code = "NO_SUCH_ROOM_TYPE"


class NoSuchRoom(PeerError):
    """A Join for a room that does not exist here (any more)."""

    code = "NO_SUCH_ROOM"
    retryable = True


class NoSuchMode(PeerError):
    """A MatchRequest for a mode that this build does not have."""

    code = "NO_SUCH_MODE"


class RoomLocked(PeerError):
    """The room asked for takes nobody in (any more)."""

    code = "ROOM_LOCKED"


class JoinRefused(PeerError):
    """The room's `on_join` refused the player; the sentence is the game's."""

    code = "COMMAND_FAILED"


class ServerError(TickwireError):
    """Our fault, or that of a store we depend on."""

    code = "INTERNAL"


class RoomFull(ServerError):
    """Every seat of the room asked for is taken or reserved."""

    code = "ROOM_FULL"
    retryable = True


class RoomClosed(ServerError):
    """The room has ended, or its code raised and its policy closed it."""

    code = "ROOM_CLOSED"
    retryable = True


class RoomFailed(ServerError):
    """The room's code raised while it was made, or took the player in: trying again does not help."""

    code = "ROOM_FAILED"


class Unavailable(ServerError):
    """Redis or MongoDB does not answer, or the shard is draining."""

    code = "UNAVAILABLE"
    retryable = True


class Locked(Unavailable):
    """A call has waited for as long as it was to: what it is to change is somebody else's just now."""


class VersionConflict(Unavailable):
    """What is to be changed is not as it was read; nothing was written. Read it again."""


class StaleEpoch(ServerError):
    """Another shard has owned this room since; the write was refused.

    Args:
        newest: the epoch that refused it; 0 when it is not known.
    """

    code = "STALE_EPOCH"

    def __init__(self, message: str, *, newest: int = 0) -> None:
        super().__init__(message)
        self.newest = newest


class KeyReused(ServerError):
    """A game used an idempotency key again for other moves or another player; nothing was written."""

    code = "KEY_REUSED"


class Internal(ServerError):
    """A mistake in our code."""

    code = "INTERNAL"


class NotSavable(Internal):
    """A room's state is nothing that MongoDB can hold: a key with a NUL, a number of more than 64 bits."""
