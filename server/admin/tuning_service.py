"""Tunes the rooms of this shard: polls the tuning versions from MongoDB, applies them, and publishes new ones.

While MongoDB does not answer, the last known versions stay in force. A version that this build cannot read leaves the
room as it is, so that an older build keeps running while a newer one rolls out.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog

from tickwire.server.errors import Malformed, VersionConflict
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.tuning import Tuning, find_active, find_version, parse_tuning
from tickwire.server.storage import TuningStore, TuningVersion

log = structlog.get_logger(__name__)

HISTORY_MAX = 50
"""The number of versions that the admin API lists. A room keeps the version in force for it, however old."""


class TuningService:
    """The tuning versions of the fleet, applied to the rooms of one shard.

    Args:
        store: the tuning versions of the fleet.
        host: the rooms to tune.
        shard_labels: labels of this shard; a tuning may select rooms by them, as by the room's own labels.
        now_s: the fleet's clock, UTC, seconds since 1970.
        isolation: guards each room.

    Attributes:
        versions: the tuning versions in force, the newest first.
        newest: the number of the newest version, whether in force or not; 0 before the first.
    """

    def __init__(
        self,
        store: TuningStore,
        host: RoomHost,
        shard_labels: Mapping[str, str],
        now_s: Callable[[], float],
        isolation: FaultIsolation,
    ) -> None:
        self.versions: list[TuningVersion] = []
        self.newest = 0
        self._store = store
        self._host = host
        self._shard_labels = dict(shard_labels)
        self._now_s = now_s
        self._isolation = isolation
        # By type, not by its name: `tickwire dev --reload` replaces the types.
        self._parsed: dict[tuple[int, type[Room]], Tuning | None] = {}

    async def poll(self) -> None:
        """Read the versions that have changed, and apply them.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        newest = await self._store.get_newest_version()
        if newest != self.newest:
            self.versions = find_active(await self._store.list_newest())
            self.newest = newest
            self._parsed.clear()
            for runtime in self._host:
                with self._isolation.guard("operator policy", runtime.room.room_id):
                    self._retune(runtime)

    def _retune(self, runtime: RoomRuntime) -> None:
        before = runtime.room.tuning
        self.apply(runtime.room)
        if runtime.room.tuning != before:
            runtime.notify_tuned()

    async def list_newest(self) -> list[TuningVersion]:
        """Return the newest HISTORY_MAX versions, including those that no room uses any more.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        return await self._store.list_newest(HISTORY_MAX)

    def apply(self, room: Room) -> None:
        """Set the tuning values and version of a room to those in force for it."""
        version = find_version(self.versions, room.room_id, {**room.labels, **self._shard_labels, "mode": room.mode})
        if version is None:
            room.tuning, room.tuning_version = room.tuning_type(), 0
            return
        key = (version.version, type(room))
        if key not in self._parsed:
            try:
                self._parsed[key] = parse_tuning(room.tuning_type, version.values.get(room.room_type, {}))
            except Malformed as error:
                log.warning("tuning_rejected", version=version.version, room_type=room.room_type, error=str(error))
                self._parsed[key] = None
        tuning = self._parsed[key]
        if tuning is not None:
            room.tuning, room.tuning_version = tuning, version.version

    async def publish(
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
            parse_tuning(self._host.get_room_class(room_type).tuning_type, fields, f"{room_type}: ")
        newest = await self._store.get_newest_version()
        if newest != after:
            raise VersionConflict(f"the newest tuning version is {newest}, not {after}: read it and try again")
        plain = {room_type: msgspec.to_builtins(dict(fields)) for room_type, fields in values.items()}
        tuning = TuningVersion(after + 1, plain, percentage, dict(labels or {}), note, self._now())
        await self._store.add(tuning)
        await self.poll()
        return tuning

    async def roll_back(self, to: int) -> TuningVersion:
        """Add a new version with the values of an older one; version 0 has the values that the games declare.

        Raises:
            Malformed: version `to` does not exist, or this build cannot read it any more.
            VersionConflict: another operator has added a version in between.
            Unavailable: MongoDB does not answer.
        """
        older = await self._store.get(to) if to else TuningVersion(0, {})
        if older is None:
            raise Malformed(f"tuning version {to} does not exist")
        return await self.publish(
            older.values,
            after=await self._store.get_newest_version(),
            percentage=older.percentage,
            labels=older.labels,
            note=f"back to version {to}",
        )

    def _now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self._now_s(), datetime.UTC)
