"""The stores of the matchmaker: a test that takes `store` runs on each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.harness.matchmaker_stores import MatchmakerStore, MemoryStore, RedisStore


@pytest.fixture(params=["redis", "memory"])
def any_store(request: pytest.FixtureRequest) -> MatchmakerStore:
    """The in-process store needs no Redis, which is started for the other one alone."""
    if request.param == "memory":
        return MemoryStore()
    return RedisStore(request.getfixturevalue("redis_url"), request.getfixturevalue("redis_namespace"))


@pytest.fixture
async def store(any_store: MatchmakerStore) -> AsyncIterator[MatchmakerStore]:
    """A real Redis, and the in-process store of `tickwire.testing`."""
    yield any_store
    await any_store.aclose()


@pytest.fixture
async def redis_store(redis_url: str, redis_namespace: str) -> AsyncIterator[RedisStore]:
    """A real Redis, for a promise that only Redis makes."""
    made = RedisStore(redis_url, redis_namespace)
    yield made
    await made.aclose()
