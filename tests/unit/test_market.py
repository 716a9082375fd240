"""The auctions of the example market: a timer sells the item, once, also after a crash and without the players."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
import pytest

from tests.harness.polling import eventually
from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire.examples.market import AUCTIONS_MAX, Market
from tickwire.schemas.messages import Command, ErrorCode, Reply
from tickwire.server.persistence.room_transactions import RoomTransactionService
from tickwire.server.persistence.transactions import TransactionService
from tickwire.server.persistence.world_codec import decode_world, encode_world
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest
from tickwire.server.rooms.task_runner import TaskRunner
from tickwire.server.rooms.transactions import RecordVersion
from tickwire.server.storage.world_document import create_world_write, world_from_document
from tickwire.testing.memory_ledger import MemoryLedger

HOLDINGS = {"ann": {"sword": 2}, "bob": {"gold": 50}, "eve": {"gold": 50}}
SOLD = {"ann": {"sword": 1, "gold": 9}, "bob": {"gold": 41, "sword": 1}, "eve": {"gold": 50}}


class MarketBank:
    """The transactions of rooms, over a ledger in memory."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()
        for player, items in HOLDINGS.items():
            self.ledger.set_record(player, items)
        self.transactions = TransactionService(self.ledger, self.ledger, on_fenced=lambda key: None, timeout_s=20.0)
        self.service = RoomTransactionService(self.transactions, lambda: 0.0)

    def start(self, runtime: RoomRuntime) -> None:
        runtime.start(self.service.commit, TaskRunner(RoomCounters()))


@pytest.fixture
def bank() -> MarketBank:
    return MarketBank()


def opened(bank: MarketBank) -> tuple[RoomRuntime, Seat, Seat, Seat]:
    """Return a market with the seats of ann, who has swords, and of bob and eve, who have gold."""
    runtime = create_runtime(Market, name="home")
    bank.start(runtime)
    ann, bob, eve = (seated(runtime, name) for name in HOLDINGS)
    return runtime, ann, bob, eve


def seated(runtime: RoomRuntime, name: str) -> Seat:
    record = RecordVersion(0, dict(HOLDINGS[name]))
    return runtime.seat(SeatRequest(RecordingSubscriber(name), name, {"name": name}, record=record))


def saved(runtime: RoomRuntime) -> RoomRuntime:
    """Return the room, restored from the document in the store, without sessions."""
    world = encode_world("market", "home", "r", msgspec.structs.replace(runtime.checkpoint(), seats=()))
    write = create_world_write(world, 1, 1, None, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    document = world_from_document(write.root)
    assert document is not None
    return create_runtime(Market, decode_world(document), name="home")


def run(runtime: RoomRuntime, seconds: float) -> None:
    for _ in range(round(seconds * Market.tick_rate_hz)):
        runtime.step()


async def decided(runtime: RoomRuntime) -> None:
    """Wait for the room's transactions, and send the events of their callbacks."""
    await eventually(lambda: len(runtime.room.transactions) == 0)
    runtime.step()


def call(seat: Seat, name: str, **arguments: Any) -> Reply:
    reply = seat.run_command(Command(1, name, msgspec.msgpack.encode(arguments)))
    assert isinstance(reply, Reply)
    return reply


def auctioned(seller: Seat, seconds: int = 10) -> str:
    """Start an auction of a sword; return its id."""
    reply = call(seller, "auction", item="sword", seconds=seconds)
    assert reply.ok, reply.message
    found = msgspec.msgpack.decode(reply.payload)
    assert isinstance(found, str)
    return found


def bid(bidder: Seat, auction: str, gold: int) -> Reply:
    return call(bidder, "bid", auction=auction, gold=gold)


def events(seat: Seat, name: str) -> list[Any]:
    subscriber = seat.subscriber
    assert isinstance(subscriber, RecordingSubscriber)
    return [payload for event, payload in subscriber.events if event == name]


async def test_the_item_is_sold_to_the_best_bidder_when_the_time_ends(bank: MarketBank) -> None:
    runtime, ann, bob, eve = opened(bank)
    auction = auctioned(ann)
    assert bid(bob, auction, 5).ok
    assert bid(eve, auction, 7).ok
    assert bid(bob, auction, 9).ok
    run(runtime, 9.8)
    assert len(runtime.room.transactions) == 0
    assert bank.ledger.all_holdings() == HOLDINGS
    run(runtime, 0.4)
    assert bid(eve, auction, 10).message == "this auction does not exist, or is your own"
    await decided(runtime)
    assert bank.ledger.all_holdings() == SOLD
    assert [change["gold"] for change in events(eve, "auction_changed")] == [0, 5, 7, 9]
    assert events(eve, "auction_ended") == [{"auction": auction, "failed": ""}]
    assert (ann.player.entity.gold, bob.player.entity.gold, eve.player.entity.gold) == (9, 41, 50)


async def test_an_auction_without_a_bid_changes_nothing(bank: MarketBank) -> None:
    runtime, ann, _, eve = opened(bank)
    auction = auctioned(ann)
    run(runtime, 10.2)
    assert len(runtime.room.transactions) == 0
    assert events(eve, "auction_ended") == [{"auction": auction, "failed": "there was no bid"}]
    assert bank.ledger.all_holdings() == HOLDINGS


@pytest.mark.parametrize(("spender", "item"), [("ann", "sword"), ("bob", "gold")])
async def test_the_sale_fails_if_the_item_or_the_gold_has_been_spent(
    bank: MarketBank, spender: str, item: str
) -> None:
    runtime, ann, bob, _ = opened(bank)
    auction = auctioned(ann)
    assert bid(bob, auction, 9).ok
    bank.ledger.set_record(spender, {})
    before = bank.ledger.all_holdings()
    run(runtime, 10.2)
    await decided(runtime)
    assert events(ann, "auction_ended") == [{"auction": auction, "failed": f"not enough {item}"}]
    assert bank.ledger.all_holdings() == before


async def test_seller_and_bidder_may_have_left(bank: MarketBank) -> None:
    runtime, ann, bob, eve = opened(bank)
    assert bid(bob, auctioned(ann), 9).ok
    ann.leave("bye")
    bob.leave("bye")
    run(runtime, 10.2)
    await decided(runtime)
    assert bank.ledger.all_holdings() == SOLD
    assert events(eve, "auction_ended")[0]["failed"] == ""


def test_bids_and_auctions_that_do_not_fit_are_refused(bank: MarketBank) -> None:
    _, ann, bob, eve = opened(bank)
    for seconds in (0, 3601, 1.5, None):
        assert call(ann, "auction", item="sword", seconds=seconds).error is ErrorCode.INVALID_ARGUMENT
    assert call(bob, "auction", item="sword", seconds=10).message == "you have no sword"
    auction = auctioned(ann)
    assert "is your own" in bid(ann, auction, 5).message
    assert "does not exist" in bid(bob, "another", 5).message
    assert "no more than you have" in bid(bob, auction, 51).message
    assert bid(bob, auction, 5).ok
    assert "more than 5 gold" in bid(eve, auction, 5).message
    assert bid(eve, auction, 0).error is ErrorCode.INVALID_ARGUMENT
    for _ in range(AUCTIONS_MAX - 1):
        auctioned(ann)
    assert call(ann, "auction", item="sword", seconds=10).message == "too many auctions are open"


def test_sales_that_are_not_decided_count_as_auctions() -> None:
    runtime = create_runtime(Market, name="home")
    ann, bob, eve = (seated(runtime, name) for name in HOLDINGS)
    for number in range(AUCTIONS_MAX):
        assert bid((bob, eve)[number % 2], auctioned(ann, seconds=1), 1).ok
    run(runtime, 1.2)
    assert len(runtime.room.transactions) == AUCTIONS_MAX
    assert call(ann, "auction", item="sword", seconds=10).message == "too many auctions are open"


def test_a_player_that_joins_receives_the_open_auctions(bank: MarketBank) -> None:
    runtime, ann, bob, eve = opened(bank)
    eve.leave("bye")
    auction = auctioned(ann)
    assert bid(bob, auction, 9).ok
    again = seated(runtime, "eve")
    run(runtime, 0.1)
    assert events(again, "auction_changed")[0] == {"auction": auction, "item": "sword", "gold": 9, "ends_s": 10.0}


async def test_an_auction_survives_a_restart(bank: MarketBank) -> None:
    runtime, ann, bob, _ = opened(bank)
    auction = auctioned(ann)
    assert bid(bob, auction, 9).ok
    run(runtime, 4)
    restored = saved(runtime)
    bank.start(restored)
    eve = seated(restored, "eve")
    run(restored, 5.8)
    assert len(restored.room.transactions) == 0, "the rest of its time, not all of it"
    run(restored, 0.4)
    await decided(restored)
    assert bank.ledger.all_holdings() == SOLD
    assert events(eve, "auction_ended") == [{"auction": auction, "failed": ""}]


async def test_a_room_restored_from_before_the_end_sells_the_item_once(bank: MarketBank) -> None:
    runtime, ann, bob, _ = opened(bank)
    auction = auctioned(ann)
    assert bid(bob, auction, 9).ok
    run(runtime, 9)
    again, otherwise = saved(runtime), saved(runtime)
    run(runtime, 1.2)
    await decided(runtime)
    assert bank.ledger.all_holdings() == SOLD
    for restored, failed in ((again, ""), (otherwise, "has the key")):
        bank.start(restored)
        eve = seated(restored, "eve")
        if failed:
            assert bid(eve, auction, 20).ok
        run(restored, 1.2)
        await decided(restored)
        assert bank.ledger.all_holdings() == SOLD, "the ledger has sold the item before the crash"
        (ended,) = events(eve, "auction_ended")
        assert failed in ended["failed"]
        assert bool(failed) == bool(ended["failed"])


async def test_the_first_auction_after_a_crash_is_a_new_auction(bank: MarketBank) -> None:
    runtime, ann, bob, _ = opened(bank)
    restored = saved(runtime)
    assert bid(bob, auctioned(ann), 9).ok
    run(runtime, 10.2)
    await decided(runtime)
    bank.start(restored)
    ann, bob = seated(restored, "ann"), seated(restored, "bob")
    assert bid(bob, auctioned(ann), 9).ok
    run(restored, 10.2)
    await decided(restored)
    assert bank.ledger.all_holdings()["bob"] == {"gold": 50 - 2 * 9, "sword": 2}
    assert bank.transactions.results == {"committed": 2}
