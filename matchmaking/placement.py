"""Placement: join or create. Finds the one room for a player and takes or holds a seat there.

By name, id or code it is exactly that room. Else an open room on the shard that the client has reached; else the
fullest of the region that fits, so that rooms fill up before new ones open; else a new room on the less loaded of two
shards picked at random (two are enough: the fullest shard is then hardly ever chosen, and no stale figure sends a
whole crowd to one shard; M. Mitzenmacher, "The power of two choices in randomized load balancing", 2001).
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from typing import Any

import msgspec

from tickwire.matchmaking.errors import (
    BadRequest,
    MatchmakerUnavailable,
    MatchmakingError,
    NoCapacity,
    PlacementFull,
    PlacementLocked,
    RoomNotFound,
    RoomNotMade,
)
from tickwire.matchmaking.labels import Labels, check_labels, from_pairs, to_pairs
from tickwire.matchmaking.script_runner import ScriptRunner
from tickwire.matchmaking.ttls import Ttls

CODE_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""No I, O, 0, 1: a code is read aloud and typed in. 32 letters: ten of them are 50 bits."""
CODE_CHARACTERS = 10
PARTY_CHARACTERS_MAX = 64


class Party(msgspec.Struct, frozen=True):
    """Friends who play together or not at all: a code that they share, and how many they are."""

    code: str
    size: int


class PlaceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a player wants, and where it is asking.

    Args:
        players: all of them get a seat in the one room, or none does.
        shard_id: the shard that is asking.
        seats: of a room of this type.
        labels: wanted; a new room gets them.
        name: exactly the room of this name; made when nobody's lease on it is alive.
        room_id: exactly this room, unless it is private.
        code: exactly the room that this code opens.
        is_private: a new room that only its code opens.
        party: the first of a party holds seats for all of it, the others find them.
        seat_here: a seat in a room of the asking shard is taken at once, not held.
        make: exactly this id; made when there is no such room, and open to nobody else. Safe to repeat.
        may_enter: also a room that is locked or private: for those who have a seat in it.
        may_make: also a new room, where there is none yet.
        is_durable: a named room whose lease has ended keeps its id when it is made again, since its world is
            restored. Any other room begins again, and gets a new id.
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
    make: str | None = None
    may_enter: bool = False
    may_make: bool = True
    is_durable: bool = False


class Placement(msgspec.Struct, frozen=True):
    """Where a player goes; the seat is held until `until_ms` (UTC by Redis's clock), unless it is taken already."""

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
    """Finds rooms.

    Args:
        calls: the door to Redis.
        ttls: how long seats are held and leases last.
        chance: which two shards are looked at for a new room.
    """

    def __init__(self, calls: ScriptRunner, ttls: Ttls, chance: random.Random) -> None:
        self._calls = calls
        self._ttls = ttls
        self._chance = chance

    async def place(self, wanted: PlaceRequest) -> Placement:
        """Finds or makes the room, and takes or holds the seats, all at once.

        Raises:
            PlacementFull: the room asked for has not enough seats left, or the party is complete.
            PlacementLocked: the room asked for takes nobody in.
            RoomNotFound: there is no room of that id or code.
            RoomNotMade: a new room is needed, and `may_make` is False.
            NoCapacity: a new room is needed, and no shard has room for it.
            MatchmakerUnavailable: Redis does not answer, the asking shard is not registered (yet), or the room's
                shard is gone and its lease not yet.
            BadRequest: labels, code or party cannot be.
        """
        found = await self._calls.run("place", self._to_request(wanted), dict[str, Any])
        if found["status"] != "ok":
            raise _why_not(found)
        found["labels"] = from_pairs(found["labels"])
        return msgspec.convert(found, Placement)

    def _to_request(self, wanted: PlaceRequest) -> dict[str, Any]:
        request: dict[str, Any] = {
            "room_type": wanted.room_type,
            "players": list(wanted.players),
            "shard_id": wanted.shard_id,
            "region": wanted.region,
            "seats": wanted.seats,
            "labels": to_pairs(check_labels(wanted.labels)) if wanted.labels else (),
            "new_id": wanted.make or secrets.token_urlsafe(9),
            "chance": (self._chance.random(), self._chance.random()),
            "lease_ms": self._ttls.lease_ms,
            "hold_ms": self._ttls.reservation_ms,
            "seat_here": wanted.seat_here,
            "may_enter": wanted.may_enter,
            "may_not_make": not wanted.may_make,
            "is_durable": wanted.is_durable,
        }
        if wanted.make is not None:
            request["make"] = True
        elif wanted.room_id is not None:
            request["room_id"] = wanted.room_id
        elif wanted.code is not None:
            request["code"] = _check_code(wanted.code)
        elif wanted.is_private:
            request |= {"is_private": True, "new_code": new_code()}
        elif wanted.name is not None:
            request["name"] = wanted.name
        if wanted.party is not None:
            party = check_party(wanted.party, size_max=wanted.seats)
            request |= {"party": party.code, "party_size": party.size}
        return request


def new_code() -> str:
    """A code that nobody guesses."""
    return "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_CHARACTERS))


def check_party(party: Party, *, size_max: int) -> Party:
    """The party as it is, if it can be.

    Raises:
        BadRequest: it has no code, or cannot be so large.
    """
    if not 1 <= len(party.code) <= PARTY_CHARACTERS_MAX or not party.code.isprintable():
        raise BadRequest(f"a party's code has 1 to {PARTY_CHARACTERS_MAX} characters")
    if not 1 <= party.size <= size_max:
        raise BadRequest(f"a party here has 1 to {size_max} players, not {party.size}")
    return party


def _check_code(code: str) -> str:
    code = code.upper().replace("-", "").replace(" ", "")
    if len(code) != CODE_CHARACTERS or not set(code) <= set(CODE_LETTERS):
        raise RoomNotFound("no room has this code")
    return code


def _why_not(found: dict[str, Any]) -> MatchmakingError:
    wait_ms = max(int(found.get("wait_ms", 0)), 500)
    match found["status"]:
        case "full":
            return PlacementFull("the room has not enough free seats")
        case "locked":
            return PlacementLocked("the room takes nobody in")
        case "not_found":
            return RoomNotFound("there is no such room")
        case "limited":
            return RoomNotMade("there is no such room, and none is made")
        case "no_capacity":
            return NoCapacity("no shard has room for another room", retry_after_ms=5000)
        case "unregistered":
            return MatchmakerUnavailable("this shard is not in the directory (yet)")
        case "healing":
            return MatchmakerUnavailable("the directory is being put together again", retry_after_ms=wait_ms)
        case "away":
            return MatchmakerUnavailable("the room's shard is gone; the room can be had soon", retry_after_ms=wait_ms)
        case other:
            return MatchmakingError(f"place.lua answered {other!r}")
