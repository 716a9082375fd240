"""A client watches a recorded match on a shard, with the messages of any room."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.harness.shard_process import running
from tests.harness.watched_rooms import PlayedMatch, places_of, record_match
from tickwire.client.client import connect
from tickwire.server.config import Settings


@pytest.fixture
def played(tmp_path: Path) -> PlayedMatch:
    """A recorded match in the folder of the test."""
    return record_match(tmp_path)


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
