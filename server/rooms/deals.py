"""What a game does to what players own: values that it returns, and the shard carries out.

    def on_command(self, player, name, payload):
        if name == "buy sword":
            return Deal((*spend(player.id, "gold", 5), *grant(player.id, "sword")), reply="it is yours")

A deal happens as a whole or not at all, and once, however often its command is asked: it is written before the player
hears of it. Nobody can come to own less than nothing. What the room shows of it is done in `on_dealt`, afterwards.

Pure.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import msgspec

ITEM = re.compile(r"[A-Za-z0-9_\-]{1,64}")
AMOUNT_MAX = 2**53
"""Of one item that one player owns: what every client can count to."""
KEY_CHARACTERS_MAX = 200


class Move(msgspec.Struct, frozen=True):
    """So many of an item come to a player, or are taken when `amount` is below 0.

    Raises:
        ValueError: there can be no such item or amount.
    """

    player_id: str
    item: str
    amount: int

    def __post_init__(self) -> None:
        if not ITEM.fullmatch(self.item):
            raise ValueError(f"an item is called by 1 to 64 of A-Z a-z 0-9 _ -, not {self.item[:80]!r}")
        if not self.player_id or not 0 < abs(self.amount) < AMOUNT_MAX:
            raise ValueError(f"{self.amount} {self.item} cannot be given or taken")


class Deal(msgspec.Struct, frozen=True):
    """What a command comes to.

    Args:
        moves: all of them happen, or none.
        reply: the Reply's payload; the same whenever the command is asked again.
        profile: takes the place of the player's; None leaves it.
        key: makes it happen once over all commands, sessions and rooms: a purchase's number, say. Without one it is
            the session's and the command's.
    """

    moves: tuple[Move, ...] = ()
    reply: Any = None
    profile: dict[str, Any] | None = None
    key: str = ""

    def __post_init__(self) -> None:
        if len(self.key) > KEY_CHARACTERS_MAX:
            raise ValueError(f"a deal's key has at most {KEY_CHARACTERS_MAX} characters")


class Record(msgspec.Struct, frozen=True):
    """What a player owns and what the game keeps of it, as last read or written here.

    Args:
        version: grows with every change.
        holdings: how many of each item.
        profile: the game's own.
    """

    version: int = 0
    holdings: dict[str, int] = {}
    profile: dict[str, Any] = {}


def grant(player_id: str, item: str, amount: int = 1) -> tuple[Move]:
    """Comes from nowhere: a reward, a purchase."""
    return (Move(player_id, item, _positive(amount)),)


def spend(player_id: str, item: str, amount: int = 1) -> tuple[Move]:
    """Goes nowhere: a price, a use."""
    return (Move(player_id, item, -_positive(amount)),)


def transfer(giver_id: str, taker_id: str, item: str, amount: int = 1) -> tuple[Move, Move]:
    """From one player to another."""
    return (*spend(giver_id, item, amount), *grant(taker_id, item, amount))


def trade(one_id: str, gives: dict[str, int], other_id: str, takes: dict[str, int]) -> tuple[Move, ...]:
    """What one gives for what it takes of the other."""
    there = [move for item, amount in gives.items() for move in transfer(one_id, other_id, item, amount)]
    back = [move for item, amount in takes.items() for move in transfer(other_id, one_id, item, amount)]
    return (*there, *back)


def net(moves: tuple[Move, ...]) -> dict[str, dict[str, int]]:
    """What remains of some moves: by player and item, in a fixed order; what evens out is left out."""
    sums: defaultdict[tuple[str, str], int] = defaultdict(int)
    for move in moves:
        sums[move.player_id, move.item] += move.amount
    found: dict[str, dict[str, int]] = {}
    for (player_id, item), amount in sorted(sums.items()):
        if amount:
            found.setdefault(player_id, {})[item] = amount
    return found


def _positive(amount: int) -> int:
    if amount <= 0:
        raise ValueError(f"an amount is above 0, not {amount}")
    return amount
