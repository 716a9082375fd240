"""Redis is restarted, flushed, failed over, slow, or unreachable: rooms keep running, and the directory is restored.

No seat is lost or assigned twice. Each test has its own Redis.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.harness.polling import eventually, eventually_joins
from tests.harness.redis_process import RedisProcess
from tests.harness.shard_process import ShardProcess, admin, running, scrape, settings_of, with_short_lease
from tests.harness.tcp_proxy import TcpProxy
from tickwire.client.client import Client, Refused, connect
from tickwire.matchmaking import Matchmaker
from tickwire.matchmaking.environment import MatchmakerEnvironment
from tickwire.schemas.messages import ErrorCode
from tickwire.server.config import Settings
from tickwire.server.edge.auth.authenticator import issue_token
from tickwire.server.edge.auth.settings import AuthSettings
from tickwire.server.shard import Shard


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[RedisProcess]:
    redis = RedisProcess(tmp_path / "redis")
    await redis.start()
    yield redis
    await asyncio.to_thread(redis.stop)


@pytest.fixture
def settings(own_redis: RedisProcess, redis_namespace: str, mongo_url: str, mongo_database: str) -> Settings:
    return with_short_lease(settings_of(own_redis.url, redis_namespace, mongo_url, mongo_database))


def with_redis(settings: Settings, url: str) -> Settings:
    return msgspec.structs.replace(settings, redis=msgspec.structs.replace(settings.redis, url=url))


async def goes_on(*clients: Client) -> None:
    """Assert that the rooms of these clients tick and acknowledge inputs."""
    for client in clients:
        tick = client.world.tick
        seq = await client.send_input({"dx": 1.0})
        await client.wait_for(lambda c=client, t=tick, s=seq: c.world.tick > t and c.core.acknowledged_seq >= s)  # type: ignore[misc]


async def refusal(client: Client, room_type: str, name: str) -> ErrorCode:
    with pytest.raises(Refused) as refused:
        await client.join(room_type, name=name)
    assert refused.value.error.retryable
    return refused.value.error.code


def is_published(room_id: str, *shards: Shard) -> bool:
    return any(room_id in shard.parts.directory_publisher._published for shard in shards)


async def agree_on_seats(redis: RedisProcess, settings: Settings, *shards: Shard) -> None:
    """Wait until Redis holds exactly the seats of the rooms."""

    def agree() -> bool:
        rooms = [simulation.room for shard in shards for simulation in shard.parts.host]
        key = f"{{{settings.redis.namespace}}}:seats:"
        held = {room.room_id: redis.say("ZRANGE", key + room.room_id, "0", "-1") for room in rooms}
        return all(set(held[room.room_id]) == set(room.players) for room in rooms)  # type: ignore[call-overload]

    await eventually(agree, 20, "Redis and the rooms agree on who is seated")


async def test_an_owner_restores_a_deleted_name_and_epochs_grow_without_their_counter(
    settings: Settings, own_redis: RedisProcess, redis_namespace: str
) -> None:
    """The keys of a name and of the last epoch are deleted while a player is in the room."""
    name_key, epoch_key = (f"{{{redis_namespace}}}:{key}" for key in ("name:duel:final", "epoch"))
    async with (
        running(settings, "a") as a,
        running(settings, "b") as b,
        connect(a.url) as one,
        connect(b.url) as two,
    ):
        joined = await one.join("duel", name="final")
        await eventually(lambda: is_published(joined.room_id, a, b))
        own_redis.say("DEL", name_key, epoch_key)
        await eventually(
            lambda: own_redis.say("EXISTS", name_key) == 1, what="the owner has restored its room's name"
        )
        assert (await two.join("duel", name="final")).room_id == joined.room_id
        await goes_on(one, two)
        assert len(a.parts.host) + len(b.parts.host) == 1
        await two.leave()
        another = await two.join("duel", name="another")
        epochs = {simulation.room.room_id: simulation.epoch for shard in (a, b) for simulation in shard.parts.host}
        assert epochs[another.room_id] > epochs[joined.room_id]
        assert (one.sessions_lost, two.sessions_lost) == (0, 0)


async def test_name_used_before_its_restore_costs_the_player_the_room_but_not_the_session(
    settings: Settings, own_redis: RedisProcess, redis_namespace: str
) -> None:
    async with (
        running(settings, "a") as a,
        running(settings, "b") as b,
        connect(a.url) as one,
        connect(b.url) as two,
    ):
        old = await one.join("duel", name="final")

        async def took_it() -> bool:
            own_redis.say("DEL", f"{{{redis_namespace}}}:name:duel:final")
            taken = await two.join("duel", name="final")
            if taken.room_id == old.room_id:  # the owner was faster
                await two.leave()
            return taken.room_id != old.room_id

        await eventually(took_it)
        await one.wait_for(lambda: one.core.world is None)
        assert len(a.parts.host) + len(b.parts.host) == 1, "the older room is closed"
        assert two.core.joined is not None
        assert (await one.join("duel", name="final")).room_id == two.core.joined.room_id
        await goes_on(one, two)
        assert one.sessions_lost == 0


async def test_a_flushed_redis_heals_and_no_seat_is_sold_twice(settings: Settings, own_redis: RedisProcess) -> None:
    """A duel has two seats, both taken: after the flush a third player gets no seat and no second such room."""
    async with (
        running(settings, "a") as a,
        running(settings, "b") as b,
        connect(a.url) as one,
        connect(b.url) as two,
        connect(b.url) as three,
    ):
        joined = [await client.join("duel", name="final") for client in (one, two)]
        assert joined[0].room_id == joined[1].room_id
        await eventually(lambda: is_published(joined[0].room_id, a, b))
        own_redis.say("FLUSHALL")
        own_redis.say("SCRIPT", "FLUSH")
        codes = []

        async def is_full_again() -> bool:
            await asyncio.sleep(0.05)
            codes.append(await refusal(three, "duel", "final"))
            return codes[-1] is ErrorCode.ROOM_FULL

        await eventually(is_full_again, 15)
        assert set(codes) <= {ErrorCode.UNAVAILABLE, ErrorCode.ROOM_FULL}
        await goes_on(one, two)
        assert len(a.parts.host) + len(b.parts.host) == 1
        await agree_on_seats(own_redis, settings, a, b)
        fleet = Matchmaker.from_url(own_redis.url, namespace=settings.redis.namespace)
        assert {status.info.shard_id for status in await fleet.directory.list_shards()} == {"a", "b"}
        await fleet.aclose()


async def test_durable_room_is_found_again_after_a_flush_that_resets_epochs(
    settings: Settings, own_redis: RedisProcess
) -> None:
    async with running(settings) as shard:
        for _ in range(3):  # each time under a greater epoch
            async with connect(shard.url) as client:
                await eventually_joins(client, "garden", "home")
                await client.command("plant", {"x": 1.0})
            await eventually(lambda: len(shard.parts.host) == 0)
        own_redis.say("FLUSHALL")
        async with connect(shard.url) as client:
            await eventually_joins(client, "garden", "home")
            assert await client.command("planted") == 3
            await client.command("plant", {"x": 2.0})
        await eventually(lambda: len(shard.parts.host) == 0)
        async with connect(shard.url) as client:
            await eventually_joins(client, "garden", "home")
            assert await client.command("planted") == 4, "the room under the raised epoch was saved"


async def test_restarted_redis_keeps_rooms_and_seats(settings: Settings, own_redis: RedisProcess) -> None:
    async with running(settings) as shard, connect(shard.url) as one, connect(shard.url) as two:
        joined = await one.join("duel", name="final")
        own_redis.kill()
        await eventually(lambda: "redis" in shard.parts.health.reasons, 20)
        assert await refusal(two, "duel", "final") is ErrorCode.UNAVAILABLE
        await goes_on(one)
        await own_redis.start()
        await eventually(lambda: shard.parts.health.is_ready, 20)
        assert (await eventually_joins(two, "duel", "final")).room_id == joined.room_id
        await agree_on_seats(own_redis, settings, shard)


async def test_a_redis_that_cannot_be_reached_for_a_minute_costs_no_seat(
    settings: Settings, own_redis: RedisProcess
) -> None:
    """The outage lasts twelve leases. A player leaves during it: its seat is free afterwards, and no other."""
    async with running(settings) as shard, connect(shard.url) as stays, connect(shard.url) as comes:
        joined = await stays.join("duel", name="final")
        async with connect(shard.url) as leaves:
            await leaves.join("duel", name="final")
            own_redis.pause()
        await asyncio.sleep(60)
        await goes_on(stays)
        own_redis.wake()
        await eventually(lambda: shard.parts.health.is_ready, 20)
        assert (await eventually_joins(comes, "duel", "final")).room_id == joined.room_id
        await agree_on_seats(own_redis, settings, shard)


async def test_slow_redis_delays_only_joins_until_they_time_out(settings: Settings, own_redis: RedisProcess) -> None:
    async with TcpProxy(own_redis.port) as proxy:
        slow = with_redis(settings, f"redis://127.0.0.1:{proxy.port}/0")
        async with running(slow) as shard, connect(shard.url) as one, connect(shard.url) as two:
            joined = await one.join("garden", name="home")
            proxy.delay_s = 0.2
            assert (await two.join("garden", name="home")).room_id == joined.room_id
            assert shard.parts.health.is_ready
            proxy.delay_s = 6.0  # three deadlines long
            async with connect(shard.url) as three:
                assert await refusal(three, "garden", "home") is ErrorCode.UNAVAILABLE
                await goes_on(one, two)
                proxy.delay_s = 0.0
                await eventually(lambda: shard.parts.health.is_ready, 20)
                assert (await eventually_joins(three, "garden", "home")).room_id == joined.room_id
                await agree_on_seats(own_redis, settings, shard)


async def test_a_failover_to_a_replica_is_followed_and_no_seat_is_sold_twice(
    settings: Settings, own_redis: RedisProcess, tmp_path: Path
) -> None:
    replica = RedisProcess(tmp_path / "replica", replicaof=f"127.0.0.1 {own_redis.port}")
    await replica.start()
    lines = (
        f"sentinel monitor fleet 127.0.0.1 {own_redis.port} 1;sentinel down-after-milliseconds fleet 500;"
        "sentinel failover-timeout fleet 2000"
    )
    sentinel = RedisProcess(tmp_path / "sentinel", is_sentinel=True, lines=lines)
    await sentinel.start()
    try:
        await eventually(lambda: "'master_link_status': 'up'" in str(replica.say("INFO", "replication")), 20)
        await eventually(lambda: "'slaves': 1" in str(sentinel.say("INFO", "sentinel")), 20)
        followed = with_redis(settings, f"redis+sentinel://127.0.0.1:{sentinel.port}/fleet/0")
        async with running(followed) as shard, connect(shard.url) as one, connect(shard.url) as two:
            joined = await one.join("duel", name="final")
            await two.join("duel", name="final")
            own_redis.kill()
            await goes_on(one, two)
            await eventually(lambda: "'role': 'master'" in str(replica.say("INFO", "replication")), 30)
            async with connect(shard.url) as three:

                async def is_full() -> bool:
                    await asyncio.sleep(0.1)
                    return await refusal(three, "duel", "final") is ErrorCode.ROOM_FULL

                await eventually(is_full, 30)
            assert [simulation.room.room_id for simulation in shard.parts.host] == [joined.room_id]
            await agree_on_seats(replica, settings, shard)
            await eventually(lambda: shard.parts.health.is_ready, 20)
    finally:
        sentinel.stop()
        replica.stop()


async def test_a_clock_that_jumps_ahead_ends_all_leases_at_once_and_no_room_has_two_owners(
    settings: Settings, own_redis: RedisProcess
) -> None:
    """The clock jumps by a minute: all keys with a shorter time to live are deleted."""
    async with (
        running(settings, "a") as a,
        running(settings, "b") as b,
        connect(a.url) as one,
        connect(b.url) as two,
    ):
        await one.join("duel", name="final")
        others = [await two.join("garden", labels={"map": "ice"})]
        script = """for _, key in ipairs(redis.call('KEYS', '*')) do
            local left = redis.call('PTTL', key)
            if left > 0 and left < 60000 then redis.call('DEL', key) end
        end"""
        own_redis.say("EVAL", script, "0")
        async with connect(b.url) as three:
            await eventually_joins(three, "duel", "final")
            rooms = [simulation.room for shard in (a, b) for simulation in shard.parts.host]

            def one_is_left() -> bool:
                rooms = [simulation.room for shard in (a, b) for simulation in shard.parts.host]
                return len([room for room in rooms if room.name == "final"]) == 1

            await eventually(one_is_left, what="one owner")
            assert others[0].room_id in {room.room_id for room in rooms}, "a room without another owner is unchanged"
            await goes_on(two, three)
            await agree_on_seats(own_redis, settings, a, b)


async def test_a_shard_whose_clock_is_an_hour_off_signs_and_takes_tickets_all_the_same(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(settings, "a") as a:
        environment = MatchmakerEnvironment(wall_s=lambda: time.time() - 3600)
        monkeypatch.setattr("tickwire.server.assembly.Matchmaker", partial(Matchmaker, environment=environment))
        async with (
            running(settings, "b") as b,
            connect(a.url) as one,
            connect(b.url) as two,
            connect(a.url) as three,
            connect(b.url) as four,
        ):
            for name, pair in (("x", (one, two)), ("y", (three, four))):
                joined = [await client.join("duel", name=name) for client in pair]
                assert len({j.room_id for j in joined}) == 1
            assert abs(a.parts.matchmaker.clock.now_s() - b.parts.matchmaker.clock.now_s()) < 1


@pytest.mark.parametrize("off_s", [3600, -3600])
async def test_a_shard_whose_clock_is_an_hour_off_takes_fresh_tokens_and_no_banned_players(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, off_s: int
) -> None:
    auth = AuthSettings(secret="s" * 32)
    settings = msgspec.structs.replace(settings, auth=auth)
    wall_s = time.time

    def token(player: str) -> str:
        return issue_token(auth, player, ttl_s=60, now_s=wall_s())

    async with running(settings, "a") as a:
        monkeypatch.setattr("time.time", lambda: wall_s() + off_s)
        async with running(settings, "b") as b, connect(b.url, token=token("ann")) as ann:
            await ann.join("duel")
            assert abs(b.parts.edge.now_us() / 1e6 - wall_s()) < 60
            duration = {"duration_s": 600, "reason": "cheats"}
            for shard, player in ((a, "bob"), (b, "cid")):
                await admin(shard.parts.operations.port, "PUT", f"/bans/{player}", duration)
            for shard in (a, b):
                for player in ("bob", "cid"):
                    await eventually(lambda s=shard, p=player: p in s.parts.operator_policy.bans._by_player)  # type: ignore[misc]
                    with pytest.raises(Refused) as refused:
                        await connect(shard.url, token=token(player)).__aenter__()
                    assert refused.value.error.code is ErrorCode.BANNED
            old = issue_token(auth, "dan", ttl_s=60, now_s=wall_s() - 1800)
            with pytest.raises(Refused) as refused:
                await connect(b.url, token=old).__aenter__()
            assert refused.value.error.code is ErrorCode.UNAUTHORIZED


@pytest.mark.parametrize("taken_away", ["-eval -evalsha", "-@all"])
async def test_a_shard_that_redis_refuses_stops_in_order_and_saves_its_rooms(
    settings: Settings, own_redis: RedisProcess, tmp_path: Path, taken_away: str
) -> None:
    own_redis.say("ACL", "SETUSER", "game", "on", ">secret", "~*", "+@all")
    limited = with_redis(settings, f"redis://game:secret@127.0.0.1:{own_redis.port}/0")
    shard = ShardProcess(limited, tmp_path, environ={"TICKWIRE__DRAIN_TIMEOUT_S": "1"})
    try:
        await shard.ready()
        async with connect(shard.url) as client:
            await client.join("garden", name="home")
            own_redis.say("ACL", "SETUSER", "game", *taken_away.split())
            await client.command("plant", {"x": 1.0})
            assert await asyncio.to_thread(shard.stop) == 0, shard.log.read_text()
        log = shard.log.read_text()
        assert "secret" not in log
        assert f"127.0.0.1:{own_redis.port}/0: the user lacks a permission" in log
    finally:
        shard.kill()
    await eventually(lambda: own_redis.say("KEYS", "*:shard:*") == [], what="its entry has expired")
    async with running(settings, "next") as other, connect(other.url) as client:
        await eventually_joins(client, "garden", "home")
        assert await client.command("planted") == 1


async def test_shard_names_a_missing_permission_and_becomes_ready_once_it_is_granted(
    settings: Settings, own_redis: RedisProcess
) -> None:
    own_redis.say("ACL", "SETUSER", "game", "on", ">secret", "~*", "+@all", "-zadd", "-hset")
    limited = with_redis(settings, f"redis://game:secret@127.0.0.1:{own_redis.port}/0")
    shard = Shard(limited)
    await shard.start()
    try:
        await eventually(lambda: "lacks permissions: +hset +zadd" in shard.parts.health.reasons.get("redis", ""))
        assert str(own_redis.port) in shard.parts.health.reasons["redis"]
        own_redis.say("ACL", "SETUSER", "game", "+zadd", "+hset")
        await eventually(lambda: shard.parts.health.is_ready, 20)
    finally:
        await shard.stop()


async def test_a_redis_that_evicts_keys_is_warned_of_and_counted(
    settings: Settings, own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickwire.server.placement.redis_setup.EVICTION_CHECK_INTERVAL_S", 0.0)
    async with running(settings) as shard:

        def evicts() -> float:
            return scrape(shard.parts.operations.port)["tickwire_redis_evicts"]

        assert await asyncio.to_thread(evicts) == 0
        own_redis.say("CONFIG", "SET", "maxmemory", "100mb")
        with capture_logs() as lines:
            own_redis.say("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
            await eventually(lambda: shard.parts.redis_setup.may_evict is True)
            await eventually(lambda: shard.parts.lease_keeper._is_registered)
        assert await asyncio.to_thread(evicts) == 1
        assert [line["policy"] for line in lines if line["event"] == "redis_evicts_keys"] == ["allkeys-lru"]
        assert shard.parts.health.is_ready, "rooms keep running: the operator decides"


async def test_queued_players_keep_waiting_after_redis_is_flushed(
    settings: Settings, own_redis: RedisProcess
) -> None:
    async with running(settings) as shard, connect(shard.url) as one, connect(shard.url) as two:
        waiting = asyncio.create_task(one.match("versus"))
        await eventually(lambda: shard.parts.queues.agents["versus"].waiting_total == 1)
        own_redis.say("FLUSHALL")
        await eventually(lambda: shard.parts.queues.agents["versus"].waiting_total == 0)
        await eventually(
            lambda: shard.parts.queues.agents["versus"].waiting_total == 1, 15, "the ticket is back in the queue"
        )
        joined = await two.match("versus")
        assert (await waiting).room_id == joined.room_id


async def test_when_the_leader_is_killed_another_shard_makes_the_match(
    settings: Settings, own_redis: RedisProcess, tmp_path: Path
) -> None:
    leading = ShardProcess(settings, tmp_path)
    try:
        await leading.ready()
        key = f"{{{settings.redis.namespace}:versus}}:leader:"
        await eventually(lambda: own_redis.say("EXISTS", key) == 1)
        first = own_redis.say("HGET", key, "owner")
        async with running(settings) as shard, connect(shard.url) as one, connect(shard.url) as two:
            waiting = asyncio.create_task(one.match("versus", options={"skill": 0}))
            await eventually(lambda: shard.parts.queues.agents["versus"].waiting_total == 1)
            assert own_redis.say("HGET", key, "owner") == first
            leading.kill()
            joined = await two.match("versus", options={"skill": 10})
            assert (await waiting).room_id == joined.room_id
            assert shard.parts.queues.leaders["versus"].epoch > 0
    finally:
        leading.kill()


async def test_drain_that_begins_while_redis_is_paused_loses_no_session(
    settings: Settings, own_redis: RedisProcess
) -> None:
    """The rooms migrate as soon as Redis answers again."""
    patient = msgspec.structs.replace(settings, drain_timeout_s=30.0)
    async with running(patient) as one, running(patient) as other, connect(one.url) as client:
        await client.join("duel")
        await client.command("plant", {"x": 1.0})
        own_redis.pause()
        try:
            with capture_logs() as lines:
                draining = asyncio.create_task(one.drain())
                await eventually(lambda: any(line["event"] == "drain_delayed" for line in lines), 15)
        finally:
            own_redis.wake()
        await draining
        await client.wait_for(lambda: client.url == other.url and client.is_connected, 20)
        assert await client.command("planted") == 1
        assert (client.sessions_lost, client.core.events_missed, client.core.mismatches) == (0, 0, 0)
