"""What matchmaking can raise.

MatchmakingError
├── MatchmakerUnavailable    Redis does not answer within the deadline, or cannot write; come again
│   └── NoCapacity           no shard has room for another room
├── PlacementFull                 the room asked for has not enough free seats
├── PlacementLocked               the room asked for takes nobody in
├── RoomNotFound             there is no room of that id or code
├── RoomNotMade              a new room is needed, and the request does not allow to make one
├── StaleLease               another shard owns the room now, or nobody
├── BadRequest               a label, code or party that cannot be
└── BadTicket                forged, expired, used, for somebody else, or signed with a key that is retired
"""

from __future__ import annotations


class MatchmakingError(Exception):
    """Something went wrong that has a name.

    Attributes:
        detail: the message for operators. It may name hosts and reasons that players must not receive.
    """

    @property
    def detail(self) -> str:
        """The message, unless there is another one for operators."""
        return str(self)


class MatchmakerUnavailable(MatchmakingError):
    """It cannot be done now.

    Args:
        retry_after_ms: when to come again.
        detail: the same for operators; the message itself may reach players.
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
    """No shard has room for another room."""


class PlacementFull(MatchmakingError):
    """Not enough free seats in the room asked for."""


class PlacementLocked(MatchmakingError):
    """The room asked for takes nobody in."""


class RoomNotFound(MatchmakingError):
    """No room has that id or code."""


class RoomNotMade(MatchmakingError):
    """A new room is needed, and the request does not allow to make one."""


class StaleLease(MatchmakingError):
    """The lease on the room is somebody else's, or gone."""


class BadRequest(MatchmakingError):
    """What was asked for cannot be; the sentence says why."""


class BadTicket(MatchmakingError):
    """A ticket that gives no right; the sentence says why and holds nothing of the ticket."""
