"""Transactions in the harness: the example market buys, trades and auctions, once, through every kind of loss."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from tickwire import CommandRefused, Player, Room, Transaction, TransactionOutcome, command, grant, spend
from tickwire.client.errors import CommandFailed
from tickwire.examples.market import PRICES, WAGE, AuctionEnded, Market
from tickwire.server.errors import StaleEpoch, Unavailable
from tickwire.server.storage import TransactionRequest
from tickwire.testing import LedgerFault, Network, RoomHarness

OUTCOMES: list[str] = []
"""The outcomes of all rooms, also of those that have crashed."""
ANN_AND_BOB = {"ann": {"sword": 1}, "bob": {"gold": 50}}


class Guild(Room):
    """Grants a badge once per player, and takes a fine from players without gold."""

    room_type = "guild"
    durable = True
    uses_ledger = True
    outcomes: list[str]

    def __init__(self, **known: Any) -> None:
        super().__init__(**known)
        self.outcomes = OUTCOMES

    @command
    def earn_badge(self, player: Player) -> Transaction:
        if "badge" in player.holdings:
            raise CommandRefused("you have the badge already")
        return Transaction(grant(player.id, "badge"), reply="welcome")

    @command
    def fine(self, player: Player) -> None:
        self.transact(Transaction(spend(player.id, "gold"), key=f"fine/{player.id}"), self.fined)

    def fined(self, outcome: TransactionOutcome) -> None:
        self.outcomes.append(outcome.refused)


def test_a_player_buys_with_what_the_ledger_has() -> None:
    with RoomHarness(Market, holdings={"ann": {"gold": 50}}, profiles={"ann": {"name": "Ann"}}) as room:
        ann = room.join("ann")
        bought, poor = ann.command("buy", item="sword"), ann.command("buy", item="sword")
        room.run(ticks=5)
        assert bought.value == "sword"
        assert poor.error == "not enough gold"
        assert room.ledger.holdings("ann") == {"gold": 50 - PRICES["sword"], "sword": 1}
        (trader,) = ann.world.traders
        assert (trader.name, trader.gold) == ("Ann", 20)
        first, second = room.ledger.entries[1:]
        assert first.changes == {"ann": {"gold": -30, "sword": 1}}
        assert (first.reply, second.refused) == ("sword", "not enough gold")


@pytest.mark.parametrize("fault", [LedgerFault.ANSWER_LOST, LedgerFault.UNAVAILABLE])
@pytest.mark.parametrize("loss", ["nothing", "disconnect", "migrate", "crash"])
def test_a_command_is_committed_once_whatever_is_lost(fault: LedgerFault, loss: str) -> None:
    with RoomHarness(Market) as room:
        ann = room.join("ann")
        room.run(seconds=1)  # the room and the session are saved
        room.ledger.fail_next(fault)
        earned = ann.command("work")
        while room.shard.transactions.results["unavailable"] == 0:
            room.run(seconds=0.001)
        assert len(room.ledger.entries) == (fault is LedgerFault.ANSWER_LOST)
        if loss == "disconnect":
            ann.disconnect()
            room.run(seconds=2)
            ann.reconnect()
        elif loss == "migrate":
            room.migrate()
        elif loss == "crash":
            room.crash_and_restore()
        room.run(seconds=10)
        assert earned.value == WAGE
        assert room.ledger.holdings("ann") == {"gold": WAGE}
        assert room.room.players["ann"].holdings == {"gold": WAGE}
        room.check_convergence()


def test_an_auction_that_a_crash_cuts_between_commit_and_outcome_sells_once() -> None:
    with RoomHarness(Market, holdings=ANN_AND_BOB) as room:
        ann, bob = room.join("ann"), room.join("bob")
        auction = ann.command("auction", item="sword", seconds=5)
        room.run(ticks=3)
        bid = bob.command("bid", auction=auction.value, gold=30)
        room.run(seconds=4.0)
        assert bid.error == ""
        room.ledger.fail_next(LedgerFault.ANSWER_LOST)
        while not room.ledger.holdings("bob").get("sword"):
            room.run(seconds=0.02)
        assert not ann.received(AuctionEnded), "the room does not know the outcome"
        room.crash_and_restore()
        room.run(seconds=10)
        assert room.ledger.all_holdings() == {"ann": {"gold": 30}, "bob": {"gold": 20, "sword": 1}}
        (ended,) = bob.received(AuctionEnded)
        assert (ended.auction, ended.failed) == (auction.value, "")
        assert [entry.key for entry in room.ledger.entries if "auction" in entry.key] == [f"auction/{auction.value}"]
        room.check_convergence()


def test_an_outage_of_the_ledger_delays_commands_and_auctions() -> None:
    with RoomHarness(Market, holdings=ANN_AND_BOB) as room:
        ann, bob = room.join("ann"), room.join("bob")
        auction = ann.command("auction", item="sword", seconds=2)
        room.run(ticks=3)
        bob.command("bid", auction=auction.value, gold=30)
        room.run(ticks=3)
        room.ledger.set_unavailable(8)
        work = bob.command("work")
        room.run(seconds=6)
        assert not work.is_done
        assert room.ledger.all_holdings() == ANN_AND_BOB
        with pytest.raises(Unavailable):
            room.crash_and_restore()
        room.run(seconds=10)
        assert work.value == WAGE
        assert room.ledger.all_holdings() == {"ann": {"gold": 30}, "bob": {"gold": 20 + WAGE, "sword": 1}}


def test_a_move_waits_for_the_commit_and_gives_up_if_it_does_not_end() -> None:
    with RoomHarness(Market) as room:
        ann = room.join("ann")
        room.ledger.hold_commits()
        work = ann.command("work")
        room.run(ticks=2)
        assert room.ledger.commits_held == 1
        with pytest.raises(AssertionError, match="unknown outcome"):
            room.migrate()
        room.run(ticks=2)
        room.ledger.release_commits()
        room.run(ticks=5)
        assert work.value == WAGE
        room.migrate()
        room.run(seconds=2)
        assert room.room.players["ann"].holdings == {"gold": WAGE}, "the records move with the room"
        assert room.ledger.holdings("ann") == {"gold": WAGE}


def test_a_restored_room_has_the_replies_that_its_save_lacks() -> None:
    """The room refuses a second badge, so only the stored reply can answer the repeated command."""
    with RoomHarness(Guild) as room:
        ann = room.join("ann")
        room.run(seconds=1)
        room.ledger.fail_next(LedgerFault.ANSWER_LOST)
        badge = ann.command("earn_badge")
        while not room.ledger.holdings("ann"):
            room.run(seconds=0.001)
        room.crash_and_restore()
        room.run(seconds=5)
        assert badge.value == "welcome"
        assert room.ledger.holdings("ann") == {"badge": 1}


def test_a_crashed_shard_reports_no_outcome_and_commits_nothing() -> None:
    OUTCOMES.clear()
    with RoomHarness(Guild) as room:
        room.ledger.hold_commits()
        room.join("ann").command("fine")
        room.run(seconds=2)
        assert room.ledger.commits_held == 1
        room.crash_and_restore()
        room.ledger.release_commits()
        room.run(seconds=5)
        assert OUTCOMES == ["not enough gold"], "the restored room alone"
        late = TransactionRequest(key="late", player_id="", session_id="", command_id=0, fence="guild/guild", epoch=1)
        with pytest.raises(StaleEpoch):
            asyncio.run(room.ledger.commit(late))


def test_a_killed_shard_stops_the_commits_of_its_rooms() -> None:
    with RoomHarness(Guild) as room:
        room.ledger.hold_commits()
        room.join("ann").command("fine")
        room.run(seconds=1)
        assert room.ledger.commits_held == 1
        room.shard.stop()
        room.ledger.release_commits()
        room.run(seconds=5)
        assert room.ledger.entries == []


def test_offers_are_accepted_once_by_players_that_lose_messages() -> None:
    network = Network(latency_ms=(20, 90), loss=0.05, breaks_per_minute=10)
    with RoomHarness(Market, seed=3, network=network, holdings=ANN_AND_BOB) as room:
        ann, bob = room.join("ann"), room.join("bob")
        room.ledger.fail_randomly(unavailable=0.3, answer_lost=0.3)
        offer = ann.command("offer", to=bob.entity, gives={"sword": 1}, takes={"gold": 7})
        room.run(seconds=10)
        accepts = [bob.command("accept", offer=offer.value) for _ in range(5)]
        work = [ann.command("work") for _ in range(10)]
        room.run(seconds=90)
        assert all(one.value == WAGE for one in work)
        assert accepts[0].value == offer.value
        for again in accepts[1:]:
            assert again.error.startswith("this offer does not exist") or again.value == offer.value
        assert room.ledger.all_holdings() == {"ann": {"gold": 7 + 10 * WAGE}, "bob": {"gold": 43, "sword": 1}}
        room.check_convergence()


def test_the_same_seed_has_the_same_faults() -> None:
    def results(seed: int) -> dict[str, int]:
        with RoomHarness(Market, seed=seed) as room:
            room.ledger.fail_randomly(unavailable=0.3, answer_lost=0.3)
            ann = room.join("ann")
            for _ in range(8):
                ann.command("work")
            room.run(seconds=10)
            return dict(room.shard.transactions.results)

    assert results(1) == results(1)
    assert len({tuple(results(seed).items()) for seed in range(1, 6)}) > 1


def test_a_refused_command_raises_with_the_reason_of_the_ledger() -> None:
    with RoomHarness(Market) as room:
        ann = room.join("ann")
        bought = ann.command("buy", item="bread")
        room.run(ticks=5)
        with pytest.raises(CommandFailed, match="not enough gold"):
            _ = bought.value


def test_the_example_of_the_guide_passes() -> None:
    guide = (Path(__file__).parents[2] / "docs/testing.md").read_text()
    (code,) = [block for block in re.split(r"```python\n|```", guide) if "import LedgerFault" in block]
    names: dict[str, Any] = {}
    exec(code, names)
    names["test_a_purchase_survives_a_crash_between_commit_and_reply"]()
