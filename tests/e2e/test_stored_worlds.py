"""Saved worlds can be restored whatever games store in them; invalid parts are quarantined and logged."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from tests.harness.polling import eventually
from tests.harness.shard_process import running, scrape
from tests.harness.tokens import AUTH, token_of
from tickwire.client.client import connect
from tickwire.client.errors import Refused
from tickwire.schemas.messages import ErrorCode
from tickwire.server.config import Settings
from tickwire.server.shard import Shard


@pytest.fixture
def settings(shard_settings: Settings) -> Settings:
    return msgspec.structs.replace(shard_settings, auth=AUTH)


async def quarantined(shard: Shard) -> list[dict[str, Any]]:
    return [part async for part in shard.parts.store.database["quarantine"].find(sort=[("path", 1)])]


async def is_saved(shard: Shard, key: str, path: str, value: Any) -> bool:
    return await shard.parts.store.database["worlds"].count_documents({"_id": key, path: value}) == 1


async def save_a_stall(settings: Settings) -> None:
    """Save a stall with half a coin among its offers."""
    async with running(settings) as shard, connect(shard.url) as client:
        await client.join("stall", name="home")
        for gold in (1, 0.5, 3):
            await client.command("offer", gold)
        await client.command("visit", "often")
        await eventually(lambda: is_saved(shard, "stall/home", "state.value.visits", "often"))


async def test_invalid_part_is_moved_to_the_quarantine(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    await save_a_stall(settings)
    told = capsys.readouterr().err
    assert told.count("saved_state_invalid") >= 1, "logged at the save, not at the restore"
    for _ in range(2):
        async with running(settings) as shard, connect(shard.url) as client:
            await client.join("stall", name="home")
            assert await client.command("look") == {"offers": [1, 3], "visits": 0}
            parts = await quarantined(shard)
            assert [(part["path"], part["world"]) for part in parts] == [
                ("state.offers[1]", "stall/home"),
                ("state.visits", "stall/home"),
            ]
            assert parts[0]["value"]["gold"] == 0.5
            assert parts[1]["value"] == "often"
            assert "Expected `int`" in parts[0]["error"]
    told = capsys.readouterr().err
    assert told.count("world_part_quarantined") == 2, "nothing is removed the second time"


async def test_quarantined_parts_are_counted(settings: Settings) -> None:
    await save_a_stall(settings)
    async with running(settings) as shard, connect(shard.url) as client:
        await client.join("stall", name="home")
        figures = await asyncio.to_thread(scrape, shard.parts.operations.port)
        assert figures["tickwire_world_parts_quarantined_total"] == 2


async def test_invalid_session_loses_only_its_own_seat(settings: Settings) -> None:
    async with AsyncExitStack() as stack, running(settings) as shard:
        clients = []
        for player in ("ann", "bob"):
            token = token_of(player)
            clients.append(await stack.enter_async_context(connect(shard.url, token=token)))
            await clients[-1].join("stall", name="home")
        await clients[0].command("team", 0.5)
        await eventually(lambda: _has_team(shard, 0.5))
        shard.parts.saver.save = lambda *args, **more: None  # type: ignore[method-assign]
    async with running(settings) as shard, connect(shard.url) as client:
        await client.join("stall", name="home")
        simulation = next(iter(shard.parts.host))
        assert "bob" in simulation.room.players
        assert "ann" not in simulation.room.players
        (part,) = await quarantined(shard)
        assert part["path"].startswith("sessions.")
        assert part["value"]["player_id"] == "ann"


async def _has_team(shard: Shard, team: float) -> bool:
    world = await shard.parts.store.database["worlds"].find_one({"_id": "stall/home"}) or {}
    return any(session.get("team") == team for session in world.get("sessions", {}).values())


async def test_incompatible_schema_change_is_refused_and_leaves_the_world_unchanged(
    shard: Shard, capsys: pytest.CaptureFixture[str]
) -> None:
    async with connect(shard.url) as client:
        await client.join("garden", name="home")
        await client.command("plant", {"x": 1.0})
        await eventually(lambda: is_saved(shard, "garden/home", "tables.flowers.count", 1))
        await client.leave()
        await eventually(lambda: len(shard.parts.host) == 0 and not shard.parts.lease_keeper._releasing)
    worlds = shard.parts.store.database["worlds"]
    change = {"$set": {"tables.flowers.fields.0.kind": "angle"}}
    await worlds.update_one({"_id": "garden/home"}, change)
    before = await worlds.find_one({"_id": "garden/home"}, {"tables": True, "state": True})
    async with connect(shard.url) as client:
        with pytest.raises(Refused) as refused:
            await client.join("garden", name="home")
        assert refused.value.error.code is ErrorCode.INTERNAL
        assert not refused.value.error.retryable
        assert "flowers" not in refused.value.error.message, "no detail for players"
    assert "table 'flowers': field 'x' is stored as angle and declared as real" in capsys.readouterr().err
    assert await worlds.find_one({"_id": "garden/home"}, {"tables": True, "state": True}) == before
