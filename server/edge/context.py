"""What all sessions of a shard share, as interfaces: sessions know neither the listener nor each other."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from tickwire.server.edge.counters import EdgeCounters
from tickwire.server.edge.resume_tokens import ResumeTokens
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.rooms.ports import PlayerQueue, RoomJoiner, SessionLocator, TransactionRunner

if TYPE_CHECKING:
    from tickwire.server.edge.session import Session


class Registry(Protocol):
    """Who keeps all sessions."""

    def went_away(self, session: Session, now_s: float) -> None:
        """It has lost its connection."""
        ...

    def came_back(self, session: Session) -> None:
        """It has a connection again."""
        ...

    def ended(self, session: Session, counted_as: str) -> bool:
        """Remove a session that has ended. Return whether it was here."""
        ...


class BanList(Protocol):
    """Who may not play."""

    def check(self, player_id: str, /) -> None:
        """Raises Banned when the player may not."""
        ...


class NoBanList:
    """Where everybody may."""

    def check(self, player_id: str, /) -> None:
        """Nobody is banned."""


class SessionContext(Protocol):
    """Limits, clocks, counters, and who runs tasks."""

    settings: EdgeSettings
    placer: RoomJoiner
    queue: PlayerQueue
    homes: SessionLocator
    dealer: TransactionRunner
    bans: BanList
    tokens: ResumeTokens
    counters: EdgeCounters

    @property
    def registry(self) -> Registry:
        """The sessions."""
        ...

    def now_s(self) -> float:
        """The loop's clock."""
        ...

    def now_us(self) -> int:
        """UTC, microseconds since 1970."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Runs a task that is awaited, and if need be cancelled, when the shard stops."""
        ...
