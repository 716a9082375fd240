"""The scripts of the directory, in process: register, heartbeat, deregister, request_drain and query of lua/rooms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tickwire.testing.matchmaking.fleet import ROOM_LOAD, FleetRoom, FleetShard, MemoryFleet, is_replaced
from tickwire.testing.matchmaking.handoffs import StoredHandoffs


class RegisterArguments(msgspec.Struct):
    """The request of register.lua."""

    shard_id: str
    url: str
    build: str
    region: str
    state: str
    room_types: Sequence[str]
    rooms_max: int
    load_max: float
    ttl_ms: int


class HeartbeatArguments(msgspec.Struct):
    """The request of heartbeat.lua."""

    shard_id: str
    load: float
    players: int
    rooms: int
    ttl_ms: int


class ShardArguments(msgspec.Struct):
    """The request of a script that names a shard."""

    shard_id: str
    ttl_ms: int = 0


class QueryArguments(msgspec.Struct):
    """The request of query.lua."""

    kind: str
    room_id: str = ""
    shard_id: str = ""
    region: str = ""
    room_type: str = ""
    labels: Sequence[str] = ()
    limit: int = 0


class MemoryDirectory:
    """Runs the scripts of the directory.

    Args:
        fleet: the state of the fleet.
        handoffs: the offers to shards.
    """

    def __init__(self, fleet: MemoryFleet, handoffs: StoredHandoffs) -> None:
        self._fleet = fleet
        self._handoffs = handoffs

    def register(self, shard: RegisterArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Register a shard, or update its entry and keep its load."""
        before = self._fleet.shards.get(shard.shard_id)
        fields = {name: getattr(shard, name) for name in RegisterArguments.__struct_fields__ if name != "ttl_ms"}
        entry = FleetShard(**fields, seen_ms=self._fleet.now_ms())
        if before is not None:
            entry.load, entry.players, entry.rooms = before.load, before.players, before.rooms
            entry.room_load = before.room_load
        self._fleet.shards.set(shard.shard_id, entry, shard.ttl_ms)
        return {"status": "ok"}

    def heartbeat(self, beat: HeartbeatArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Keep a shard in the directory, with its load."""
        now_ms, shard_id = self._fleet.now_ms(), beat.shard_id
        shard = self._fleet.shards.get(shard_id)
        if shard is None:
            return {"status": "unregistered", "now_ms": now_ms}
        shard.load, shard.players, shard.rooms, shard.seen_ms = beat.load, beat.players, beat.rooms, now_ms
        # Until the next heartbeat, each new room counts as much load as these rooms have on average.
        shard.room_load = beat.load / beat.rooms if beat.rooms else ROOM_LOAD
        self._fleet.shards.expire(shard_id, beat.ttl_ms)
        return {
            "status": "ok",
            "now_ms": now_ms,
            "has_offers": shard_id in self._handoffs.offers,
            "is_drain_requested": shard_id in self._fleet.drains,
        }

    def deregister(self, shard: ShardArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Remove a shard. The leases of its remaining rooms expire."""
        self._fleet.shards.pop(shard.shard_id)
        return {"status": "ok"}

    def request_drain(self, request: ShardArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Record that an operator has requested that a shard drains."""
        shard = self._fleet.shards.get(request.shard_id)
        if shard is None:
            return {"status": "gone"}
        if not shard.is_ready:
            return {"status": "draining"}
        was_requested = request.shard_id in self._fleet.drains
        self._fleet.drains.set(request.shard_id, True, request.ttl_ms)
        return {"status": "draining" if was_requested else "ok"}

    def query(self, query: QueryArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Return the shards, the open rooms, or the owner of a room."""
        if query.kind == "shards":
            return {"shards": [self._to_shard_fields(shard) for shard in self._fleet.shards]}
        if query.kind == "rooms":
            found = self._fleet.find_open(query.region, query.room_type, query.labels)
            rooms = [self._to_room_fields(room) for _, room in found]
            return {"rooms": rooms[: query.limit]}
        room = self._fleet.rooms.get(query.room_id)
        return {"locations": [] if room is None else [self._locate(room, query.shard_id)]}

    def _to_shard_fields(self, shard: FleetShard) -> dict[str, Any]:
        """Return the fields as the script returns them: those of the entry are texts."""
        fields = msgspec.structs.asdict(shard) | {"room_types": ",".join(shard.room_types)}
        texts = {name: str(value) for name, value in fields.items()}
        return texts | {"is_silent": self._fleet.is_silent(shard)}

    def _to_room_fields(self, room: FleetRoom) -> dict[str, Any]:
        return msgspec.structs.asdict(room) | {
            "type": room.room_type,
            "shard": room.shard_id,
            "labels": ",".join(room.labels),
            "taken": self._fleet.count_taken(room.room_id),
        }

    def _locate(self, room: FleetRoom, here_id: str) -> dict[str, Any]:
        fleet = self._fleet
        shard, here = fleet.shards.get(room.shard_id), fleet.shards.get(here_id)
        is_reachable = shard is not None and not fleet.is_silent(shard) and not is_replaced(shard, here)
        return {
            "shard_id": room.shard_id,
            "url": shard.url if shard is not None and is_reachable else "",
            "room_type": room.room_type,
            "name": room.name,
            "epoch": room.epoch,
            "lease_left_ms": fleet.rooms.left_ms(room.room_id),
        }
