"""Players with tokens keep session and seat while their rooms move, through whichever shard they came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest

from client.aio import Client, connect
from client.link import Link
from server.config import Settings
from server.edge.auth import mint
from server.edge.auth_settings import AuthSettings
from server.edge.settings import EdgeSettings
from server.shard import Shard
from tests.shards import running
from tests.waiting import acknowledges, eventually

SECRET = "a secret of at least thirty-two characters"
PLAYERS, ROOMS = 15, 5
POLICIES = pytest.mark.parametrize("policy", ["replace", "refuse", "allow"])


def settings_with(settings: Settings, policy: Any) -> Settings:
    auth = AuthSettings(secret=SECRET, guests=False)
    return msgspec.structs.replace(settings, auth=auth, edge=EdgeSettings(same_player=policy), drain_s=10.0)


def player(url: str, name: str) -> Any:
    return connect(url, token=mint(AuthSettings(secret=SECRET), name, ttl_s=600, now_s=time.time()))


@asynccontextmanager
async def fleet(settings: Settings, count: int) -> AsyncIterator[dict[str, Shard]]:
    """Shards by name, as a StatefulSet names them. `replaced` puts another one in a shard's place."""
    async with AsyncExitStack() as stack:
        shards = {}
        for ordinal in range(count):
            name = f"shard-{ordinal}"
            shards[name] = await stack.enter_async_context(running(settings, name))
        yield shards


async def left_without_a_close(link: Link, *_: object) -> None:
    for task in link._tasks[1:]:
        task.cancel()
    link.abort()
    await asyncio.wait(link._tasks)


def sessions_of(shard: Shard, name: str) -> list[str]:
    return [session.session_id for session in shard.listener.registry.of_player(name)]


async def plays_on(client: Client, session_id: str) -> None:
    """Assert that the client has kept its session and its seat, and that the room takes its inputs."""
    assert client.core.resume_token.partition(".")[0] == session_id
    assert (client.sessions_lost, client.core.events_missed, client.core.mismatches) == (0, 0, 0)
    await acknowledges(client)


@POLICIES
@pytest.mark.parametrize("ending", ["closed", "broken"])
async def test_a_drain_back_to_the_shard_of_entry_loses_no_session(
    shard_settings: Settings, monkeypatch: pytest.MonkeyPatch, policy: str, ending: str
) -> None:
    if ending == "broken":  # the client's network, or a client that knows nothing of 1000
        monkeypatch.setattr(Link, "close", left_without_a_close)
    settings = settings_with(shard_settings, policy)
    async with running(settings) as owner, AsyncExitStack() as stack:
        for number in range(ROOMS):
            holder = await stack.enter_async_context(player(owner.url, f"holder {number}"))
            await holder.join("garden", name=f"room {number}")
        entry = await stack.enter_async_context(running(settings))
        clients: dict[str, Client] = {}
        for number in range(PLAYERS):
            name = f"player {number}"
            clients[name] = await stack.enter_async_context(player(entry.url, name))
            await clients[name].join("garden", name=f"room {number % ROOMS}")
        assert {client.url for client in clients.values()} == {owner.url}, "all were redirected"
        if ending == "closed":
            await eventually(lambda: not len(entry.listener.registry), 5, "the sessions left behind have ended")
        session_ids = {name: client.core.resume_token.partition(".")[0] for name, client in clients.items()}
        await owner.drain()
        for name, client in clients.items():
            await client.wait_for(lambda client=client: client.is_connected and client.url == entry.url)  # type: ignore[misc]
            await plays_on(client, session_ids[name])
            alive = sessions_of(entry, name)
            assert alive == [session_ids[name]] or (policy == "allow" and ending == "broken")
        assert sum(len(simulation.seats) for simulation in entry.host) == PLAYERS + ROOMS


@POLICIES
async def test_a_rolling_update_from_the_highest_ordinal_down_loses_no_session(
    shard_settings: Settings, policy: str
) -> None:
    settings = settings_with(shard_settings, policy)
    async with fleet(settings, 3) as shards, AsyncExitStack() as stack:
        clients: dict[str, Client] = {}
        for number in range(PLAYERS):
            name, entry = f"player {number}", shards[f"shard-{number % 3}"]
            clients[name] = await stack.enter_async_context(player(entry.url, name))
            await clients[name].join("garden", name=f"room {number % ROOMS}")
        session_ids = {name: client.core.resume_token.partition(".")[0] for name, client in clients.items()}
        for name in ("shard-2", "shard-1", "shard-0"):
            await shards[name].drain()
            await shards[name].stop()
            shards[name] = await stack.enter_async_context(running(settings, name))
            urls = {shard.url for shard in shards.values()}
            for player_name, client in clients.items():
                await client.wait_for(lambda client=client: client.is_connected and client.url in urls, 20)  # type: ignore[misc] # noqa: B023
                await plays_on(client, session_ids[player_name])
        for player_name, session_id in session_ids.items():
            alive = [each for shard in shards.values() for each in sessions_of(shard, player_name)]
            assert alive == [session_id], "one session, and no other"
        assert sum(len(simulation.seats) for shard in shards.values() for simulation in shard.host) == PLAYERS
