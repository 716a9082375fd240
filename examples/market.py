"""market: what players own outlives rooms and servers, and moves between them once.

A command that changes what somebody owns returns a Deal, and changes nothing else: the deal is written down before
its player hears of it, and a command that is asked again, after a crash or on another shard, is answered as before.
What the others see follows in `on_dealt`.

An offer has a random id, and the idempotency key of its Deal is made of that. A number that counts up in the room
would not do: a room that is restored after a crash may be a second old, and would use the last numbers again.
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
    """Who is there, and what everybody sees of them."""

    name = text(bytes_max=24)
    gold = uint(bits=32)


class Offer(SaveData):
    """One player's, to another."""

    id: str
    giver: str
    taker: str
    gives: dict[str, int]
    takes: dict[str, int]


class MarketSave(SaveData):
    """Offers outlive the room, too."""

    version = 2
    offers: list[Offer] = []

    @classmethod
    def upgrade(cls, version: int, saved: dict[str, Any]) -> dict[str, Any]:
        """Version 1 numbered the offers. They are dropped: some may have been accepted under their numbers."""
        return {"offers": []}


class Market(Room):
    """Work, buy, give, trade."""

    room_type = "market"
    seats = 100
    tick_rate_hz = 10.0
    durable = True
    saves = MarketSave
    uses_ledger = True
    traders: Traders

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.offers: dict[str, Offer] = {}

    def restore(self, saved: MarketSave) -> None:
        self.offers = {offer.id: offer for offer in saved.offers}
        theirs = {player.entity.id for player in self.players.values() if player.entity is not None}
        for trader in self.traders:
            if trader.id not in theirs:
                self.traders.despawn(trader.id)

    def save(self) -> MarketSave:
        return MarketSave(list(self.offers.values()))

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        name = player.profile.get("name") or str(options.get("name", "trader"))
        player.entity = self.traders.spawn(name=name, gold=player.holdings.get("gold", 0))

    def on_leave(self, player: Player) -> None:
        if player.entity is not None:
            self.traders.despawn(player.entity.id)

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
            raise CommandRefused(f"that cannot be: {error}") from error
        raise CommandRefused(f"unknown command {name!r}")

    def on_dealt(self, player: Player, name: str, deal: Transaction) -> None:
        if name == "accept":
            self.offers.pop(deal.reply, None)
        for other in self.players.values():
            if other.entity is not None:
                other.entity.gold = other.holdings.get("gold", 0)
        if name == "name" and player.entity is not None and player.id in self.players:
            player.entity.name = player.profile["name"]

    def _buy(self, player: Player, item: str) -> Transaction:
        if item not in PRICES:
            raise CommandRefused(f"nobody sells {item!r} here")
        return Transaction((*spend(player.id, "gold", PRICES[item]), *grant(player.id, item)), reply=item)

    def _offer(self, player: Player, payload: Mapping[str, Any]) -> str:
        """Nobody's holdings change yet, so this is no deal."""
        if len(self.offers) >= OFFERS_MAX:
            raise CommandRefused("too many offers are open")
        taker = self._trader(payload["to"])
        trade(player.id, payload["gives"], taker.id, payload["takes"])  # raises where there can be no such trade
        offer = Offer(secrets.token_urlsafe(9), player.id, taker.id, payload["gives"], payload["takes"])
        self.offers[offer.id] = offer
        taker.send("offered", {"offer": offer.id, "gives": offer.gives, "takes": offer.takes})
        return offer.id

    def _accept(self, player: Player, id: str) -> Transaction:
        offer = self.offers.get(id)
        if offer is None or offer.taker != player.id:
            raise CommandRefused("there is no such offer")
        moves = trade(offer.giver, offer.gives, offer.taker, offer.takes)
        # The trade happens once, also when the room is restored from before it and the offer is open again.
        return Transaction(moves, reply=offer.id, key=f"offer/{offer.id}")

    def _trader(self, id: int) -> Player:
        for player in self.players.values():
            if player.entity is not None and player.entity.id == id:
                return player
        raise CommandRefused("nobody like that is here")


ROOMS = {"market": Market}
