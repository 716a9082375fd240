"""The directory: which shards there are, how loaded, and which rooms are open.

A shard registers, beats, and is gone when it has not beaten for the TTL; its rooms are up for recovery then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from tickwire.matchmaking.clock import FleetClock
from tickwire.matchmaking.errors import BadRequest
from tickwire.matchmaking.labels import Labels, check_labels, from_pairs, to_pairs
from tickwire.matchmaking.script_runner import ScriptRunner
from tickwire.matchmaking.ttls import Ttls

ROOMS_LISTED_MAX = 200

ShardState = Literal["ready", "draining"]
Access = Literal["open", "locked", "private"]


class ShardInfo(msgspec.Struct, frozen=True):
    """A shard as it registers.

    Args:
        url: where clients reach it.
        build: what it runs.
        room_types: what it can host.
        rooms_max, load_max: no new room is made there above either.
    """

    shard_id: str
    url: str
    build: str
    region: str = ""
    state: ShardState = "ready"
    room_types: Sequence[str] = ()
    rooms_max: int = 1000
    load_max: float = 0.8


class ShardStatus(msgspec.Struct, frozen=True):
    """A live shard as the directory knows it.

    Args:
        load: the share of the tick interval that its rooms use, 0 to 1 and above.
    """

    info: ShardInfo
    load: float
    players: int
    rooms: int


class RoomStatus(msgspec.Struct, frozen=True):
    """An open room as the directory knows it."""

    room_id: str
    room_type: str
    shard_id: str
    epoch: int
    seats: int
    taken: int
    labels: Labels
    region: str
    build: str


class RoomLocation(msgspec.Struct, frozen=True):
    """Who has a room.

    Args:
        url: empty when the shard is gone, or has been silent for seconds.
        left_ms: of its lease.
        epoch: under which it is owned.
    """

    shard_id: str
    url: str
    left_ms: int
    room_type: str
    name: str
    epoch: int


class HeartbeatReply(msgspec.Struct, frozen=True):
    """What a shard hears with its heartbeat.

    Args:
        is_known: the directory has it; else it must register again.
        has_offers: rooms are offered to it: `Handovers.hear`.
        is_to_drain: somebody asks it to drain.
    """

    is_known: bool
    has_offers: bool = False
    is_to_drain: bool = False


class _Heartbeat(msgspec.Struct, frozen=True):
    status: str
    now_ms: int
    has_offers: bool = False
    is_to_drain: bool = False


class Directory:
    """Shards and rooms, for those who look and those who are in it.

    Args:
        calls: the door to Redis.
        ttls: how long what is not renewed lasts.
        clock: is set with each heartbeat.
    """

    def __init__(self, calls: ScriptRunner, ttls: Ttls, clock: FleetClock) -> None:
        self._clock = clock
        self._calls = calls
        self._ttls = ttls

    async def register(self, shard: ShardInfo, *, is_again: bool = False) -> None:
        """Puts a shard into the directory, or says anew what it is: draining, say.

        Args:
            is_again: this shard was registered before. When Redis knows nothing of the fleet then, it was emptied,
                and gives out no new names until all shards have had the time to say theirs.

        Raises:
            MatchmakerUnavailable: Redis does not answer. So do all others here.
        """
        request = msgspec.to_builtins(shard) | {"ttl_ms": self._ttls.shard_ms}
        await self._ask("register", request | {"is_again": is_again, "heal_ms": self._ttls.heal_ms})

    async def heartbeat(self, shard_id: str, *, load: float, players: int, rooms: int) -> HeartbeatReply:
        """Keeps a shard in the directory."""
        request = {"shard_id": shard_id, "load": load, "players": players, "rooms": rooms}
        found = await self._calls.run("heartbeat", request | {"ttl_ms": self._ttls.shard_ms}, _Heartbeat)
        self._clock.heard(found.now_ms)
        return HeartbeatReply(found.status == "ok", found.has_offers, found.is_to_drain)

    async def ask_to_drain(self, shard_id: str) -> bool | None:
        """Ask a shard to give its rooms away and end. Idempotent.

        Returns:
            True if it was asked by this call, False if it drains already, None if there is no such shard.
        """
        status = await self._ask("drain", {"shard_id": shard_id, "ttl_ms": self._ttls.shard_ms * 2})
        return None if status == "gone" else status == "ok"

    async def deregister(self, shard_id: str) -> None:
        """Takes a shard out of the directory. Idempotent."""
        await self._ask("deregister", {"shard_id": shard_id})

    async def shards(self) -> list[ShardStatus]:
        """The live shards, by id."""
        found = await self._calls.run("list", {"what": "shards"}, dict[str, list[dict[str, str]]])
        return sorted((_shard_status(fields) for fields in found["shards"]), key=lambda s: s.info.shard_id)

    async def rooms(
        self, room_type: str, *, region: str = "", labels: Labels | None = None, limit: int = 50
    ) -> list[RoomStatus]:
        """Open rooms with a free seat, the fullest first; for a lobby's list.

        Raises:
            BadRequest: the labels cannot be, or too many rooms are asked for.
        """
        if not 1 <= limit <= ROOMS_LISTED_MAX:
            raise BadRequest(f"1 to {ROOMS_LISTED_MAX} rooms are listed, not {limit}")
        request = {
            "what": "rooms",
            "region": region,
            "room_type": room_type,
            "labels": to_pairs(check_labels(labels or {})),
            "limit": limit,
        }
        found = await self._calls.run("list", request, dict[str, list[dict[str, Any]]])
        return [_room_status(fields) for fields in found["rooms"]]

    async def home_of(self, room_id: str) -> RoomLocation | None:
        """Who has a room; None when no lease on it is alive."""
        found = await self._calls.run("list", {"what": "home", "room_id": room_id}, dict[str, list[dict[str, Any]]])
        return msgspec.convert(found["homes"][0], RoomLocation) if found["homes"] else None

    async def _ask(self, script: str, request: dict[str, Any]) -> str:
        found = await self._calls.run(script, request, dict[str, str])
        return found["status"]


def _shard_status(fields: dict[str, str]) -> ShardStatus:
    plain = {name: fields[name] for name in ShardInfo.__struct_fields__ if name != "room_types"}
    room_types = [name for name in fields["room_types"].split(",") if name]
    info = msgspec.convert(plain | {"room_types": room_types}, ShardInfo, strict=False)
    return ShardStatus(info, float(fields["load"]), int(fields["players"]), int(fields["rooms"]))


def _room_status(fields: dict[str, Any]) -> RoomStatus:
    plain = fields | {
        "room_type": fields["type"],
        "shard_id": fields["shard"],
        "labels": from_pairs(fields["labels"]),
    }
    return msgspec.convert(plain, RoomStatus, strict=False)
