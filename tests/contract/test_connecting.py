"""Every way to run Redis that a URL can name, on real ones."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.certificates import make_certificate
from matchmaking import Matchmaker, Party, PlaceRequest, RoomFull, ShardInfo
from matchmaking.connecting import client_of
from tests.redises import RedisProcess, Road
from tests.waiting import eventually


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[RedisProcess]:
    redis = RedisProcess(tmp_path / "redis")
    await redis.start()
    yield redis
    await asyncio.to_thread(redis.stop)


async def works(url: str) -> None:
    """Each script is run, on keys of each kind."""
    matchmaker = Matchmaker.from_url(url)
    await matchmaker.ping()
    for shard in "ab":
        await matchmaker.directory.register(ShardInfo(shard, f"ws://{shard}", "1", room_types=("duel",)))
        assert (await matchmaker.directory.heartbeat(shard, load=0.1, players=0, rooms=0)).is_known

    async def join(number: int) -> str:
        wish = PlaceRequest(
            room_type="duel",
            players=(f"p{number}",),
            shard_id="ab"[number % 2],
            seats=5,
            name="x",
            labels={"map": "ice"},
        )
        try:
            return (await matchmaker.places.place(wish)).room_id
        except RoomFull:
            return "full"

    assert sorted(await asyncio.gather(*(join(number) for number in range(20)))).count("full") == 15
    wish = PlaceRequest(
        room_type="duel", players=("f",), shard_id="a", seats=2, is_private=True, party=Party("us", 2)
    )
    placed = await matchmaker.places.place(wish)
    other = "b" if placed.shard_id == "a" else "a"
    epoch = await matchmaker.leases.hand_over(placed.room_id, shard_id=placed.shard_id, epoch=placed.epoch, to=other)
    assert not (await matchmaker.leases.renew([(placed.room_id, epoch)], other)).lost
    await matchmaker.leases.release(placed.room_id, shard_id=other, epoch=epoch)
    await matchmaker.directory.deregister("a")
    assert len(await matchmaker.directory.shards()) == 1
    assert all(orphan.shard_id == "a" for orphan in await matchmaker.leases.orphans())
    await matchmaker.aclose()


async def test_a_password_and_a_database(own_redis: RedisProcess) -> None:
    own_redis.say("ACL", "SETUSER", "game", "on", ">a:word", "~*", "+@all")
    await works(f"redis://game:a%3Aword@127.0.0.1:{own_redis.port}/3")
    assert own_redis.say("DBSIZE") == 0, "it was in database 3"


async def test_tls_checks_the_certificate(own_redis: RedisProcess, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    async with Road(own_redis.port, tls) as road:
        await works(f"rediss://127.0.0.1:{road.port}/0?ssl_ca_certs={certificate}&ssl_check_hostname=false")
        with pytest.raises(Exception, match=r"SSL|CERTIFICATE|ertificate"):
            await client_of(f"rediss://127.0.0.1:{road.port}/0", deadline_s=2.0).ping()  # type: ignore[misc]


async def test_sentinels_name_the_master(own_redis: RedisProcess, tmp_path: Path) -> None:
    sentinel = RedisProcess(
        tmp_path / "sentinel", is_sentinel=True, lines=f"sentinel monitor fleet 127.0.0.1 {own_redis.port} 1"
    )
    await sentinel.start()
    try:
        await works(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/fleet/2")
        own_redis.say("ACL", "SETUSER", "game", "on", ">a:word", "~*", "+@all")
        await works(f"redis+sentinel://game:a%3Aword@127.0.0.1:{sentinel.port}/fleet")
    finally:
        await asyncio.to_thread(sentinel.stop)


async def test_a_cluster_takes_every_script(tmp_path: Path) -> None:
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
        await works(f"redis+cluster://127.0.0.1:{nodes[0].port}")
    finally:
        for node in nodes:
            await asyncio.to_thread(node.stop)


@pytest.mark.parametrize(
    "url", ["redis+sentinel://127.0.0.1:26379", "redis+sentinel:///fleet", "http://x", "nothing"]
)
def test_urls_that_name_no_redis(url: str) -> None:
    with pytest.raises(ValueError, match=r"must be|scheme|URL"):
        client_of(url, deadline_s=1.0)
