"""The table of all sessions of a shard: finds them by resume token, restores them, and expires disconnected ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tickwire.server.edge.context import SessionContext
from tickwire.server.edge.counters import EdgeCounters
from tickwire.server.edge.disconnected_sessions import DisconnectedSessions
from tickwire.server.edge.resume_tokens import ResumeTokens
from tickwire.server.edge.session import Session
from tickwire.server.edge.session_restore import restore_session
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.errors import AlreadyConnected, Banned
from tickwire.server.rooms.checkpoint import SessionCheckpoint
from tickwire.server.rooms.subscriber import Subscriber


class SessionRegistry:
    """The sessions of one shard, connected and disconnected.

    Implements `tickwire.server.rooms.ports.SessionRestorer`. The services of a shard restore sessions, and sessions
    call these services: the registry is created before both, and looks the context up when it restores a session.

    Args:
        settings: the edge's limits: the resume window, the number of sessions and the policy for duplicates. As many
            sessions may be disconnected as may be connected; see `tickwire.server.edge.disconnected_sessions`.
        counters: the edge's counters, which the registry adds to.
        tokens: verifies the resume tokens.
        get_context: returns the context of all sessions.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        counters: EdgeCounters,
        tokens: ResumeTokens,
        get_context: Callable[[], SessionContext],
    ) -> None:
        self.counters = counters
        self.tokens = tokens
        self.window_s = settings.resume_window_s
        self._duplicate_sessions = settings.duplicate_sessions
        self._get_context = get_context
        self._by_id: dict[str, Session] = {}
        self._by_player: dict[str, tuple[Session, ...]] = {}
        self._disconnected = DisconnectedSessions[Session](
            most=settings.connections_max, most_per_address=settings.connections_per_address_max
        )

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_id.values()))

    @property
    def disconnected_count(self) -> int:
        """The number of sessions without a connection."""
        return len(self._disconnected)

    def add(self, session: Session) -> None:
        """Add a new session.

        Raises:
            AlreadyConnected: its player has a session already, and the policy is to refuse another one.
        """
        self._admit(self._others_of_player(session))
        self._insert(session)
        self._get_context().presence.session_opened(session)

    def check_duplicates(self, player_id: str) -> None:
        """Check whether a further session of a player would be refused here, before it is claimed in the fleet.

        A claim would make it the player's session, and it would end an earlier one before it is withdrawn.

        Raises:
            AlreadyConnected: the player has a session on this shard, and the policy is to refuse another one.
        """
        if self._duplicate_sessions == "refuse":
            self._refuse(self.find_by_player(player_id))

    @staticmethod
    def _refuse(others: list[Session]) -> None:
        if any(not other.end_if_redirected() for other in others):
            raise AlreadyConnected("the player has a session already, and may have only one")

    def _admit(self, others: list[Session]) -> None:
        if self._duplicate_sessions == "refuse":
            self._refuse(others)
        elif self._duplicate_sessions == "replace":
            for other in others:
                other.replace()

    def change_player(self, session: Session, player_id: str) -> None:
        """Make the session of a guest that of a player who has logged in.

        The policy for duplicate sessions applies as if the player had opened the session now.

        Raises:
            AlreadyConnected: the player has another session, and the policy is to refuse a second one.
        """
        self._admit(self.find_by_player(player_id))
        self._remove_from_player(session)
        session.set_player(player_id, self._get_context().now_us())
        self._by_player[player_id] = (*self._by_player.get(player_id, ()), session)
        self._get_context().presence.session_opened(session)

    # -- sessions of other shards ---------------------------------------------------------------------------

    def restore(self, checkpoint: SessionCheckpoint, /) -> Session | None:
        """Restore a session of another shard, disconnected.

        No client finds it until `settle` is called: until then the other shard may keep it.

        Returns:
            None if this shard has a newer copy of the session.
        """
        present = self._by_id.get(checkpoint.session_id)
        if present is not None and not present.is_older_than(checkpoint):
            return None
        return restore_session(checkpoint, self._get_context())

    def settle(self, subscriber: Subscriber, /) -> None:
        """Add a restored session, which this shard now owns.

        Its player may have other sessions here. The session that was opened last stays, unless `duplicate_sessions`
        is `allow`: with `replace` it would have replaced the others, had all been opened here; with `refuse` each was
        admitted where it was opened, because presence was unavailable. The session of a player who was banned
        meanwhile ends.
        """
        if not isinstance(subscriber, Session):
            return
        session = subscriber
        present = self._by_id.get(session.session_id)
        if present is not None:
            present.end("a newer copy of the session has come from another shard", counted_as="superseded")
        self._insert(session)
        self._get_context().presence.session_arrived(session)
        self.mark_disconnected(session, self._get_context().now_s())
        self.counters.sessions_restored += 1
        session.mark_restored()
        self._apply_policy(session)
        try:
            self._get_context().bans.check(session.player_id)
        except Banned as banned:  # since its room was sent
            session.ban(str(banned))

    def _apply_policy(self, session: Session) -> None:
        if self._duplicate_sessions == "allow":
            return
        for other in self._others_of_player(session):
            other.end_if_redirected()
        *replaced, _ = sorted((session, *self._others_of_player(session)), key=lambda each: each.opened_us)
        for each in replaced:
            each.replace()

    def drop(self, session_id: str, room_id: str, /) -> None:
        """End a restored session whose player has left this room on the shard that had it."""
        session = self.get(session_id)
        if session is not None and session.connection is None and session.room_id == room_id:
            session.end("the player left while the room was migrating", counted_as="left_during_migration")

    def _insert(self, session: Session) -> None:
        self._by_id[session.session_id] = session
        self._by_player[session.player_id] = (*self._by_player.get(session.player_id, ()), session)
        self.counters.sessions_opened += 1

    # -- finding sessions -----------------------------------------------------------------------------------

    def find(self, token: str) -> Session | None:
        """Return the session that a resume token is valid for, or None."""
        claim = self.tokens.read(token)
        session = self._by_id.get(claim.session_id) if claim is not None else None
        if session is None or claim is None or not session.generations.accepts(claim.generation):
            return None
        return session

    def get(self, session_id: str) -> Session | None:
        """Return the session with this id, or None."""
        return self._by_id.get(session_id)

    def find_by_player(self, player_id: str) -> list[Session]:
        """Return the sessions of a player."""
        return list(self._by_player.get(player_id, ()))

    def _others_of_player(self, session: Session) -> list[Session]:
        return [other for other in self.find_by_player(session.player_id) if other is not session]

    # -- the life of a session ------------------------------------------------------------------------------

    def mark_disconnected(self, session: Session, now_s: float) -> None:
        """Mark a session as disconnected. If there are too many, one of them ends."""
        self._get_context().presence.session_changed(session)
        evicted = self._disconnected.add(session, now_s)
        if evicted is not None:
            evicted.end("too many sessions are disconnected", counted_as="evicted")

    def mark_connected(self, session: Session) -> None:
        """Mark a session as connected."""
        self._disconnected.discard(session)
        self._get_context().presence.session_changed(session)

    def remove(self, session: Session, counted_as: str) -> bool:
        """Remove a session that has ended.

        Returns:
            Whether it was in the table. A session that was restored but never settled is still on its former shard.
        """
        if self._by_id.get(session.session_id) is not session:
            return False
        self.counters.ended[counted_as] += 1
        self._disconnected.discard(session)
        del self._by_id[session.session_id]
        self._remove_from_player(session)
        self._get_context().presence.session_ended(session, has_moved=counted_as == "moved")
        return True

    def _remove_from_player(self, session: Session) -> None:
        others = self._others_of_player(session)
        if others:
            self._by_player[session.player_id] = tuple(others)
        else:
            del self._by_player[session.player_id]

    def expire(self, now_s: float) -> None:
        """End the sessions that have been disconnected for longer than the resume window."""
        for session in self._disconnected.expired(now_s - self.window_s):
            session.end("disconnected for longer than the resume window", counted_as="resume_window_over")
