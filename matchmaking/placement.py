"""Placement: finds or creates the room for a player, and takes or reserves a seat in it.

A request by name, id or code selects exactly that room. Any other request selects, in this order: an open room on the
shard that the client has reached; the fullest open room of the region that fits, so that rooms fill up before new
ones open; a new room on the less loaded of two random shards. Two random shards are enough: the most loaded shard is
hardly ever chosen, and stale figures do not send all players to one shard (M. Mitzenmacher, "The power of two choices
in randomized load balancing", 2001).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tickwire.matchmaking.environment import MatchmakerEnvironment
from tickwire.matchmaking.errors import (
    BadRequest,
    MatchmakerUnavailable,
    MatchmakingError,
    NoCapacity,
    PlacementFull,
    PlacementLocked,
    RoomNotCreated,
    RoomNotFound,
)
from tickwire.matchmaking.labels import Labels, check_labels, from_pairs, to_pairs
from tickwire.matchmaking.room_ids import CODE_CHARACTERS, CODE_LETTERS
from tickwire.matchmaking.scripts import Scripts
from tickwire.matchmaking.ttls import Ttls

PARTY_CHARACTERS_MAX = 64


class Party(msgspec.Struct, frozen=True):
    """Friends who play together or not at all: the code that they share, and the size of the party."""

    code: str
    size: int


class PlaceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The room that a player requests, and the shard that places the player.

    Args:
        players: all of them get a seat in one room, or none does.
        shard_id: the shard that makes the request.
        seats: the number of seats of a room of this type.
        labels: labels that the room must have; a new room gets them.
        name: exactly the room of this name; created if no valid lease on it exists.
        room_id: exactly this room, unless it is private.
        code: exactly the room that this code opens.
        is_private: a new room that only its code opens.
        party: the first of a party reserves seats for all of it; the others get those seats.
        seat_here: a seat in a room of the requesting shard is taken at once, not reserved.
        create_id: exactly the room with this id; created if it does not exist, and closed to other players. Safe to
            repeat.
        may_enter: also a room that is locked or private, for players who have a seat in it.
        may_create: whether a new room may be created.
        is_durable: a named room whose lease has ended keeps its id when it is created again, because its world is
            restored. Any other room starts new, with a new id.
    """

    room_type: str
    players: Sequence[str]
    shard_id: str
    seats: int
    region: str = ""
    labels: Labels = {}
    name: str | None = None
    room_id: str | None = None
    code: str | None = None
    is_private: bool = False
    party: Party | None = None
    seat_here: bool = False
    create_id: str | None = None
    may_enter: bool = False
    may_create: bool = True
    is_durable: bool = False


class Placement(msgspec.Struct, frozen=True):
    """The room of a player. The seat is taken, or reserved until `until_ms` (UTC by the clock of Redis)."""

    room_id: str
    room_type: str
    name: str
    code: str
    labels: Labels
    shard_id: str
    url: str
    epoch: int
    is_new: bool
    is_seated: bool
    until_ms: int


class RoomPlacement:
    """Finds or creates rooms.

    Args:
        scripts: runs scripts on the fleet's keys.
        ttls: the lifetimes of reservations and leases.
        environment: picks the two shards that are compared for a new room, and creates ids and codes.
    """

    def __init__(self, scripts: Scripts, ttls: Ttls, environment: MatchmakerEnvironment) -> None:
        self._scripts = scripts
        self._ttls = ttls
        self._rng, self._ids = environment.rng, environment.ids

    async def place(self, request: PlaceRequest) -> Placement:
        """Find or create the room, and take or reserve the seats, in one atomic step.

        Raises:
            PlacementFull: the requested room does not have enough free seats, or the party is complete.
            PlacementLocked: the requested room accepts no new players.
            RoomNotFound: no room has this id or code.
            RoomNotCreated: a new room is required, and `may_create` is False.
            NoCapacity: a new room is required, and no shard has capacity for it.
            MatchmakerUnavailable: Redis does not answer, the requesting shard is not registered yet, or the room's
                shard has failed and its lease has not ended yet.
            BadRequest: the labels, the code or the party are invalid.
        """
        found = await self._scripts.run("rooms/place", self._encode(request), dict[str, Any])
        if found["status"] != "ok":
            raise _to_error(found)
        found["labels"] = from_pairs(found["labels"])
        return msgspec.convert(found, Placement)

    def _encode(self, request: PlaceRequest) -> dict[str, Any]:
        encoded: dict[str, Any] = {
            "room_type": request.room_type,
            "players": list(request.players),
            "shard_id": request.shard_id,
            "region": request.region,
            "seats": request.seats,
            "labels": to_pairs(check_labels(request.labels)) if request.labels else (),
            "new_id": request.create_id or self._ids.create_id(),
            "random": (self._rng.random(), self._rng.random()),
            "lease_ms": self._ttls.lease_ms,
            "reservation_ms": self._ttls.reservation_ms,
            "seat_here": request.seat_here,
            "may_enter": request.may_enter,
            "may_not_create": not request.may_create,
            "is_durable": request.is_durable,
        }
        if request.create_id is not None:
            encoded["is_get_or_create"] = True
        elif request.room_id is not None:
            encoded["room_id"] = request.room_id
        elif request.code is not None:
            encoded["code"] = _normalize_code(request.code)
        elif request.is_private:
            encoded |= {"is_private": True, "new_code": self._ids.create_code()}
        elif request.name is not None:
            encoded["name"] = request.name
        if request.party is not None:
            party = check_party(request.party, size_max=request.seats)
            encoded |= {"party": party.code, "party_size": party.size}
        return encoded


def check_party(party: Party, *, size_max: int) -> Party:
    """Return the party unchanged if it is valid.

    Raises:
        BadRequest: the code is empty, too long or not printable, or the size is out of range.
    """
    if not 1 <= len(party.code) <= PARTY_CHARACTERS_MAX or not party.code.isprintable():
        raise BadRequest(f"the code of a party must be 1 to {PARTY_CHARACTERS_MAX} printable characters")
    if not 1 <= party.size <= size_max:
        raise BadRequest(f"the size of a party must be 1 to {size_max}, not {party.size}")
    return party


def _normalize_code(code: str) -> str:
    code = code.upper().replace("-", "").replace(" ", "")
    if len(code) != CODE_CHARACTERS or not set(code) <= set(CODE_LETTERS):
        raise RoomNotFound("no room has this code")
    return code


def _to_error(found: dict[str, Any]) -> MatchmakingError:
    wait_ms = max(int(found.get("wait_ms", 0)), 500)
    match found["status"]:
        case "full":
            return PlacementFull("the room does not have enough free seats")
        case "locked":
            return PlacementLocked("the room accepts no new players")
        case "not_found":
            return RoomNotFound("the room does not exist")
        case "not_created":
            return RoomNotCreated("the room does not exist, and the request does not allow creating one")
        case "no_capacity":
            return NoCapacity("no shard has capacity for another room", retry_after_ms=5000)
        case "unregistered":
            return MatchmakerUnavailable("this shard is not registered in the directory yet")
        case "recovering":
            return MatchmakerUnavailable("the directory is being restored", retry_after_ms=wait_ms)
        case "owner_failed":
            return MatchmakerUnavailable(
                "the room's shard has failed; retry when the room's lease has ended", retry_after_ms=wait_ms
            )
        case other:
            return MatchmakingError(f"place.lua returned the unknown status {other!r}")
