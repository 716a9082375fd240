"""Services that do nothing, for tests that run sessions or rooms without a shard."""

from __future__ import annotations

from tickwire.schemas.messages import MatchRequest, Redirect
from tickwire.server.errors import NoSuchMode
from tickwire.server.rooms.checkpoint import SessionCheckpoint
from tickwire.server.rooms.ports import RestoredSubscriber
from tickwire.server.rooms.subscriber import Subscriber


class NoPlayerQueue:
    """A queue without modes."""

    def enqueue(self, subscriber: Subscriber, request: MatchRequest, /) -> None:
        """Raise NoSuchMode."""
        raise NoSuchMode("this server has no matchmaking queue")

    def cancel(self, subscriber: Subscriber, reason: str, /) -> bool:
        """Return False: no session is queued."""
        return False

    def dequeue(self, subscriber: Subscriber, /) -> None:
        """Do nothing: no session is queued."""

    def session_seated(self, subscriber: Subscriber, /) -> None:
        """Do nothing: no session is queued."""

    def session_resumed(self, subscriber: Subscriber, /) -> None:
        """Do nothing: no session is queued."""


class NoSessionLocator:
    """The locator of a single shard."""

    async def find(self, room_id: str, session_id: str, shard_id: str) -> Redirect | None:
        """Return None: with a single shard no other shard can have the session."""
        return None


class NoBanList:
    """An empty ban list."""

    def check(self, player_id: str, /) -> None:
        """Do nothing: no player is banned."""


class NoSessionRestorer:
    """Restores no sessions."""

    def restore(self, checkpoint: SessionCheckpoint, /) -> RestoredSubscriber | None:
        """Return None: the session cannot be restored."""
        return None

    def settle(self, subscriber: Subscriber, /) -> None:
        """Do nothing, as it restores no sessions."""

    def drop(self, session_id: str, room_id: str, /) -> None:
        """Do nothing, as it restores no sessions."""
