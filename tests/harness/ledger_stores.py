"""The two ledgers, MongoDB's and the one in memory, behind one interface, so that a test runs on both."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec

from tickwire.server.persistence.ports import PlayerRecordReader, TransactionLedger
from tickwire.server.storage import MongoStore, TransactionRequest, migrate
from tickwire.server.storage.ledger_rules import REFUSED_DAYS
from tickwire.testing.memory_ledger import MemoryLedger

Changes = dict[str, dict[str, int]]


class SummedLedger(TransactionLedger, Protocol):
    """A ledger that can sum the entries of a player."""

    async def sums(self, player_id: str) -> dict[str, int]: ...


class LedgerStore(msgspec.Struct, frozen=True):
    """A ledger with its records.

    Args:
        ledger: commits transactions.
        players: reads the records.
        claim: claims a room of type garden by name, under an epoch.
        expire_refusals: lets the time of all refusals pass, and deletes them.
    """

    ledger: SummedLedger
    players: PlayerRecordReader
    claim: Callable[[str, int], Coroutine[Any, Any, None]]
    expire_refusals: Callable[[], Coroutine[Any, Any, None]]

    async def holdings(self, *players: str) -> list[dict[str, int]]:
        """See `read_holdings`."""
        return await read_holdings(self.ledger, self.players, *players)


async def read_holdings(ledger: SummedLedger, reader: PlayerRecordReader, *players: str) -> list[dict[str, int]]:
    """Return the holdings of players, which must equal the sums of the ledger."""
    found = await reader.load(players)
    for player in players:
        sums = await ledger.sums(player)
        assert _without_zeros(found[player].holdings) == _without_zeros(sums), f"the sums of {player}'s entries"
    return [found[player].holdings for player in players]


def _without_zeros(amounts: dict[str, int]) -> dict[str, int]:
    return {item: amount for item, amount in amounts.items() if amount}


def transaction(key: str, changes: Changes, *, player: str = "ann", **more: Any) -> TransactionRequest:
    """Return a request of a session of this player."""
    wanted: dict[str, Any] = {"reply": key.encode(), "fence": "room", "epoch": 1, "command_id": 1, "session_id": "s1"}
    return TransactionRequest(key=key, player_id=player, changes=changes, **(wanted | more))


async def create_mongo_ledger(store: MongoStore) -> LedgerStore:
    """Return the ledger of a database, which is created."""
    await migrate(store.database, store.calls)

    async def claim(name: str, epoch: int) -> None:
        await store.worlds.claim("garden", name, epoch)

    async def expire_refusals() -> None:
        """Delete what the TTL index would delete, whose thread runs once a minute."""
        indexes = await store.database["ledger"].index_information()
        assert any(one["key"] == [("expires_at", 1)] and one["expireAfterSeconds"] == 0 for one in indexes.values())
        later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=REFUSED_DAYS)
        await store.database["ledger"].delete_many({"expires_at": {"$lte": later}})

    return LedgerStore(store.ledger, store.players, claim, expire_refusals)


def create_memory_ledger() -> LedgerStore:
    """Return a ledger in memory, on a clock that only `expire_refusals` moves."""
    days = 0

    def now() -> datetime.datetime:
        return datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(days=days)

    ledger = MemoryLedger(now)

    async def claim(name: str, epoch: int) -> None:
        ledger.raise_fence(f"garden/{name}", epoch)

    async def expire_refusals() -> None:
        nonlocal days
        days += REFUSED_DAYS

    return LedgerStore(ledger, ledger, claim, expire_refusals)
