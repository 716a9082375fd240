"""A room pays its players without a command: once, also when it moves, closes, or its shard is killed before."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from tests.harness.fleets import fleet, moves_with
from tests.harness.polling import eventually
from tests.harness.shard_process import running
from tests.harness.tokens import AUTH, token_of
from tickwire.client.client import Client, connect
from tickwire.server.config import Settings
from tickwire.server.shard import Shard
from tickwire.server.storage.ledger_documents import TransactionRequest, TransactionResult


@pytest.fixture
def settings(shard_settings: Settings) -> Settings:
    return msgspec.structs.replace(shard_settings, rooms=["tests.harness.paying_rooms"], auth=AUTH)


class HeldLedger:
    """Holds the commits of a shard until `may_go` is set."""

    def __init__(self, shard: Shard) -> None:
        self.may_go = asyncio.Event()
        self.waiting = 0
        self._commit = shard.parts.store.ledger.commit
        shard.parts.store.ledger.commit = self.commit  # type: ignore[method-assign]

    async def commit(self, request: TransactionRequest) -> TransactionResult:
        self.waiting += 1
        await self.may_go.wait()
        return await self._commit(request)


async def outcomes(client: Client, count: int) -> list[Any]:
    """Return the outcomes that the room knows, once there are `count`."""
    found: list[Any] = []

    async def are_known() -> bool:
        found[:] = await client.command("outcomes")
        return len(found) >= count

    await eventually(are_known)
    return found


async def test_a_room_pays_players_in_the_room_and_others(settings: Settings) -> None:
    async with running(settings) as shard, connect(shard.url, token=token_of("ann")) as client:
        await client.join("paying", name="home")
        await client.command("pay", [["a", "ann", 5], ["b", "bob", 7], ["c", "ann", -9], ["a", "ann", 5]])
        await client.wait_for(lambda: sum(event.name == "paid" for event in client.events) == 4)
        assert await outcomes(client, 4) == [["a", ""], ["b", ""], ["c", "not enough gold"], ["a", ""]]
        assert await client.command("purse") == {"gold": 5}
        assert await shard.parts.store.ledger.sums("bob") == {"gold": 7}
        await client.command("pay", [["a", "ann", 6]])
        key, refused = (await outcomes(client, 5))[-1]
        assert key == "a"
        assert "has the key" in refused


async def test_pending_transactions_move_with_their_room(settings: Settings) -> None:
    settings = msgspec.structs.replace(settings, drain_timeout_s=30.0)
    async with fleet(settings) as (one, other), connect(one.url, token=token_of("ann")) as client:
        await client.join("paying", name="home")
        ledger = HeldLedger(one)
        await client.command("pay", [["a", "ann", 1], ["b", "ann", 2], ["c", "ann", 4]])
        await eventually(lambda: ledger.waiting == 1)
        (runtime,) = one.parts.host
        draining = asyncio.create_task(one.drain())
        await eventually(lambda: runtime.is_frozen)
        ledger.may_go.set()
        await draining
        await moves_with(client, other)
        assert await outcomes(client, 3) == [["a", ""], ["b", ""], ["c", ""]]
        assert await client.command("purse") == {"gold": 7}
        assert other.parts.transactions.results["committed"] == 2, "one was completed before the move"


async def test_a_closed_room_is_paid(settings: Settings) -> None:
    async with running(settings) as shard, connect(shard.url, token=token_of("ann")) as client:
        await client.join("paying", name="home")
        ledger = HeldLedger(shard)
        await client.command("pay", [["a", "ann", 1], ["b", "ann", 2]])
        await client.command("close")
        await eventually(lambda: len(shard.parts.host) == 0)
        ledger.may_go.set()
        await eventually(lambda: shard.parts.room_transactions.pending == 0)
        assert await shard.parts.store.ledger.sums("ann") == {"gold": 3}
        await client.join("paying", name="home")
        assert await outcomes(client, 2) == [["a", ""], ["b", ""]], "the restored room repeats them, and is called"
        assert await client.command("purse") == {"gold": 3}


@pytest.mark.parametrize("is_committed", [False, True])
async def test_a_payment_survives_the_shard_of_a_durable_room(settings: Settings, is_committed: bool) -> None:
    async with running(settings) as shard, connect(shard.url, token=token_of("ann")) as client:
        await client.join("paying", name="home")
        ledger = HeldLedger(shard)
        await client.command("pay", [["a", "ann", 5]])

        async def is_saved() -> bool:
            query = {"_id": "paying/home", "transactions.key": "a"}
            return await shard.parts.store.database["worlds"].count_documents(query) == 1

        await eventually(is_saved)
        shard.parts.saver.save = lambda *args, **more: None  # type: ignore[method-assign]
        if is_committed:
            ledger.may_go.set()
            await eventually(lambda: shard.parts.room_transactions.pending == 0)
    async with running(settings) as shard, connect(shard.url, token=token_of("ann")) as client:
        await client.join("paying", name="home")
        assert await outcomes(client, 1) == [["a", ""]]
        assert await client.command("purse") == {"gold": 5}
        results = shard.parts.transactions.results
        assert results == ({"repeated": 1} if is_committed else {"committed": 1})
