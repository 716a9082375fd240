"""A shard in this process, on real stores."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from tests.harness.shard_process import running, settings_of
from tickwire.server.config import Settings
from tickwire.server.shard import Shard

LEASE_S = 10.0
"""The default of the product. All shards in this process share one event loop: a pause of it that is as long as the
lease removes them from the directory, and until their next heartbeat they refuse joins. Shards that tests kill are
processes of their own, with shorter leases."""


@pytest.fixture
def shard_settings(redis_url: str, redis_namespace: str, mongo_url: str, mongo_database: str) -> Settings:
    """Settings of a fleet that no other test shares."""
    settings = settings_of(redis_url, redis_namespace, mongo_url, mongo_database)
    return msgspec.structs.replace(settings, redis=msgspec.structs.replace(settings.redis, lease_s=LEASE_S))


@pytest.fixture
async def shard(shard_settings: Settings) -> AsyncIterator[Shard]:
    """A shard that is ready."""
    async with running(shard_settings) as made:
        yield made
