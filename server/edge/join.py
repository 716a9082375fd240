"""Requests a seat within a time limit. Every failure becomes a value, so that the player always gets an answer."""

from __future__ import annotations

import asyncio

import structlog

from tickwire.schemas.messages import Error, ErrorCode, Join, Message, Redirect, to_request_type
from tickwire.server.edge.services import RoomJoiner
from tickwire.server.errors import Internal, TickwireError, Unavailable
from tickwire.server.observability.traces import span
from tickwire.server.rooms.seat import Seat
from tickwire.server.rooms.subscriber import Subscriber

log = structlog.get_logger(__name__)


async def request_seat(
    join_service: RoomJoiner, subscriber: Subscriber, join: Join, *, timeout_s: float, seals_options: bool = False
) -> Seat | Redirect | TickwireError:
    """Request a seat for a session; see `RoomJoiner.join`.

    Returns:
        The seat, which the caller owns; or the address of another shard; or the reason of the failure.
    """
    try:
        with span("join", room_type=join.room_type[:64], has_ticket=bool(join.ticket)):
            async with asyncio.timeout(timeout_s):
                return await join_service.join(subscriber, join, seals_options=seals_options)
    except TimeoutError:
        return Unavailable(f"finding a room took more than {timeout_s:g} s; try again", retry_after_ms=1000)
    except TickwireError as error:
        return error
    except Exception:
        log.exception("join_failed", session_id=subscriber.session_id)
        return Internal("the server failed to find a room")


def to_error_message(error: TickwireError, request: type[Message]) -> Error:
    """Convert an error to the message that the client receives.

    Args:
        error: the error to report.
        request: the type of the client's message that failed.
    """
    return Error(
        ErrorCode[error.code],
        str(error),
        retry_after_ms=error.retry_after_ms,
        retryable=error.retryable,
        request_type=to_request_type(request),
    )
