"""Handovers: a room goes to another shard, which says yes before anything happens, and owns it from one script on.

    the owner   offer ---------------> look until accepted, send ---------------> look until it is gone, or withdraw
    the other            hear, answer                       fetch until sent, take

Guarantees: at each moment the room has one owner. `take` succeeds only while the handover stands as it was sent, and
`withdraw` only while it was not taken: of the two, whichever Redis runs first. What was not ended ends by itself.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tickwire.matchmaking.errors import MatchmakerUnavailable, StaleLease
from tickwire.matchmaking.script_runner import ScriptRunner
from tickwire.matchmaking.ttls import Ttls

OFFER_MS = 10_000
SENT_MS = 10_000
State = Literal["", "offered", "accepted", "refused", "sent"]


class HandoffOffer(msgspec.Struct, frozen=True):
    """What a shard must know of a room to say whether it takes it."""

    room_id: str
    room_type: str
    from_shard: str
    from_url: str
    build: str
    players: int


class _FoundHandoff(msgspec.Struct, frozen=True):
    status: str
    state: State = ""
    room: msgspec.Raw = msgspec.Raw(b"\xc0")
    offers: list[HandoffOffer] = []
    epoch: int = 0


class Handoffs:
    """Rooms on their way.

    Args:
        calls: the door to Redis.
        ttls: how long a lease is.
    """

    def __init__(self, calls: ScriptRunner, ttls: Ttls) -> None:
        self._calls = calls
        self._ttls = ttls

    # -- the owner ------------------------------------------------------------------------------------------

    async def offer(self, offer: HandoffOffer, *, epoch: int, to: str) -> None:
        """Offers a room; the other shard hears of it with its next heartbeat.

        Raises:
            StaleLease: it is not ours.
            MatchmakerUnavailable: the other shard is not ready, or Redis does not answer. So do all others here.
        """
        request = {"room_id": offer.room_id, "shard_id": offer.from_shard, "epoch": epoch, "to": to}
        packed = msgspec.msgpack.encode(offer)
        found = await self._ask("offer", request | {"ttl_ms": OFFER_MS}, packed)
        if found.status == "unready":
            raise MatchmakerUnavailable("the shard that is to have the room is not ready")

    async def look(self, room_id: str) -> State:
        """How it stands; empty where there is no handover: withdrawn, taken, or over."""
        return (await self._run("look", {"room_id": room_id})).state

    async def send(self, room_id: str, shard_id: str, room: bytes) -> None:
        """The room, packed as a msgpack value, for the shard that has accepted it.

        Raises:
            StaleLease: the handover is over.
        """
        await self._ask("send", {"room_id": room_id, "shard_id": shard_id, "ttl_ms": SENT_MS}, room)

    async def withdraw(self, room_id: str, shard_id: str) -> bool:
        """Ends a handover of ours; False: there is none (any more), so it may have been taken."""
        return (await self._run("withdraw", {"room_id": room_id, "shard_id": shard_id})).status == "ok"

    # -- the other shard ------------------------------------------------------------------------------------

    async def hear(self, shard_id: str) -> list[HandoffOffer]:
        """All that was offered since the last time."""
        found = await self._run("hear", {"shard_id": shard_id})
        return found.offers

    async def answer(self, room_id: str, shard_id: str, *, accepts: bool) -> bool:
        """Says whether we take it; False: the offer is over."""
        request = {"room_id": room_id, "shard_id": shard_id, "accepts": accepts}
        return (await self._run("answer", request)).status == "ok"

    async def fetch(self, room_id: str, shard_id: str) -> tuple[State, bytes]:
        """How it stands, and the room when it was sent."""
        found = await self._run("fetch", {"room_id": room_id, "shard_id": shard_id})
        return found.state, bytes(found.room)

    async def take(self, room_id: str, shard_id: str) -> int:
        """The room is ours from now on; its seats stay. Gives the new epoch.

        Raises:
            StaleLease: it was withdrawn, or its owner has lost it.
        """
        request = {"room_id": room_id, "shard_id": shard_id, "lease_ms": self._ttls.lease_ms}
        found = await self._ask("take", request)
        if found.status == "unready":
            raise MatchmakerUnavailable("this shard is not in the directory (yet)")
        return found.epoch

    async def _ask(self, how: str, request: dict[str, object], packed: bytes = b"") -> _FoundHandoff:
        found = await self._run(how, request, packed)
        if found.status == "stale":
            raise StaleLease("the handover is over, or the room has another owner")
        return found

    async def _run(self, how: str, request: dict[str, object], packed: bytes = b"") -> _FoundHandoff:
        return await self._calls.run("handover", request | {"how": how}, _FoundHandoff, (packed,))
