"""What matchmaking can raise.

MatchmakingError
├── MatchmakerUnavailable    Redis does not answer within the deadline; come again
├── RoomFull                 the room asked for has no seat left
├── StaleLease               another shard owns the room now
└── BadTicket                forged, expired, or signed with a key that is retired
"""

from __future__ import annotations


class MatchmakingError(Exception):
    """Something went wrong that has a name."""


class MatchmakerUnavailable(MatchmakingError):
    """Redis does not answer."""


class RoomFull(MatchmakingError):
    """No seat left in the room asked for."""


class StaleLease(MatchmakingError):
    """The lease on the room is somebody else's, or gone."""


class BadTicket(MatchmakingError):
    """A ticket that gives no right; the sentence says why and holds nothing of the ticket."""
