"""Pending requests, and the updates that answer them. Pure.

An Error ends only the request that it answers. After a reconnect a request is sent again, unless the server is still
processing it.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from tickwire.client.updates import (
    ErrorReceived,
    QueueChanged,
    Redirected,
    RoomsListed,
    SeatLost,
    SeatTaken,
    SessionAuthenticated,
    Update,
    Welcomed,
)
from tickwire.schemas.messages import (
    Authenticate,
    Error,
    ErrorCode,
    Join,
    Leave,
    ListRooms,
    MatchRequest,
    Message,
    to_request_type,
)

Answer: TypeAlias = (
    SeatTaken | SeatLost | Redirected | QueueChanged | RoomsListed | SessionAuthenticated | ErrorReceived
)

_NO_ANSWER = frozenset({ErrorCode.RATE_LIMITED, ErrorCode.UNSUPPORTED, ErrorCode.RESYNC})
"""Errors that answer no request, for servers that do not set `request_type`."""


def is_answer(error: Error, request: type[Message]) -> bool:
    """Return whether an Error answers a request of this type."""
    if error.request_type:
        return error.request_type == to_request_type(request)
    return error.code not in _NO_ANSWER


class Request(msgspec.Struct, frozen=True, eq=False):
    """One pending request.

    Args:
        type: Join, Leave, MatchRequest, ListRooms or Authenticate.
        data: the message.
        id: of a ListRooms.
    """

    type: type[Message]
    data: bytes
    id: int = 0

    def answer(self, update: Update) -> Answer | None:
        """Return the update if it answers this request, else None."""
        match update:
            case ErrorReceived(error):
                return update if is_answer(error, self.type) else None
            case SeatTaken(is_same_room=is_same_room):
                return update if self.type is Join and not is_same_room else None
            case SeatLost():
                return update if self.type is Leave else None
            case Redirected(is_move=True):
                return None
            case Redirected(redirect) if redirect.is_resume:  # the session moves, with its requests
                return None
            case Redirected(is_match=is_match):
                return update if self.type is (MatchRequest if is_match else Join) else None
            case RoomsListed(answer):
                return update if self.type is ListRooms and answer.id == self.id else None
            case SessionAuthenticated():
                return update if self.type is Authenticate else None
            case QueueChanged(is_end=True):
                return update if self.type is MatchRequest else None
            case _:
                return None

    def is_in_flight(self, update: Welcomed) -> bool:
        """Return whether the answer follows on the new connection, without sending the request again."""
        return self.type is Join and update.is_join_in_flight
