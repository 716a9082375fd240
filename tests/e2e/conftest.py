"""A shard in this process, on real stores."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator

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


@pytest.fixture
def no_collections() -> Iterator[None]:
    """Run no garbage collection during tests of data that is nested up to the limit of the interpreter.

    A collection within the decoder calls the shard's monitor, for which no recursion is left. Python ignores and
    prints that exception, and pytest fails the test at which it happens.
    """
    gc.disable()
    yield
    gc.enable()
