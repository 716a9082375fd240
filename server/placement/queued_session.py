"""The match request of one session on this shard, until its player has a seat in the match. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from tickwire.matchmaking.queue import Entry, QueuePosition
from tickwire.schemas.messages import MatchStatus, QueueState, Redirect
from tickwire.server.rooms.subscriber import Subscriber


class TransferredPosition(msgspec.Struct, frozen=True, rename={"enqueued_ms": "came_ms"}):
    """A queue position on its way to another shard.

    Args:
        mode: the name of the mode.
        skill: of the player.
        entry: the player's entry in the queue.
        enqueued_ms: when the player was enqueued, UTC, ms since 1970.
    """

    mode: str
    skill: float
    entry: Entry
    enqueued_ms: int


class RunningLookup(NamedTuple):
    """The lookup of a player's skill, before the player is enqueued.

    Args:
        cancel: cancels it.
        complete: enqueues the player now, with this skill.
    """

    cancel: Callable[[], object]
    complete: Callable[[float], None]


class QueuedSession(msgspec.Struct, eq=False):
    """A session that is in a queue, or has a match and has not taken its seat yet.

    Args:
        player_id, is_guest: the player when the match was requested. A guest may log in while it waits.
        since_s: when the player was enqueued, UTC, seconds since 1970.
        entry_id: its entry in the queue.
        redirect: to the match; None before it is found.
        expires_at_s: when the ticket of the redirect expires.
        cancel_reason: why the request is being cancelled; empty if it is not.
        unanswered_cancels: MatchCancel messages without an answer.
        next_request: enqueues the next request when this one has ended.
        lookup: the lookup of the skill; None without one, or once it has ended.
    """

    subscriber: Subscriber
    player_id: str
    is_guest: bool
    mode: str
    skill: float
    status: MatchStatus
    since_s: float
    entry_id: str = ""
    redirect: Redirect | None = None
    expires_at_s: float = 0.0
    cancel_reason: str = ""
    unanswered_cancels: int = 0
    next_request: Callable[[], None] | None = None
    lookup: RunningLookup | None = None

    @property
    def is_cancelling(self) -> bool:
        """Return whether a cancel was sent, and Redis has not decided it yet."""
        return bool(self.cancel_reason)


def create_status(mode: str, state: QueueState, position: QueuePosition | None = None) -> MatchStatus:
    """Return the status that the client of a request receives."""
    if position is None:
        return MatchStatus(state, mode=mode)
    return MatchStatus(
        state, position.position, position.recent_wait_ms, mode, waiting_for=min(position.missing, 255)
    )
