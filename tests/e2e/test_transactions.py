"""Transactions over real sockets: written before their reply and exactly once, whatever fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from tests.harness.polling import eventually, eventually_joins
from tests.harness.shard_process import running
from tests.harness.tokens import AUTH, token_of
from tickwire import CommandRefused
from tickwire.client.client import Client, CommandFailed, connect
from tickwire.client.updates import ReplyReceived, Update
from tickwire.examples.market import Market
from tickwire.schemas.messages import ErrorCode, Reply
from tickwire.server.config import Settings
from tickwire.server.errors import Unavailable
from tickwire.server.shard import Shard
from tickwire.server.storage.ledger_documents import TransactionRequest, TransactionResult


@pytest.fixture
async def shard(shard_settings: Settings) -> AsyncIterator[Shard]:
    async with running(msgspec.structs.replace(shard_settings, rooms=["tickwire.examples.market"])) as made:
        yield made


async def trader(client: Client, name: str, market: str = "home") -> int:
    joined = await client.join("market", name=market, options={"name": name})
    return joined.entity


async def sums_of(shard: Shard) -> dict[str, dict[str, int]]:
    """Return the holdings of all players, after asserting that they equal the sums of the ledger."""
    found: dict[str, dict[str, int]] = {}
    async for player in shard.parts.store.database["players"].find():
        held = {item: amount for item, amount in player["holdings"].items() if amount}
        sums = {
            item: amount for item, amount in (await shard.parts.store.ledger.sums(player["_id"])).items() if amount
        }
        assert held == sums
        found[player["_id"]] = held
    return found


async def test_players_earn_buy_give_and_trade(shard: Shard) -> None:
    async with connect(shard.url) as one, connect(shard.url) as two:
        ann, bob = await trader(one, "ann"), await trader(two, "bob")
        for _ in range(4):
            assert await one.command("work") == 10
        assert await one.command("buy", {"item": "sword"}) == "sword"
        assert await one.command("purse") == {"gold": 10, "sword": 1}, "a player that has the reply reads the change"
        with pytest.raises(CommandFailed, match="not enough gold"):
            await one.command("buy", {"item": "sword"})
        await one.command("give", {"to": bob, "item": "gold", "amount": 4})
        offer = await two.command("offer", {"to": ann, "gives": {"gold": 3}, "takes": {"sword": 1}})
        await one.wait_for(lambda: any(event.name == "offered" for event in one.events))
        assert await one.command("accept", offer) == offer
        with pytest.raises(CommandFailed, match="this offer does not exist"):
            await one.command("accept", offer)
        assert await one.command("purse") == {"gold": 9, "sword": 0}
        assert await two.command("purse") == {"gold": 1, "sword": 1}
        await one.wait_for(lambda: one.world.table("traders").entity(bob)["gold"] == 1)
    assert sorted(map(str, (await sums_of(shard)).values())) == ["{'gold': 1, 'sword': 1}", "{'gold': 9}"]


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("give", {"to": 1, "item": "gold", "amount": -5}),
        ("give", {"to": 1, "item": "$gold", "amount": 5}),
        ("give", {"to": 1, "item": "gold", "amount": 2**62}),
        ("give", {"to": 99, "item": "gold", "amount": 5}),
        ("give", "gold"),
        ("buy", {"item": "the moon"}),
        ("buy", None),
        ("accept", {"a": 1}),
        ("give", {"to": 1, "item": "gold", "amount": 1.5}),
        ("give", {"to": 1, "item": "gold", "amount": True}),
        ("offer", {"to": 1, "gives": {"a.b": 1}, "takes": {}}),
        ("offer", {"to": 1, "gives": {"gold": 0.5}, "takes": {}}),
        ("offer", {"to": 1, "gives": ["gold"], "takes": {}}),
    ],
)
async def test_invalid_transactions_are_refused(shard: Shard, name: str, payload: Any) -> None:
    async with connect(shard.url) as client:
        await trader(client, "ann")
        with pytest.raises(CommandFailed):
            await client.command(name, payload)
        assert await client.command("work") == 10
    assert list((await sums_of(shard)).values()) == [{"gold": 10}]


async def test_profile_is_known_in_other_rooms(shard: Shard) -> None:
    async with connect(shard.url) as client:
        await trader(client, "ann")
        await asyncio.gather(*(client.command("rename", f"Ann {n}") for n in range(5)))
        await client.leave()
        entity = await trader(client, "a name", "another market")
        await client.wait_for(lambda: len(client.world.table("traders")) == 1)
        assert client.world.table("traders").entity(entity)["name"].startswith("Ann ")


async def test_retried_command_runs_once_while_it_is_written(shard: Shard) -> None:
    commit = shard.parts.store.ledger.commit
    asked: list[TransactionRequest] = []

    async def slowly(request: TransactionRequest) -> TransactionResult:
        asked.append(request)
        await asyncio.sleep(0.3)
        return await commit(request)

    shard.parts.store.ledger.commit = slowly  # type: ignore[method-assign]
    async with connect(shard.url) as client:
        await trader(client, "ann")
        working = asyncio.create_task(client.command("work"))
        await eventually(lambda: len(asked) == 1)
        await client.drop()  # it reconnects and retries before the reply
        assert await working == 10
        assert len(asked) == 1
        assert client.resumes == 1
        assert await client.command("purse") == {"gold": 10}


async def test_command_with_a_lost_reply_is_retried_and_runs_once(shard: Shard) -> None:
    """MongoDB has written the transaction and the shard does not know: UNAVAILABLE leaves the outcome open."""
    commit = shard.parts.store.ledger.commit
    failures = iter([True, True])

    async def forgetful(request: TransactionRequest) -> TransactionResult:
        result = await commit(request)
        if next(failures, False):
            raise Unavailable("the answer was lost")
        return result

    shard.parts.store.ledger.commit = forgetful  # type: ignore[method-assign]
    async with connect(shard.url) as client:
        await trader(client, "ann")
        assert await client.command("work") == 10
        assert shard.parts.transactions.results == {"unavailable": 2, "repeated": 1}
        # The room has applied it, too.
        await client.wait_for(lambda: client.world.table("traders").column("gold").tolist() == [10])
        assert await client.command("work") == 10
    assert list((await sums_of(shard)).values()) == [{"gold": 20}]


async def test_written_transaction_is_not_refused_after_the_room_changes_its_mind(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, market = shard.parts.store.ledger.commit, shard.parts.host.room_types["market"]
    asked: list[str] = []

    async def forgetful(request: TransactionRequest) -> TransactionResult:
        await commit(request)
        monkeypatch.undo()
        raise Unavailable("the answer was lost")

    async with connect(shard.url) as client:
        await trader(client, "ann")
        work = market.work

        def once(self: Any, player: Any) -> Any:
            asked.append(player.id)
            if len(asked) > 1:
                raise CommandRefused("you have worked enough")
            return work(self, player)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(market, "work", once)
            monkeypatch.setattr(shard.parts.store.ledger, "commit", forgetful)
            assert await client.command("work") == 10
        assert len(asked) == 1


async def test_result_of_a_used_key_is_replied_and_applied(shard: Shard) -> None:
    async with connect(shard.url) as one, connect(shard.url) as two:
        ann, _ = await trader(one, "ann"), await trader(two, "bob")
        await two.command("work")
        offer = await two.command("offer", {"to": ann, "gives": {"gold": 4}, "takes": {}})
        players = next(iter(shard.parts.host)).room.players
        ids = {player.entity.name: player.id for player in players.values()}
        elsewhere = TransactionRequest(
            key=f"key:offer/{offer}",
            player_id=ids["ann"],
            session_id="another",
            command_id=1,
            fence="another room",
            epoch=1,
            changes={ids["ann"]: {"gold": 4}, ids["bob"]: {"gold": -4}},
            reply=msgspec.msgpack.encode("done elsewhere"),
        )
        await shard.parts.store.ledger.commit(elsewhere)
        assert await one.command("purse") == {}, "this room does not know yet"
        assert await one.command("accept", offer) == "done elsewhere"
        assert await one.command("purse") == {"gold": 4}
        assert await two.command("purse") == {"gold": 6}


async def test_first_offer_after_a_crash_is_a_new_offer(
    shard_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The world is saved only before the first offer, so the second one is made in a world without offers."""
    settings = msgspec.structs.replace(shard_settings, rooms=["tickwire.examples.market"], auth=AUTH)

    async def trade(shard: Shard, gold: int) -> None:
        async with connect(shard.url, token=token_of("ann")) as one, connect(shard.url, token=token_of("bob")) as two:
            ann, _ = await trader(one, "ann"), await trader(two, "bob")
            await two.command("work")
            offer = await two.command("offer", {"to": ann, "gives": {"gold": gold}, "takes": {}})
            assert await one.command("accept", offer) == offer

    async with running(settings) as shard:
        async with connect(shard.url, token=token_of("ann")) as client:
            await trader(client, "ann")
            await eventually(lambda: shard.parts.write_behind.saves > 0)
        monkeypatch.setattr(shard.parts.saver, "save", lambda *args, **more: None)
        await trade(shard, 3)
    async with running(settings) as shard:
        await trade(shard, 4)
        assert await sums_of(shard) == {"ann": {"gold": 7}, "bob": {"gold": 13}}


async def test_auction_survives_a_crash_and_sells_the_item(shard_settings: Settings) -> None:
    settings = msgspec.structs.replace(shard_settings, rooms=["tickwire.examples.market"], auth=AUTH)
    async with (
        running(settings) as shard,
        connect(shard.url, token=token_of("ann")) as one,
        connect(shard.url, token=token_of("bob")) as two,
    ):
        await trader(one, "ann")
        await trader(two, "bob")
        await asyncio.gather(*(one.command("work") for _ in range(2)), two.command("work"))
        await one.command("buy", {"item": "shield"})
        auction = await one.command("auction", {"item": "shield", "seconds": 3600})
        await two.command("bid", {"auction": auction, "gold": 7})

        async def is_saved() -> bool:
            query = {"_id": "market/home", "state.value.auctions.gold": 7}
            return await shard.parts.store.database["worlds"].count_documents(query) == 1

        await eventually(is_saved)
        shard.parts.saver.save = lambda *args, **more: None  # type: ignore[method-assign]
    async with running(settings) as shard, connect(shard.url, token=token_of("bob")) as client:
        await trader(client, "bob")
        await client.wait_for(lambda: any(event.name == "auction_changed" for event in client.events))
        market = next(iter(shard.parts.host)).room
        assert isinstance(market, Market)
        timer = market.clock.find(market.end_auction)
        assert timer is not None, "it is restored"
        timer.cancel()
        market.clock.after(0.0, market.end_auction, auction)
        await client.wait_for(lambda: any(event.name == "auction_ended" for event in client.events))
        assert await client.command("purse") == {"gold": 3, "shield": 1}
        assert await sums_of(shard) == {"ann": {"gold": 7}, "bob": {"gold": 3, "shield": 1}}


async def test_commands_above_the_in_flight_limit_are_retried_and_answered(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickwire.server.edge.commands.IN_FLIGHT_MAX", 4)
    go_on = asyncio.Event()
    commit = shard.parts.store.ledger.commit

    async def held(request: TransactionRequest) -> TransactionResult:
        await go_on.wait()
        return await commit(request)

    shard.parts.store.ledger.commit = held  # type: ignore[method-assign]
    shard.parts.transactions._timeout_s = 20.0
    async with connect(shard.url) as client:
        await trader(client, "ann")
        refused: list[Reply] = []
        receive = client.core.receive

        def note(data: bytes, *, now_us: int) -> Update | None:
            update = receive(data, now_us=now_us)
            if isinstance(update, ReplyReceived) and not update.is_decided:
                refused.append(update.reply)
            return update

        monkeypatch.setattr(client.core, "receive", note)
        working = [asyncio.create_task(client.command("work")) for _ in range(18)]
        await eventually(lambda: bool(refused))
        assert all(reply.error is ErrorCode.RATE_LIMITED and reply.retry_after_ms > 0 for reply in refused)
        assert shard.parts.transactions.waiting == 4
        go_on.set()
        assert await asyncio.gather(*working) == [10] * 18
    assert list((await sums_of(shard)).values()) == [{"gold": 180}]


async def test_transactions_above_the_limit_of_a_room_are_retried(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickwire.server.persistence.transactions.TRANSACTIONS_WAITING_MAX", 1)
    async with connect(shard.url) as client:
        await trader(client, "ann")
        assert await asyncio.gather(*(client.command("work") for _ in range(4))) == [10] * 4
    assert shard.parts.transactions.results["unavailable"] > 0
    assert list((await sums_of(shard)).values()) == [{"gold": 40}]


async def test_player_that_leaves_during_a_transaction_keeps_its_result(shard: Shard) -> None:
    go_on = asyncio.Event()
    commit = shard.parts.store.ledger.commit

    async def held(request: TransactionRequest) -> TransactionResult:
        await go_on.wait()
        return await commit(request)

    shard.parts.store.ledger.commit = held  # type: ignore[method-assign]
    async with connect(shard.url) as client:
        await trader(client, "ann")
        working = asyncio.create_task(client.command("work"))
        await eventually(lambda: shard.parts.transactions.waiting == 1)
        await client.leave()
        go_on.set()
        await asyncio.gather(working, return_exceptions=True)
        await eventually(lambda: shard.parts.transactions.waiting == 0)
        await eventually_joins(client, "market", "home")
        assert await client.command("purse") == {"gold": 10}


async def test_room_without_uses_ledger_runs_no_transactions(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connect(shard.url) as client:
        await trader(client, "ann")
        monkeypatch.setattr(shard.parts.host.room_types["market"], "uses_ledger", False)
        with pytest.raises(CommandFailed, match="the room failed to run the command"):
            await client.command("work")
