"""Handovers: transfer the ownership of a room from one shard to another.

    source   offer ---------------------> get_state until accepted, send ---> get_state until it ends, or cancel
    target           poll_offers, respond                       fetch until sent, claim

Guarantees: a room has one owner at each moment. `claim` succeeds only while the handover is in the state "sent", and
`cancel` only before the room was claimed. Both are scripts, so the one that Redis runs first decides. The keys of an
abandoned handover expire.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tickwire.matchmaking.errors import MatchmakerUnavailable, StaleLease
from tickwire.matchmaking.scripts import Scripts
from tickwire.matchmaking.ttls import Ttls

OFFER_MS = 10_000
SENT_MS = 10_000
State = Literal["", "offered", "accepted", "refused", "sent"]


class HandoffOffer(msgspec.Struct, frozen=True):
    """The facts by which the target decides whether it accepts a room."""

    room_id: str
    room_type: str
    from_shard: str
    build: str
    players: int


class _FoundHandoff(msgspec.Struct, frozen=True):
    status: str
    state: State = ""
    room: msgspec.Raw = msgspec.Raw(b"\xc0")
    offers: list[HandoffOffer] = []
    epoch: int = 0


class Handoffs:
    """Offers rooms to other shards and claims offered rooms.

    Args:
        scripts: runs scripts on the fleet's keys.
        ttls: the lifetime of a lease.
    """

    def __init__(self, scripts: Scripts, ttls: Ttls) -> None:
        self._scripts = scripts
        self._ttls = ttls

    # -- source ---------------------------------------------------------------------------------------------

    async def offer(self, offer: HandoffOffer, *, epoch: int, to: str) -> None:
        """Offer a room to another shard, which receives the offer with its next heartbeat.

        Raises:
            StaleLease: the source does not own the room.
            MatchmakerUnavailable: the target is not ready, or Redis does not answer. All other methods raise it too
                when Redis does not answer.
        """
        request = {"room_id": offer.room_id, "shard_id": offer.from_shard, "epoch": epoch, "to": to}
        packed = msgspec.msgpack.encode(offer)
        found = await self._run_current("offer", request | {"ttl_ms": OFFER_MS}, packed)
        if found.status == "unready":
            raise MatchmakerUnavailable(f"shard {to!r} is not ready to receive rooms")

    async def get_state(self, room_id: str) -> State:
        """Return the state of a handover; empty if it was cancelled, claimed, or has expired."""
        return (await self._run("get_state", {"room_id": room_id})).state

    async def send(self, room_id: str, shard_id: str, room: bytes) -> None:
        """Store the room, a msgpack value, for the shard that has accepted it.

        Raises:
            StaleLease: the handover has ended.
            MatchmakerUnavailable: the target is not ready any more.
        """
        request = {"room_id": room_id, "shard_id": shard_id, "ttl_ms": SENT_MS}
        found = await self._run_current("send", request, room)
        if found.status == "unready":
            raise MatchmakerUnavailable("the target is not ready to receive rooms any more")

    async def cancel(self, room_id: str, shard_id: str) -> bool:
        """End a handover of the source. Return False if it has ended, so that the room may have been claimed."""
        return (await self._run("cancel", {"room_id": room_id, "shard_id": shard_id})).status == "ok"

    # -- target ---------------------------------------------------------------------------------------------

    async def poll_offers(self, shard_id: str) -> list[HandoffOffer]:
        """Return the offers since the last call, and delete them."""
        return (await self._run("poll_offers", {"shard_id": shard_id})).offers

    async def respond(self, room_id: str, shard_id: str, *, accepts: bool) -> bool:
        """Accept or refuse an offer. Return False if the offer has ended."""
        request = {"room_id": room_id, "shard_id": shard_id, "accepts": accepts}
        return (await self._run("respond", request)).status == "ok"

    async def fetch(self, room_id: str, shard_id: str) -> tuple[State, bytes]:
        """Return the state of a handover, and the room if it was sent."""
        found = await self._run("fetch", {"room_id": room_id, "shard_id": shard_id})
        return found.state, bytes(found.room)

    async def claim(self, room_id: str, shard_id: str) -> int:
        """Make the target the owner of the room, and return the new epoch. Seats are unchanged.

        Raises:
            StaleLease: the handover was cancelled, or the source has lost the room.
            MatchmakerUnavailable: the target is not registered in the directory.
        """
        request = {"room_id": room_id, "shard_id": shard_id, "lease_ms": self._ttls.lease_ms}
        found = await self._run_current("claim", request)
        if found.status == "unready":
            raise MatchmakerUnavailable("this shard is not registered in the directory yet")
        return found.epoch

    async def _run_current(self, action: str, request: dict[str, object], packed: bytes = b"") -> _FoundHandoff:
        found = await self._run(action, request, packed)
        if found.status == "stale":
            raise StaleLease("the handover has ended, or another shard owns the room")
        return found

    async def _run(self, action: str, request: dict[str, object], packed: bytes = b"") -> _FoundHandoff:
        return await self._scripts.run("rooms/handover", request | {"action": action}, _FoundHandoff, (packed,))
