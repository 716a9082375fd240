"""All sessions of a shard: found again by their resume tokens, ended when nobody came back in time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Literal

from tickwire.server.edge.context import SessionContext
from tickwire.server.edge.counters import EdgeCounters
from tickwire.server.edge.disconnected_sessions import DisconnectedSessions
from tickwire.server.edge.resume_tokens import ResumeTokens
from tickwire.server.edge.session import Session
from tickwire.server.errors import AlreadyConnected
from tickwire.server.rooms.checkpoint import SessionCheckpoint


class SessionRegistry:
    """The sessions of one shard, with and without a connection.

    Args:
        window_s: how long a session outlives its connection.
        away_max: how many sessions without a connection are kept; see `tickwire.server.edge.disconnected_sessions`.
        away_per_address_max: how many of one address.
        duplicate_sessions: see `EdgeSettings.duplicate_sessions`.
        counters: the edge's numbers, added to.
        tokens: what clients come back with.
    """

    def __init__(
        self,
        *,
        window_s: float,
        away_max: int,
        away_per_address_max: int = 2_000,
        duplicate_sessions: Literal["replace", "refuse", "allow"],
        counters: EdgeCounters,
        tokens: ResumeTokens,
    ) -> None:
        self._window_s = window_s
        self._duplicate_sessions = duplicate_sessions
        self._counters = counters
        self._tokens = tokens
        self._by_id: dict[str, Session] = {}
        self._by_player: defaultdict[str, set[Session]] = defaultdict(set)
        self._away = DisconnectedSessions[Session](most=away_max, most_per_address=away_per_address_max)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_id.values()))

    @property
    def away_count(self) -> int:
        """Sessions without a connection."""
        return len(self._away)

    def add(self, session: Session) -> None:
        """Takes in a new session.

        Raises:
            AlreadyConnected: its player has one already, and the policy is to refuse.
        """
        for other in self._others_of(session):
            if self._duplicate_sessions == "replace":
                other.replace()
            elif self._duplicate_sessions == "refuse" and not other.end_if_left_behind():
                raise AlreadyConnected("the player has a session already, and may have only one")
        self._insert(session)

    def revive(self, kept: SessionCheckpoint, around: SessionContext) -> Session | None:
        """Restore a session of another shard, disconnected. No client finds it before `settle` is called: until then
        the other shard may keep it.

        Returns:
            None if this shard has a newer copy of the session.
        """
        present = self._by_id.get(kept.session_id)
        if present is not None and not present.is_older_than(kept):
            return None
        return Session.revived(kept, around)

    def settle(self, session: Session, now_s: float) -> None:
        """Take in a restored session: it is ours for good.

        It may meet other sessions of its player here. With `duplicate_sessions` set to `replace` the one that was
        opened last stays: it would have replaced the others, had all been opened here. With `refuse` all stay, since
        each was let in where it was opened.
        """
        present = self._by_id.get(session.session_id)
        if present is not None:
            present.end("a newer copy of the session has come from another shard", counted_as="superseded")
        self._insert(session)
        self.went_away(session, now_s)
        self._counters.sessions_revived += 1
        session.settled()
        if self._duplicate_sessions == "allow":
            return
        for other in self._others_of(session):
            other.end_if_left_behind()
        if self._duplicate_sessions == "replace":
            *replaced, _ = sorted((session, *self._others_of(session)), key=lambda each: each.opened_us)
            for each in replaced:
                each.replace()

    def _insert(self, session: Session) -> None:
        self._by_id[session.session_id] = session
        self._by_player[session.player_id].add(session)
        self._counters.sessions_opened += 1

    def _others_of(self, session: Session) -> list[Session]:
        return [other for other in self.of_player(session.player_id) if other is not session]

    def find(self, token: str) -> Session | None:
        """The session that a resume token is good for; None for any other token."""
        resumption = self._tokens.read(token)
        session = self._by_id.get(resumption.session_id) if resumption is not None else None
        if session is None or resumption is None or not session.may_resume(resumption.generation):
            return None
        return session

    def get(self, session_id: str) -> Session | None:
        """The session of that id."""
        return self._by_id.get(session_id)

    def of_player(self, player_id: str) -> list[Session]:
        """A player's sessions."""
        return list(self._by_player.get(player_id, ()))

    def went_away(self, session: Session, now_s: float) -> None:
        """It has lost its connection."""
        evicted = self._away.add(session, now_s)
        if evicted is not None:
            evicted.end("too many sessions are disconnected", counted_as="away_max")

    def came_back(self, session: Session) -> None:
        """It has a connection again."""
        self._away.discard(session)

    def ended(self, session: Session, counted_as: str) -> bool:
        """Remove a session that has ended. Return whether it was here: one that was restored and never settled is
        still on the shard where it came from."""
        if self._by_id.get(session.session_id) is not session:
            return False
        self._counters.ended[counted_as] += 1
        self._away.discard(session)
        del self._by_id[session.session_id]
        ours = self._by_player[session.player_id]
        ours.discard(session)
        if not ours:
            del self._by_player[session.player_id]
        return True

    def sweep(self, now_s: float) -> None:
        """Ends those that have been away for longer than the window."""
        for session in self._away.expired(now_s - self._window_s):
            session.end("away for too long", counted_as="away")
