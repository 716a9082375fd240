"""Enforces revocations of access tokens on this shard: polls them from MongoDB, and ends the sessions concerned.

While MongoDB does not answer, the last known revocations stay in force. Each poll applies all of them, not only the
new ones: a session may have come from another shard meanwhile, or its token was checked before. Each logout of the
fleet is a revocation for as long as its tokens live, so a poll looks up the sessions of the shard if those are fewer.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable

from tickwire.server.edge.auth.authenticator import Identity
from tickwire.server.edge.session import Session
from tickwire.server.edge.session_registry import SessionRegistry
from tickwire.server.errors import InvalidToken
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.storage import Revocation, RevocationStore

EXPIRY_INTERVAL_S = 60.0


class RevocationEnforcer:
    """The revocations of the fleet, enforced on one shard.

    Args:
        store: the revocations of the fleet.
        sessions: sessions whose token was revoked are ended here.
        now_s: the fleet's clock, UTC, seconds since 1970.
        isolation: guards the end of each session.
    """

    def __init__(
        self, store: RevocationStore, sessions: SessionRegistry, now_s: Callable[[], float], isolation: FaultIsolation
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._now_s = now_s
        self._isolation = isolation
        self._by_id: dict[str, Revocation] = {}
        self._as_of: datetime.datetime | None = None
        self._expired_at_s = 0.0

    def __len__(self) -> int:
        return len(self._by_id)

    async def poll(self) -> None:
        """Read the revocations that have changed, and apply them.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        revocations, self._as_of = await self._store.list_changed(self._as_of)
        self._by_id.update((revocation.document_id, revocation) for revocation in revocations)
        self._drop_expired()
        for session in self._find_revoked():
            with self._isolation.guard("operator policy", f"revoked session {session.session_id}"):
                session.revoke()

    def check(self, identity: Identity) -> None:
        """Check that the token of a player is not revoked.

        Raises:
            InvalidToken: it is.
        """
        if identity.is_guest or not self._by_id:
            return
        if self._covers(identity.player_id, identity.family_id, identity.issued_at_s):
            raise InvalidToken("the token was revoked; log in again", reason="revoked")

    def _covers(self, player_id: str, family_id: str, issued_at_s: float) -> bool:
        of_player = self._by_id.get(f"player:{player_id}")
        if of_player is not None and of_player.covers(family_id, issued_at_s):
            return True
        return bool(family_id) and f"family:{family_id}" in self._by_id

    def _find_revoked(self) -> list[Session]:
        candidates: Iterable[Session] = self._sessions
        if len(self._by_id) < len(self._sessions):
            players = {revocation.player_id for revocation in self._by_id.values()}
            candidates = [session for player_id in players for session in self._sessions.find_by_player(player_id)]
        return [session for session in candidates if self._is_revoked(session)]

    def _is_revoked(self, session: Session) -> bool:
        token = session.token
        return token is not None and self._covers(session.player_id, token.family_id, token.issued_at_s)

    def _drop_expired(self) -> None:
        now_s = self._now_s()
        if 0 <= now_s - self._expired_at_s < EXPIRY_INTERVAL_S:
            return
        self._expired_at_s = now_s
        for document_id, revocation in list(self._by_id.items()):
            if revocation.expires_at.timestamp() < now_s:
                del self._by_id[document_id]
