"""Leases and seats, in process: renew, publish_room, release, raise_epoch and set_seat of lua/rooms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tickwire.testing.matchmaking.fleet import NAME_MS, SEATED, FleetRoom, MemoryFleet

GRACE_MS = 5000
"""A published list of players does not free seats that were taken since this time, because it may be older."""


class RenewArguments(msgspec.Struct):
    """The request of renew.lua."""

    shard_id: str
    lease_ms: int
    rooms: Sequence[str]
    epochs: Sequence[int]
    players: Sequence[int]


class PublishArguments(msgspec.Struct):
    """The request of publish_room.lua."""

    shard_id: str
    room_id: str
    room_type: str
    name: str
    epoch: int
    seats: int
    access: str
    code: str
    labels: Sequence[str]
    players: Sequence[str]
    lease_ms: int


class OwnerArguments(msgspec.Struct):
    """The request of release.lua and raise_epoch.lua."""

    room_id: str
    shard_id: str
    epoch: int
    lease_ms: int = 0
    min_epoch: int = 0


class SeatArguments(msgspec.Struct):
    """The request of set_seat.lua."""

    room_id: str
    player_id: str
    shard_id: str
    epoch: int
    is_seated: bool
    only_reserved: bool
    lease_ms: int


class MemoryLeases:
    """Runs the scripts of leases and seats.

    Args:
        fleet: the state of the fleet.
    """

    def __init__(self, fleet: MemoryFleet) -> None:
        self._fleet = fleet

    def renew(self, request: RenewArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Renew the leases of a shard's rooms."""
        lost, gone = [], []
        for room_id, epoch, players in zip(request.rooms, request.epochs, request.players, strict=True):
            if room_id not in self._fleet.rooms:
                gone.append(room_id)
                continue
            room = self._fleet.find_owned(room_id, request.shard_id, epoch)
            if room is None:
                lost.append(room_id)
                continue
            self._renew(room, request.lease_ms)
            seated = sum(score >= SEATED for score in self._fleet.get_seats(room_id).values())
            if seated < players:  # a seat that was just taken may still be in flight; publishing is harmless then
                gone.append(room_id)
        return {"lost": lost, "gone": gone}

    def _renew(self, room: FleetRoom, lease_ms: int) -> None:
        fleet = self._fleet
        fleet.rooms.expire(room.room_id, lease_ms)
        fleet.seats.expire(room.room_id, lease_ms * 2)
        fleet.expire_seats(room.room_id)
        fleet.names.expire((room.room_type, room.name), NAME_MS)
        fleet.codes.expire(room.code, lease_ms * 2)

    def publish(self, request: PublishArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Replace the record of a room and its seats by those of its owner."""
        fleet, room_id = self._fleet, request.room_id
        shard = fleet.shards.get(request.shard_id)
        if shard is None:
            return {"status": "unregistered"}
        if room_id in fleet.rooms and fleet.find_owned(room_id, request.shard_id, request.epoch) is None:
            return {"status": "lost"}
        if (fleet.moved.get(room_id) or 0) > request.epoch:
            return {"status": "lost"}
        known = fleet.names.get((request.room_type, request.name)) if request.name else None
        if known is not None and (known.epoch > request.epoch or known.room_id not in (None, room_id)):
            return {"status": "lost"}
        fleet.last_epoch = max(fleet.last_epoch, request.epoch)
        room = FleetRoom(
            room_id=room_id,
            room_type=request.room_type,
            name=request.name,
            shard_id=request.shard_id,
            epoch=request.epoch,
            seats=request.seats,
            access=request.access,
            code=request.code,
            labels=request.labels,
            region=shard.region,
            build=shard.build,
        )
        self._publish_seats(room_id, request.players, request.lease_ms)
        fleet.write_lease(room, request.lease_ms)
        return {"status": "ok"}

    def _publish_seats(self, room_id: str, players: Sequence[str], lease_ms: int) -> None:
        """Replace the seats by the published ones. A player who was seated in the grace period keeps the seat."""
        self._fleet.expire_seats(room_id)
        now_ms, seats = self._fleet.now_ms(), self._fleet.get_seats(room_id)
        seated = dict.fromkeys(players, SEATED + now_ms)
        kept = {player: score for player, score in seats.items() if not SEATED <= score <= SEATED + now_ms - GRACE_MS}
        self._fleet.seats.set(room_id, kept | seated, lease_ms * 2)

    def release(self, request: OwnerArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Delete the record of a room that has ended, if the shard still owns it."""
        room = self._fleet.find_owned(request.room_id, request.shard_id, request.epoch)
        if room is None:
            return {"status": "stale"}
        self._fleet.delete_room(room)
        return {"status": "ok"}

    def raise_epoch(self, request: OwnerArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Give the lease of a room a new epoch, greater than `min_epoch`."""
        shard = self._fleet.shards.get(request.shard_id)
        if shard is None:
            return {"status": "unready"}
        room = self._fleet.find_owned(request.room_id, request.shard_id, request.epoch)
        if room is None:
            return {"status": "stale"}
        self._fleet.set_owner(room, shard, lease_ms=request.lease_ms, epoch_min=request.min_epoch)
        return {"status": "ok", "epoch": room.epoch}

    def set_seat(self, request: SeatArguments, packed: Sequence[bytes]) -> dict[str, Any]:
        """Record that the owner of a room has seated a player, or has freed a seat."""
        room = self._fleet.find_owned(request.room_id, request.shard_id, request.epoch)
        if room is None:
            return {"status": "stale"}
        seats, player = self._fleet.get_seats(room.room_id), request.player_id
        if request.is_seated:
            seats[player] = SEATED + self._fleet.now_ms()
            self._fleet.seats.set(room.room_id, seats, request.lease_ms * 2)
        elif not request.only_reserved or seats.get(player, 0) < SEATED:
            seats.pop(player, None)
        return {"status": "ok"}
