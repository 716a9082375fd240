"""Applies operator policy to this shard: polls bans and tuning versions, disconnects banned players, and tunes rooms.

Polled every 400 ms. While MongoDB does not answer, the last known bans and tunings stay in force. A tuning that
this build cannot read leaves the room as it is, so that an older build keeps running while a newer one rolls out.
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
from tickwire.server.retry_delay import RetryDelay
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.tuning import Tuning, find_active, find_version, parse_tuning
from tickwire.server.storage import CLOCKS_APART, Ban, BanStore, TuningStore, TuningVersion

log = structlog.get_logger(__name__)

POLL_S = 0.4
RETRY_S_MAX = 5.0
HISTORY_MAX = 50
"""The number of versions that the admin API lists. A room keeps the version in force for it, however old."""


class OperatorPolicy:
    """Applies bans and tunings to one shard. Run `run` as a task.

    Implements `tickwire.server.edge.context.BanList`.

    Args:
        bans: the bans of the fleet.
        tunings: the tuning versions of the fleet.
        host: the rooms to tune.
        sessions: the sessions of banned players are ended here.
        shard_labels: labels of this shard; a tuning may select rooms by them, as by the room's own labels.
        now_s: the fleet's clock, UTC, seconds since 1970. A shard's own clock may be wrong and admit banned players.
        isolation: guards each ban, version and room.

    Attributes:
        versions: the tuning versions in force, the newest first.
        newest: the number of the newest version, whether in force or not; 0 before the first.
    """

    def __init__(
        self,
        bans: BanStore,
        tunings: TuningStore,
        *,
        host: RoomHost,
        sessions: SessionRegistry,
        shard_labels: Mapping[str, str],
        now_s: Callable[[], float],
        isolation: FaultIsolation,
    ) -> None:
        self.versions: list[TuningVersion] = []
        self.newest = 0
        self._ban_store = bans
        self._tuning_store = tunings
        self._host = host
        self._sessions = sessions
        self._shard_labels = dict(shard_labels)
        self._now_s = now_s
        self._isolation = isolation
        self._bans: dict[str, Ban] = {}
        self._bans_as_of: datetime.datetime | None = None
        self._tunings: dict[tuple[int, str], Tuning | None] = {}

    async def run(self) -> None:
        """Poll until cancelled."""
        delay = RetryDelay(POLL_S, RETRY_S_MAX)
        while True:
            try:
                await self.poll()
                delay.succeeded()
            except Unavailable as error:
                delay.failed()
                log.warning("operator_policy_unavailable", error=error.detail, retry_s=round(delay.seconds, 2))
            await asyncio.sleep(delay.seconds)

    async def poll(self) -> None:
        """Read the bans and tuning versions that have changed, and apply them.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        bans, self._bans_as_of = await self._ban_store.list_changed(self._bans_as_of, now=self._now())
        for ban in bans:
            with self._isolation.guard("operator policy", f"ban of {ban.player_id}"):
                self._apply_ban(ban)
        newest = await self._tuning_store.get_newest_version()
        if newest != self.newest:
            self.versions = find_active(await self._tuning_store.list_newest())
            self.newest = newest
            self._tunings.clear()
            for runtime in self._host:
                with self._isolation.guard("operator policy", runtime.room.room_id):
                    self._retune(runtime)

    def _retune(self, runtime: RoomRuntime) -> None:
        before = runtime.room.tuning
        self.apply_tuning(runtime.room)
        if runtime.room.tuning != before:
            runtime.notify_tuned()

    # -- bans -----------------------------------------------------------------------------------------------

    def check(self, player_id: str) -> None:
        """Implement `tickwire.server.edge.context.BanList.check`.

        Raises:
            Banned: the player is banned; the message has the end of the ban and its reason.
        """
        ban = self._bans.get(player_id)
        if ban is not None and ban.until > self._now():
            raise Banned(f"the player is banned until {ban.until:%Y-%m-%d %H:%M} UTC: {ban.reason}")
        if ban is not None and ban.until < self._now() - CLOCKS_APART:
            del self._bans[player_id]

    async def lift_ban(self, player_id: str) -> int:
        """Lift a player's ban on all shards; return the number of bans lifted, 0 or 1.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        ban = Ban(player_id, self._now(), "")
        count = await self._ban_store.lift(ban)
        if count:
            self._apply_ban(ban)
        return count

    async def ban(self, player_id: str, duration_s: float, reason: str) -> Ban:
        """Ban a player on all shards; return the ban.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        ban = Ban(player_id, self._now() + datetime.timedelta(seconds=duration_s), reason)
        await self._ban_store.save(ban)
        self._apply_ban(ban)
        return ban

    async def list_bans(self, limit: int) -> list[Ban]:
        """Return at most `limit` bans in force.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        return await self._ban_store.list_active(limit, now=self._now())

    def _apply_ban(self, ban: Ban) -> None:
        self._bans[ban.player_id] = ban  # an ended one, too: the fleet's clock may not be known yet
        if ban.until <= self._now():
            return
        for session in self._sessions.find_by_player(ban.player_id):
            session.ban(ban.reason)

    def _now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self._now_s(), datetime.UTC)

    # -- tuning ---------------------------------------------------------------------------------------------

    async def list_tunings(self) -> list[TuningVersion]:
        """Return the newest HISTORY_MAX versions, including those that no room uses any more.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        return await self._tuning_store.list_newest(HISTORY_MAX)

    def apply_tuning(self, room: Room) -> None:
        """Set the tuning values and version of a room to those in force for it."""
        version = find_version(self.versions, room.room_id, {**room.labels, **self._shard_labels, "mode": room.mode})
        if version is None:
            room.tuning, room.tuning_version = room.tunes(), 0
            return
        key = (version.version, room.room_type)
        if key not in self._tunings:
            try:
                self._tunings[key] = parse_tuning(room.tunes, version.values.get(room.room_type, {}))
            except Malformed as error:
                log.warning("tuning_rejected", version=version.version, room_type=room.room_type, error=str(error))
                self._tunings[key] = None
        tuning = self._tunings[key]
        if tuning is not None:
            room.tuning, room.tuning_version = tuning, version.version

    async def publish_tuning(
        self,
        values: Mapping[str, Mapping[str, Any]],
        *,
        after: int,
        percentage: float = 100.0,
        labels: Mapping[str, str] | None = None,
        note: str = "",
    ) -> TuningVersion:
        """Add the version after `after` for all shards; rooms receive it within a second.

        Raises:
            Malformed: a room type or field does not exist on this shard, or a value is not allowed.
            VersionConflict: `after` is not the newest version, because another operator has added one.
            Unavailable: MongoDB does not answer.
        """
        for room_type, fields in values.items():
            parse_tuning(self._host.get_room_class(room_type).tunes, fields, f"{room_type}: ")
        newest = await self._tuning_store.get_newest_version()
        if newest != after:
            raise VersionConflict(f"the newest tuning version is {newest}, not {after}: read it and try again")
        plain = {room_type: msgspec.to_builtins(dict(fields)) for room_type, fields in values.items()}
        tuning = TuningVersion(after + 1, plain, percentage, dict(labels or {}), note, self._now())
        await self._tuning_store.add(tuning)
        await self.poll()
        return tuning

    async def roll_back(self, to: int) -> TuningVersion:
        """Add a new version with the values of an older one; version 0 has the values that the games declare.

        Raises:
            Malformed: version `to` does not exist, or this build cannot read it any more.
            VersionConflict: another operator has added a version in between.
            Unavailable: MongoDB does not answer.
        """
        older = await self._tuning_store.get(to) if to else TuningVersion(0, {})
        if older is None:
            raise Malformed(f"tuning version {to} does not exist")
        return await self.publish_tuning(
            older.values,
            after=await self._tuning_store.get_newest_version(),
            percentage=older.percentage,
            labels=older.labels,
            note=f"back to version {to}",
        )
