"""The guarantees of token buckets: in a real Redis, and within one process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.harness.polling import eventually
from tests.harness.redis_process import RedisProcess
from tickwire.matchmaking.errors import MatchmakerUnavailable
from tickwire.matchmaking.redis_connection import RedisConnection
from tickwire.matchmaking.token_buckets import (
    IDENTITY_CHARACTERS_MAX,
    BucketLimit,
    LocalTokenBuckets,
    SharedTokenBuckets,
    TakeResult,
    TokenBuckets,
)

SLOW = BucketLimit("slow", 3, 3600.0)
WIDE = BucketLimit("wide", 100, 3600.0)
BRISK = BucketLimit("brisk", 2, 0.2)


class SharedFixture:
    """Buckets of one fleet, for several processes."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url, self.namespace = url, namespace
        self._open: list[tuple[RedisConnection, SharedTokenBuckets]] = []

    def process(self) -> SharedTokenBuckets:
        connection = RedisConnection.from_url(self.url, deadline_s=5.0)
        self._open.append((connection, SharedTokenBuckets(connection, self.namespace)))
        return self._open[-1][1]

    async def aclose(self) -> None:
        for connection, buckets in self._open:
            await buckets.aclose()
            await connection.aclose()


@pytest.fixture
async def shared(redis_url: str, redis_namespace: str) -> AsyncIterator[SharedFixture]:
    made = SharedFixture(redis_url, redis_namespace)
    yield made
    await made.aclose()


@pytest.fixture(params=["redis", "local"])
def buckets(request: pytest.FixtureRequest) -> TokenBuckets:
    if request.param == "local":
        return LocalTokenBuckets()
    return request.getfixturevalue("shared").process()  # type: ignore[no-any-return]


async def take(buckets: TokenBuckets, *limits: BucketLimit, identity: str = "p-ann") -> TakeResult:
    return await buckets.take(identity, limits)


async def test_full_bucket_allows_its_capacity_and_then_says_when_to_retry(buckets: TokenBuckets) -> None:
    taken = [await take(buckets, SLOW) for _ in range(5)]
    assert [one.is_allowed for one in taken] == [True, True, True, False, False]
    assert [one.buckets[0].remaining for one in taken] == [2, 1, 0, 0, 0]
    interval_us = SLOW.interval_us
    assert all(one.buckets[0].retry_us == 0 for one in taken[:3])
    assert 0.9 * interval_us < taken[-1].buckets[0].retry_us <= interval_us
    assert 2.9 * interval_us < taken[-1].buckets[0].full_us <= 3 * interval_us


async def test_bucket_fills_with_time(buckets: TokenBuckets) -> None:
    assert [(await take(buckets, BRISK)).is_allowed for _ in range(2)] == [True, True]
    refused = await take(buckets, BRISK)
    while refused.is_allowed:  # a stall of the machine has filled it
        refused = await take(buckets, BRISK)
    await asyncio.sleep(refused.buckets[0].retry_us / 1e6 + 0.002)
    assert (await take(buckets, BRISK)).is_allowed


@pytest.mark.parametrize("order", [(WIDE, SLOW), (SLOW, WIDE)])
async def test_all_buckets_or_none_give_a_token(buckets: TokenBuckets, order: tuple[BucketLimit, ...]) -> None:
    for _ in range(3):
        assert (await take(buckets, *order)).is_allowed
    for _ in range(4):
        refused = await take(buckets, *order)
        assert not refused.is_allowed
        states = {limit.name: state for limit, state in zip(order, refused.buckets, strict=True)}
        assert (states["wide"].remaining, states["slow"].remaining) == (97, 0)
        assert states["wide"].retry_us == 0
        assert states["slow"].retry_us > 0
    assert (await take(buckets, WIDE)).buckets[0].remaining == 96


async def test_identities_have_buckets_of_their_own(buckets: TokenBuckets) -> None:
    for _ in range(4):
        last = await take(buckets, SLOW)
    assert not last.is_allowed
    for identity in ("p-bob", "p-ann:", "", "p-ann}", "k\u00e9y", "\ud800", "p" * 5000, "p" * 5001):
        assert (await take(buckets, SLOW, identity=identity)).buckets[0].remaining == 2, identity[:10]


async def test_lowered_limit_does_not_lock_out_for_longer_than_the_new_window(buckets: TokenBuckets) -> None:
    long = BucketLimit("login", 1, 86_400.0)
    assert (await take(buckets, long)).is_allowed
    refused = await take(buckets, BucketLimit("login", 1, 2.0))
    assert not refused.is_allowed
    assert refused.buckets[0].retry_us <= 2_000_000


async def test_processes_share_a_limit(shared: SharedFixture) -> None:
    first, second = shared.process(), shared.process()
    taken = await asyncio.gather(*(one.take("p-ann", [SLOW]) for one in (first, second) * 10))
    assert sum(one.is_allowed for one in taken) == 3
    script = (
        "import asyncio, sys\n"
        "from tickwire.matchmaking.redis_connection import RedisConnection\n"
        "from tickwire.matchmaking.token_buckets import BucketLimit, SharedTokenBuckets\n"
        "async def run():\n"
        "    buckets = SharedTokenBuckets(RedisConnection.from_url(sys.argv[1], deadline_s=20.0), sys.argv[2])\n"
        "    print((await buckets.take('p-ann', [BucketLimit('slow', 3, 3600.0)])).is_allowed)\n"
        "    print((await buckets.take('p-bob', [BucketLimit('slow', 3, 3600.0)])).is_allowed)\n"
        "asyncio.run(run())\n"
    )
    command = [sys.executable, "-c", script, shared.url, shared.namespace]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out.split() == [b"False", b"True"]


async def test_keys_are_bounded_expire_and_spread_over_slots(shared: SharedFixture) -> None:
    buckets = shared.process()
    for number in range(60):
        await buckets.take(f"p-{number}" if number else "x" * 10_000, [BRISK, WIDE])
    async with Redis.from_url(shared.url) as redis:
        keys = [key.decode() for key in await redis.keys(f"{{{shared.namespace}:limits:*")]
        assert len({key.partition("}")[0] for key in keys}) > 8
        assert all(len(key) < 64 + IDENTITY_CHARACTERS_MAX for key in keys)
        wide = [key for key in keys if ":wide:" in key]
        assert len(wide) == 60
        assert all([0 < await redis.pttl(key) <= WIDE.interval_us / 1000 + 1 for key in wide])


async def test_flushed_redis_fills_the_buckets(shared: SharedFixture) -> None:
    buckets = shared.process()
    for _ in range(4):
        last = await take(buckets, SLOW)
    assert not last.is_allowed
    async with Redis.from_url(shared.url) as redis:
        await redis.delete(*await redis.keys(f"{{{shared.namespace}:limits:*"))
    assert (await take(buckets, SLOW)).is_allowed


async def test_cluster_spreads_identities_over_its_nodes(tmp_path: Path) -> None:
    options = {"cluster-enabled": "yes", "cluster-config-file": "nodes.conf"}
    nodes = [RedisProcess(tmp_path / name, **options) for name in ("one", "two")]
    try:
        for node, slots in zip(nodes, (range(8192), range(8192, 16384)), strict=True):
            await node.start()
            node.say("CLUSTER", "ADDSLOTS", *map(str, slots))
        nodes[1].say("CLUSTER", "SET-CONFIG-EPOCH", "2")
        nodes[0].say("CLUSTER", "MEET", "127.0.0.1", str(nodes[1].port))
        for node in nodes:
            await eventually(lambda n=node: "cluster_known_nodes:2" in str(n.say("CLUSTER", "INFO")), 30)  # type: ignore[misc]
            await eventually(lambda n=node: "cluster_state:ok" in str(n.say("CLUSTER", "INFO")), 30)  # type: ignore[misc]
        made = SharedFixture(f"redis+cluster://127.0.0.1:{nodes[0].port}", "fleet")
        buckets = made.process()
        for identity in [f"p-{number}}}" for number in range(20)]:
            taken = [await buckets.take(identity, [SLOW, WIDE]) for _ in range(4)]
            assert [one.is_allowed for one in taken] == [True, True, True, False]
        await made.aclose()
        assert all(int(str(node.say("DBSIZE"))) > 0 for node in nodes)
    finally:
        for node in nodes:
            await asyncio.to_thread(node.stop)


async def test_redis_that_does_not_answer_is_unavailable() -> None:
    made = SharedFixture("redis://127.0.0.1:1/0", "fleet")
    with pytest.raises(MatchmakerUnavailable):
        await made.process().take("p-ann", [SLOW])
    await made.aclose()


async def test_local_buckets_are_bounded() -> None:
    now = 100.0
    buckets = LocalTokenBuckets(lambda: now, buckets_max=10)
    for number in range(100):
        await buckets.take(f"p-{number}", [SLOW])
    assert (await buckets.take("p-99", [SLOW])).buckets[0].remaining == 1
    assert (await buckets.take("p-0", [SLOW])).buckets[0].remaining == 2, "forgotten"
