"""Schema migrations, export, import and deletion of data, on a real MongoDB."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from bson import json_util
from pymongo.errors import WriteError

from tests.contract.test_world_store import large, parts, world
from tests.harness.ledger_stores import read_holdings, transaction
from tickwire.server.errors import NotSavable, StaleEpoch, Unavailable
from tickwire.server.storage import VERSION, MongoStore, SavedWorld, export_import, get_database_version, migrate


@pytest.fixture
async def store(mongo_url: str, mongo_database: str) -> AsyncIterator[MongoStore]:
    made = MongoStore(mongo_url, mongo_database)
    yield made
    made.close()


async def migrated(store: MongoStore) -> MongoStore:
    await migrate(store.database, store.calls)
    return store


async def lines_of(lines: AsyncIterator[str]) -> list[str]:
    return [line async for line in lines]


# -- migrations ---------------------------------------------------------------------------------------------------


async def test_migrations_of_several_processes_at_the_same_time_succeed(mongo_url: str, mongo_database: str) -> None:
    stores = [MongoStore(mongo_url, mongo_database) for _ in range(4)]
    try:
        for _ in range(3):
            await stores[0].client.drop_database(mongo_database)
            await asyncio.gather(*(migrate(store.database, store.calls) for store in stores))
            assert await get_database_version(stores[0].database, stores[0].calls) == VERSION
    finally:
        for store in stores:
            store.close()


async def test_migration_steps_run_once_and_are_safe_to_repeat(store: MongoStore) -> None:
    with pytest.raises(Unavailable, match=f"schema version 0; this build needs {VERSION}: run tickwire migrate-db"):
        await store.check_schema(may_migrate=False)
    assert await migrate(store.database, store.calls) == list(range(1, VERSION + 1))
    assert await migrate(store.database, store.calls) == []
    await store.database["schema"].delete_one({})
    assert await migrate(store.database, store.calls) == list(range(1, VERSION + 1)), (
        "existing collections do not prevent a step"
    )
    await store.check_schema(may_migrate=False)
    assert await get_database_version(store.database, store.calls) == VERSION
    await store.database["schema"].update_one({}, {"$set": {"version": VERSION + 1}})
    await store.check_schema(may_migrate=False)  # a newer build has migrated the database; its steps stay compatible


@pytest.mark.parametrize(
    ("collection", "document"),
    [
        ("worlds", {"room_type": "garden", "name": "home"}),
        ("worlds", {"epoch": -1, "room_type": "garden", "name": "home"}),
        ("players", {"version": 1, "holdings": {"gold": -1}}),
        ("players", {"version": 1, "holdings": {"gold": 1.5}}),
        ("ledger", {"at": datetime.datetime.now(datetime.UTC), "entries": []}),
        ("fences", {"epoch": "1", "touched_at": datetime.datetime.now(datetime.UTC)}),
    ],
)
async def test_validators_refuse_invalid_documents(
    store: MongoStore, collection: str, document: dict[str, Any]
) -> None:
    await migrated(store)
    with pytest.raises(WriteError, match="failed validation"):
        await store.database[collection].insert_one(document)


async def test_lookups_use_an_index(store: MongoStore) -> None:
    await migrated(store)
    for collection, wanted in (
        ("worlds", {"room_id": "r"}),
        ("world_parts", {"world": "garden/home", "epoch": {"$lt": 3}}),
        ("ledger", {"session_id": {"$in": ["a", "b"]}}),
        ("ledger", {"entries.player_id": "ann"}),
        ("ledger", {"player_id": "ann"}),
    ):
        plan = await store.database[collection].find(wanted).explain()
        assert "IXSCAN" in json.dumps(plan["queryPlanner"]["winningPlan"]), (collection, wanted)
    transient = {
        name: index["expireAfterSeconds"]
        for name in ("ledger", "fences")
        for index in (await store.database[name].index_information()).values()
        if "expireAfterSeconds" in index
    }
    assert transient == {"ledger": 0, "fences": 30 * 24 * 3600}


# -- worlds -------------------------------------------------------------------------------------------------------


def kept() -> SavedWorld:
    return world(
        tables={"ships": large(300_000)}, sessions={"s1": {"player_id": "ann", "is_guest": False}}, labels={"a": "b"}
    )


async def test_imported_world_is_unchanged_and_fences_off_its_owner(store: MongoStore) -> None:
    await migrated(store)
    await store.worlds.claim("garden", "home", 7)
    await store.worlds.save(kept(), 7)
    lines = await lines_of(export_import.export_world(store, "garden", "home"))
    assert json.loads(lines[0])["tickwire"] == "world"
    with pytest.raises(NotSavable, match="world garden/home exists already"):
        await export_import.import_lines(store, lines)
    await store.worlds.save(world(99), 7)
    assert await export_import.import_lines(store, lines, replace=True) == "garden/home"
    with pytest.raises(StaleEpoch):
        await store.worlds.save(world(100), 7)
    assert await store.worlds.load("garden", "home") == kept()
    for collection in ("worlds", "world_parts", "fences"):
        await store.database[collection].delete_many({})
    assert await export_import.import_lines(store, lines) == "garden/home", "into an empty database"
    assert await store.worlds.claim("garden", "home", 9) == kept()


async def test_invalid_export_is_refused_with_a_sentence(store: MongoStore) -> None:
    await store.worlds.save(kept(), 7)
    lines = await lines_of(export_import.export_world(store, "garden", "home"))
    for wrong in ([], ["{"], ['{"a": 1}'], lines[:1], [*lines[:-1]], ["[]"], [lines[0].replace('"world"', '"x"')]):
        with pytest.raises(NotSavable):
            await export_import.import_lines(store, wrong, replace=True)
    with pytest.raises(NotSavable, match="version 9; this build reads versions up to 1"):
        await export_import.import_lines(store, [lines[0].replace('"version": 1', '"version": 9'), *lines[1:]])
    with pytest.raises(NotSavable, match="was never saved"):
        await lines_of(export_import.export_world(store, "garden", "nowhere"))
    assert await store.worlds.load("garden", "home") == kept()


# -- players ------------------------------------------------------------------------------------------------------


async def play(store: MongoStore) -> None:
    await migrated(store)
    ann = {"_id": "ann", "version": 1, "holdings": {}, "profile": {"name": "Ann"}}
    await store.database["players"].insert_one(ann)
    await store.ledger.commit(transaction("1", {"ann": {"gold": 100}}))
    await store.ledger.commit(transaction("2", {"ann": {"gold": -40, "sword": 1}}))
    await store.ledger.commit(transaction("3", {"ann": {"gold": -10}, "bob": {"gold": 10}}))
    await store.ledger.commit(transaction("4", {"bob": {"gold": 1}}, player="bob"))
    await store.ledger.commit(transaction("5", {"bob": {"gold": -999}}, player="ann"))
    await store.ledger.commit(
        transaction("by bob", {"bob": {"gold": -1}, "ann": {"gold": 1}}, player="bob", reply=b"bob's")
    )
    await store.ledger.commit(transaction("back", {"ann": {"gold": -1}, "bob": {"gold": 1}}, player="ann"))


async def test_imported_player_equals_the_sums_of_the_ledger(store: MongoStore) -> None:
    await play(store)
    lines = await lines_of(export_import.export_player(store, "ann"))
    exported = [json_util.loads(line) for line in lines[1:]]
    assert [line["collection"] for line in exported] == ["players", *["ledger"] * 6]
    told = [{**line["document"], "_id": ""} for line in exported]
    assert "bob" not in repr(told), "an export has no data of other players"
    await store.ledger.commit(transaction("6", {"ann": {"gold": -50, "bread": 7}}))
    with pytest.raises(NotSavable, match="player 'ann' exists already"):
        await export_import.import_lines(store, lines)
    await export_import.import_lines(store, lines, replace=True)
    assert await read_holdings(store.ledger, store.players, "ann") == [{"gold": 50, "sword": 1, "bread": 0}]
    await export_import.import_lines(store, lines, replace=True)
    assert await read_holdings(store.ledger, store.players, "ann") == [{"gold": 50, "sword": 1, "bread": 0}], (
        "a repeated import changes nothing"
    )
    await export_import.delete_player(store, "ann")
    await export_import.import_lines(store, lines)
    assert (await store.players.load(["ann"]))["ann"].profile == {"name": "Ann"}
    assert await read_holdings(store.ledger, store.players, "ann", "bob") == [{"gold": 50, "sword": 1}, {"gold": 11}]


async def test_import_overtaken_by_a_transaction_is_refused(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await play(store)
    lines = await lines_of(export_import.export_player(store, "bob"))
    load = store.players.load

    async def outdated(player_ids: list[str]) -> Any:
        found = await load(player_ids)
        await store.ledger.commit(transaction("meanwhile", {"bob": {"gold": -11}}, player="bob"))
        return found

    await store.ledger.commit(transaction("more", {"bob": {"bread": 1}}, player="bob"))
    monkeypatch.setattr(store.players, "load", outdated)
    with pytest.raises((NotSavable, Unavailable)):
        await export_import.import_lines(store, lines, replace=True)


async def everywhere(store: MongoStore, text: str) -> list[str]:
    return [
        name
        for name in await store.database.list_collection_names()
        async for document in store.database[name].find()
        if text in repr(document)
    ]


async def test_deleted_player_leaves_no_data_and_other_players_keep_theirs(store: MongoStore) -> None:
    await play(store)
    sessions = {
        "s1": {"player_id": "ann", "is_guest": False},
        "s2": {"player_id": "bob", "is_guest": False},
        "s3": {"player_id": "ann", "is_guest": False, "frames": [b"x" * 100_000]},
    }
    await store.worlds.save(world(sessions=sessions), 1)
    assert await everywhere(store, "'ann'")
    assert await parts(store)
    assert (await export_import.delete_player(store, "ann")) == {
        "players": 1,
        "ledger entries": 5,
        "sessions": 2,
        "other documents": 0,
    }
    assert await everywhere(store, "'ann'") == []
    assert await parts(store) == [], "parts are deleted, too"
    assert await read_holdings(store.ledger, store.players, "bob") == [{"gold": 11}]
    left = await store.worlds.load("garden", "home")
    assert left is not None
    assert list(left.sessions) == ["s2"]
    assert (await export_import.delete_player(store, "ann")) == {
        "players": 0,
        "ledger entries": 0,
        "sessions": 0,
        "other documents": 0,
    }
