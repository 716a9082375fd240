"""The guarantees of handovers, on Redis and on the in-process store: a room has one owner at each moment.

Tests that take `redis_matchmaker` run on Redis alone: only Redis has keys, and loses them.
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tests.harness.matchmaker_stores import MatchmakerStore, RedisStore
from tickwire.matchmaking import (
    HandoffOffer,
    Matchmaker,
    MatchmakerUnavailable,
    PlaceRequest,
    ShardInfo,
    StaleLease,
    Ttls,
)
from tickwire.server.migration.handoff_steps import HandoffSteps

ROOM = msgspec.msgpack.encode({"x": b"\xff\xfe", "n": 1})


async def create_fleet(store: MatchmakerStore) -> Matchmaker:
    made = store.create(ttls=Ttls(5000, 5000, 5000, 100))
    for shard in ("a", "b", "c"):
        await made.directory.register(ShardInfo(shard, f"ws://{shard}", "1", room_types=("garden",)))
    return made


@pytest.fixture
async def matchmaker(store: MatchmakerStore) -> Matchmaker:
    return await create_fleet(store)


@pytest.fixture
async def redis_matchmaker(redis_store: RedisStore) -> Matchmaker:
    return await create_fleet(redis_store)


async def room_of(matchmaker: Matchmaker, name: str = "home") -> tuple[HandoffOffer, int, str]:
    """A new room: an offer of it, its epoch, its shard."""
    wanted = PlaceRequest(room_type="garden", players=("ann",), shard_id="a", region="", seats=4, name=name)
    placed = await matchmaker.placement.place(wanted)
    return HandoffOffer(placed.room_id, "garden", placed.shard_id, "1", 1), placed.epoch, placed.shard_id


def other_than(shard: str) -> str:
    return "b" if shard != "b" else "c"


async def sent(matchmaker: Matchmaker) -> tuple[HandoffOffer, int, str]:
    """A room that was sent: the offer, its epoch, the shard that is to take it."""
    offer, epoch, owner = await room_of(matchmaker)
    to = other_than(owner)
    await matchmaker.handoffs.offer(offer, epoch=epoch, to=to)
    assert await matchmaker.handoffs.respond(offer.room_id, to, accepts=True)
    await matchmaker.handoffs.send(offer.room_id, owner, ROOM)
    return offer, epoch, to


async def test_a_room_is_transferred_from_one_shard_to_another(matchmaker: Matchmaker) -> None:
    handoffs = matchmaker.handoffs
    offer, epoch, owner = await room_of(matchmaker)
    to = other_than(owner)
    await handoffs.offer(offer, epoch=epoch, to=to)
    assert (await matchmaker.directory.heartbeat(to, load=0, players=0, rooms=0)).has_offers
    assert await handoffs.poll_offers(to) == [offer]
    assert await handoffs.poll_offers(to) == [], "once"
    assert not (await matchmaker.directory.heartbeat(to, load=0, players=0, rooms=0)).has_offers
    assert await handoffs.get_state(offer.room_id) == "offered"
    assert await handoffs.respond(offer.room_id, to, accepts=True)
    assert await handoffs.get_state(offer.room_id) == "accepted"
    assert await handoffs.fetch(offer.room_id, to) == ("accepted", b"\xc0")
    await handoffs.send(offer.room_id, owner, ROOM)
    assert await handoffs.fetch(offer.room_id, to) == ("sent", ROOM)
    newer = await handoffs.claim(offer.room_id, to)
    assert newer > epoch
    assert await handoffs.get_state(offer.room_id) == ""
    home = await matchmaker.directory.locate_room(offer.room_id)
    assert home is not None
    assert home.shard_id == to
    assert (await matchmaker.leases.renew([(offer.room_id, epoch)], owner)).lost == {offer.room_id}
    assert not (await matchmaker.leases.renew([(offer.room_id, newer)], to)).lost
    assert not await handoffs.cancel(offer.room_id, owner)


async def test_a_transfer_keeps_seats_and_name(matchmaker: Matchmaker) -> None:
    offer, _, to = await sent(matchmaker)
    await matchmaker.handoffs.claim(offer.room_id, to)
    again = await matchmaker.placement.place(
        PlaceRequest(room_type="garden", players=("bob",), shard_id="a", region="", seats=4, name="home")
    )
    assert (again.room_id, again.shard_id) == (offer.room_id, to)


async def test_a_room_is_either_claimed_or_cancelled(matchmaker: Matchmaker) -> None:
    handoffs = matchmaker.handoffs
    for _ in range(20):
        offer, epoch, to = await sent(matchmaker)
        took, withdrew = await asyncio.gather(
            handoffs.claim(offer.room_id, to), handoffs.cancel(offer.room_id, offer.from_shard),
            return_exceptions=True,
        )  # fmt: skip
        assert isinstance(took, int) != withdrew, "one of the two, and not both"
        home = await matchmaker.directory.locate_room(offer.room_id)
        assert home is not None
        assert home.shard_id == (to if isinstance(took, int) else offer.from_shard)
        newest = took if isinstance(took, int) else epoch
        await matchmaker.leases.release(offer.room_id, shard_id=home.shard_id, epoch=newest)


async def test_a_refused_room_stays_on_its_shard(matchmaker: Matchmaker) -> None:
    offer, epoch, owner = await room_of(matchmaker)
    to = other_than(owner)
    await matchmaker.handoffs.offer(offer, epoch=epoch, to=to)
    assert await matchmaker.handoffs.respond(offer.room_id, to, accepts=False)
    assert await matchmaker.handoffs.get_state(offer.room_id) == "refused"
    with pytest.raises(StaleLease):
        await matchmaker.handoffs.send(offer.room_id, owner, ROOM)
    assert await matchmaker.handoffs.cancel(offer.room_id, owner)


async def test_only_the_owner_offers_a_room_and_only_to_a_ready_shard(matchmaker: Matchmaker) -> None:
    offer, epoch, owner = await room_of(matchmaker)
    to = other_than(owner)
    with pytest.raises(StaleLease):
        await matchmaker.handoffs.offer(offer, epoch=epoch - 1, to=to)
    with pytest.raises(MatchmakerUnavailable):
        await matchmaker.handoffs.offer(offer, epoch=epoch, to="nobody")
    await matchmaker.directory.register(
        ShardInfo(to, f"ws://{to}", "1", state="draining", room_types=("garden",)), was_registered=True
    )
    with pytest.raises(MatchmakerUnavailable):
        await matchmaker.handoffs.offer(offer, epoch=epoch, to=to)


@pytest.mark.parametrize("loss", ["draining", "gone"])
async def test_a_room_is_not_sent_to_a_shard_that_drains_or_fails_after_it_has_accepted(
    matchmaker: Matchmaker, loss: str
) -> None:
    handoffs = matchmaker.handoffs
    offer, epoch, owner = await room_of(matchmaker)
    to = other_than(owner)
    await handoffs.offer(offer, epoch=epoch, to=to)
    assert await handoffs.respond(offer.room_id, to, accepts=True)
    if loss == "draining":
        await matchmaker.directory.register(
            ShardInfo(to, f"ws://{to}", "1", state="draining", room_types=("garden",)), was_registered=True
        )
    else:
        await matchmaker.directory.deregister(to)
    with pytest.raises(MatchmakerUnavailable):
        await handoffs.send(offer.room_id, owner, ROOM)
    assert await handoffs.fetch(offer.room_id, to) == ("accepted", b"\xc0")
    assert await handoffs.cancel(offer.room_id, owner)
    assert not (await matchmaker.leases.renew([(offer.room_id, epoch)], owner)).lost


async def test_only_the_target_responds_fetches_and_claims(matchmaker: Matchmaker) -> None:
    offer, _, to = await sent(matchmaker)
    thief = next(shard for shard in "abc" if shard not in (to, offer.from_shard))
    assert not await matchmaker.handoffs.respond(offer.room_id, thief, accepts=True)
    assert await matchmaker.handoffs.fetch(offer.room_id, thief) == ("", b"\xc0")
    with pytest.raises(StaleLease):
        await matchmaker.handoffs.claim(offer.room_id, thief)
    assert not await matchmaker.handoffs.cancel(offer.room_id, thief)
    assert await matchmaker.handoffs.claim(offer.room_id, to)


async def test_a_room_that_was_not_sent_cannot_be_claimed(matchmaker: Matchmaker) -> None:
    offer, epoch, owner = await room_of(matchmaker)
    to = other_than(owner)
    await matchmaker.handoffs.offer(offer, epoch=epoch, to=to)
    for _ in range(2):
        with pytest.raises(StaleLease):
            await matchmaker.handoffs.claim(offer.room_id, to)
        await matchmaker.handoffs.respond(offer.room_id, to, accepts=True)


async def test_a_room_that_its_owner_has_lost_cannot_be_claimed(matchmaker: Matchmaker) -> None:
    offer, epoch, to = await sent(matchmaker)
    await matchmaker.leases.raise_epoch(offer.room_id, shard_id=offer.from_shard, epoch=epoch, above=epoch + 5)
    with pytest.raises(StaleLease):
        await matchmaker.handoffs.claim(offer.room_id, to)


async def test_a_drain_request_is_returned_with_the_heartbeat(matchmaker: Matchmaker) -> None:
    assert await matchmaker.directory.request_drain("a") is True
    assert await matchmaker.directory.request_drain("a") is False
    assert (await matchmaker.directory.heartbeat("a", load=0, players=0, rooms=0)).is_drain_requested
    assert not (await matchmaker.directory.heartbeat("b", load=0, players=0, rooms=0)).is_drain_requested
    assert await matchmaker.directory.request_drain("nobody") is None


async def test_all_keys_of_a_handover_expire(redis_matchmaker: Matchmaker, redis_store: RedisStore) -> None:
    offer, *_ = await sent(redis_matchmaker)
    key = f"{{{redis_store.namespace}}}:handover:{offer.room_id}"
    assert 0 < await redis_store.run("PTTL", key) <= 10_000


async def test_a_source_learns_that_its_room_was_claimed(matchmaker: Matchmaker) -> None:
    offer, _, to = await sent(matchmaker)
    await matchmaker.handoffs.claim(offer.room_id, to)
    assert await HandoffSteps(matchmaker, "a").is_claimed(offer.room_id)


async def test_a_source_keeps_its_room_if_redis_loses_the_handoff(
    redis_matchmaker: Matchmaker, redis_store: RedisStore
) -> None:
    offer, *_ = await sent(redis_matchmaker)
    await redis_store.run("DEL", *await redis_store.run("KEYS", f"{{{redis_store.namespace}}}*"))
    assert not await HandoffSteps(redis_matchmaker, "a").is_claimed(offer.room_id)
