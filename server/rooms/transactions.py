"""Transactions: changes of player inventories, which a game returns from a command and the shard commits.

    def on_command(self, player, name, payload):
        if name == "buy sword":
            return Transaction((*spend(player.id, "gold", 5), *grant(player.id, "sword")), reply="it is yours")

A transaction is applied completely or not at all, and once, however often its command is retried. It is committed
before the player receives the reply. No amount can become negative. Show its effects in the world in
`on_transaction`, which runs after the commit.

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
    """A change of the amount of one item that a player owns; a negative amount removes items.

    Amounts are integers of Python or numpy. A float or a boolean is refused even if its value is integral: it would
    be stored as another type.

    Raises:
        ValueError: the player, the item or the amount is invalid.
    """

    player_id: str
    item: str
    amount: int

    def __post_init__(self) -> None:
        if not isinstance(self.item, str) or not ITEM.fullmatch(self.item):
            raise ValueError(f"an item must be 1 to 64 characters of A-Z a-z 0-9 _ -, not {str(self.item)[:80]!r}")
        if not isinstance(self.player_id, str) or not self.player_id:
            raise ValueError(f"a player id must be a non-empty string, not {repr(self.player_id)[:80]}")
        amount = _whole(self.item, self.amount)
        if not 0 < abs(amount) < AMOUNT_MAX:
            raise ValueError(f"the amount of {self.item} must be between -2^53 and 2^53 and not 0, not {amount}")
        msgspec.structs.force_setattr(self, "amount", amount)


class Transaction(msgspec.Struct, frozen=True):
    """The result of a command that changes what players own.

    Args:
        moves: the item changes; all of them are applied, or none.
        reply: the payload of the Reply; a retry of the command receives the same one.
        profile: replaces the player's profile; None leaves it unchanged.
        key: the idempotency key: the transaction is applied once over all commands, sessions and rooms. A crash must
            not be able to produce it twice: use an order number, or a random id that was created and saved before. A
            key that was used with other moves is refused. By default the key consists of the session and the command.
    """

    moves: tuple[ItemChange, ...] = ()
    reply: Any = None
    profile: dict[str, Any] | None = None
    key: str = ""

    def __post_init__(self) -> None:
        for move in self.moves:
            if not isinstance(move, ItemChange):
                text = "must be changes of items, such as (*spend(...), *grant(...))"
                raise ValueError(f"the moves of a transaction {text}, not {repr(move)[:80]}")
        if len(self.key) > KEY_CHARACTERS_MAX:
            raise ValueError(
                f"a transaction key must have at most {KEY_CHARACTERS_MAX} characters, not {len(self.key)}"
            )


class Decision(msgspec.Struct, frozen=True):
    """A transaction as the room decided it, with everything that the decision was based on.

    It may be committed only while that is still current; otherwise the room decides again.

    Args:
        transaction: the transaction that the game returned.
        reply: the encoded payload of its reply.
        profile: the new profile in plain values; None leaves it unchanged.
        versions: the record versions that the decision was based on, by player id.
        sequence: the number of transactions that the room had applied (`RoomRuntime.transactions_applied`), because
            `on_transaction` changes the room's own data.
    """

    transaction: Transaction
    reply: bytes
    profile: dict[str, Any] | None
    versions: Mapping[str, int]
    sequence: int


class RecordReads:
    """Collects the records that a room reads while it decides on one command."""

    __slots__ = ("_versions",)

    def __init__(self) -> None:
        self._versions: dict[str, int] | None = None

    def add(self, player_id: str, version: int) -> None:
        """Record that the room has read a player's record. Does nothing outside of `collect`."""
        if self._versions is not None:
            self._versions[player_id] = version

    @contextmanager
    def collect(self) -> Iterator[dict[str, int]]:
        """Yield the versions of the records that the room reads in the context, by player id."""
        versions: dict[str, int] = {}
        self._versions = versions
        try:
            yield versions
        finally:
            self._versions = None


class RecordVersion(msgspec.Struct, frozen=True):
    """A player's items and the game's profile of the player, as last read or written by this shard.

    Args:
        version: increases with every change.
        holdings: the amount of each item.
        profile: the game's own data about the player.
    """

    version: int = 0
    holdings: dict[str, int] = {}
    profile: dict[str, Any] = {}


def grant(player_id: str, item: str, amount: int = 1) -> tuple[ItemChange]:
    """Return the changes that create items for a player, such as a reward or a purchase."""
    return (ItemChange(player_id, item, _positive(item, amount)),)


def spend(player_id: str, item: str, amount: int = 1) -> tuple[ItemChange]:
    """Return the changes that remove items from a player, such as a price or a use."""
    return (ItemChange(player_id, item, -_positive(item, amount)),)


def transfer(giver_id: str, taker_id: str, item: str, amount: int = 1) -> tuple[ItemChange, ItemChange]:
    """Return the changes that move items from one player to another."""
    return (*spend(giver_id, item, amount), *grant(taker_id, item, amount))


def trade(one_id: str, gives: dict[str, int], other_id: str, takes: dict[str, int]) -> tuple[ItemChange, ...]:
    """Return the changes that exchange items between two players.

    Args:
        one_id: the first player.
        gives: the items that the first player hands over, by amount.
        other_id: the second player.
        takes: the items that the first player receives, by amount.
    """
    there = [move for item, amount in gives.items() for move in transfer(one_id, other_id, item, amount)]
    back = [move for item, amount in takes.items() for move in transfer(other_id, one_id, item, amount)]
    return (*there, *back)


def net_changes(moves: tuple[ItemChange, ...]) -> dict[str, dict[str, int]]:
    """Return the sum of some changes by player and item, in sorted order, without sums of 0."""
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
        raise ValueError(f"the amount of {item} must be an integer, not {repr(amount)[:80]}")
    return int(amount)


def _positive(item: str, amount: object) -> int:
    whole = _whole(item, amount)
    if whole <= 0:
        raise ValueError(f"the amount of {item} must be at least 1, not {whole}")
    return whole
