"""What operators have ordered reaches this shard: who is banned leaves and stays out, rooms are tuned.

Asked for twice a second, and kept: with MongoDB away, what was known holds. A tuning that this build cannot read it
leaves alone, so that an older build goes on as it is while a newer one rolls out.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog

from tickwire.server.edge.session_registry import SessionRegistry
from tickwire.server.errors import Banned, Malformed, Unavailable, VersionConflict
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.tuning import Tuning, in_force, read, version_for
from tickwire.server.storage import CLOCKS_APART, Ban, OperatorStore, TuningVersion

log = structlog.get_logger(__name__)

ASK_S = 0.4
RETRY_S_MAX = 5.0
HISTORY_MAX = 50
"""Versions that operators are shown; a room has the one that is in force for it, however old."""


class OperatorPolicy:
    """A shard's side of them. `run` is its task. Implements `tickwire.server.edge.context.BanList`.

    Args:
        orders: where they stand.
        host: the rooms that are tuned.
        sessions: those of banned players are ended.
        where: labels of this shard, beside those of each room.
        now_s: the fleet's clock, UTC, seconds since 1970. A shard's own may be wrong, and let banned players in.
        isolation: guards each ban, version and room.

    Attributes:
        versions: of the tuning, those in force, the newest first.
        newest: the number of the newest version, in force or not; 0 before the first.
    """

    def __init__(
        self,
        orders: OperatorStore,
        host: RoomHost,
        sessions: SessionRegistry,
        where: Mapping[str, str],
        *,
        now_s: Callable[[], float],
        isolation: FaultIsolation,
    ) -> None:
        self.versions: list[TuningVersion] = []
        self.newest = 0
        self._orders = orders
        self._host = host
        self._sessions = sessions
        self._where = dict(where)
        self._now_s = now_s
        self._isolation = isolation
        self._bans: dict[str, Ban] = {}
        self._bans_as_of: datetime.datetime | None = None
        self._read: dict[tuple[int, str], Tuning | None] = {}

    async def run(self) -> None:
        """Asks until it is cancelled."""
        pause_s = ASK_S
        while True:
            try:
                await self.ask()
                pause_s = ASK_S
            except Unavailable as error:
                pause_s = min(RETRY_S_MAX, pause_s * 1.5)
                log.warning("orders_unavailable", error=error.detail, retry_s=round(pause_s, 2))
            await asyncio.sleep(pause_s)

    async def ask(self) -> None:
        """Learns what is new, and does it.

        Raises:
            Unavailable: MongoDB does not answer. So do all others here that wait.
        """
        bans, self._bans_as_of = await self._orders.bans_changed(self._bans_as_of, now=self._now())
        for ban in bans:
            with self._isolation.guard("orders", f"ban of {ban.player_id}"):
                self._learn(ban)
        newest = await self._orders.newest_tuning()
        if newest != self.newest:
            self.versions = in_force(await self._orders.tunings())
            self.newest = newest
            self._read.clear()
            for simulation in self._host:
                with self._isolation.guard("orders", simulation.room.room_id):
                    self._tune(simulation)

    def _tune(self, simulation: RoomRuntime) -> None:
        before = simulation.room.tuning
        self.tune_room(simulation.room)
        if simulation.room.tuning != before:
            simulation.tuned()

    # -- bans -----------------------------------------------------------------------------------------------

    def check(self, player_id: str) -> None:
        """See `tickwire.server.edge.context.BanList.check`."""
        ban = self._bans.get(player_id)
        if ban is not None and ban.until > self._now():
            raise Banned(f"the player is banned until {ban.until:%Y-%m-%d %H:%M} UTC: {ban.reason}")
        if ban is not None and ban.until < self._now() - CLOCKS_APART:
            del self._bans[player_id]

    async def lift_ban(self, player_id: str) -> int:
        """Lift a player's ban, at all shards; return how many there were."""
        ban = Ban(player_id, self._now(), "")
        count = await self._orders.lift_ban(ban)
        if count:
            self._learn(ban)
        return count

    async def ban(self, player_id: str, duration_s: float, reason: str) -> Ban:
        """Bans a player, at all shards."""
        ban = Ban(player_id, self._now() + datetime.timedelta(seconds=duration_s), reason)
        await self._orders.ban(ban)
        self._learn(ban)
        return ban

    async def bans(self, limit: int) -> list[Ban]:
        """Who is banned now."""
        return await self._orders.bans(limit, now=self._now())

    def _learn(self, ban: Ban) -> None:
        self._bans[ban.player_id] = ban  # also one that is over: the fleet's clock may not be known yet
        if ban.until <= self._now():
            return
        for session in self._sessions.of_player(ban.player_id):
            session.ban(ban.reason)

    def _now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self._now_s(), datetime.UTC)

    # -- tuning ---------------------------------------------------------------------------------------------

    async def history(self) -> list[TuningVersion]:
        """Return the newest versions, also those that no room has any more."""
        return await self._orders.tunings(HISTORY_MAX)

    def tune_room(self, room: Room) -> None:
        """Gives a room the tuning that is meant for it."""
        version = version_for(self.versions, room.room_id, {**room.labels, **self._where, "mode": room.mode})
        if version is None:
            room.tuning, room.tuning_version = room.tunes(), 0
            return
        key = (version.version, room.room_type)
        if key not in self._read:
            try:
                self._read[key] = read(room.tunes, version.values.get(room.room_type, {}))
            except Malformed as error:
                log.warning("tuning_not_read", version=version.version, room_type=room.room_type, error=str(error))
                self._read[key] = None
        tuning = self._read[key]
        if tuning is not None:
            room.tuning, room.tuning_version = tuning, version.version

    async def tune(
        self,
        values: Mapping[str, Mapping[str, Any]],
        *,
        after: int,
        percentage: float = 100.0,
        labels: Mapping[str, str] | None = None,
        note: str = "",
    ) -> TuningVersion:
        """Makes the version that follows `after`, for all shards; rooms have it within a second.

        Raises:
            Malformed: a room type is not known here, a field is not known, or a value not allowed.
            VersionConflict: `after` is not the newest: somebody else was first.
        """
        for room_type, fields in values.items():
            read(self._host.type_of(room_type).tunes, fields, f"{room_type}: ")
        newest = await self._orders.newest_tuning()
        if newest != after:
            raise VersionConflict(f"the newest version is {newest}, not {after}")
        plain = {room_type: msgspec.to_builtins(dict(fields)) for room_type, fields in values.items()}
        tuning = TuningVersion(after + 1, plain, percentage, dict(labels or {}), note, self._now())
        await self._orders.tune(tuning)
        await self.ask()
        return tuning

    async def roll_back(self, to: int) -> TuningVersion:
        """Makes the newest version again as an older one was: one call, and nothing is forgotten. 0: as declared.

        Raises:
            Malformed: there is no such version, or this build cannot read it any more.
            VersionConflict: somebody else was first.
        """
        older = await self._orders.tuning(to) if to else TuningVersion(0, {})
        if older is None:
            raise Malformed(f"there is no version {to}")
        return await self.tune(
            older.values,
            after=await self._orders.newest_tuning(),
            percentage=older.percentage,
            labels=older.labels,
            note=f"back to version {to}",
        )
