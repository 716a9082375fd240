"""The handovers of rooms and sessions, in process: handover and session_handoff of lua/rooms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tickwire.testing.matchmaking.expiring_map import ExpiringMap
from tickwire.testing.matchmaking.fleet import MemoryFleet


class HandoverArguments(msgspec.Struct):
    """The request of handover.lua."""

    action: str
    room_id: str = ""
    shard_id: str = ""
    epoch: int = 0
    to: str = ""
    ttl_ms: int = 0
    accepts: bool = False
    lease_ms: int = 0


class SessionHandoffArguments(msgspec.Struct):
    """The request of session_handoff.lua."""

    action: str
    name: str
    shard_id: str = ""
    ttl_ms: int = 0
    taken_ms: int = 0


class StoredHandover(msgspec.Struct):
    """The handover of one room. For the states see `tickwire.matchmaking.Handoffs`."""

    from_shard: str = ""
    to_shard: str = ""
    epoch: int = 0
    state: str = ""
    room: bytes = b"\xc0"


class StoredHandoffs:
    """The handovers of a fleet.

    Args:
        fleet: the clock, and the rooms that are handed over.

    Attributes:
        handovers: by room.
        offers: the packed offers to a shard, by room.
        sessions, takers: the packed sessions on their way, and the shards that have taken them, by name.
    """

    def __init__(self, fleet: MemoryFleet) -> None:
        self.handovers: ExpiringMap[str, StoredHandover] = ExpiringMap(fleet.now_ms)
        self.offers: ExpiringMap[str, dict[str, bytes]] = ExpiringMap(fleet.now_ms)
        self.sessions: ExpiringMap[str, bytes] = ExpiringMap(fleet.now_ms)
        self.takers: ExpiringMap[str, str] = ExpiringMap(fleet.now_ms)


class MemoryHandoffs:
    """Runs the scripts of handovers.

    Args:
        fleet: the state of the fleet.
        state: the handovers.
    """

    def __init__(self, fleet: MemoryFleet, state: StoredHandoffs) -> None:
        self._fleet = fleet
        self._state = state

    def run(self, request: HandoverArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Run one action of a handover."""
        handover = self._state.handovers.get(request.room_id) or StoredHandover()
        match request.action:
            case "poll_offers":
                offers = self._state.offers.pop(request.shard_id) or {}
                return {"status": "ok", "offers": [msgspec.Raw(offer) for offer in offers.values()]}
            case "offer":
                return self._offer(request, packed[0])
            case "get_state":
                return {"status": "ok", "state": handover.state}
            case "respond":
                return self._respond(request, handover)
            case "send":
                return self._send(request, handover, packed[0])
            case "fetch":
                return self._fetch(request, handover)
            case "claim":
                return self._claim(request, handover)
        if handover.from_shard != request.shard_id:  # cancel
            return _to_reply("stale", handover.state)
        self._state.handovers.pop(request.room_id)
        (self._state.offers.get(handover.to_shard) or {}).pop(request.room_id, None)
        return _to_reply("ok")

    def _is_ready(self, shard_id: str) -> bool:
        shard = self._fleet.shards.get(shard_id)
        return shard is not None and shard.is_ready

    def _offer(self, request: HandoverArguments, offer: bytes) -> dict[str, Any]:
        if self._fleet.find_owned(request.room_id, request.shard_id, request.epoch) is None:
            return _to_reply("stale")
        if not self._is_ready(request.to):
            return _to_reply("unready")
        handover = StoredHandover(request.shard_id, request.to, request.epoch, "offered")
        self._state.handovers.set(request.room_id, handover, request.ttl_ms)
        offers = (self._state.offers.get(request.to) or {}) | {request.room_id: offer}
        self._state.offers.set(request.to, offers, request.ttl_ms)
        return _to_reply("ok", "offered")

    def _respond(self, request: HandoverArguments, handover: StoredHandover) -> dict[str, Any]:
        if handover.to_shard != request.shard_id or handover.state != "offered":
            return _to_reply("stale", handover.state)
        handover.state = "accepted" if request.accepts else "refused"
        return _to_reply("ok", handover.state)

    def _send(self, request: HandoverArguments, handover: StoredHandover, room: bytes) -> dict[str, Any]:
        if handover.from_shard != request.shard_id or handover.state != "accepted":
            return _to_reply("stale", handover.state)
        if not self._is_ready(handover.to_shard):
            return _to_reply("unready", handover.state)
        handover.state, handover.room = "sent", room
        self._state.handovers.expire(request.room_id, request.ttl_ms)
        return _to_reply("ok", "sent")

    def _fetch(self, request: HandoverArguments, handover: StoredHandover) -> dict[str, Any]:
        if handover.to_shard != request.shard_id:
            return _to_reply("stale")
        if handover.state != "sent":
            return _to_reply("ok", handover.state)
        return _to_reply("ok", "sent") | {"room": msgspec.Raw(handover.room)}

    def _claim(self, request: HandoverArguments, handover: StoredHandover) -> dict[str, Any]:
        room = self._fleet.find_owned(request.room_id, handover.from_shard, handover.epoch)
        if handover.to_shard != request.shard_id or handover.state != "sent" or room is None:
            return _to_reply("stale", handover.state)
        shard = self._fleet.shards.get(request.shard_id)
        if shard is None:
            return _to_reply("unready", handover.state)
        self._state.handovers.pop(request.room_id)
        self._fleet.set_owner(room, shard, lease_ms=request.lease_ms)
        return _to_reply("ok") | {"epoch": room.epoch}

    def run_session(self, request: SessionHandoffArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Run one action of a session handoff."""
        sessions, takers, name = self._state.sessions, self._state.takers, request.name
        if request.action == "put":
            sessions.set(name, packed[0], request.ttl_ms)
            takers.pop(name)
            return {"found": True}
        taker = takers.get(name)
        if request.action == "find_taker":
            return {"found": taker is not None, "taker": taker or ""}
        is_free = taker in (None, request.shard_id)
        if request.action == "discard":
            if is_free:
                sessions.pop(name)
                takers.pop(name)
            return {"found": is_free}
        found = sessions.get(name)
        if found is None or (request.action == "take" and not is_free):
            return {"found": False}
        if request.action == "take" and taker is None:
            left_ms = min(sessions.left_ms(name), request.taken_ms)
            sessions.expire(name, left_ms)
            takers.set(name, request.shard_id, left_ms)
        return {"found": True, "data": msgspec.Raw(found)}


def _to_reply(status: str, state: str = "") -> dict[str, Any]:
    return {"status": status, "state": state}
