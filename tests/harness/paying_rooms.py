"""A durable room that changes what its players own without a command."""

from __future__ import annotations

from typing import Any

from tickwire import CommandRefused, Player, Room, SaveData, Transaction, TransactionOutcome, grant, spend


class PayingSave(SaveData):
    """The outcomes so far, by key."""

    outcomes: list[tuple[str, str]] = []


class PayingRoom(Room):
    """Pays the players that a command names, and reports the outcomes."""

    room_type = "paying"
    durable = True
    uses_ledger = True
    save_type = PayingSave

    def __init__(self, **known: Any) -> None:
        super().__init__(**known)
        self.outcomes: list[tuple[str, str]] = []

    def save(self) -> PayingSave:
        return PayingSave(list(self.outcomes))

    def restore(self, saved: PayingSave) -> None:
        self.outcomes = list(saved.outcomes)

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        match name:
            case "pay":
                for key, player_id, amount in payload:
                    moves = grant(player_id, "gold", amount) if amount > 0 else spend(player_id, "gold", -amount)
                    self.transact(Transaction(moves, key=key), self.paid)
            case "purse":
                return dict(player.holdings)
            case "outcomes":
                return self.outcomes
            case "close":
                self.close("closed")
            case _:
                raise CommandRefused(f"unknown command {name!r}")
        return None

    def paid(self, outcome: TransactionOutcome) -> None:
        self.outcomes.append((outcome.transaction.key, outcome.refused))
        self.broadcast("paid", outcome.transaction.key)


ROOMS = [PayingRoom]
