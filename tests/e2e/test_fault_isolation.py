"""A fault of one room, player or document does not affect the others: they are saved, leased and tuned."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import pytest

from tests.harness.polling import eventually
from tickwire.client.client import Client, CommandFailed, connect
from tickwire.server.shard import Shard


async def is_saved(shard: Shard, name: str, kept: Any) -> bool:
    saved = await shard.parts.store.worlds.load("vault", name)
    return saved is not None and saved.state["kept"] == kept


async def assert_all_is_well(shard: Shard, bystander: Client, name: str) -> None:
    """Another room is saved and keeps its lease."""
    for kept in ("one", "two"):
        await bystander.command("keep", kept)
        await eventually(lambda kept=kept: is_saved(shard, name, kept))
    heartbeats = shard.parts.matchmaker.scripts.counters.calls
    await eventually(lambda: shard.parts.matchmaker.scripts.counters.calls > heartbeats + 3)
    assert shard.parts.health.is_alive
    assert shard.parts.health.is_ready, shard.parts.health.reasons


@pytest.mark.parametrize("depth", [200, 400])
async def test_room_with_deeply_nested_state_is_rejected_alone(
    shard: Shard, capsys: pytest.CaptureFixture[str], depth: int
) -> None:
    async with connect(shard.url) as client, connect(shard.url) as other:
        await client.join("vault", name="deep")
        await other.join("vault", name="other")
        await client.command("keep nested", depth)
        await eventually(lambda: shard.parts.write_behind.failures > 0)
        await assert_all_is_well(shard, other, "other")
        assert "world_rejected" in capsys.readouterr().err
        await client.command("keep", "plain")
        await eventually(lambda: is_saved(shard, "deep", "plain"))


@pytest.mark.parametrize("depth", [200, 400])
async def test_deeply_nested_profile_fails_only_its_command(shard: Shard, depth: int) -> None:
    async with connect(shard.url) as client, connect(shard.url) as other:
        await client.join("vault", name="deep")
        await other.join("vault", name="other")
        with pytest.raises(CommandFailed, match="the transaction cannot be stored"):
            await client.command("keep nested in the profile", depth)
        await client.command("keep in the profile", "plain")
        await assert_all_is_well(shard, other, "other")


@pytest.mark.parametrize(
    ("command", "payload"),
    [
        ("spoil", ("labels", {"map": ["not a text"]})),
        ("spoil", ("labels", {1: 2, "map": "ice"})),
        ("spoil", ("labels", 5)),
        ("spoil", ("access", 5)),
        ("spoil", ("code", ["not a text"])),
        ("spoil", ("mode", ["not a text"])),
        ("spoil me", ("skill", "not a number")),
        ("spoil me", ("team", "not a number")),
    ],
    ids=str,
)
async def test_room_with_damaged_attributes_does_not_affect_others(
    shard: Shard, command: str, payload: tuple[str, Any]
) -> None:
    async with connect(shard.url) as client, connect(shard.url) as other:
        await client.join("vault", name="spoilt")
        await other.join("vault", name="other")
        await client.command(command, payload)
        await assert_all_is_well(shard, other, "other")
        await client.command("keep", "still answered")


async def test_unreadable_bans_and_tunings_do_not_hide_the_others(shard: Shard) -> None:
    database = shard.parts.store.database
    now = datetime.datetime.now(datetime.UTC)
    async with connect(shard.url) as client:
        await client.join("vault", name="home")
        (session,) = shard.parts.edge.registry
        player = session.player_id
        await database["tunings"].insert_one({"_id": 1, "values": {"garden": {"greeting": "tuned"}}})
        await database["tunings"].insert_one({"_id": 2, "values": "no map"})
        await database["bans"].insert_one({"_id": "eve", "changed_at": now})
        await database["bans"].insert_one(
            {"_id": player, "until": now + datetime.timedelta(hours=1), "reason": "rude", "changed_at": now}
        )
        await eventually(lambda: not list(shard.parts.edge.registry))
    async with connect(shard.url) as other:
        await other.join("garden", name="tuned")
        await eventually(lambda: [s.room.tuning_version for s in shard.parts.host if s.room.name == "tuned"] == [1])
    assert shard.parts.health.is_alive


async def test_exception_in_a_directory_update_does_not_stop_the_others(shard: Shard) -> None:
    done = asyncio.Event()

    async def faulty() -> None:
        raise ZeroDivisionError("a fault of the shard")

    async def good() -> None:
        done.set()

    for _ in range(100):
        shard.parts.directory_publisher._enqueue("a room", faulty)
    shard.parts.directory_publisher._enqueue("a room", good)
    await asyncio.wait_for(done.wait(), 20)
    assert shard.parts.health.is_alive


async def test_exception_in_the_sweep_does_not_stop_it(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    look_after, swept = shard.parts.edge._check_timeouts, set()

    def faulty(connection: Any, now_s: float) -> None:
        swept.add(connection)
        look_after(connection, now_s)
        if len(swept) == 1:
            raise ZeroDivisionError("a fault of the shard")

    monkeypatch.setattr(shard.parts.edge, "_check_timeouts", faulty)
    async with connect(shard.url), connect(shard.url):
        await eventually(lambda: len(swept) == 2)
        assert shard.parts.health.is_alive
