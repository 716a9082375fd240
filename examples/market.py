"""market: players earn, buy, transfer and trade items, which outlive rooms and servers.

A command that changes what players own returns a Transaction and changes nothing else. The transaction is committed
before its player receives the reply, and a retry of the command, after a crash or on another shard, receives the same
reply. `on_transaction` then shows the effects to all players.

An offer has a random id, which is part of the idempotency key of its transaction. A counter in the room would not
work: a room that is restored after a crash may be a second old, and would use the last numbers a second time.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from tickwire import (
    CommandRefused,
    Player,
    Room,
    SaveData,
    Table,
    Transaction,
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


class MarketSave(SaveData):
    """The open offers; they are saved with the room."""

    version = 2
    offers: list[Offer] = []

    @classmethod
    def upgrade(cls, version: int, saved: dict[str, Any]) -> dict[str, Any]:
        """Drop the offers of version 1: they had numbers, under which some of them may have been accepted."""
        return {"offers": []}


class Market(Room):
    """A market of 100 traders."""

    room_type = "market"
    max_players = 100
    tick_rate_hz = 10.0
    durable = True
    save_type = MarketSave
    uses_ledger = True
    traders: Traders

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.offers: dict[str, Offer] = {}

    def restore(self, saved: MarketSave) -> None:
        self.offers = {offer.id: offer for offer in saved.offers}
        present = {player.find_entity() for player in self.players.values()}
        for trader in self.traders:
            if trader not in present:
                trader.despawn()

    def save(self) -> MarketSave:
        return MarketSave(list(self.offers.values()))

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        name = player.profile.get("name") or str(options.get("name", "trader"))
        player.entity = self.traders.spawn(name=name, gold=player.holdings.get("gold", 0))

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()

    # -- commands -------------------------------------------------------------------------------------------

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        try:
            match name:
                case "purse":
                    return dict(player.holdings)
                case "work":
                    return Transaction(grant(player.id, "gold", WAGE), reply=WAGE)
                case "buy":
                    return self._buy(player, payload["item"])
                case "give":
                    taker = self._trader(payload["to"])
                    return Transaction(transfer(player.id, taker.id, payload["item"], payload["amount"]))
                case "name":
                    return Transaction(profile={**player.profile, "name": str(payload)[:24]})
                case "offer":
                    return self._offer(player, payload)
                case "accept":
                    return self._accept(player, payload)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CommandRefused(f"invalid request: {error}") from error
        raise CommandRefused(f"unknown command {name!r}")

    def on_transaction(self, player: Player, name: str, transaction: Transaction) -> None:
        if name == "accept":
            self.offers.pop(transaction.reply, None)
        for other in self.players.values():
            other.entity.gold = other.holdings.get("gold", 0)
        if name == "name" and player.id in self.players:
            player.entity.name = player.profile["name"]

    def _buy(self, player: Player, item: str) -> Transaction:
        if item not in PRICES:
            raise CommandRefused(f"{item!r} is not for sale here")
        return Transaction((*spend(player.id, "gold", PRICES[item]), *grant(player.id, item)), reply=item)

    def _offer(self, player: Player, payload: Mapping[str, Any]) -> str:
        """Open an offer. It changes no holdings yet, so it is not a transaction."""
        if len(self.offers) >= OFFERS_MAX:
            raise CommandRefused("too many offers are open")
        taker = self._trader(payload["to"])
        trade(player.id, payload["gives"], taker.id, payload["takes"])  # raises ValueError if the trade is invalid
        offer = Offer(secrets.token_urlsafe(9), player.id, taker.id, payload["gives"], payload["takes"])
        self.offers[offer.id] = offer
        taker.send("offered", {"offer": offer.id, "gives": offer.gives, "takes": offer.takes})
        return offer.id

    def _accept(self, player: Player, id: str) -> Transaction:
        offer = self.offers.get(id)
        if offer is None or offer.taker != player.id:
            raise CommandRefused("this offer does not exist, or is for another player")
        moves = trade(offer.giver, offer.gives, offer.taker, offer.takes)
        # The key applies the trade once, even if the room is restored from before it and the offer is open again.
        return Transaction(moves, reply=offer.id, key=f"offer/{offer.id}")

    def _trader(self, id: int) -> Player:
        for player in self.players.values():
            if player.entity.id == id:
                return player
        raise CommandRefused("this trader is not in the room")


ROOMS = {"market": Market}
