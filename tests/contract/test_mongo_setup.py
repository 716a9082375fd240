"""An incorrectly configured MongoDB is refused with an error that has the host and the reason."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pymongo
import pytest

from tests.harness.mongo_process import MongoProcess
from tests.harness.polling import eventually, eventually_joins
from tests.harness.shard_process import OPERATIONS_TOKEN, running, settings_of
from tickwire.client.client import connect
from tickwire.server.config import MongoSettings
from tickwire.server.errors import ConfigError, Unavailable
from tickwire.server.storage import CallSettings, MongoStore, migrate
from tickwire.server.storage.mongo_checks import missing_actions
from tickwire.server.storage.mongo_errors import hosts_from_url, to_operator_detail

PASSWORD = "a-secret-word"


@asynccontextmanager
async def connected(url: str, database: str = "tickwire") -> AsyncIterator[MongoStore]:
    store = MongoStore(url, database, calls=CallSettings(2.0))
    try:
        yield store
    finally:
        store.close()


async def refusal_of(url: str, kind: type[ConfigError | Unavailable], database: str = "tickwire") -> str:
    """Return the error detail for operators with which a URL is refused."""
    async with connected(url, database) as store:
        with pytest.raises(kind) as refused:
            await store.check_setup()
    for words in (refused.value.detail, str(refused.value)):
        assert PASSWORD not in words
    if kind is Unavailable:
        assert "127.0.0.1" not in str(refused.value), "players do not see the host"
    return refused.value.detail


@pytest.fixture
async def standalone(tmp_path: Path) -> AsyncIterator[MongoProcess]:
    process = MongoProcess(tmp_path / "standalone", replica_set="")
    await process.start()
    yield process
    process.kill()


@pytest.mark.parametrize("query", ["", "?directConnection=true", "?replicaSet=rs0"])
async def test_mongod_without_a_replica_set_is_refused(standalone: MongoProcess, query: str) -> None:
    words = await refusal_of(f"mongodb://127.0.0.1:{standalone.port}/{query}", ConfigError)
    assert words.startswith(f"mongo.url: MongoDB at 127.0.0.1:{standalone.port} is not a replica set")
    assert "--replSet" in words


async def test_replica_set_of_another_name_is_refused_with_both_names(mongo_url: str) -> None:
    words = await refusal_of(mongo_url.replace("rs0", "rs1"), ConfigError)
    assert words.startswith("mongo.url: replicaSet=rs1 is wrong")
    assert words.endswith(f'MongoDB at {hosts_from_url(mongo_url)} is a member of the replica set "rs0"')


@pytest.mark.parametrize("query", ["?directConnection=true", "?replicaSet=rs0"])
async def test_shard_waits_for_the_replica_set_to_be_initiated(tmp_path: Path, query: str) -> None:
    process = MongoProcess(tmp_path / "new")
    process.spawn()
    try:
        url = f"mongodb://127.0.0.1:{process.port}/{query}"
        with pymongo.MongoClient[Any](process.url, serverSelectionTimeoutMS=20_000) as client:
            client.admin.command("hello")  # waits until it answers
        assert "not initiated yet: run rs.initiate()" in await refusal_of(url, Unavailable)
        await eventually(process.is_primary, 40)
        async with connected(url) as store:
            await store.check_setup()
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"mongodb://ann:{PASSWORD}@127.0.0.1:1/?replicaSet=rs0", "Connection refused"),
        (f"mongodb://ann:{PASSWORD}@mongo.invalid:1/?replicaSet=rs0", "mongo.invalid:1: "),
    ],
    ids=["refused", "no such host"],
)
async def test_unreachable_host_is_reported_with_the_reason(url: str, reason: str) -> None:
    words = await refusal_of(url, Unavailable)
    assert words.startswith(f"MongoDB at {hosts_from_url(url)} cannot be used: ")
    assert reason in words
    assert "Topology" not in words


async def test_plaintext_connection_to_a_tls_port_is_reported(mongo_url: str) -> None:
    words = await refusal_of(f"{mongo_url}&tls=true", Unavailable)
    assert "SSL handshake failed" in words


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Callable[[str], str]]:
    """Yield the URL of a user of a mongod with access control."""
    key = tmp_path / "key"
    key.write_text("c2VjcmV0cyBvZiBtZW1iZXJz")
    key.chmod(0o600)
    process = MongoProcess(tmp_path / "guarded")
    await process.start()
    with process.client() as client:
        client.admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])
        client.admin.command("createUser", "reader", pwd=PASSWORD, roles=[{"role": "read", "db": "tickwire"}])
        client.admin.command("createUser", "writer", pwd=PASSWORD, roles=[{"role": "readWrite", "db": "tickwire"}])
        both = [{"role": role, "db": "tickwire"} for role in ("readWrite", "dbAdmin")]
        client.admin.command("createUser", "migrator", pwd=PASSWORD, roles=both)
    process.kill()
    os.remove(tmp_path / "guarded" / "mongod.lock")
    process.options = ["--auth", "--keyFile", str(key)]

    def url_of(user: str) -> str:
        return f"mongodb://{user}@127.0.0.1:{process.port}/?replicaSet=rs0&authSource=admin"

    process.spawn()
    with pymongo.MongoClient[Any](url_of(f"root:{PASSWORD}"), serverSelectionTimeoutMS=40_000) as client:
        client.admin.command("ping")
    yield url_of
    process.kill()


async def test_wrong_password_and_missing_role_are_reported(guarded: Callable[[str], str]) -> None:
    assert "the user name or password is wrong" in await refusal_of(guarded("root:wrong"), Unavailable)
    nobody = guarded("").replace("@", "")
    async with connected(nobody) as store:
        await store.check_setup()  # needs no privileges
        with pytest.raises(Unavailable) as refused:
            await store.check_schema(may_migrate=False)
        assert refused.value.detail.endswith("a user name and a password are required")
    reader = await refusal_of(guarded(f"reader:{PASSWORD}"), Unavailable)
    assert reader.endswith(
        "lacks the rights insert, remove, update on database tickwire: grant it the role readWrite"
    )
    elsewhere = await refusal_of(guarded(f"writer:{PASSWORD}"), Unavailable, database="another")
    assert "find, insert, remove, update on database another" in elsewhere
    async with connected(guarded(f"writer:{PASSWORD}")) as store:
        await store.check_setup()
        with pytest.raises(Unavailable) as refused:
            await migrate(store.database, store.calls)
        assert refused.value.detail.endswith(
            "lacks the right to collMod on database tickwire: grant it the role dbAdmin"
        )
        assert str(refused.value) == "MongoDB does not answer: it failed with code 13"
    async with connected(guarded(f"migrator:{PASSWORD}")) as store:
        await store.check_setup()
        assert await migrate(store.database, store.calls)


async def test_documented_roles_suffice_to_migrate_and_to_play(
    guarded: Callable[[str], str], redis_url: str, redis_namespace: str
) -> None:
    """The migration has the roles readWrite and dbAdmin; shards have readWrite only."""
    async with connected(guarded(f"migrator:{PASSWORD}")) as store:
        assert await migrate(store.database, store.calls)
    url = guarded(f"writer:{PASSWORD}")
    mongo = MongoSettings(url, "tickwire", deadline_s=2.0, migrate=False)
    rooms = ["tests.harness.sample_rooms", "tickwire.examples.market"]
    settings = settings_of(redis_url, redis_namespace, url, "tickwire", rooms=rooms, mongo=mongo)
    async with running(settings) as shard, connect(shard.url) as client:
        await client.join("market")
        await client.command("work")
        await client.leave()
        await client.join("garden", name="home")
        await client.command("plant", {"x": 1.0})
        headers = {"Authorization": f"Bearer {OPERATIONS_TOKEN}"}
        api = f"http://127.0.0.1:{shard.parts.operations.port}/v1/bans/eve"
        async with aiohttp.ClientSession(headers=headers) as http, http.put(api, json={"duration_s": 60}) as answer:
            assert answer.status == 200, await answer.text()
    async with running(settings, "next") as shard, connect(shard.url) as client:
        await eventually_joins(client, "garden", "home")
        assert await client.command("planted") == 1


def test_missing_actions_respects_the_scope_of_privileges() -> None:
    def user(**resource: Any) -> dict[str, Any]:
        actions = ["find", "insert", "remove", "update", "collMod"]
        privilege = {"resource": resource, "actions": actions}
        return {"authenticatedUsers": [{"user": "ann"}], "authenticatedUserPrivileges": [privilege]}

    assert missing_actions({"authenticatedUsers": []}, "tickwire") == [], "access control is off"
    for resource in ({"db": "tickwire", "collection": ""}, {"db": "", "collection": ""}, {"anyResource": True}):
        assert missing_actions(user(**resource), "tickwire") == []
    for resource in ({"db": "other", "collection": ""}, {"db": "tickwire", "collection": "one"}, {"cluster": True}):
        assert missing_actions(user(**resource), "tickwire") == ["find", "insert", "remove", "update"]


@pytest.mark.parametrize(
    "url",
    [
        f"mongodb://ann:{PASSWORD}@a:1,b:2/db?replicaSet=rs0",
        f"mongodb+srv://ann:{PASSWORD}@cluster.example.org/",
        "mongodb://a/",
    ],
)
def test_address_contains_only_hosts(url: str) -> None:
    assert hosts_from_url(url) in ("a:1,b:2", "cluster.example.org", "a")


def test_documents_quoted_by_the_server_are_not_logged() -> None:
    error = pymongo.errors.OperationFailure(
        "E11000 dup key: {name: 'Ann'}", 20, {"codeName": "IllegalOperation", "errmsg": "dup key: {name: 'Ann'}"}
    )
    assert to_operator_detail(error, 1.0) == "code 20 IllegalOperation"
