"""What a game does to what players own: values that it returns, and the shard carries out.

    def on_command(self, player, name, payload):
        if name == "buy sword":
            return Transaction((*spend(player.id, "gold", 5), *grant(player.id, "sword")), reply="it is yours")

A deal happens as a whole or not at all, and once, however often its command is asked: it is written before the player
hears of it. Nobody can come to own less than nothing. What the room shows of it is done in `on_dealt`, afterwards.

Pure.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np

from tickwire.limits import AMOUNT_MAX

ITEM = re.compile(r"[A-Za-z0-9_\-]{1,64}")
KEY_CHARACTERS_MAX = 200


class ItemChange(msgspec.Struct, frozen=True):
    """So many of an item come to a player, or are taken when `amount` is below 0.

    Amounts are whole numbers, of Python or numpy. A float or a boolean is refused, also where its value is whole: it
    would be stored as another type.

    Raises:
        ValueError: the player, the item or the amount is invalid.
    """

    player_id: str
    item: str
    amount: int

    def __post_init__(self) -> None:
        if not isinstance(self.item, str) or not ITEM.fullmatch(self.item):
            raise ValueError(f"an item is called by 1 to 64 of A-Z a-z 0-9 _ -, not {str(self.item)[:80]!r}")
        if not isinstance(self.player_id, str) or not self.player_id:
            raise ValueError(f"a player id must be a text, not {repr(self.player_id)[:80]}")
        amount = _whole(self.item, self.amount)
        if not 0 < abs(amount) < AMOUNT_MAX:
            raise ValueError(f"{amount} {self.item} cannot be given or taken")
        msgspec.structs.force_setattr(self, "amount", amount)


class Transaction(msgspec.Struct, frozen=True):
    """What a command comes to.

    Args:
        moves: all of them happen, or none.
        reply: the Reply's payload; the same whenever the command is asked again.
        profile: takes the place of the player's; None leaves it.
        key: makes it happen once over all commands, sessions and rooms. It must be one that a crash cannot repeat: an
            order number, or a random id that was made and saved before. With other moves it is refused. Without one
            the key is the session's and the command's.
    """

    moves: tuple[ItemChange, ...] = ()
    reply: Any = None
    profile: dict[str, Any] | None = None
    key: str = ""

    def __post_init__(self) -> None:
        if len(self.key) > KEY_CHARACTERS_MAX:
            raise ValueError(f"a deal's key has at most {KEY_CHARACTERS_MAX} characters")


class Decision(msgspec.Struct, frozen=True):
    """A Deal as the room decided it, with everything that the decision was based on.

    It may be written only while that still holds; otherwise the room decides again.

    Args:
        deal: as the game returned it.
        reply: its payload, encoded.
        profile: in plain values, or None.
        versions: of each player whose record the room read for the decision.
        sequence: how many deals the room had applied (`Simulation.deals_applied`), since `on_dealt` changes what the
            room itself remembers.
    """

    deal: Transaction
    reply: bytes
    profile: dict[str, Any] | None
    versions: Mapping[str, int]
    sequence: int


class RecordReads:
    """Notes which players' records a room reads while it decides on one command."""

    __slots__ = ("_versions",)

    def __init__(self) -> None:
        self._versions: dict[str, int] | None = None

    def note(self, player_id: str, version: int) -> None:
        """Note that the room has read a player's record. Outside of `collect` nothing is kept."""
        if self._versions is not None:
            self._versions[player_id] = version

    @contextmanager
    def collect(self) -> Iterator[dict[str, int]]:
        """Yield the versions of the records that are read within, by player id."""
        versions: dict[str, int] = {}
        self._versions = versions
        try:
            yield versions
        finally:
            self._versions = None


class RecordVersion(msgspec.Struct, frozen=True):
    """What a player owns and what the game keeps of it, as last read or written here.

    Args:
        version: grows with every change.
        holdings: how many of each item.
        profile: the game's own.
    """

    version: int = 0
    holdings: dict[str, int] = {}
    profile: dict[str, Any] = {}


def grant(player_id: str, item: str, amount: int = 1) -> tuple[ItemChange]:
    """Comes from nowhere: a reward, a purchase."""
    return (ItemChange(player_id, item, _positive(item, amount)),)


def spend(player_id: str, item: str, amount: int = 1) -> tuple[ItemChange]:
    """Goes nowhere: a price, a use."""
    return (ItemChange(player_id, item, -_positive(item, amount)),)


def transfer(giver_id: str, taker_id: str, item: str, amount: int = 1) -> tuple[ItemChange, ItemChange]:
    """From one player to another."""
    return (*spend(giver_id, item, amount), *grant(taker_id, item, amount))


def trade(one_id: str, gives: dict[str, int], other_id: str, takes: dict[str, int]) -> tuple[ItemChange, ...]:
    """What one gives for what it takes of the other."""
    there = [move for item, amount in gives.items() for move in transfer(one_id, other_id, item, amount)]
    back = [move for item, amount in takes.items() for move in transfer(other_id, one_id, item, amount)]
    return (*there, *back)


def net(moves: tuple[ItemChange, ...]) -> dict[str, dict[str, int]]:
    """What remains of some moves: by player and item, in a fixed order; what evens out is left out."""
    sums: defaultdict[tuple[str, str], int] = defaultdict(int)
    for move in moves:
        sums[move.player_id, move.item] += move.amount
    found: dict[str, dict[str, int]] = {}
    for (player_id, item), amount in sorted(sums.items()):
        if amount:
            found.setdefault(player_id, {})[item] = amount
    return found


def _whole(item: str, amount: object) -> int:
    if isinstance(amount, bool) or not isinstance(amount, int | np.integer):
        raise ValueError(f"the amount of {item} must be a whole number, not {repr(amount)[:80]}")
    return int(amount)


def _positive(item: str, amount: object) -> int:
    whole = _whole(item, amount)
    if whole <= 0:
        raise ValueError(f"an amount is above 0, not {whole}")
    return whole
