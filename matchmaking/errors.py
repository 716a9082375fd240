"""The errors of matchmaking.

MatchmakingError
├── MatchmakerUnavailable    Redis does not answer within the deadline, or cannot write; the call can be retried
│   └── NoCapacity           no shard has capacity for another room
├── PlacementFull            the requested room does not have enough free seats
├── PlacementLocked          the requested room accepts no new players
├── RoomNotFound             no room has this id or code
├── RoomNotCreated           a new room is required, and the request does not allow creating one
├── StaleLease               another shard owns the room, or the room has ended
├── BadRequest               a label, code or party is invalid
└── BadTicket                forged, expired, used, for another player, or signed with a retired key
"""

from __future__ import annotations


class MatchmakingError(Exception):
    """The base class of all errors of matchmaking.

    Attributes:
        detail: the message for operators. It may contain hosts and reasons that players must not receive.
    """

    @property
    def detail(self) -> str:
        """The message for operators; by default the message itself."""
        return str(self)


class MatchmakerUnavailable(MatchmakingError):
    """The call failed for now and can be retried.

    Args:
        retry_after_ms: when to retry.
        detail: the message for operators; the message itself may reach players.
    """

    def __init__(self, message: str, *, retry_after_ms: int = 1000, detail: str = "") -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms
        self._detail = detail

    @property
    def detail(self) -> str:
        """See `MatchmakingError.detail`."""
        return self._detail or str(self)


class NoCapacity(MatchmakerUnavailable):
    """No shard has capacity for another room."""


class PlacementFull(MatchmakingError):
    """The requested room does not have enough free seats."""


class PlacementLocked(MatchmakingError):
    """The requested room accepts no new players."""


class RoomNotFound(MatchmakingError):
    """No room has this id or code."""


class RoomNotCreated(MatchmakingError):
    """A new room is required, and the request does not allow creating one."""


class StaleLease(MatchmakingError):
    """Another shard holds the lease on the room, or the lease has ended."""


class BadRequest(MatchmakingError):
    """The request is invalid; the message says why."""


class BadTicket(MatchmakingError):
    """The ticket is invalid; the message says why and contains no part of the ticket."""
