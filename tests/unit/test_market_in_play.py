"""The example market in random play: lost answers of the ledger, lost connections, moves to other shards, crashes.

Every command has one reply in the end, and the holdings are those that the replies say.
"""

from __future__ import annotations

import random
from collections import Counter

from tickwire.client.errors import CommandFailed
from tickwire.examples.market import PRICES, WAGE, AuctionChanged, Market, Offered
from tickwire.testing import HarnessClient, Network, RoomHarness, disconnect_or_reconnect, seeds
from tickwire.testing.command_call import CommandCall

BAD = Network(latency_ms=(20, 120), loss=0.05, breaks_per_minute=3)
PLAYERS = ("ann", "bob", "cid")


class Trading:
    """The actions of players, and the commands whose replies say what the players own."""

    def __init__(self) -> None:
        self.works: list[CommandCall] = []
        self.buys: list[CommandCall] = []

    def work(self, client: HarnessClient, rng: random.Random) -> None:
        if client.is_seated:
            self.works.append(client.command("work"))

    def buy(self, client: HarnessClient, rng: random.Random) -> None:
        if client.is_seated:
            self.buys.append(client.command("buy", item=rng.choice(list(PRICES))))

    def trade(self, client: HarnessClient, rng: random.Random) -> None:
        """Accept an offer twice, or make one."""
        if not client.is_seated:
            return
        offers, traders = client.received(Offered), [trader.id for trader in client.world.traders]
        if offers and rng.random() < 0.6:
            for _ in range(2):
                client.command("accept", offer=rng.choice(offers).offer)
        elif traders:  # none before the first frame after a resume
            client.command("offer", to=rng.choice(traders), gives={"gold": rng.randint(1, 5)}, takes={"bread": 1})

    def auction(self, client: HarnessClient, rng: random.Random) -> None:
        """Sell bread, or bid for it."""
        if client.is_seated:
            open_auctions = [event.auction for event in client.received(AuctionChanged)]
            if open_auctions and rng.random() < 0.7:
                client.command("bid", auction=rng.choice(open_auctions), gold=rng.randint(1, 9))
            else:
                client.command("auction", item="bread", seconds=rng.randint(1, 5))


def is_done(call: CommandCall) -> bool:
    """Return whether the reply says that the transaction was committed."""
    try:
        return call.value is not None
    except CommandFailed:
        return False


@seeds(6)
def test_the_ledger_has_what_the_replies_say(seed: int) -> None:
    trading = Trading()
    actions = {
        trading.work: 6,
        trading.buy: 4,
        trading.trade: 5,
        trading.auction: 3,
        disconnect_or_reconnect: 1,
    }
    with RoomHarness(Market, seed=seed, network=BAD) as room:
        for name in PLAYERS:
            room.join(name)
        room.ledger.fail_randomly(unavailable=0.15, answer_lost=0.15)
        for fault in (room.migrate, room.crash_and_restore, room.crash_and_restore):
            room.random_play(actions, steps=50)
            fault()
        room.ledger.set_available()
        for client in room.clients.values():
            if client.is_away:
                client.reconnect()
        room.run(seconds=60)
        earned, bought = Counter(map(is_done, trading.works)), [buy.value for buy in trading.buys if is_done(buy)]
        held = room.ledger.all_holdings()
        assert earned[False] == 0
        total = Counter[str]()
        for items in held.values():
            total.update(items)
        assert total == Counter(bought) + Counter(gold=WAGE * earned[True] - sum(PRICES[item] for item in bought))
        for name in PLAYERS:
            assert room.room.players[name].holdings.get("gold", 0) == held.get(name, {}).get("gold", 0)
        room.check_convergence()
