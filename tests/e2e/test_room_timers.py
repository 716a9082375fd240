"""Clients see timers run on time, also after the room has moved to another shard or was restored from a save."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.harness.fleets import fleet, moves_with
from tests.harness.polling import eventually
from tests.harness.shard_process import running
from tests.harness.tokens import AUTH, token_of
from tickwire.client.client import Client, connect
from tickwire.server.config import Settings


@pytest.fixture
def settings(shard_settings: Settings) -> Settings:
    return msgspec.structs.replace(shard_settings, rooms=["tests.harness.timed_rooms"], auth=AUTH)


async def rings(client: Client, count: int) -> list[dict[str, Any]]:
    """Return the first rings, as soon as there are so many."""
    await client.wait_for(lambda: sum(event.name == "rang" for event in client.events) >= count)
    return [event.payload for event in client.events if event.name == "rang"]


async def test_timers_run_in_room_time(settings: Settings) -> None:
    async with running(settings) as shard, connect(shard.url, token=token_of("ann")) as client:
        await client.join("alarm")
        start_s = await client.command("every", 0.1)
        found = await rings(client, 5)
        assert [ring["at_s"] for ring in found[:5]] == pytest.approx([start_s + 0.1 * n for n in range(1, 6)])
        await client.command("cancel")
        assert await client.command("pending") == []
        now_s = await client.command("after", 0.3)
        assert (await rings(client, len(found) + 1))[-1] == {"word": "once", "at_s": pytest.approx(now_s + 0.3)}


async def test_timers_move_with_their_room(settings: Settings) -> None:
    settings = msgspec.structs.replace(settings, drain_timeout_s=30.0)
    async with fleet(settings) as (one, other), connect(one.url, token=token_of("ann")) as client:
        await client.join("alarm")
        start_s = await client.command("after", 1.0)
        await one.drain()
        await moves_with(client, other)
        assert await rings(client, 1) == [{"word": "once", "at_s": pytest.approx(start_s + 1.0)}]
        await client.command("every", 0.1)
        await rings(client, 3)
        assert client.core.mismatches == 0


async def test_timers_of_a_durable_room_are_saved(settings: Settings) -> None:
    async with running(settings) as shard, connect(shard.url, token=token_of("ann")) as client:
        await client.join("alarm", name="home")
        start_s = await client.command("after", 3600)

        async def is_saved() -> bool:
            query = {"_id": "alarm/home", "clock.timers.method": "ring"}
            return await shard.parts.store.database["worlds"].count_documents(query) == 1

        await eventually(is_saved)
        shard.parts.saver.save = lambda *args, **more: None  # type: ignore[method-assign]
    async with running(settings) as shard, connect(shard.url, token=token_of("bob")) as client:
        await client.join("alarm", name="home")
        assert await client.command("pending") == [["ring", start_s + 3600]], "the room has a seat for ann"
        await client.command("cancel")
        assert await client.command("pending") == []
