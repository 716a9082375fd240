"""Placement, in process: place of lua/rooms. Finds or creates a room, and takes or reserves seats in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from tickwire.testing.matchmaking.fleet import SEATED, FleetRoom, FleetShard, MemoryFleet, is_replaced

Reply = dict[str, Any]


class PlaceArguments(msgspec.Struct):
    """The request of place.lua, which describes the fields."""

    room_type: str
    players: Sequence[str]
    shard_id: str
    region: str
    seats: int
    labels: Sequence[str]
    new_id: str
    random: tuple[float, float]
    lease_ms: int
    reservation_ms: int
    seat_here: bool
    may_enter: bool
    may_not_create: bool
    is_durable: bool
    new_code: str = ""
    name: str = ""
    room_id: str | None = None
    code: str | None = None
    is_private: bool = False
    is_get_or_create: bool = False
    party: str = ""
    party_size: int = 0


class MemoryPlacement:
    """Runs the script of placements.

    Args:
        fleet: the state of the fleet.
    """

    def __init__(self, fleet: MemoryFleet) -> None:
        self._fleet = fleet

    def place(self, request: PlaceArguments, packed: Sequence[bytes]) -> Reply:
        """Find or create a room, and take or reserve a seat for each of the players, or for none."""
        return _PlacementCall(self._fleet, request).run()


class _PlacementCall:
    """One call of the script."""

    def __init__(self, fleet: MemoryFleet, request: PlaceArguments) -> None:
        self._fleet = fleet
        self._request = request
        self._now_ms = fleet.now_ms()
        self._party = (request.room_type, request.party)

    def run(self) -> Reply:
        fleet, request = self._fleet, self._request
        here = fleet.shards.get(request.shard_id)
        if here is None:
            return {"status": "unregistered"}
        waiting = fleet.parties.get(self._party) if request.party else None
        if waiting is not None:
            return self._join_party(waiting)
        if request.room_id is not None:
            return self._join_requested(fleet.rooms.get(request.room_id))
        if request.code is not None:
            room = fleet.rooms.get(fleet.codes.get(request.code) or "")
            return self._join(room, may_enter=room is not None and room.access != "locked")
        if request.is_get_or_create:
            room = fleet.rooms.get(request.new_id)
            return self._create(request.new_id) if room is None else self._join(room, may_enter=True)
        if request.name:
            return self._join_named()
        room = None if request.is_private else self._find_any(here)
        return self._create(request.new_id) if room is None else self._reserve(room, is_new=False)

    # -- rooms that exist -----------------------------------------------------------------------------------

    def _join_requested(self, room: FleetRoom | None) -> Reply:
        return self._join(room, may_enter=room is not None and (self._request.may_enter or room.access == "open"))

    def _join_named(self) -> Reply:
        """Join the room of a name, or create it. A durable room that is created again keeps its id."""
        known = self._fleet.names.get((self._request.room_type, self._request.name))
        known_id = known.room_id if known is not None else None
        room = self._fleet.rooms.get(known_id) if known_id is not None else None
        if room is not None:
            return self._join_requested(room)
        return self._create((known_id if self._request.is_durable else None) or self._request.new_id)

    def _join_party(self, room_id: str) -> Reply:
        """Join the room that reserves seats for the party of the request."""
        room = self._fleet.rooms.get(room_id)
        if room is None:
            return {"status": "not_found"}
        seats = self._fleet.get_seats(room_id)
        placeholder = next((name for name in self._placeholders(1) if name in seats), None)
        missing = self._count_missing(room_id)
        # A member may lose its seat and join again, for example after the room has refused it.
        members = self._fleet.party_members.get(self._party) or set()
        if placeholder is None and missing and not members.issuperset(self._request.players):
            return {"status": "full"}
        if placeholder is not None and missing and self._has_owner(room):
            del seats[placeholder]
        return self._join(room, may_enter=True)

    def _join(self, room: FleetRoom | None, *, may_enter: bool) -> Reply:
        """Return a seat in a requested room, or the reason for a refusal."""
        if room is None:
            return {"status": "not_found"}
        if not self._has_owner(room):
            return {"status": "owner_failed", "wait_ms": self._fleet.rooms.left_ms(room.room_id)}
        need = self._count_missing(room.room_id)
        if self._request.party and self._party not in self._fleet.parties:
            need += self._request.party_size - 1
        if need and not may_enter:
            return {"status": "locked"}
        if need and self._fleet.count_taken(room.room_id) + need > room.seats:
            return {"status": "full"}
        return self._reserve(room, is_new=False)

    def _has_owner(self, room: FleetRoom) -> bool:
        owner = self._fleet.shards.get(room.shard_id)
        return owner is not None and not is_replaced(owner, self._fleet.shards.get(self._request.shard_id))

    def _find_any(self, here: FleetShard) -> FleetRoom | None:
        """Return an open room on the requesting shard, or else the fullest open room of the region that fits."""
        need, request = self._seats_needed(), self._request
        found = []
        for free, room in self._fleet.find_open(request.region, request.room_type, request.labels):
            shard = self._fleet.shards.get(room.shard_id)
            if free >= need and shard is not None and self._is_usable(shard):
                found.append(room)
        local = [room for room in found if room.shard_id == here.shard_id]
        return next(iter(local or found), None)

    # -- new rooms ------------------------------------------------------------------------------------------

    def _create(self, room_id: str) -> Reply:
        request = self._request
        if request.may_not_create:
            return {"status": "not_created"}
        if self._seats_needed() > request.seats:
            return {"status": "full"}
        shard = self._pick_host()
        if shard is None:
            return {"status": "no_capacity"}
        room = FleetRoom(
            room_id=room_id,
            room_type=request.room_type,
            name=request.name,
            shard_id=shard.shard_id,
            epoch=self._fleet.next_epoch(),
            seats=request.seats,
            access="private" if request.is_private or request.is_get_or_create else "open",
            code=request.new_code,
            labels=request.labels,
            region=shard.region,
            build=shard.build,
        )
        self._fleet.write_lease(room, max(request.lease_ms, request.reservation_ms))
        shard.load += shard.room_load
        shard.rooms += 1
        return self._reserve(room, is_new=True)

    def _pick_host(self) -> FleetShard | None:
        """Return the less loaded of two random shards, or else of all shards."""
        request = self._request
        hosts = [
            shard
            for shard in self._fleet.shards
            if self._is_usable(shard) and shard.region == request.region and request.room_type in shard.room_types
        ]
        hosts.sort(key=lambda shard: shard.shard_id)
        if not hosts:
            return None
        count = len(hosts)
        first = min(math.floor(request.random[0] * count), count - 1)
        picked = [hosts[first]]
        if count > 1:
            second = min(math.floor(request.random[1] * (count - 1)), count - 2)
            picked.append(hosts[second + (second >= first)])
        for shards in (picked, hosts[::-1]):
            able = [shard for shard in shards if shard.has_capacity]
            if able:
                return min(able, key=self._load_order)
        return None

    def _is_usable(self, shard: FleetShard) -> bool:
        """Return whether a shard may get a new room, or new players in its open rooms.

        If the requesting shard has missed its own heartbeats as well, silence means nothing.
        """
        here = self._fleet.shards.get(self._request.shard_id)
        is_here_silent = here is not None and self._fleet.is_silent(here)
        is_found = shard.is_ready and not is_replaced(shard, here)
        return is_found and (is_here_silent or not self._fleet.is_silent(shard))

    def _load_order(self, shard: FleetShard) -> tuple[int, int, bool]:
        """Return the order of two shards: loads within a twentieth count as equal, then the players decide."""
        return math.floor(shard.load * 20), shard.players, shard.shard_id != self._request.shard_id

    # -- seats ----------------------------------------------------------------------------------------------

    def _seats_needed(self) -> int:
        return self._request.party_size if self._request.party else len(self._request.players)

    def _placeholders(self, first: int) -> list[str]:
        """Return the names of the reserved seats of a party that are still free; no player can have such a name."""
        party = self._request.party
        return [f"\1{party}\1{number}" for number in range(first, self._request.party_size + 1)] if party else []

    def _count_missing(self, room_id: str) -> int:
        seats = self._fleet.get_seats(room_id)
        return sum(seats.get(player, 0) <= self._now_ms for player in self._request.players)

    def _reserve(self, room: FleetRoom, *, is_new: bool) -> Reply:
        fleet, request, room_id = self._fleet, self._request, room.room_id
        is_seated = request.seat_here and room.shard_id == request.shard_id
        until_ms = self._now_ms + request.reservation_ms
        fleet.expire_seats(room_id)
        seats = {} if is_new else fleet.get_seats(room_id)
        for player in request.players:
            if is_seated:
                seats[player] = SEATED + self._now_ms
            elif seats.get(player, 0) < SEATED:
                seats[player] = until_ms
        if request.party:
            self._reserve_party(room, seats, until_ms)
        fleet.seats.set(room_id, seats, max(request.lease_ms, request.reservation_ms) * 2)
        owner = fleet.shards.get(room.shard_id)
        assert owner is not None
        owner.players += len(request.players)
        return {
            "status": "ok",
            "room_id": room_id,
            "room_type": room.room_type,
            "name": room.name,
            "code": room.code,
            "labels": ",".join(room.labels),
            "shard_id": room.shard_id,
            "url": owner.url,
            "epoch": room.epoch,
            "is_new": is_new,
            "is_seated": is_seated,
            "until_ms": until_ms,
        }

    def _reserve_party(self, room: FleetRoom, seats: dict[str, int], until_ms: int) -> None:
        """Reserve seats for the other members, if this one is the first, and count this one as a member."""
        fleet, ttl_ms = self._fleet, self._request.reservation_ms
        members = fleet.party_members.get(self._party) or set()
        if self._party not in fleet.parties:
            seats |= dict.fromkeys(self._placeholders(2), until_ms)
            fleet.parties.set(self._party, room.room_id, ttl_ms)
            members = set()
        fleet.party_members.set(self._party, members | set(self._request.players), ttl_ms)
