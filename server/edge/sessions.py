"""All sessions of a shard: found again by their resume tokens, ended when nobody came back in time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Literal

from server.edge.counters import EdgeCounters
from server.edge.session import Session
from server.edge.surroundings import Surroundings
from server.edge.tokens import ResumeTokens
from server.errors import AlreadyConnected
from server.rooms.state import KeptSession


class Sessions:
    """The sessions of one shard, with and without a connection.

    Args:
        window_s: how long a session outlives its connection.
        away_max: of so many sessions without a connection, the one that has been away for longest is ended.
        same_player: see `EdgeSettings.same_player`.
        counters: the edge's numbers, added to.
        tokens: what clients come back with.
    """

    def __init__(
        self,
        *,
        window_s: float,
        away_max: int,
        same_player: Literal["replace", "refuse", "allow"],
        counters: EdgeCounters,
        tokens: ResumeTokens,
    ) -> None:
        self._window_s = window_s
        self._away_max = away_max
        self._same_player = same_player
        self._counters = counters
        self._tokens = tokens
        self._by_id: dict[str, Session] = {}
        self._by_player: defaultdict[str, set[Session]] = defaultdict(set)
        self._away: dict[Session, float] = {}  # since when; the longest away first

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
        others = self._by_player.get(session.player_id, set())
        if others and self._same_player == "refuse":
            raise AlreadyConnected("the player has a session already, and may have only one")
        if self._same_player == "replace":
            for other in list(others):
                other.replace()
        self._by_id[session.session_id] = session
        self._by_player[session.player_id].add(session)
        self._counters.sessions_opened += 1

    def revive(self, kept: KeptSession, around: Surroundings) -> Session | None:
        """A session that another shard had; away from now on. None when its player has one here by now."""
        has_others = self._same_player != "allow" and bool(self._by_player.get(kept.player_id))
        if kept.session_id in self._by_id or has_others:
            return None
        session = Session.revived(kept, around)
        self.add(session)
        self.went_away(session, around.now_s())
        self._counters.sessions_revived += 1
        return session

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
        self._away[session] = now_s
        if len(self._away) > self._away_max:
            next(iter(self._away)).end("too many sessions are away", counted_as="away_max")

    def came_back(self, session: Session) -> None:
        """It has a connection again."""
        self._away.pop(session, None)

    def ended(self, session: Session, counted_as: str) -> None:
        """It is over."""
        self._counters.ended[counted_as] += 1
        self._away.pop(session, None)
        self._by_id.pop(session.session_id, None)
        ours = self._by_player[session.player_id]
        ours.discard(session)
        if not ours:
            del self._by_player[session.player_id]

    def sweep(self, now_s: float) -> None:
        """Ends those that have been away for longer than the window."""
        for session, since_s in list(self._away.items()):
            if now_s - since_s < self._window_s:
                break
            session.end("away for too long", counted_as="away")
