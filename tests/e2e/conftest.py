"""A shard in this process, on real stores."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.harness.shard_process import running, settings_of
from tickwire.server.config import Settings
from tickwire.server.shard import Shard


@pytest.fixture
def shard_settings(redis_url: str, redis_namespace: str, mongo_url: str, mongo_database: str) -> Settings:
    """Settings of a fleet that no other test shares."""
    return settings_of(redis_url, redis_namespace, mongo_url, mongo_database)


@pytest.fixture
async def shard(shard_settings: Settings) -> AsyncIterator[Shard]:
    """A shard that is ready."""
    async with running(shard_settings) as made:
        yield made
