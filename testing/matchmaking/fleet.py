"""The shards, rooms, seats and leases of a fleet, and the rules that several scripts share.

This is the in-process form of lua/rooms/_prelude.lua. It has no indexes, because a test has few rooms. It loses
nothing, so that it has no rules for lost keys either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from tickwire.testing.matchmaking.expiring_map import ExpiringMap

SEATED = 10**15
"""The score of a taken seat is this plus the time since when; the score of a reserved one is its end, ms."""
ROOM_LOAD = 0.001
"""A room's assumed share of the tick interval until it is measured."""
SILENT_MS = 3000
"""A shard that has sent no heartbeat for this time has probably failed; clients are not redirected to it."""
NAME_MS = 24 * 3_600_000
"""How long the epoch of a name is kept after its last room."""


class FleetShard(msgspec.Struct):
    """A registered shard. For the fields see `tickwire.matchmaking.ShardInfo` and `ShardStatus`."""

    shard_id: str
    url: str
    build: str
    region: str
    state: str
    room_types: Sequence[str]
    rooms_max: int
    load_max: float
    seen_ms: int
    load: float = 0.0
    players: int = 0
    rooms: int = 0
    room_load: float = ROOM_LOAD

    @property
    def is_ready(self) -> bool:
        """Return whether the shard accepts rooms and players."""
        return self.state == "ready"

    @property
    def has_capacity(self) -> bool:
        """Return whether the shard can host another room."""
        return self.is_ready and self.rooms < self.rooms_max and self.load < self.load_max


def is_replaced(shard: FleetShard, here: FleetShard | None) -> bool:
    """Return whether the requesting shard has replaced another one: it runs at the same address, under another id."""
    return here is not None and shard.shard_id != here.shard_id and shard.url == here.url


class FleetRoom(msgspec.Struct):
    """The record of a room; it exists while the lease is valid. `labels` are pairs KEY=VALUE."""

    room_id: str
    room_type: str
    name: str
    shard_id: str
    epoch: int
    seats: int
    access: str
    code: str
    labels: Sequence[str]
    region: str
    build: str

    def has_labels(self, labels: Sequence[str]) -> bool:
        """Return whether the room has all of these labels."""
        return all(label in self.labels for label in labels)


class RoomName(msgspec.Struct):
    """The last room of a name: its id until it is released, and its epoch."""

    room_id: str | None
    epoch: int


Seats = dict[str, int]
"""The score of each player's seat."""


class MemoryFleet:
    """The state of a fleet.

    Args:
        now_us: the clock, UTC, microseconds since 1970.

    Attributes:
        shards, rooms: by id.
        seats: of each room, by the id of the room.
        names: by the type and the name of a room.
        codes: the room that a code opens.
        moved: the epoch under which a room got its last owner.
        drains: the shards of which an operator has requested a drain.
        parties, party_members: the room and the players of a party, by room type and code.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self.now_us = now_us
        self.shards: ExpiringMap[str, FleetShard] = ExpiringMap(self.now_ms)
        self.rooms: ExpiringMap[str, FleetRoom] = ExpiringMap(self.now_ms)
        self.seats: ExpiringMap[str, Seats] = ExpiringMap(self.now_ms)
        self.names: ExpiringMap[tuple[str, str], RoomName] = ExpiringMap(self.now_ms)
        self.codes: ExpiringMap[str, str] = ExpiringMap(self.now_ms)
        self.moved: ExpiringMap[str, int] = ExpiringMap(self.now_ms)
        self.drains: ExpiringMap[str, bool] = ExpiringMap(self.now_ms)
        self.parties: ExpiringMap[tuple[str, str], str] = ExpiringMap(self.now_ms)
        self.party_members: ExpiringMap[tuple[str, str], set[str]] = ExpiringMap(self.now_ms)
        self.last_epoch = 0

    def now_ms(self) -> int:
        """Return UTC, milliseconds since 1970."""
        return self.now_us() // 1000

    def find_owned(self, room_id: str, shard_id: str, epoch: int) -> FleetRoom | None:
        """Return a room if the shard owns it under this epoch."""
        room = self.rooms.get(room_id)
        return room if room is not None and (room.shard_id, room.epoch) == (shard_id, epoch) else None

    def next_epoch(self, epoch_min: int = 0) -> int:
        """Return an epoch greater than all before: the clock in microseconds, or one more than the last epoch."""
        self.last_epoch = max(max(self.last_epoch, epoch_min) + 1, self.now_us())
        return self.last_epoch

    def get_seats(self, room_id: str) -> Seats:
        """Return the seats of a room."""
        seats = self.seats.get(room_id)
        return {} if seats is None else seats

    def count_taken(self, room_id: str) -> int:
        """Return the number of seats that are taken or reserved now."""
        now_ms = self.now_ms()
        return sum(score > now_ms for score in self.get_seats(room_id).values())

    def expire_seats(self, room_id: str) -> None:
        """Remove the reservations of a room that have ended."""
        now_ms, seats = self.now_ms(), self.get_seats(room_id)
        for player in [player for player, score in seats.items() if score <= now_ms]:
            del seats[player]

    def write_lease(self, room: FleetRoom, lease_ms: int) -> None:
        """Write the record of a room and renew its lease."""
        self.rooms.set(room.room_id, room, lease_ms)
        self.seats.expire(room.room_id, lease_ms * 2)
        if room.name:
            self.names.set((room.room_type, room.name), RoomName(room.room_id, room.epoch), NAME_MS)
        if room.code:
            self.codes.set(room.code, room.room_id, lease_ms * 2)

    def set_owner(self, room: FleetRoom, shard: FleetShard, *, lease_ms: int, epoch_min: int = 0) -> None:
        """Set the owner of a room under a new epoch. The owner may be the same."""
        room.shard_id, room.region, room.build = shard.shard_id, shard.region, shard.build
        room.epoch = self.next_epoch(epoch_min)
        # The previous owner is refused even after the new lease has ended.
        self.moved.set(room.room_id, room.epoch, NAME_MS)
        self.write_lease(room, lease_ms)

    def delete_room(self, room: FleetRoom) -> None:
        """Delete the record of a room. The epoch of its name remains, so that an older owner is refused."""
        self.rooms.pop(room.room_id)
        self.seats.pop(room.room_id)
        if self.codes.get(room.code) == room.room_id:
            self.codes.pop(room.code)
        known = self.names.get((room.room_type, room.name))
        if known is not None and known.room_id == room.room_id:
            known.room_id = None

    def is_silent(self, shard: FleetShard) -> bool:
        """Return whether the shard has missed its heartbeats: it has probably failed."""
        return self.now_ms() - shard.seen_ms >= SILENT_MS

    def find_open(self, region: str, room_type: str, labels: Sequence[str]) -> Iterator[tuple[int, FleetRoom]]:
        """Yield the free seats of each open room without a name, and the room; the fullest rooms first."""
        found = []
        for room in self.rooms:
            is_open = room.access == "open" and not room.name and room.region == region
            if is_open and room.room_type == room_type and room.has_labels(labels):
                shard = self.shards.get(room.shard_id)
                free = room.seats - self.count_taken(room.room_id)
                if free > 0 and (shard is None or shard.is_ready):  # a failed shard keeps its rooms listed
                    found.append((free, room))
        yield from sorted(found, key=lambda one: (one[0], one[1].room_id))
