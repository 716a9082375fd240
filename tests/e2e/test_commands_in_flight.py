"""Concurrent commands: a decision is committed if its records are unchanged; otherwise the room decides again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from tests.harness.polling import eventually
from tests.harness.sample_rooms import Bank
from tests.harness.shard_process import running
from tests.harness.tokens import AUTH, token_of
from tickwire.client.client import Client, CommandFailed, connect
from tickwire.schemas.messages import ErrorCode
from tickwire.server.config import Settings
from tickwire.server.errors import Unavailable
from tickwire.server.shard import Shard
from tickwire.server.storage.ledger_documents import TransactionRequest, TransactionResult

AT_ONCE = 10


@pytest.fixture
async def shard(shard_settings: Settings) -> AsyncIterator[Shard]:
    edge = msgspec.structs.replace(shard_settings.edge, duplicate_sessions="allow")  # one test has a player twice
    async with running(msgspec.structs.replace(shard_settings, auth=AUTH, edge=edge)) as made:
        yield made


async def visitor(stack: AsyncExitStack, shard: Shard, player: str, bank: str = "main") -> Client:
    client = await stack.enter_async_context(connect(shard.url, token=token_of(player)))
    await client.join("bank", name=bank)
    return client


async def outcomes(client: Client, name: str, payload: Any = None, times: int = AT_ONCE) -> list[str]:
    """Send a command several times without waiting; return the sorted outcomes."""
    results = await asyncio.gather(*(client.command(name, payload) for _ in range(times)), return_exceptions=True)
    texts = []
    for result in results:
        assert not isinstance(result, BaseException) or isinstance(result, CommandFailed), repr(result)
        texts.append(result.reply.message if isinstance(result, CommandFailed) else "ok")
    return sorted(texts, key=lambda text: text != "ok")


ONE_OF_TEN = ["ok"] + ["once is enough"] * (AT_ONCE - 1)


@pytest.mark.parametrize(
    ("name", "owned"),
    [("claim", {"gold": 100, "claimed": True}), ("sword", {"sword": 1}), ("visit", {"gold": 100})],
    ids=["rule on the profile", "rule on the holdings", "rule on the room's memory"],
)
async def test_of_ten_claims_at_once_one_is_paid_and_nine_are_refused(
    shard: Shard, name: str, owned: dict[str, Any]
) -> None:
    async with AsyncExitStack() as stack:
        client = await visitor(stack, shard, "ann")
        assert await outcomes(client, name) == ONE_OF_TEN
        assert await client.command("owned") == owned


async def test_ten_counters_at_once_count_to_ten(shard: Shard) -> None:
    async with AsyncExitStack() as stack:
        client = await visitor(stack, shard, "ann")
        assert await outcomes(client, "count") == ["ok"] * AT_ONCE
        assert await client.command("owned") == {"count": AT_ONCE}


async def test_a_rule_on_another_players_holdings_holds_when_it_is_written(shard: Shard) -> None:
    async with AsyncExitStack() as stack:
        ann, bob = await visitor(stack, shard, "ann"), await visitor(stack, shard, "bob")
        assert await outcomes(ann, "alms", "bob") == ONE_OF_TEN
        assert await bob.command("owned") == {"gold": 5}


@pytest.mark.parametrize("name", ["claim", "sword"])
async def test_a_player_in_two_rooms_on_two_shards_is_paid_once(shard: Shard, name: str) -> None:
    async with running(shard.settings) as other, AsyncExitStack() as stack:
        here, there = await visitor(stack, shard, "ann", "here"), await visitor(stack, other, "ann", "there")
        both = await asyncio.gather(outcomes(here, name, times=5), outcomes(there, name, times=5))
        assert sorted([*both[0], *both[1]], key=lambda text: text != "ok") == ONE_OF_TEN
        assert (await shard.parts.transactions.load(["ann"]))["ann"].holdings in ({"gold": 100}, {"sword": 1})


@pytest.mark.parametrize("is_written", [True, False], ids=["written", "not written"])
@pytest.mark.parametrize(("name", "paid"), [("claim", 100), ("visit", 100)])
async def test_decision_with_a_lost_outcome_is_not_committed_after_its_records_changed(
    shard: Shard, monkeypatch: pytest.MonkeyPatch, name: str, paid: int, is_written: bool
) -> None:
    """The outcome of the first is lost; until it is sent again, the second is carried out."""
    commit = shard.parts.store.ledger.commit
    attempts: list[str] = []

    async def forgetful(request: TransactionRequest) -> TransactionResult:
        attempts.append(request.key)
        if len(attempts) == 1:
            if is_written:
                await commit(request)
            raise Unavailable("the answer was lost", retry_after_ms=1)
        return await commit(request)

    monkeypatch.setattr(shard.parts.store.ledger, "commit", forgetful)
    async with AsyncExitStack() as stack:
        client = await visitor(stack, shard, "ann")
        assert await outcomes(client, name, times=3) == ["ok", *["once is enough"] * 2]
        assert (await client.command("owned"))["gold"] == paid
        room = next(iter(shard.parts.host)).room
        assert isinstance(room, Bank)
        assert room.shown == {name: 1}, "the room has seen what was written, once"


async def test_a_command_whose_player_leaves_before_the_room_decides_again_is_answered(shard: Shard) -> None:
    """It ended without an answer: the seat that was to decide again had been given up."""
    go_on = asyncio.Event()
    commit = shard.parts.store.ledger.commit

    async def held(request: TransactionRequest) -> TransactionResult:
        await go_on.wait()
        return await commit(request)

    shard.parts.store.ledger.commit = held  # type: ignore[method-assign]
    async with AsyncExitStack() as stack:
        client = await visitor(stack, shard, "ann")
        first, second = (asyncio.create_task(client.command("count")) for _ in range(2))
        await eventually(lambda: shard.parts.transactions.waiting == 2)
        session = next(iter(shard.parts.edge.registry.find_by_player("ann")))
        await client.leave()
        go_on.set()
        await eventually(lambda: not shard.parts.transactions.waiting)
        replies = sorted(session.commands.replies, key=lambda reply: reply.id)
        assert [reply.ok for reply in replies] == [True, False]
        assert replies[1].error is ErrorCode.OUT_OF_ORDER
        await asyncio.gather(first, second, return_exceptions=True)
    assert (await shard.parts.transactions.load(["ann"]))["ann"].profile == {"count": 1}


async def test_a_key_that_a_game_uses_again_for_something_else_is_an_error_of_its_own(shard: Shard) -> None:
    async with AsyncExitStack() as stack:
        ann, bob = await visitor(stack, shard, "ann"), await visitor(stack, shard, "bob")
        assert await ann.command("under a key", {"key": "round 1", "to": "ann"}) == "paid"
        assert await bob.command("under a key", {"key": "round 1", "to": "ann"}) == "paid", "the same deal again"
        for again in ({"to": "bob"}, {"to": "ann", "amount": 2}):
            with pytest.raises(CommandFailed) as failed:
                await bob.command("under a key", {"key": "round 1", **again})
            assert failed.value.reply.error is ErrorCode.KEY_REUSED
        assert await outcomes(bob, "under a key", {"key": "round 2", "to": "bob"}) == ["ok"] * AT_ONCE
        assert await ann.command("owned") == await bob.command("owned") == {"gold": 1}


async def test_failed_transaction_does_not_delay_other_transactions_of_the_room(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = shard.parts.store.ledger.commit

    async def faulty(request: TransactionRequest) -> TransactionResult:
        if request.player_id == "ann":
            raise ZeroDivisionError("a fault of the shard")
        return await commit(request)

    monkeypatch.setattr(shard.parts.store.ledger, "commit", faulty)
    async with AsyncExitStack() as stack:
        ann, bob = await visitor(stack, shard, "ann"), await visitor(stack, shard, "bob")
        with pytest.raises((TimeoutError, CommandFailed)):  # the outcome of the write is unknown
            await ann.command("work", timeout_s=0.5)
        assert await outcomes(bob, "work", times=1) == ["ok"]
        monkeypatch.undo()
        assert await outcomes(ann, "work", times=1) == ["ok"]
