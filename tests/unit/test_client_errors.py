"""Errors of the matchmaker as clients receive them: their codes, and whether and when a retry makes sense."""

from __future__ import annotations

import pytest

from tickwire.matchmaking import (
    BadRequest,
    BadTicket,
    MatchmakerUnavailable,
    MatchmakingError,
    PlacementFull,
    PlacementLocked,
    RoomNotFound,
    StaleLease,
)
from tickwire.server.placement.client_errors import to_client_error


@pytest.mark.parametrize(
    ("error", "code", "retryable", "retry_after_ms"),
    [
        (PlacementFull("all 4 seats are taken"), "ROOM_FULL", True, 1000),
        (PlacementLocked("the room is locked"), "ROOM_LOCKED", False, 0),
        (RoomNotFound("no room has this code"), "NO_SUCH_ROOM", True, 0),
        (StaleLease("another shard owns the room"), "NO_SUCH_ROOM", True, 500),
        (BadTicket("it has expired"), "UNAUTHORIZED", False, 0),
        (BadRequest("a label is too long"), "MALFORMED", False, 0),
        (MatchmakerUnavailable("no answer", retry_after_ms=700), "UNAVAILABLE", True, 700),
        (MatchmakingError("unexpected"), "UNAVAILABLE", True, 1000),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_matchmaking_errors_have_client_codes(
    error: MatchmakingError, code: str, retryable: bool, retry_after_ms: int
) -> None:
    found = to_client_error(error)
    assert (found.code, found.retryable, found.retry_after_ms) == (code, retryable, retry_after_ms)


def test_details_for_operators_do_not_reach_clients() -> None:
    error = MatchmakerUnavailable("Redis does not answer", detail="redis-0.internal:6379 refused the connection")
    assert "redis-0" not in str(to_client_error(error))
