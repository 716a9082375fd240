"""Enforces bans on this shard: polls them from MongoDB, and ends the sessions of banned players.

While MongoDB does not answer, the last known bans stay in force.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable

from tickwire.server.edge.session_registry import SessionRegistry
from tickwire.server.errors import Banned
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.storage import CLOCKS_APART, Ban, BanStore


class BanEnforcer:
    """The bans of the fleet, enforced on one shard. Implements `tickwire.server.edge.services.BanList`.

    Args:
        store: the bans of the fleet.
        sessions: the sessions of banned players are ended here.
        now_s: the fleet's clock, UTC, seconds since 1970. A shard's own clock may be wrong and admit banned players.
        isolation: guards each ban.
    """

    def __init__(
        self, store: BanStore, sessions: SessionRegistry, now_s: Callable[[], float], isolation: FaultIsolation
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._now_s = now_s
        self._isolation = isolation
        self._by_player: dict[str, Ban] = {}
        self._as_of: datetime.datetime | None = None

    async def poll(self) -> None:
        """Read the bans that have changed, and apply them.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        bans, self._as_of = await self._store.list_changed(self._as_of, now=self._now())
        for ban in bans:
            with self._isolation.guard("operator policy", f"ban of {ban.player_id}"):
                self._apply(ban)

    def check(self, player_id: str) -> None:
        """Implement `tickwire.server.edge.services.BanList.check`.

        Raises:
            Banned: the player is banned; the message has the end of the ban and its reason.
        """
        ban = self._by_player.get(player_id)
        if ban is not None and ban.until > self._now():
            raise Banned(f"the player is banned until {ban.until:%Y-%m-%d %H:%M} UTC: {ban.reason}")
        if ban is not None and ban.until < self._now() - CLOCKS_APART:
            del self._by_player[player_id]

    async def lift(self, player_id: str) -> int:
        """Lift a player's ban on all shards; return the number of bans lifted, 0 or 1.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        ban = Ban(player_id, self._now(), "")
        count = await self._store.lift(ban)
        if count:
            self._apply(ban)
        return count

    async def ban(self, player_id: str, duration_s: float, reason: str) -> Ban:
        """Ban a player on all shards; return the ban.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        ban = Ban(player_id, self._now() + datetime.timedelta(seconds=duration_s), reason)
        await self._store.save(ban)
        self._apply(ban)
        return ban

    async def list_active(self, limit: int) -> list[Ban]:
        """Return at most `limit` bans in force.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        return await self._store.list_active(limit, now=self._now())

    def _apply(self, ban: Ban) -> None:
        self._by_player[ban.player_id] = ban  # an ended one, too: the fleet's clock may not be known yet
        if ban.until <= self._now():
            return
        for session in self._sessions.find_by_player(ban.player_id):
            session.ban(ban.reason)

    def _now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self._now_s(), datetime.UTC)
