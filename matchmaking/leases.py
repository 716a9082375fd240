"""Leases: who owns a room now, under an epoch that only grows.

A lease is a record with a TTL, renewed by the owner every second. Whoever takes a room over gets a greater epoch, so
an owner that slept through its lease finds itself late at its next renewal, its next change of the directory and its
next durable write, none of which is carried out. Nobody's clock but that of Redis counts, and that one only decides
when a lease is over, never who is newer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tickwire.matchmaking.directory import Access
from tickwire.matchmaking.errors import MatchmakerUnavailable, StaleLease
from tickwire.matchmaking.labels import Labels, from_pairs, to_pairs
from tickwire.matchmaking.script_runner import ScriptRunner
from tickwire.matchmaking.ttls import Ttls


class RoomRecord(msgspec.Struct, frozen=True):
    """All that the directory is to know of a room, said by its owner.

    Args:
        players: those who are seated.
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


class Orphan(msgspec.Struct, frozen=True):
    """A room whose shard is gone; `record` is as it was when it was last told."""

    shard_id: str
    record: RoomRecord


class Renewal(msgspec.Struct, frozen=True):
    """What a renewal found.

    Args:
        lost: rooms that another owner has: close them.
        gone: rooms of which Redis has lost an entry, or all: `tell` it.
    """

    lost: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


class Leases:
    """Rooms as their shards own them.

    Args:
        calls: the door to Redis.
        ttls: how long a lease is.
    """

    def __init__(self, calls: ScriptRunner, ttls: Ttls) -> None:
        self._calls = calls
        self._ttls = ttls

    async def renew(
        self, rooms: Sequence[tuple[str, int]], shard_id: str, *, players: Mapping[str, int] | None = None
    ) -> Renewal:
        """Renews the leases of a shard's rooms, given by id and epoch.

        Args:
            players: how many are seated in each room.

        Raises:
            MatchmakerUnavailable: Redis does not answer. So do all others here.
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
        return await self._calls.run("renew", request, Renewal)

    async def tell(self, room: RoomRecord, shard_id: str) -> None:
        """Makes the directory's record of a room what its owner says, seats and all; heals what Redis has lost.

        Raises:
            StaleLease: another owner has the room, or has had its name since.
        """
        request = _to_request(room) | {"shard_id": shard_id, "lease_ms": self._ttls.lease_ms}
        status = await self._ask("tell", request)
        if status == "unregistered":
            raise MatchmakerUnavailable("this shard is not in the directory (yet)")

    async def seated(self, room_id: str, player_id: str, *, shard_id: str, epoch: int) -> None:
        """The owner has seated a player. Idempotent.

        Raises:
            StaleLease: the room has another owner or is gone; nothing was changed.
        """
        await self._seat(room_id, player_id, shard_id, epoch, is_seated=True)

    async def unseated(self, room_id: str, player_id: str, *, shard_id: str, epoch: int) -> None:
        """The owner gives a seat or a reservation back. Idempotent.

        Raises:
            StaleLease: the room has another owner or is gone; nothing was changed.
        """
        await self._seat(room_id, player_id, shard_id, epoch, is_seated=False)

    async def unreserved(self, room_id: str, player_id: str, *, shard_id: str, epoch: int) -> None:
        """Removes a player's reservation; a seat that the player has taken stays. Idempotent.

        Raises:
            StaleLease: the room has another owner or is gone; nothing was changed.
        """
        await self._seat(room_id, player_id, shard_id, epoch, is_seated=False, only_reserved=True)

    async def release(self, room_id: str, *, shard_id: str, epoch: int) -> None:
        """A room has ended: its record goes at once, if it is still ours. Idempotent."""
        await self._calls.run("release", {"room_id": room_id, "shard_id": shard_id, "epoch": epoch}, dict[str, str])

    async def hand_over(self, room_id: str, *, shard_id: str, epoch: int, to: str) -> int:
        """Gives a room to another shard; its seats stay. Gives the new epoch.

        Raises:
            StaleLease: it is not ours to give.
            MatchmakerUnavailable: the other shard is not ready, too.
        """
        return await self._own("hand_over", room_id, {"shard_id": shard_id, "epoch": epoch, "to": to})

    async def take_over(self, orphan: Orphan, shard_id: str) -> int:
        """Takes a room whose owner is gone; nobody is seated in it then. Gives the new epoch.

        Raises:
            StaleLease: somebody else has it.
            MatchmakerUnavailable: this shard is not ready, too.
        """
        request = _to_request(orphan.record) | {"shard_id": shard_id, "from": orphan.shard_id}
        return await self._own("take_over", orphan.record.room_id, request)

    async def raise_epoch(self, room_id: str, *, shard_id: str, epoch: int, above: int) -> int:
        """A greater epoch for a room of ours, above one that was found in a store: Redis has forgotten some.

        Raises:
            StaleLease: the room has another owner or is gone.
        """
        request = {"shard_id": shard_id, "epoch": epoch, "least_epoch": above}
        return await self._own("raise", room_id, request)

    async def orphans(self) -> list[Orphan]:
        """Rooms whose shard is gone and that nobody has taken over."""
        found = await self._calls.run("list", {"what": "orphans"}, dict[str, list[dict[str, Any]]])
        return [_to_orphan(fields) for fields in found["orphans"]]

    async def _seat(
        self,
        room_id: str,
        player_id: str,
        shard_id: str,
        epoch: int,
        *,
        is_seated: bool,
        only_reserved: bool = False,
    ) -> None:
        request = {
            "room_id": room_id,
            "player_id": player_id,
            "shard_id": shard_id,
            "epoch": epoch,
            "is_seated": is_seated,
            "only_reserved": only_reserved,
            "lease_ms": self._ttls.lease_ms,
        }
        await self._ask("seat", request)

    async def _own(self, how: str, room_id: str, request: dict[str, Any]) -> int:
        request |= {"how": how, "room_id": room_id, "lease_ms": self._ttls.lease_ms}
        found = await self._calls.run("own", request, dict[str, Any])
        if found["status"] == "unready":
            raise MatchmakerUnavailable("the shard that is to have the room is not ready")
        if found["status"] == "stale":
            raise StaleLease("the room has another owner or is gone")
        return int(found["epoch"])

    async def _ask(self, script: str, request: dict[str, Any]) -> str:
        status = (await self._calls.run(script, request, dict[str, str]))["status"]
        if status in ("stale", "lost"):
            raise StaleLease("the room has another owner or is gone")
        return status


def _to_request(room: RoomRecord) -> dict[str, Any]:
    return msgspec.structs.asdict(room) | {"labels": to_pairs(room.labels), "players": list(room.players)}


def _to_orphan(fields: dict[str, Any]) -> Orphan:
    record = fields["record"]
    return Orphan(fields["shard_id"], msgspec.convert(record | {"labels": from_pairs(record["labels"])}, RoomRecord))
