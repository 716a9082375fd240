"""The context that all sessions of a shard share: limits, clocks, counters and services, in one frozen struct.

The edge server creates it once. Sessions get nothing else, so a test can run them without a shard.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec

from tickwire.server.edge.auth.authenticator import Authenticator
from tickwire.server.edge.counters import EdgeCounters
from tickwire.server.edge.resume_tokens import ResumeTokens
from tickwire.server.edge.services import (
    BanList,
    NoReportService,
    NoSessionPresence,
    PlayerQueue,
    ReportService,
    RoomJoiner,
    SessionLocator,
    SessionPresence,
    TransactionRunner,
)
from tickwire.server.edge.session_token import TokenPolicy
from tickwire.server.edge.settings import EdgeSettings


def create_session_id() -> str:
    """Return a session id that cannot be guessed."""
    return secrets.token_urlsafe(12)


class SessionTable(Protocol):
    """The shard's table of sessions, as far as a session calls it.

    The parameter is untyped, because the class of a session depends on this module.
    """

    def mark_disconnected(self, session: Any, now_s: float) -> None:
        """Mark a session as disconnected. Another session, or this one, may end if there are too many."""
        ...

    def mark_connected(self, session: Any) -> None:
        """Mark a session as connected."""
        ...

    def check_duplicates(self, player_id: str) -> None:
        """Check whether a further session of a player would be refused here.

        Raises:
            AlreadyConnected: it would.
        """
        ...

    def change_player(self, session: Any, player_id: str) -> None:
        """Make a guest's session that of a player who has logged in.

        Raises:
            AlreadyConnected: the player has another session, and the policy is to refuse a second one.
        """
        ...

    def remove(self, session: Any, counted_as: str) -> bool:
        """Remove a session that has ended. Return whether it was in the table."""
        ...


class SessionContext(msgspec.Struct, frozen=True, kw_only=True):
    """The dependencies of a session.

    Args:
        settings: the edge's limits.
        counters: the edge's counters, which sessions add to.
        tokens: signs and verifies resume tokens.
        registry: the table of all sessions.
        join_service: finds rooms.
        queue: the matchmaking queue.
        transactions: commits what commands change.
        session_locator: finds sessions that are not on this shard.
        bans: the banned players.
        authenticator: authenticates players.
        token_policy: the policy at the end of a player's token.
        reports: accepts the reports of players.
        presence: makes sessions known to the other shards.
        now_s: the clock for time limits, in seconds; see `tickwire.server.edge.loop_clock`.
        now_us: the fleet's clock: UTC, microseconds since 1970.
        spawn: starts a task under a name. The edge server awaits it when it closes, and cancels it at the deadline.
        create_session_id: returns the id of a new session.
    """

    settings: EdgeSettings
    counters: EdgeCounters
    tokens: ResumeTokens
    registry: SessionTable
    join_service: RoomJoiner
    queue: PlayerQueue
    transactions: TransactionRunner
    session_locator: SessionLocator
    bans: BanList
    now_s: Callable[[], float]
    now_us: Callable[[], int]
    spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]
    authenticator: Authenticator
    token_policy: TokenPolicy
    create_session_id: Callable[[], str] = create_session_id
    reports: ReportService = NoReportService()
    presence: SessionPresence = NoSessionPresence()
