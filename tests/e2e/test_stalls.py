"""A room whose ticks block the event loop delays all rooms of the shard; healthy stores stay available."""

from __future__ import annotations

import msgspec

from tests.harness.shard_process import running
from tickwire.client.client import connect
from tickwire.server.config import Settings
from tickwire.server.edge.settings import EdgeSettings


async def test_joins_succeed_while_the_ticks_of_a_room_block_the_loop(shard_settings: Settings) -> None:
    patient = msgspec.structs.replace(
        shard_settings,
        redis=msgspec.structs.replace(shard_settings.redis, deadline_s=0.2),
        mongo=msgspec.structs.replace(shard_settings.mongo, deadline_s=0.5),
        edge=EdgeSettings(join_timeout_s=60.0),
    )
    async with running(patient) as shard, connect(shard.url) as one, connect(shard.url) as two:
        await one.join("heavy", options={"stall_s": 0.3499})
        for room_type, name in (("duel", ""), ("garden", "home")):
            await two.join(room_type, name=name)
            assert shard.parts.health.is_ready, shard.parts.health.reasons
            await two.leave()
        assert shard.parts.matchmaker.scripts.counters.failures.total() == 0
        await one.leave()
