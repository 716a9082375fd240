"""market: players earn, buy, transfer and trade items, which outlive rooms and servers.

A command that changes what players own returns a Transaction and changes nothing else. The transaction is committed
before its player receives the reply, and a retry of the command, after a crash or on another shard, receives the same
reply. `on_transaction` then shows the effects to all players.

An offer has a random id, which is part of the idempotency key of its transaction. A counter in the room would not
work: a room that is restored after a crash may be a second old, and would use the last numbers a second time. An
offer that is not accepted in time expires: timers are saved with the room, too.
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

Name = Annotated[str, Meta(min_length=1, max_length=24)]
Item = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_\-]{1,64}$")]
Amount = Annotated[int, Meta(ge=1, lt=2**53)]


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


class MarketSave(SaveData):
    """The open offers; they are saved with the room."""

    version = 2
    offers: list[Offer] = []

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


class Market(Room):
    """A market of 100 traders."""

    room_type = "market"
    max_players = 100
    tick_rate_hz = 10.0
    durable = True
    save_type = MarketSave
    uses_ledger = True
    events = (Offered,)
    traders: Traders

    def on_create(self, options: object) -> None:
        self.offers: dict[str, Offer] = {}
        self.clock.every(10.0, self.expire_offers)

    def restore(self, saved: MarketSave) -> None:
        self.offers = {offer.id: offer for offer in saved.offers}
        present = {player.find_entity() for player in self.players.values()}
        for trader in self.traders:
            if trader not in present:
                trader.despawn()

    def save(self) -> MarketSave:
        return MarketSave(list(self.offers.values()))

    def on_join(self, player: Player, options: MarketOptions) -> None:
        name = player.profile.get("name", options.name)
        player.entity = self.traders.spawn(name=name, gold=player.holdings.get("gold", 0))

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
        for other in self.players.values():
            other.entity.gold = other.holdings.get("gold", 0)
        if name == "rename" and player.id in self.players:
            player.entity.name = player.profile["name"]

    def expire_offers(self) -> None:
        self.offers = {id: offer for id, offer in self.offers.items() if offer.expires_s > self.clock.now_s}

    def find_trader(self, id: int) -> Player:
        for player in self.players.values():
            if player.entity.id == id:
                return player
        raise CommandRefused("this trader is not in the room")


ROOMS = [Market]
