"""market: players earn, buy, transfer and trade items, which outlive rooms and servers.

A command that changes what players own returns a Transaction and changes nothing else. The transaction is committed
before its player receives the reply, and a retry of the command, after a crash or on another shard, receives the same
reply. `on_transaction` then shows the effects to all players.

An auction ends without a command: a timer of the room starts the transaction, and `sold` runs once it is decided. The
seller and the bidder keep the item and the gold until then, and may have left the room. If one of them has spent it,
the ledger refuses the sale.

Offers and auctions have random ids, which are part of the idempotency keys of their transactions. A counter in the
room would not work: a room that is restored after a crash may be a second old, and would use the last numbers a
second time. Offers, auctions and timers are saved with the room.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tickwire import (
    CommandRefused,
    Event,
    Player,
    Room,
    SaveData,
    Table,
    Transaction,
    TransactionOutcome,
    command,
    grant,
    spend,
    text,
    trade,
    transfer,
    uint,
)

PRICES = {"sword": 30, "shield": 20, "bread": 2}
WAGE = 10
OFFERS_MAX = 100
OFFER_S = 300.0
AUCTIONS_MAX = 20

Name = Annotated[str, Meta(min_length=1, max_length=24)]
Item = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_\-]{1,64}$")]
Amount = Annotated[int, Meta(ge=1, lt=2**53)]
Seconds = Annotated[int, Meta(ge=1, le=3600)]


class Traders(Table):
    """The traders in the room, with the data that all players see."""

    name = text(bytes_max=24)
    gold = uint(bits=32)


class Offer(SaveData):
    """An offer of one player to another."""

    id: str
    giver: str
    taker: str
    gives: dict[str, int]
    takes: dict[str, int]
    expires_s: float = 0.0


class Auction(SaveData):
    """An item that a player sells to the best bidder."""

    id: str
    seller: str
    item: str
    ends_s: float
    bidder: str = ""
    gold: int = 0

    def to_event(self) -> AuctionChanged:
        return AuctionChanged(self.id, self.item, self.gold, self.ends_s)


class MarketSave(SaveData):
    """The open offers and auctions; they are saved with the room."""

    version = 2
    offers: list[Offer] = []
    auctions: list[Auction] = []

    @classmethod
    def upgrade(cls, version: int, saved: dict[str, Any]) -> dict[str, Any]:
        """Drop the offers of version 1: they had numbers, under which some of them may have been accepted."""
        return {"offers": []}


class MarketOptions(msgspec.Struct):
    """The options of a Join."""

    name: Name = "trader"


class Offered(Event):
    """Another player has made an offer to this one."""

    offer: str
    gives: dict[str, int]
    takes: dict[str, int]


class AuctionChanged(Event):
    """An auction is open until `ends_s`: it has begun or has a new best bid, or this player has joined."""

    auction: str
    item: str
    gold: int
    ends_s: float


class AuctionEnded(Event):
    """An auction has ended. The item is sold for the best bid, unless `failed` has a reason."""

    auction: str
    failed: str = ""


class Market(Room):
    """A market of 100 traders."""

    room_type = "market"
    max_players = 100
    tick_rate_hz = 10.0
    durable = True
    save_type = MarketSave
    uses_ledger = True
    events = (Offered, AuctionChanged, AuctionEnded)
    traders: Traders

    def on_create(self, options: object) -> None:
        self.offers: dict[str, Offer] = {}
        self.auctions: dict[str, Auction] = {}
        self.clock.every(10.0, self.expire_offers)

    def restore(self, saved: MarketSave) -> None:
        self.offers = {offer.id: offer for offer in saved.offers}
        self.auctions = {auction.id: auction for auction in saved.auctions}
        present = {player.find_entity() for player in self.players.values()}
        for trader in self.traders:
            if trader not in present:
                trader.despawn()

    def save(self) -> MarketSave:
        return MarketSave(list(self.offers.values()), list(self.auctions.values()))

    def on_join(self, player: Player, options: MarketOptions) -> None:
        name = player.profile.get("name", options.name)
        player.entity = self.traders.spawn(name=name, gold=player.holdings.get("gold", 0))
        for auction in self.auctions.values():
            player.send(auction.to_event())

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()

    # -- commands -------------------------------------------------------------------------------------------

    @command
    def purse(self, player: Player) -> dict[str, int]:
        return dict(player.holdings)

    @command
    def work(self, player: Player) -> Transaction:
        return Transaction(grant(player.id, "gold", WAGE), reply=WAGE)

    @command
    def buy(self, player: Player, item: Literal["sword", "shield", "bread"]) -> Transaction:
        return Transaction((*spend(player.id, "gold", PRICES[item]), *grant(player.id, item)), reply=item)

    @command
    def give(self, player: Player, to: int, item: Item, amount: Amount) -> Transaction:
        return Transaction(transfer(player.id, self.find_trader(to).id, item, amount))

    @command
    def rename(self, player: Player, to: Name) -> Transaction:
        return Transaction(profile={**player.profile, "name": to})

    @command
    def offer(self, player: Player, to: int, gives: dict[Item, Amount], takes: dict[Item, Amount]) -> str:
        """Open an offer. It changes no holdings yet, so it is not a transaction."""
        if len(self.offers) >= OFFERS_MAX:
            raise CommandRefused("too many offers are open")
        taker = self.find_trader(to)
        expires_s = self.clock.now_s + OFFER_S
        offer = Offer(secrets.token_urlsafe(9), player.id, taker.id, gives, takes, expires_s)
        self.offers[offer.id] = offer
        taker.send(Offered(offer.id, gives, takes))
        return offer.id

    @command
    def accept(self, player: Player, offer: str) -> Transaction:
        found = self.offers.get(offer)
        if found is None or found.taker != player.id:
            raise CommandRefused("this offer does not exist, or is for another player")
        moves = trade(found.giver, found.gives, found.taker, found.takes)
        # The key applies the trade once, even if the room is restored from before it and the offer is open again.
        return Transaction(moves, reply=found.id, key=f"offer/{found.id}")

    def on_transaction(self, player: Player, name: str, transaction: Transaction) -> None:
        if name == "accept":
            self.offers.pop(transaction.reply, None)
        self.show_gold()
        if name == "rename" and player.id in self.players:
            player.entity.name = player.profile["name"]

    def show_gold(self) -> None:
        for player in self.players.values():
            player.entity.gold = player.holdings.get("gold", 0)

    def expire_offers(self) -> None:
        self.offers = {id: offer for id, offer in self.offers.items() if offer.expires_s > self.clock.now_s}

    def find_trader(self, id: int) -> Player:
        for player in self.players.values():
            if player.entity.id == id:
                return player
        raise CommandRefused("this trader is not in the room")

    # -- auctions -------------------------------------------------------------------------------------------

    @command
    def auction(self, player: Player, item: Item, seconds: Seconds) -> str:
        if not player.holdings.get(item):
            raise CommandRefused(f"you have no {item}")
        if len(self.auctions) + len(self.transactions) >= AUCTIONS_MAX:
            raise CommandRefused("too many auctions are open")
        auction = Auction(secrets.token_urlsafe(9), player.id, item, self.clock.now_s + seconds)
        self.auctions[auction.id] = auction
        self.clock.after(seconds, self.end_auction, auction.id)
        self.broadcast(auction.to_event())
        return auction.id

    @command(rate_per_s=2.0, burst=10)
    def bid(self, player: Player, auction: str, gold: Amount) -> None:
        found = self.auctions.get(auction)
        if found is None or found.seller == player.id:
            raise CommandRefused("this auction does not exist, or is your own")
        if not found.gold < gold <= player.holdings.get("gold", 0):
            raise CommandRefused(f"a bid is more than {found.gold} gold, and no more than you have")
        found.bidder, found.gold = player.id, gold
        self.broadcast(found.to_event())

    def end_auction(self, id: str) -> None:
        auction = self.auctions.pop(id)
        if not auction.bidder:
            self.broadcast(AuctionEnded(id, failed="there was no bid"))
            return
        moves = trade(auction.seller, {auction.item: 1}, auction.bidder, {"gold": auction.gold})
        # The key sells the item once, even if the room is restored from before the end and receives other bids.
        self.transact(Transaction(moves, reply=id, key=f"auction/{id}"), self.sold)

    def sold(self, outcome: TransactionOutcome) -> None:
        self.show_gold()
        self.broadcast(AuctionEnded(outcome.transaction.reply, failed=outcome.refused))


ROOMS = [Market]
