"""What storage promises of operators' orders, on a real MongoDB."""

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
    return now.replace(microsecond=now.microsecond // 1000 * 1000)  # as fine as MongoDB is


async def test_who_asks_for_what_has_changed_hears_of_bans_and_of_lifted_ones(store: MongoStore) -> None:
    first, since = await store.orders.bans_changed(None, now=in_s(0))
    assert first == []
    ban = Ban("ada", in_s(60), "spam")
    await store.orders.ban(ban)
    assert await store.orders.bans_changed(None, now=in_s(0)) == (
        [ban],
        (await store.orders.bans_changed(since, now=in_s(0)))[1],
    )
    changed, since = await store.orders.bans_changed(since, now=in_s(0))
    assert changed == [ban]
    lifted = Ban("ada", in_s(-1))
    await store.orders.ban(lifted)
    changed, _ = await store.orders.bans_changed(since, now=in_s(0))
    assert changed == [lifted]
    assert await store.orders.bans(10, now=in_s(0)) == []
    assert (await store.orders.bans_changed(None, now=in_s(0)))[0] == [lifted], "read, in case our clock is wrong"
    assert (await store.orders.bans_changed(None, now=in_s(0) + CLOCKS_APART))[0] == []


async def test_a_ban_replaces_the_one_before_and_the_longest_are_listed_first(store: MongoStore) -> None:
    await store.orders.ban(Ban("ada", in_s(60), "spam"))
    longer = Ban("ada", in_s(600), "worse")
    other = Ban("bob", in_s(90))
    await store.orders.ban(other)
    await store.orders.ban(longer)
    assert await store.orders.bans(10, now=in_s(0)) == [longer, other]
    assert await store.orders.bans(1, now=in_s(0)) == [longer]


async def test_of_two_who_make_the_next_version_at_once_one_is_told_so(store: MongoStore) -> None:
    assert await store.orders.newest_tuning() == 0
    fates = await asyncio.gather(
        *(store.orders.tune(TuningVersion(1, {"arena": {"speed": float(n)}}, at=in_s(0))) for n in range(5)),
        return_exceptions=True,
    )
    assert [type(fate) for fate in fates if fate is not None] == [VersionConflict] * 4
    kept = TuningVersion(2, {"arena": {"speed": 2.5}}, 10.0, {"region": "eu"}, "slower", in_s(0))
    await store.orders.tune(kept)
    assert await store.orders.newest_tuning() == 2
    assert [tuning.version for tuning in await store.orders.tunings()] == [2, 1]
    assert await store.orders.tuning(2) == kept
    assert await store.orders.tuning(9) is None
