"""Transfers rooms between shards without a drain."""

from __future__ import annotations

from tickwire.matchmaking import HandoffOffer, Matchmaker


async def hand_over(matchmaker: Matchmaker, room_id: str, *, shard_id: str, epoch: int, to: str) -> int:
    """Run all steps of a handover, and return the new epoch.

    Raises:
        StaleLease: the source does not own the room.
        MatchmakerUnavailable: the target is not ready.
    """
    handoffs = matchmaker.handoffs
    await handoffs.offer(HandoffOffer(room_id, "duel", shard_id, "1", 0), epoch=epoch, to=to)
    assert await handoffs.respond(room_id, to, accepts=True)
    await handoffs.send(room_id, shard_id, b"\xc0")
    return await handoffs.claim(room_id, to)
