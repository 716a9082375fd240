"""All forms of the URL of Redis, with real servers."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from benchmarks.certificates import make_certificate
from tests.harness.handoffs import hand_over
from tests.harness.polling import eventually
from tests.harness.redis_process import RedisProcess
from tests.harness.tcp_proxy import TcpProxy
from tickwire.matchmaking import Matchmaker, MatchmakerUnavailable, Party, PlacementFull, PlaceRequest, ShardInfo
from tickwire.matchmaking.presence import PARTITIONS, PresenceRecord, partition_from_player
from tickwire.matchmaking.presence_wake import PresenceWake
from tickwire.matchmaking.redis_checks import check_permissions, find_eviction_policy
from tickwire.matchmaking.redis_client import connect
from tickwire.matchmaking.redis_connection import RedisConnection

PERMISSIONS = "~{tickwire* resetchannels &{tickwire* +@read +@write +eval +evalsha +ping +time +publish +subscribe"
"""The permissions of the Redis user, as documented in docs/matchmaking.md."""


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
            return (await matchmaker.placement.place(wish)).room_id
        except PlacementFull:
            return "full"

    assert sorted(await asyncio.gather(*(join(number) for number in range(20)))).count("full") == 15
    wish = PlaceRequest(
        room_type="duel", players=("f",), shard_id="a", seats=2, is_private=True, party=Party("us", 2)
    )
    placed = await matchmaker.placement.place(wish)
    other = "b" if placed.shard_id == "a" else "a"
    epoch = await hand_over(matchmaker, placed.room_id, shard_id=placed.shard_id, epoch=placed.epoch, to=other)
    assert not (await matchmaker.leases.renew([(placed.room_id, epoch)], other)).lost
    await matchmaker.leases.release(placed.room_id, shard_id=other, epoch=epoch)
    await presence_works(matchmaker)
    await matchmaker.directory.deregister("a")
    assert len(await matchmaker.directory.list_shards()) == 1
    await matchmaker.aclose()


async def presence_works(matchmaker: Matchmaker) -> None:
    presence, connection, woken = matchmaker.presence, matchmaker.connection, set[int]()
    assert isinstance(connection, RedisConnection)
    listening = asyncio.create_task(PresenceWake(connection.client, "tickwire", "b", woken.add).run())
    players = [f"p{number}" for number in range(40)]
    assert {partition_from_player(player) for player in players} == set(range(PARTITIONS)), "each slot is used"
    for number in range(PARTITIONS):
        assert not (await presence.renew(number, "a", {})).was_alive
        assert not (await presence.renew(number, "b", {})).was_alive
    for player in players:
        await presence.claim(player, PresenceRecord("a", f"first of {player}", 0), age_us=1)
        await presence.claim(player, PresenceRecord("b", f"last of {player}", 0), age_us=0)
    assert {(record.shard_id) for record in (await presence.get_many(players)).values()} == {"b"}

    async def all_are_woken() -> bool:
        for player in players:
            assert (await presence.kick(player, "until the subscription is there")).status == "sent"
        return woken == set(range(PARTITIONS))

    await eventually(all_are_woken)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    notices = [notice for number in range(PARTITIONS) for notice in (await presence.renew(number, "a", {})).notices]
    assert {(notice.kind, notice.player_id) for notice in notices} == {("replaced", player) for player in players}
    await presence.release("b", [(player, f"last of {player}") for player in players])
    assert await presence.get_many(players) == {}


async def test_redis_url_may_have_a_password_and_a_database(own_redis: RedisProcess) -> None:
    own_redis.say("ACL", "SETUSER", "game", "on", ">a:word", "~*", "+@all")
    await works(f"redis://game:a%3Aword@127.0.0.1:{own_redis.port}/3")
    assert own_redis.say("DBSIZE") == 0, "it was in database 3"


async def test_tls_checks_the_certificate(own_redis: RedisProcess, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    async with TcpProxy(own_redis.port, tls) as proxy:
        await works(f"rediss://127.0.0.1:{proxy.port}/0?ssl_ca_certs={certificate}&ssl_check_hostname=false")
        with pytest.raises(Exception, match=r"SSL|CERTIFICATE|ertificate"):
            await connect(f"rediss://127.0.0.1:{proxy.port}/0", deadline_s=2.0).ping()  # type: ignore[misc]


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
        for node in nodes:
            node.say("FLUSHALL")
            node.say("ACL", "SETUSER", "game", "on", ">secret", *f"{PERMISSIONS} +cluster +command +info".split())
        url = f"redis+cluster://game:secret@127.0.0.1:{nodes[0].port}"
        await works(url)
        client = connect(url, deadline_s=2.0)
        assert await find_eviction_policy(client, 2.0) == ""
        for setting, value in (("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")):
            nodes[1].say("CONFIG", "SET", setting, value)
        assert await find_eviction_policy(client, 2.0) == "allkeys-lru", "one node of the two does"
        await client.aclose()
    finally:
        for node in nodes:
            await asyncio.to_thread(node.stop)


@pytest.fixture
async def limited_redis(own_redis: RedisProcess) -> Callable[[str], str]:
    """Gives the user `game` exactly these permissions, and returns the URL to use."""

    def limit(permissions: str) -> str:
        own_redis.say("ACL", "SETUSER", "game", "reset", "on", ">secret", *permissions.split())
        return f"redis://game:secret@127.0.0.1:{own_redis.port}"

    return limit


async def test_the_documented_permissions_are_sufficient(
    limited_redis: Callable[[str], str],
) -> None:
    url = limited_redis(PERMISSIONS)
    matchmaker = Matchmaker.from_url(url)
    for slot in ("tickwire", "tickwire:mode", "tickwire:presence:0"):
        await check_permissions(matchmaker.connection.create_script_runner(slot))
    await matchmaker.aclose()
    await works(url)
    await works(limited_redis(PERMISSIONS + " +select") + "/3")
    assert PERMISSIONS in (Path(__file__).parents[2] / "docs/matchmaking.md").read_text()


@pytest.mark.parametrize(
    ("taken_away", "named"),
    [
        ("-zadd", r"\+zadd$"),
        ("-hset -hscan -time", r"\+time \+hscan \+hset$"),
        ("resetkeys ~other*", r"permission"),
        ("-evalsha", r"'evalsha'"),
        ("-eval", r"'eval'"),
    ],
)
async def test_a_missing_permission_is_named(
    limited_redis: Callable[[str], str], taken_away: str, named: str
) -> None:
    matchmaker = Matchmaker.from_url(limited_redis(f"{PERMISSIONS} {taken_away}"))
    with pytest.raises(MatchmakerUnavailable) as refused:
        await check_permissions(matchmaker.scripts)
    assert re.search(named, refused.value.detail)
    assert "secret" not in refused.value.detail
    assert str(refused.value) == "Redis does not answer", "players receive neither the address nor the reason"
    await matchmaker.aclose()


def test_the_permission_check_covers_all_commands_of_the_scripts() -> None:
    folder = Path(__file__).parents[2] / "matchmaking/lua"
    scripts = "".join(path.read_text() for path in folder.rglob("*.lua") if path.parent.name != "check")
    used = set(re.findall(r"(?:redis\.call|each)\('([A-Z]+)'", scripts))
    checked = set(re.findall(r"'([A-Z]{3,})'", (folder / "check/permissions.lua").read_text()))
    assert checked == used


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://game:wrong@127.0.0.1:{port}/0", r"redis://127.0.0.1:\d+/0: the user name or password is wrong"),
        ("redis://127.0.0.1:1/0", r"redis://127.0.0.1:1/0: .*[Cc]onnect"),
        ("redis://nowhere.invalid/0", r"redis://nowhere.invalid/0: .*nowhere.invalid"),
        ("redis://127.0.0.1:{port}/99", r"/99: the database does not exist"),
        ("redis+cluster://127.0.0.1:{port}", r"Cluster mode is not enabled"),
        ("redis+sentinel://127.0.0.1:1/fleet", r"No master found for 'fleet'$"),
    ],
)
async def test_the_detail_of_an_error_names_the_redis_and_the_reason(
    own_redis: RedisProcess, url: str, reason: str
) -> None:
    matchmaker = Matchmaker.from_url(url.format(port=own_redis.port))
    for call in (matchmaker.ping, matchmaker.directory.list_shards):
        with pytest.raises(MatchmakerUnavailable) as refused:
            await call()
        assert re.search(reason, refused.value.detail), refused.value.detail
        assert "wrong@" not in refused.value.detail
        assert str(refused.value) == "Redis does not answer"
    await matchmaker.aclose()


async def test_an_untrusted_certificate_is_reported(own_redis: RedisProcess, tmp_path: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*make_certificate(tmp_path))
    async with TcpProxy(own_redis.port, tls) as proxy:
        matchmaker = Matchmaker.from_url(f"rediss://127.0.0.1:{proxy.port}/0")
        with pytest.raises(MatchmakerUnavailable) as refused:
            await matchmaker.ping()
        assert "TLS failed: CERTIFICATE_VERIFY_FAILED" in refused.value.detail
        await matchmaker.aclose()


async def test_a_redis_that_evicts_keys_is_recognised(own_redis: RedisProcess) -> None:
    client = connect(own_redis.url, deadline_s=2.0)
    assert await find_eviction_policy(client, 2.0) == ""
    own_redis.say("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    assert await find_eviction_policy(client, 2.0) == "", "the memory is not limited"
    own_redis.say("CONFIG", "SET", "maxmemory", "100mb")
    assert await find_eviction_policy(client, 2.0) == "volatile-lru"
    await client.aclose()


async def test_the_eviction_policy_is_unknown_without_permission(
    limited_redis: Callable[[str], str],
) -> None:
    client = connect(limited_redis(PERMISSIONS), deadline_s=2.0)
    assert await find_eviction_policy(client, 2.0) is None
    await client.aclose()


@pytest.mark.parametrize(
    "url", ["redis+sentinel://127.0.0.1:26379", "redis+sentinel:///fleet", "http://x", "nothing"]
)
def test_invalid_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"must be|scheme|URL"):
        connect(url, deadline_s=1.0)
