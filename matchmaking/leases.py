"""Leases: the ownership of rooms, under an epoch that only grows.

A lease is a record with a TTL that the owner renews every second. A shard that takes a room over gets a greater
epoch. An owner that slept through its lease is therefore refused at its next renewal, its next change of the
directory and its next durable write. Only the clock of Redis counts. It decides when a lease ends, never which owner
is newer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tickwire.matchmaking.directory import Access
from tickwire.matchmaking.errors import MatchmakerUnavailable, StaleLease
from tickwire.matchmaking.labels import Labels, to_pairs
from tickwire.matchmaking.scripts import Scripts
from tickwire.matchmaking.ttls import Ttls


class RoomRecord(msgspec.Struct, frozen=True):
    """The complete record of a room, as its owner publishes it.

    Args:
        players: the seated players.
    """

    room_id: str
    room_type: str
    epoch: int
    seats: int
    name: str = ""
    access: Access = "open"
    code: str = ""
    labels: Labels = {}
    players: Sequence[str] = ()


class Renewal(msgspec.Struct, frozen=True):
    """The result of a renewal.

    Args:
        lost: rooms that another shard owns; close them.
        gone: rooms of which Redis has lost one key or all; `publish` them.
    """

    lost: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


class _SeatChange(msgspec.Struct, frozen=True):
    """The request of lua/rooms/set_seat.lua."""

    room_id: str
    player_id: str
    shard_id: str
    epoch: int
    is_seated: bool
    only_reserved: bool = False


class Leases:
    """Renews, publishes and releases the rooms that a shard owns.

    Args:
        scripts: runs scripts on the fleet's keys.
        ttls: the lifetime of a lease.
    """

    def __init__(self, scripts: Scripts, ttls: Ttls) -> None:
        self._scripts = scripts
        self._ttls = ttls

    async def renew(
        self, rooms: Sequence[tuple[str, int]], shard_id: str, *, players: Mapping[str, int] | None = None
    ) -> Renewal:
        """Renew the leases of a shard's rooms.

        Args:
            rooms: ids and epochs.
            shard_id: the shard that has the leases.
            players: the number of seated players, by room.

        Raises:
            MatchmakerUnavailable: Redis does not answer. All other methods raise it too.
        """
        if not rooms:
            return Renewal()
        request = {
            "shard_id": shard_id,
            "lease_ms": self._ttls.lease_ms,
            "rooms": [room_id for room_id, _ in rooms],
            "epochs": [epoch for _, epoch in rooms],
            "players": [(players or {}).get(room_id, 0) for room_id, _ in rooms],
        }
        return await self._scripts.run("rooms/renew", request, Renewal)

    async def publish(self, room: RoomRecord, shard_id: str) -> None:
        """Replace the directory's record of a room and its seats; restores keys that Redis has lost.

        Raises:
            StaleLease: another shard owns the room, or a newer room has its name.
        """
        request = msgspec.structs.asdict(room) | {
            "labels": to_pairs(room.labels),
            "players": list(room.players),
            "shard_id": shard_id,
            "lease_ms": self._ttls.lease_ms,
        }
        status = await self._run("publish_room", request)
        if status == "unregistered":
            raise MatchmakerUnavailable("this shard is not registered in the directory yet")

    async def confirm_seat(self, room_id: str, player_id: str, *, shard_id: str, epoch: int) -> None:
        """Record that the owner has seated a player. Idempotent.

        Raises:
            StaleLease: another shard owns the room, or it has ended; nothing was changed.
        """
        await self._set_seat(_SeatChange(room_id, player_id, shard_id, epoch, is_seated=True))

    async def release_seat(self, room_id: str, player_id: str, *, shard_id: str, epoch: int) -> None:
        """Remove a player's seat or reservation. Idempotent.

        Raises:
            StaleLease: another shard owns the room, or it has ended; nothing was changed.
        """
        await self._set_seat(_SeatChange(room_id, player_id, shard_id, epoch, is_seated=False))

    async def release_reservation(self, room_id: str, player_id: str, *, shard_id: str, epoch: int) -> None:
        """Remove a player's reservation; a seat that the player has taken is kept. Idempotent.

        Raises:
            StaleLease: another shard owns the room, or it has ended; nothing was changed.
        """
        change = _SeatChange(room_id, player_id, shard_id, epoch, is_seated=False, only_reserved=True)
        await self._set_seat(change)

    async def release(self, room_id: str, *, shard_id: str, epoch: int) -> None:
        """Delete the record of a room that has ended, if the shard still owns it. Idempotent."""
        request = {"room_id": room_id, "shard_id": shard_id, "epoch": epoch}
        await self._scripts.run("rooms/release", request, dict[str, str])

    async def raise_epoch(self, room_id: str, *, shard_id: str, epoch: int, above: int) -> int:
        """Return a new epoch for a room of this shard, greater than one that a store holds.

        Needed when Redis has lost the counter of epochs.

        Raises:
            StaleLease: another shard owns the room, or it has ended.
            MatchmakerUnavailable: this shard is not registered in the directory, or Redis does not answer.
        """
        request = {"room_id": room_id, "shard_id": shard_id, "epoch": epoch, "min_epoch": above}
        request |= {"lease_ms": self._ttls.lease_ms}
        found = await self._scripts.run("rooms/raise_epoch", request, dict[str, Any])
        if found["status"] == "unready":
            raise MatchmakerUnavailable("this shard is not registered in the directory yet")
        if found["status"] == "stale":
            raise _stale()
        return int(found["epoch"])

    async def _set_seat(self, change: _SeatChange) -> None:
        await self._run("set_seat", msgspec.structs.asdict(change) | {"lease_ms": self._ttls.lease_ms})

    async def _run(self, script: str, request: dict[str, Any]) -> str:
        status = (await self._scripts.run(f"rooms/{script}", request, dict[str, str]))["status"]
        if status in ("stale", "lost"):
            raise _stale()
        return status


def _stale() -> StaleLease:
    return StaleLease("another shard owns the room, or the room has ended")
