"""A client watches a recorded match on a shard, with the messages of any room."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from tests.harness.shard_process import running
from tickwire.client.client import connect
from tickwire.client.core import ClientCore
from tickwire.examples.arena import Arena
from tickwire.server.config import Settings
from tickwire.testing import RoomHarness, random_input


class PlayedMatch(NamedTuple):
    """A recording in a folder: the last tick, and where the ships then were."""

    folder: Path
    tick: int
    ships: list[tuple[float, float]]


def places_of(core: ClientCore) -> list[tuple[float, float]]:
    """Return where the ships are, sorted."""
    assert core.world is not None
    ships = core.world.table("ships")
    return sorted(zip(ships.column("x").tolist(), ships.column("y").tolist(), strict=True))


@pytest.fixture
def played(tmp_path: Path) -> PlayedMatch:
    with RoomHarness(Arena, seed=5) as room:
        room.record(tmp_path / "final.tickrec")
        for name in ("ann", "bob"):
            room.join(name)
        room.random_play({random_input: 1}, steps=100)
        ships = places_of(room.clients["ann"].core)
        return PlayedMatch(tmp_path, room.tick, ships)


async def test_a_match_is_watched_after_it_has_ended(
    shard_settings: Settings, played: PlayedMatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHED_MATCHES", str(played.folder))
    settings = msgspec.structs.replace(shard_settings, rooms=["tests.harness.watched_rooms"])
    async with running(settings) as shard, connect(shard.url) as viewer, connect(shard.url) as other:
        await viewer.join("arena_replay", name="final", options={"recording": "final"})
        await other.join("arena_replay", name="final", options={"recording": "final"})
        await viewer.wait_for(lambda: len(viewer.world.table("ships")) == 2)
        await viewer.command("pause")
        await viewer.command("seek", tick=played.tick)
        for client in (viewer, other):
            await client.wait_for(lambda core=client.core: places_of(core) == played.ships)  # type: ignore[misc]
        assert viewer.core.mismatches == other.core.mismatches == 0
        await viewer.leave()
        await viewer.join("arena_replay", options={"recording": "unknown"})
        await viewer.wait_for(lambda: viewer.core.joined is None)
