"""Clients of the oldest and of the newest schema version against real shards: in one room, through
resumes, and with rooms that migrate.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from tests.harness.fleets import fleet, moves_with
from tests.harness.polling import acknowledges, eventually
from tests.harness.schema_versions import VERSIONS, assert_has_form, with_version
from tickwire.client.client import Client, connect
from tickwire.client.updates import InputAcknowledged, StateApplied, Update
from tickwire.server.config import Settings
from tickwire.server.shard import Shard

OLD, *_, NEW = VERSIONS


class VersionedClient:
    """A client of one schema version; asserts the form of every message that it receives.

    Args:
        client: the client, not yet connected.
        version: the schema version; assign another one for the next connection.
    """

    def __init__(self, client: Client, version: int) -> None:
        self.client = client
        self.version = version
        self.failures: list[str] = []
        self.received: set[type[Any]] = set()
        self._connected_version = version
        self._hello, self._receive = client.core.hello, client.core.receive
        client.core.hello = self._versioned_hello  # type: ignore[method-assign]
        client.core.receive = self._checked_receive  # type: ignore[method-assign]

    def _versioned_hello(self, **options: Any) -> bytes:
        self._connected_version = self.version
        return with_version(self._hello(**options), self.version)

    def _checked_receive(self, data: bytes, *, now_us: int) -> Update | None:
        try:
            assert_has_form(data, self._connected_version)
        except AssertionError as error:  # the client would treat it as its own error
            self.failures.append(str(error))
        update = self._receive(data, now_us=now_us)
        self.received.add(type(update))
        return update

    async def plays(self) -> None:
        """Assert that the room takes inputs, and that state and acknowledgements have the form of the version."""
        self.received.clear()
        await acknowledges(self.client)
        await self.client.wait_for(lambda: {StateApplied, InputAcknowledged} <= self.received)
        core = self.client.core
        assert self.failures == []
        assert (core.mismatches, core.resyncs, core.events_missed, self.client.sessions_lost) == (0, 0, 0, 0)


@asynccontextmanager
async def versioned(shard: Shard, version: int) -> AsyncIterator[VersionedClient]:
    player = VersionedClient(Client(shard.url), version)
    await player.client.open()
    try:
        yield player
    finally:
        await player.client.close()


async def have_equal_worlds(*players: VersionedClient) -> None:
    """Wait until the clients have the same tick, and assert that their worlds are equal then."""
    await eventually(lambda: len({player.client.world.tick for player in players}) == 1)
    assert len({player.client.world.checksum() for player in players}) == 1


async def test_a_client_of_the_version_before_plays_and_resumes_beside_a_current_one(shard: Shard) -> None:
    async with connect(shard.url) as other, versioned(shard, OLD) as old, versioned(shard, NEW) as new:
        for client in (other, old.client, new.client):  # the room stays while two of them are away
            await client.join("diary")
        for resumes in range(1, 4):
            for player in (old, new):
                await player.plays()
            await have_equal_worlds(old, new)
            for player in (old, new):
                await player.client.drop()
                await player.client.wait_for(
                    lambda p=player, n=resumes: p.client.is_connected and p.client.resumes == n
                )  # type: ignore[misc]


async def test_a_session_resumes_with_another_version(shard: Shard) -> None:
    async with versioned(shard, OLD) as player:
        await player.client.join("diary")
        for resumes, version in enumerate((NEW, OLD, NEW), start=1):
            await player.plays()
            player.version = version
            await player.client.drop()
            await player.client.wait_for(lambda n=resumes: player.client.is_connected and player.client.resumes == n)  # type: ignore[misc]
        await player.plays()
        (session,) = shard.parts.edge.registry
        assert session.schema_version == NEW


@pytest.fixture
def settings(shard_settings: Settings) -> Settings:
    return msgspec.structs.replace(shard_settings, drain_timeout_s=30.0)


async def test_players_of_both_versions_migrate_with_their_room(settings: Settings) -> None:
    async with fleet(settings) as (one, other), versioned(one, OLD) as old, versioned(one, NEW) as new:
        joined = await old.client.join("duel")
        await new.client.join("duel", room_id=joined.room_id)
        for player in (old, new):
            await player.plays()
        await one.drain()
        for player in (old, new):
            await moves_with(player.client, other)
            await player.plays()
        await have_equal_worlds(old, new)


async def test_sessions_of_both_versions_are_transferred_and_then_matched(settings: Settings) -> None:
    async with fleet(settings) as (one, other), versioned(one, OLD) as old, versioned(one, NEW) as new:
        waiting = asyncio.create_task(old.client.match("versus", options={"skill": 10}, timeout_s=30))
        await eventually(lambda: len(one.parts.queue_service) == 1)
        await one.drain()
        await eventually(lambda: len(other.parts.queue_service) == 1)
        await eventually(lambda: {s.schema_version for s in other.parts.edge.registry} == {OLD, NEW})
        joined = await asyncio.gather(waiting, new.client.match("versus", options={"skill": 20}, timeout_s=30))
        assert joined[0].room_id == joined[1].room_id
        for player in (old, new):
            await player.plays()
