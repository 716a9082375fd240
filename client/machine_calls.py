"""The calls of a session machine that wait for an outcome. Pure data."""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from tickwire.client.backoff import Backoff
from tickwire.client.requests import Request
from tickwire.schemas.messages import Redirect

CALL_MS_MAX = 10_000
"""How long a request waits for the server's answer, also across reconnects."""
JOIN_MS_MAX = 30_000
"""How long a join is repeated while it is redirected to a shard that cannot be reached, and how long the client tries
to reach a shard. A dead shard leaves the directory within some seconds."""
CANCEL_MS_MAX = 5_000
"""How long the queue may take to decide between a cancellation and a match."""
RENEWAL_MS = 10_000
"""The time after which a new token is requested again, if there was none."""
MOVE = 0
"""The number of the call with which the machine itself follows a move to another room."""


class CallKind(enum.Enum):
    """What a call waits for."""

    OPEN = "open"
    JOIN = "join"
    LEAVE = "leave"
    MOVE = "move"
    MATCH = "match"
    LIST_ROOMS = "list_rooms"
    COMMAND = "command"
    AUTHENTICATE = "authenticate"
    RENEWAL = "renewal"
    """The machine itself renews the token of the session."""


class SeatStep(enum.Enum):
    """The step of a call that joins a room."""

    NONE = "none"
    ABANDONED = "abandoned"
    """An earlier, abandoned Join has no answer yet."""
    LEAVING = "leaving"
    """The client leaves its room, for that of a match."""
    VISITING = "visiting"
    """The client connects to the shard of the room."""
    REQUESTED = "requested"
    PAUSE = "pause"
    """The shard cannot be reached; the Join is repeated after a pause."""


class PendingCall(msgspec.Struct, eq=False):
    """A call.

    Args:
        number: identifies it in Resolve and Reject.
        kind: what it waits for.
        request: the request that waits for an answer, if there is one; sent again after a reconnect.
        first: the first Join, which is repeated at the initial URL; empty if it is to be joined with a ticket.
        options: for the room's `on_join`.
        step: of a join.
        unsent: the Join that is sent once an abandoned one has its answer.
        redirect: the Redirect that is being followed.
        redirects: the number of Redirects in a row.
        backoff: the pauses of a join that is repeated.
        until_ms: when it is no longer repeated.
        mode, timeout_ms: of a match.
        is_late, is_cancelled: a match is over its time; a MatchCancel must be sent.
        command_id, name: of a command.
        token: with which the session authenticates.
    """

    number: int
    kind: CallKind
    request: Request | None = None
    first: bytes = b""
    options: dict[str, Any] | None = None
    step: SeatStep = SeatStep.NONE
    unsent: bytes = b""
    redirect: Redirect | None = None
    redirects: int = 0
    backoff: Backoff | None = None
    until_ms: float = 0
    mode: str = ""
    timeout_ms: float = 0
    is_late: bool = False
    is_cancelled: bool = False
    command_id: int = 0
    name: str = ""
    token: str = ""
