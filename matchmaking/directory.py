"""The directory: the live shards, their load, and the open rooms.

A shard registers and then sends heartbeats. The directory drops a shard that has sent none for the TTL. Another shard
can recover its rooms when their leases have ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from tickwire.matchmaking.clock import FleetClock
from tickwire.matchmaking.errors import BadRequest
from tickwire.matchmaking.labels import Labels, check_labels, from_pairs, to_pairs
from tickwire.matchmaking.scripts import Scripts
from tickwire.matchmaking.ttls import Ttls

ROOMS_LISTED_MAX = 200

ShardState = Literal["ready", "draining"]
Access = Literal["open", "locked", "private"]


class ShardInfo(msgspec.Struct, frozen=True):
    """A shard as it registers.

    Args:
        url: the address at which clients reach the shard.
        build: the build that it runs.
        room_types: the room types that it can host.
        rooms_max, load_max: above either of these, no new room is created on the shard.
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
    """A live shard as the directory stores it.

    Args:
        load: the share of the tick interval that its rooms use; may exceed 1.
        is_silent: whether it has sent no heartbeat for 3 s: it has probably failed.
    """

    info: ShardInfo
    load: float
    players: int
    rooms: int
    is_silent: bool = False


class RoomStatus(msgspec.Struct, frozen=True):
    """An open room as the directory stores it."""

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
    """The owner of a room.

    Args:
        url: the address of the shard; empty if it has failed, has sent no heartbeat for 3 s, or was replaced by the
            requesting shard.
        lease_left_ms: the remaining time of the lease.
        epoch: the epoch of the lease.
    """

    shard_id: str
    url: str
    lease_left_ms: int
    room_type: str
    name: str
    epoch: int


class HeartbeatReply(msgspec.Struct, frozen=True):
    """The reply to a shard's heartbeat.

    Args:
        is_known: whether the shard is in the directory; if not, it must register again.
        has_offers: whether rooms are offered to the shard; see `Handoffs.poll_offers`.
        is_drain_requested: whether an operator has requested that the shard drains.
    """

    is_known: bool
    has_offers: bool = False
    is_drain_requested: bool = False


class _Heartbeat(msgspec.Struct, frozen=True):
    status: str
    now_ms: int
    has_offers: bool = False
    is_drain_requested: bool = False


class Directory:
    """Registers shards and lists shards and rooms.

    Args:
        scripts: runs scripts on the fleet's keys.
        ttls: the lifetimes of entries.
        clock: set with each heartbeat.
    """

    def __init__(self, scripts: Scripts, ttls: Ttls, clock: FleetClock) -> None:
        self._clock = clock
        self._scripts = scripts
        self._ttls = ttls

    async def register(self, shard: ShardInfo, *, was_registered: bool = False) -> None:
        """Register a shard, or update its entry, for example when it starts to drain.

        Args:
            shard: the entry.
            was_registered: whether this shard was registered before. If Redis then has no entry of the fleet, it was
                emptied. New names are refused for `Ttls.recovery_ms`, so that all shards can publish the names of
                their rooms first.

        Raises:
            MatchmakerUnavailable: Redis does not answer. All other methods raise it too.
        """
        request = msgspec.to_builtins(shard) | {"ttl_ms": self._ttls.shard_ms}
        await self._run(
            "register", request | {"was_registered": was_registered, "recovery_ms": self._ttls.recovery_ms}
        )

    async def heartbeat(self, shard_id: str, *, load: float, players: int, rooms: int) -> HeartbeatReply:
        """Keep a shard in the directory, and set the clock."""
        request = {"shard_id": shard_id, "load": load, "players": players, "rooms": rooms}
        found = await self._scripts.run("rooms/heartbeat", request | {"ttl_ms": self._ttls.shard_ms}, _Heartbeat)
        self._clock.sync(found.now_ms)
        return HeartbeatReply(found.status == "ok", found.has_offers, found.is_drain_requested)

    async def request_drain(self, shard_id: str) -> bool | None:
        """Request that a shard hands its rooms over and stops. Idempotent.

        Returns:
            True if this call made the request, False if the shard already drains, None if the shard is not in the
            directory.
        """
        status = await self._run("request_drain", {"shard_id": shard_id, "ttl_ms": self._ttls.shard_ms * 2})
        return None if status == "gone" else status == "ok"

    async def deregister(self, shard_id: str) -> None:
        """Remove a shard from the directory. Idempotent."""
        await self._run("deregister", {"shard_id": shard_id})

    async def list_shards(self) -> list[ShardStatus]:
        """Return the live shards, sorted by id."""
        found = await self._scripts.run("rooms/query", {"kind": "shards"}, dict[str, list[dict[str, Any]]])
        return sorted((_shard_status(fields) for fields in found["shards"]), key=lambda s: s.info.shard_id)

    async def list_rooms(
        self, room_type: str, *, region: str = "", labels: Labels | None = None, limit: int = 50
    ) -> list[RoomStatus]:
        """Return open rooms with a free seat for a lobby's list, the fullest first.

        Raises:
            BadRequest: the labels are invalid, or `limit` is not in 1 to ROOMS_LISTED_MAX.
        """
        if not 1 <= limit <= ROOMS_LISTED_MAX:
            raise BadRequest(f"the limit of a list of rooms must be 1 to {ROOMS_LISTED_MAX}, not {limit}")
        request = {
            "kind": "rooms",
            "region": region,
            "room_type": room_type,
            "labels": to_pairs(check_labels(labels or {})),
            "limit": limit,
        }
        found = await self._scripts.run("rooms/query", request, dict[str, list[dict[str, Any]]])
        return [_room_status(fields) for fields in found["rooms"]]

    async def locate_room(self, room_id: str, *, shard_id: str = "") -> RoomLocation | None:
        """Return the owner of a room, or None if the room has no valid lease.

        Args:
            room_id: the room.
            shard_id: the requesting shard, if it redirects a client to the owner.
        """
        request = {"kind": "location", "room_id": room_id, "shard_id": shard_id}
        found = await self._scripts.run("rooms/query", request, dict[str, list[dict[str, Any]]])
        return msgspec.convert(found["locations"][0], RoomLocation) if found["locations"] else None

    async def _run(self, script: str, request: dict[str, Any]) -> str:
        found = await self._scripts.run(f"rooms/{script}", request, dict[str, str])
        return found["status"]


def _shard_status(fields: dict[str, Any]) -> ShardStatus:
    plain = {name: fields[name] for name in ShardInfo.__struct_fields__ if name != "room_types"}
    room_types = [name for name in fields["room_types"].split(",") if name]
    info = msgspec.convert(plain | {"room_types": room_types}, ShardInfo, strict=False)
    load, players, rooms = float(fields["load"]), int(fields["players"]), int(fields["rooms"])
    return ShardStatus(info, load, players, rooms, fields["is_silent"])


def _room_status(fields: dict[str, Any]) -> RoomStatus:
    plain = fields | {
        "room_type": fields["type"],
        "shard_id": fields["shard"],
        "labels": from_pairs(fields["labels"]),
    }
    return msgspec.convert(plain, RoomStatus, strict=False)
