"""Real stores for every test that wants them: one redis-server and one mongod a test process, on free ports."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pymongo
import pytest
import redis
import structlog
from hypothesis import HealthCheck, settings

from tickwire.schemas import kernel
from tickwire.server.dev import local_stores
from tickwire.server.observability import logs

logs.configure(format="console", level="debug")
settings.register_profile("quick", max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("deep", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("TICKWIRE_HYPOTHESIS", "quick"))


@pytest.fixture(autouse=True)
def keep_log_configuration() -> Iterator[None]:
    """Restore the configuration of the log after a test that runs a command in this process."""
    before = structlog.get_config()
    yield
    if structlog.get_config() != before:
        structlog.configure(**before)


@pytest.fixture(scope="module", params=["python", "native"])
def each_kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both implementations of the codec, one after the other: a module that uses this runs on each.

    The native one is skipped where it was not built; CI checks that it was.
    """
    was_native = kernel.is_native
    if request.param == "native" and not was_native:
        pytest.skip(f"no native kernel: {kernel.reason}")
    kernel.is_native = request.param == "native"
    yield request.param
    kernel.is_native = was_native


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real redis-server."""
    with local_stores.running(tmp_path_factory.mktemp("redis"), with_mongo=False) as services:
        with redis.Redis.from_url(services.redis_url) as client:
            client.config_set("appendfsync", "no")  # a busy disk would delay each command by seconds
        yield services.redis_url


@pytest.fixture(scope="session")
def mongo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real mongod, a replica set of one."""
    with local_stores.running(tmp_path_factory.mktemp("mongo"), with_redis=False) as services:
        yield services.mongo_url


@pytest.fixture
def redis_namespace() -> str:
    """A prefix for keys that no other test uses."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def mongo_database(mongo_url: str) -> Iterator[str]:
    """The name of a database that is dropped afterwards."""
    name = f"test_{secrets.token_hex(6)}"
    yield name
    with pymongo.MongoClient(mongo_url) as client:
        client.drop_database(name)
