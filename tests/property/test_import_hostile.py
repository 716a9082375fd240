"""`tickwire import` accepts any file, or refuses it with one named error."""

from __future__ import annotations

import asyncio
import copy
import datetime
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.test_export_import import lines_of
from tests.contract.test_world_store import world
from tests.harness.ledger_stores import transaction
from tickwire.server.errors import TickwireError
from tickwire.server.storage import MongoStore, export_import, migrate
from tickwire.server.storage.world_document import create_world_write

SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.just("$oid"), inner, max_size=3)
    ),
    max_leaves=6,
)


def paths_in(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a JSON document."""
    found = [at]
    if isinstance(value, dict):
        found += [path for key, inner in value.items() for path in paths_in(inner, (*at, key))]
    elif isinstance(value, list):
        found += [path for place, inner in enumerate(value) for path in paths_in(inner, (*at, place))]
    return found


def with_value(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(document)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return changed


@pytest.fixture(scope="module")
def exports(mongo_url: str) -> dict[str, list[str]]:
    """Return the lines of a world and of a player that are as they should be."""

    async def make() -> dict[str, list[str]]:
        store = MongoStore(mongo_url, "import_hostile")
        try:
            await store.client.drop_database("import_hostile")
            await migrate(store.database, store.calls)
            await store.worlds.claim("garden", "home", 1)
            now = datetime.datetime.now(datetime.UTC)
            await store.worlds.write([create_world_write(world(7), 1, 1, None, now)])
            await store.ledger.commit(transaction("k", {"ann": {"gold": 5}}, profile={"level": 3}))
            return {
                "world": await lines_of(export_import.export_world(store, "garden", "home")),
                "player": await lines_of(export_import.export_player(store, "ann")),
            }
        finally:
            store.close()

    return asyncio.run(make())


@pytest.mark.parametrize("kind", ["world", "player"])
@settings(max_examples=200)
@given(data=st.data())
def test_an_export_with_one_value_changed_is_imported_or_refused(
    mongo_url: str, exports: dict[str, list[str]], kind: str, data: st.DataObject
) -> None:
    documents = [json.loads(line) for line in exports[kind]]
    place = data.draw(st.integers(0, len(documents) - 1), label="line")
    path = data.draw(st.sampled_from(paths_in(documents[place])), label="path")
    documents[place] = with_value(documents[place], path, data.draw(VALUES, label="value"))
    lines = [json.dumps(document) for document in documents]

    async def attempt() -> None:
        store = MongoStore(mongo_url, "import_hostile")
        try:
            with suppress(TickwireError):
                await export_import.import_lines(store, lines, replace=True)
        finally:
            store.close()

    asyncio.run(attempt())


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [""],
        ["null"],
        ["[]"],
        ["{}"],
        ["3"],
        ["[" * 100_000],
        ["\x00"],
        ['{"tickwire": "world", "key": 3, "version": "1"}'],
    ],
    ids=["no line", "empty", "null", "list", "object", "number", "nested", "nul", "header"],
)
async def test_lines_that_are_no_export_are_refused(mongo_url: str, lines: list[str]) -> None:
    store = MongoStore(mongo_url, "import_hostile")
    try:
        with pytest.raises(TickwireError):
            await export_import.import_lines(store, lines)
    finally:
        store.close()
