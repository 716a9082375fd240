"""The guarantees of the stores of bans and tunings, on a real MongoDB."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator

import pytest

from tickwire.server.errors import VersionConflict
from tickwire.server.storage import CLOCKS_APART, Ban, MongoStore, TuningVersion


@pytest.fixture
async def store(mongo_url: str, mongo_database: str) -> AsyncIterator[MongoStore]:
    made = MongoStore(mongo_url, mongo_database)
    await made.check_schema(may_migrate=True)
    yield made
    made.close()


def in_s(seconds: float) -> datetime.datetime:
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)  # the resolution of MongoDB


async def test_changed_bans_include_lifted_ones(store: MongoStore) -> None:
    first, since = await store.bans.list_changed(None, now=in_s(0))
    assert first == []
    ban = Ban("ada", in_s(60), "spam")
    await store.bans.save(ban)
    assert await store.bans.list_changed(None, now=in_s(0)) == (
        [ban],
        (await store.bans.list_changed(since, now=in_s(0)))[1],
    )
    changed, since = await store.bans.list_changed(since, now=in_s(0))
    assert changed == [ban]
    lifted = Ban("ada", in_s(-1))
    await store.bans.save(lifted)
    changed, _ = await store.bans.list_changed(since, now=in_s(0))
    assert changed == [lifted]
    assert await store.bans.list_active(10, now=in_s(0)) == []
    assert (await store.bans.list_changed(None, now=in_s(0)))[0] == [lifted], (
        "included, in case the clock of the shard is wrong"
    )
    assert (await store.bans.list_changed(None, now=in_s(0) + CLOCKS_APART))[0] == []


async def test_ban_replaces_the_one_before_and_the_longest_is_listed_first(store: MongoStore) -> None:
    await store.bans.save(Ban("ada", in_s(60), "spam"))
    longer = Ban("ada", in_s(600), "worse")
    other = Ban("bob", in_s(90))
    await store.bans.save(other)
    await store.bans.save(longer)
    assert await store.bans.list_active(10, now=in_s(0)) == [longer, other]
    assert await store.bans.list_active(1, now=in_s(0)) == [longer]


async def test_concurrent_versions_with_one_number_conflict(store: MongoStore) -> None:
    assert await store.tunings.get_newest_version() == 0
    outcomes = await asyncio.gather(
        *(store.tunings.add(TuningVersion(1, {"arena": {"speed": float(n)}}, at=in_s(0))) for n in range(5)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [VersionConflict] * 4
    kept = TuningVersion(2, {"arena": {"speed": 2.5}}, 10.0, {"region": "eu"}, "slower", in_s(0))
    await store.tunings.add(kept)
    assert await store.tunings.get_newest_version() == 2
    assert [tuning.version for tuning in await store.tunings.list_newest()] == [2, 1]
    assert await store.tunings.get(2) == kept
    assert await store.tunings.get(9) is None
