"""Placement over real sockets: by code, id, labels, party and ticket, and through the matchmaking queue."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.harness.handoffs import hand_over
from tests.harness.polling import eventually, eventually_joins
from tests.harness.raw_client import hello, raw_client
from tests.harness.redis_process import RedisProcess
from tests.harness.shard_process import admin, running, settings_of
from tickwire.client.client import Client, Disconnected, NotMatched, Refused, connect
from tickwire.client.open_room import OpenRoom
from tickwire.client.options import JoinOptions
from tickwire.matchmaking import Ticket, TicketKeys, sign
from tickwire.schemas.messages import (
    ErrorCode,
    Join,
    Joined,
    MatchRequest,
    MatchStatus,
    QueueState,
    Redirect,
    Welcome,
)
from tickwire.server.assembly import create_ticket_keys
from tickwire.server.config import Settings
from tickwire.server.edge.auth.authenticator import issue_token
from tickwire.server.edge.auth.settings import AuthSettings
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.errors import Unavailable
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.shard import Shard


@pytest.fixture
async def fleet(shard_settings: Settings) -> AsyncIterator[tuple[Shard, Shard]]:
    async with running(shard_settings, "a") as a, running(shard_settings, "b") as b:
        yield a, b


async def test_a_match_request_whose_options_do_not_fit_the_room_is_refused_at_once(
    fleet: tuple[Shard, Shard],
) -> None:
    async with connect(fleet[0].url) as client:
        with pytest.raises(Refused, match=r"options: Expected `bool`, got `str` - at `\$\.is_stranger`") as refused:
            await client.match("pairs", options={"is_stranger": "yes"})
    assert refused.value.error.code is ErrorCode.INVALID_ARGUMENT
    assert len(fleet[0].parts.queue_service) == 0


async def test_client_that_resumes_on_the_wrong_shard_is_redirected(fleet: tuple[Shard, Shard]) -> None:
    for room_type, name in (("garden", "home"), ("duel", "")):
        async with connect(fleet[0].url) as client:
            joined = await client.join(room_type, name=name)
            there = client.url
            other = next(shard for shard in fleet if shard.url != there)
            client._machine.connection._plan.url = other.url  # as a client that has abandoned the direct address
            await client.drop()
            await client.wait_for(lambda: client.is_connected and client.url == there, 15)  # noqa: B023
            assert (client.resumes, client.sessions_lost) == (1, 0)
            assert client.core.joined is not None
            assert client.core.joined.room_id == joined.room_id
            assert other.parts.edge.counters.resumes["redirected"] >= 1


async def ask(shard: Shard, path: str) -> Any:
    return await admin(shard.parts.operations.port, "GET", path)


def player_of(shard: Shard, joined: Joined, at: int = 0) -> str:
    runtime = shard.parts.host.get(joined.room_id)
    assert runtime is not None
    return list(runtime.room.players)[at]


# -- rooms --------------------------------------------------------------------------------------------------


async def test_private_room_is_joined_by_its_code_from_any_shard(fleet: tuple[Shard, Shard]) -> None:
    a, b = fleet
    async with connect(a.url) as host, connect(b.url) as friend, connect(b.url) as stranger:
        made = await host.join("duel", is_private=True)
        assert len(made.room_code) == 10
        assert (await stranger.join("duel")).room_id != made.room_id
        joined = await friend.join("duel", code=made.room_code.lower())
        assert (joined.room_id, joined.room_code) == (made.room_id, made.room_code)
    async with connect(a.url) as late:
        with pytest.raises(Refused) as refused:
            await late.join("duel", code="AAAAABBBBB")
        assert refused.value.error.code is ErrorCode.NO_SUCH_ROOM


async def test_join_by_id_finds_a_listed_room(fleet: tuple[Shard, Shard]) -> None:
    a, b = fleet
    async with connect(a.url) as one, connect(b.url) as two:
        first = await one.join("duel", labels={"map": "ice"})
        listed = await b.parts.matchmaker.directory.list_rooms("duel", labels={"map": "ice"})
        assert [(room.room_id, room.taken, room.seats) for room in listed] == [(first.room_id, 1, 2)]
        assert (await two.join("duel", room_id=first.room_id)).room_id == first.room_id
        with pytest.raises(Refused) as refused:
            async with connect(b.url) as three:
                await three.join("duel", room_id=first.room_id)
        assert refused.value.error.code is ErrorCode.ROOM_FULL


async def test_locked_room_receives_no_players_until_it_unlocks(fleet: tuple[Shard, Shard]) -> None:
    a, b = fleet
    async with connect(a.url) as one, connect(b.url) as two:
        first = await one.join("duel")
        owner = a if a.parts.host.get(first.room_id) else b
        runtime = owner.parts.host.get(first.room_id)
        assert runtime is not None
        runtime.room.lock()

        async def is_locked() -> bool:
            return not await b.parts.matchmaker.directory.list_rooms("duel")

        await eventually(is_locked)
        with pytest.raises(Refused) as refused:
            await two.join("duel", room_id=first.room_id)
        assert (refused.value.error.code, refused.value.error.retryable) == (ErrorCode.ROOM_LOCKED, False)
        runtime.room.unlock()
        runtime.room.label(map="ice")

        async def is_open() -> bool:
            return bool(await b.parts.matchmaker.directory.list_rooms("duel", labels={"map": "ice"}))

        await eventually(is_open)
        assert (await two.join("duel", labels={"map": "ice"})).room_id == first.room_id


async def test_players_with_a_party_code_join_one_room(fleet: tuple[Shard, Shard]) -> None:
    a, b = fleet
    async with connect(a.url) as other, connect(a.url) as one, connect(b.url) as two:
        taken = await other.join("duel")
        joined = await asyncio.gather(*(client.join("duel", party=("us", 2)) for client in (one, two)))
        assert {j.room_id for j in joined} & {taken.room_id} == set()
        assert len({j.room_id for j in joined}) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"labels": {"a,b": "c"}},
        {"party": ("us", 9)},
        {"party": ("x" * 99, 2)},
        {"labels": {str(n): "x" for n in range(20)}},
    ],
)
async def test_invalid_joins_are_refused_and_the_session_stays(
    fleet: tuple[Shard, Shard], options: dict[str, Any]
) -> None:
    async with connect(fleet[0].url) as client:
        with pytest.raises(Refused) as refused:
            await client.join("duel", **options)
        assert refused.value.error.code is ErrorCode.MALFORMED
        await client.join("duel")


async def test_refused_join_frees_the_seat(fleet: tuple[Shard, Shard]) -> None:
    a, b = fleet
    async with connect(a.url) as one, connect(b.url) as bad, connect(b.url) as two:
        first = await one.join("duel", name="final")
        with pytest.raises(Refused) as refused:
            await bad.join("duel", name="final", options={"is_bad_join": True})
        assert refused.value.error.code is ErrorCode.ROOM_FAILED
        assert (await eventually_joins(two, "duel", "final", timeout_s=12)).room_id == first.room_id, (
            "before its reservation expires"
        )


async def test_sixty_concurrent_joins_for_four_seats(fleet: tuple[Shard, Shard]) -> None:
    """Four joins get the seats and the others ROOM_FULL; then each of those gets a seat in another room."""
    a, b = fleet
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect((a, b)[n % 2].url)) for n in range(60)]

        async def want(client: Client) -> str:
            try:
                return (await client.join("garden", name="final")).room_id
            except Refused as refused:
                return refused.error.code.name

        ends = await asyncio.gather(*(want(client) for client in clients))
        assert ends.count("ROOM_FULL") == 56
        assert len(set(ends)) == 2
        without = [client for client, end in zip(clients, ends, strict=True) if end == "ROOM_FULL"]
        rooms = Counter([(await client.join("garden")).room_id for client in without])
        assert set(rooms.values()) == {4}
        assert all(len(runtime.seats) == 4 for shard in (a, b) for runtime in shard.parts.host)


async def test_frequent_joins_are_rate_limited(shard_settings: Settings) -> None:
    """Each requested room is a record in Redis with a reservation."""
    limited = msgspec.structs.replace(shard_settings, edge=EdgeSettings(joins_per_minute_max=3))
    async with running(limited) as shard, connect(shard.url) as one:
        for n in range(3):
            await one.join("duel", name=f"room {n}")
            await one.leave()
        for ask in (one.join("duel", name="one more"), one.match("versus")):
            with pytest.raises(Refused) as refused:
                await ask
            assert (refused.value.error.code, refused.value.error.retryable) == (ErrorCode.RATE_LIMITED, True)
            assert refused.value.error.retry_after_ms > 0


def stop_quota_clock(shard: Shard) -> None:
    """No quota grows again, however long the requests of a test take."""
    shard.parts.join_service._quota._now_s = lambda: 0.0


@pytest.mark.parametrize("is_by_address", [False, True], ids=["one player", "one address"])
async def test_room_quota_limits_new_rooms_only(shard_settings: Settings, is_by_address: bool) -> None:
    """A room costs its shard resources even if its creator leaves at once."""
    edge = EdgeSettings(rooms_per_minute_max=10_000, rooms_per_minute_per_address_max=8)
    if not is_by_address:
        edge = EdgeSettings(rooms_per_minute_max=8)
    async with (
        running(msgspec.structs.replace(shard_settings, edge=edge)) as shard,
        connect(shard.url) as one,
        connect(shard.url) as two,
    ):
        stop_quota_clock(shard)
        creators = (one, two) if is_by_address else (one, one)
        made = []
        for number, creator in enumerate(creators):
            made.append(await creator.join("garden", name=f"room {number}"))
            await creator.leave()
        requests: list[dict[str, Any]] = [
            {"name": "one more"},
            {"is_private": True},
            {"labels": {"map": "ice"}},
            {"party": ("us", 2)},
        ]
        for request in requests:
            with pytest.raises(Refused) as refused:
                await one.join("garden", **request)
            assert (refused.value.error.code, refused.value.error.retryable) == (ErrorCode.RATE_LIMITED, True)
            assert 0 < refused.value.error.retry_after_ms <= 10_000
        assert (await one.join("garden", name="room 0")).room_id == made[0].room_id, "this one exists"
        await one.leave()
        await one.join("duel")  # any open room: no new room was requested
        await one.leave()
        if not is_by_address:
            await two.join("garden", name="another player's")
        assert shard.parts.edge.counters.joins["rate_limited"] == len(requests)


async def test_room_that_another_shard_owns_is_closed(fleet: tuple[Shard, Shard]) -> None:
    a, b = fleet
    async with connect(a.url) as one:
        joined = await one.join("duel")
        owner, other = (a, b) if a.parts.host.get(joined.room_id) else (b, a)
        runtime = owner.parts.host.get(joined.room_id)
        assert runtime is not None
        await hand_over(
            other.parts.matchmaker, joined.room_id, shard_id=owner.shard_id, epoch=runtime.epoch, to=other.shard_id
        )
        await one.wait_for(lambda: one.core.world is None)
        assert owner.parts.host.get(joined.room_id) is None
        assert owner.parts.lease_keeper.leases_lost == 1


# -- tickets ------------------------------------------------------------------------------------------------


def ticket_for(shard: Shard, joined: Joined, player_id: str, **changes: Any) -> Ticket:
    runtime = shard.parts.host.get(joined.room_id)
    assert runtime is not None
    ticket = Ticket(
        joined.room_id, player_id, shard.shard_id, runtime.epoch, 4e9, is_guest=True, room_type=joined.room_type
    )
    return msgspec.structs.replace(ticket, **changes)


async def join_with(client: Client, text: str) -> Joined:
    options = JoinOptions(ticket=text)
    joined: Joined = await client._session.call(lambda now_ms: client._machine.join("duel", options, now_ms))
    return joined


async def test_ticket_is_verified_without_redis_and_admits_once(
    redis_namespace: str, mongo_url: str, mongo_database: str, tmp_path: Path
) -> None:
    redis = RedisProcess(tmp_path / "redis")
    await redis.start()
    settings = settings_of(redis.url, redis_namespace, mongo_url, mongo_database)
    try:
        async with running(settings) as shard, connect(shard.url) as one, connect(shard.url) as two:
            joined = await one.join("duel", name="final")
            text = sign(ticket_for(shard, joined, "guest-two"), create_ticket_keys(settings))
            redis.pause()
            assert (await join_with(two, text)).room_id == joined.room_id
            await two.leave()
            with pytest.raises(Refused) as refused:
                await join_with(two, text)
            assert refused.value.error.code is ErrorCode.UNAUTHORIZED
            assert "used before" in refused.value.error.message
            redis.wake()
    finally:
        await asyncio.to_thread(redis.stop)


async def test_ticket_stays_valid_if_the_room_was_full(shard_settings: Settings) -> None:
    async with running(shard_settings) as shard, connect(shard.url) as one, connect(shard.url) as two:
        joined = [await client.join("duel", name="final") for client in (one, two)]
        text = sign(ticket_for(shard, joined[0], "guest-three"), create_ticket_keys(shard_settings))
        async with connect(shard.url) as three:
            with pytest.raises(Refused) as refused:
                await join_with(three, text)
            assert refused.value.error.code is ErrorCode.ROOM_FULL
            await two.leave()
            assert (await join_with(three, text)).room_id == joined[0].room_id


async def test_ticket_of_an_earlier_owner_is_refused(shard_settings: Settings) -> None:
    async with running(shard_settings) as shard, connect(shard.url) as one, connect(shard.url) as two:
        joined = await one.join("duel")
        old = ticket_for(shard, joined, "guest-two")
        text = sign(msgspec.structs.replace(old, epoch=old.epoch + 1), create_ticket_keys(shard_settings))
        with pytest.raises(Refused) as refused:
            await join_with(two, text)
        assert (refused.value.error.code, refused.value.error.retryable) == (ErrorCode.NO_SUCH_ROOM, True)


async def test_ticket_of_another_player_is_refused(shard_settings: Settings) -> None:
    auth = AuthSettings(secret="s" * 32)
    settings = msgspec.structs.replace(shard_settings, auth=auth)
    async with running(settings) as shard:

        def token(player: str) -> str:
            return issue_token(auth, player, ttl_s=60, now_s=time.time())

        async with connect(shard.url, token=token("ann")) as ann, connect(shard.url, token=token("bob")) as bob:
            joined = await ann.join("duel")
            text = sign(ticket_for(shard, joined, "cid", is_guest=False), create_ticket_keys(settings))
            async with connect(shard.url) as guest:
                for thief in (bob, guest):
                    with pytest.raises(Refused) as refused:
                        await join_with(thief, text)
                    assert refused.value.error.code is ErrorCode.UNAUTHORIZED
            async with connect(shard.url, token=token("cid")) as cid:
                assert (await join_with(cid, text)).room_id == joined.room_id


async def test_tickets_of_the_previous_key_are_valid_until_it_is_retired(shard_settings: Settings) -> None:
    old, new = "an older key, which is long enough too", "a newer key, which is just as long as that"
    both = msgspec.structs.replace(
        shard_settings,
        tickets=msgspec.structs.replace(shard_settings.tickets, keys={"o": old, "n": new}, current="n"),
    )
    async with running(both) as shard, connect(shard.url) as one, connect(shard.url) as two:
        joined = await one.join("duel")
        text = sign(ticket_for(shard, joined, "guest-two"), TicketKeys({"o": old.encode()}, "o"))
        assert (await join_with(two, text)).room_id == joined.room_id
        retired = sign(ticket_for(shard, joined, "guest-three"), TicketKeys({"gone": b"x" * 32}, "gone"))
        async with connect(shard.url) as three:
            with pytest.raises(Refused) as refused:
                await join_with(three, retired)
            assert refused.value.error.code is ErrorCode.UNAUTHORIZED


async def test_ticket_creates_its_room_unless_that_has_ended(
    shard_settings: Settings,
) -> None:
    async with running(shard_settings) as shard, connect(shard.url) as one, connect(shard.url) as two:
        ticket = Ticket(
            "fresh", "guest", shard.shard_id, 99, 4e9, is_guest=True, room_type="duel", labels={"map": "x"}
        )
        joined = await join_with(one, sign(ticket, create_ticket_keys(shard_settings)))
        assert joined.room_id == "fresh"

        async def is_known() -> bool:
            return [
                r.room_id for r in await shard.parts.matchmaker.directory.list_rooms("duel", labels={"map": "x"})
            ] == ["fresh"]

        await eventually(is_known)
        await one.leave()
        await eventually(lambda: shard.parts.host.get("fresh") is None)
        again = msgspec.structs.replace(ticket, ticket_id="another")
        with pytest.raises(Refused) as refused:
            await join_with(two, sign(again, create_ticket_keys(shard_settings)))
        assert refused.value.error.code is ErrorCode.NO_SUCH_ROOM


# -- the list of a lobby ------------------------------------------------------------------------------------


async def test_a_lobby_lists_the_open_rooms_of_the_fleet(
    fleet: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickwire.server.placement.room_list.CACHE_S", 0.0)
    monkeypatch.setattr("tickwire.server.edge.message_handlers.LISTS_AT_ONCE", 10_000)
    a, b = fleet
    async with connect(a.url) as one, connect(b.url) as two, connect(a.url) as three, connect(b.url) as lobby:
        ice = await one.join("duel", labels={"map": "ice"})
        sand = await two.join("duel", labels={"map": "sand"})
        await three.join("duel", is_private=True)

        async def both() -> bool:
            return len(await lobby.list_rooms("duel")) == 2

        await eventually(both)
        rooms = {room.room_id: room for room in await lobby.list_rooms("duel")}
        assert set(rooms) == {ice.room_id, sand.room_id}, "without the private room"
        assert rooms[ice.room_id] == OpenRoom(ice.room_id, 1, 2, {"map": "ice"})
        only = await lobby.list_rooms("duel", labels={"map": "sand"})
        assert [room.room_id for room in only] == [sand.room_id]
        assert len(await lobby.list_rooms("duel", limit=1)) == 1
        runtime = b.parts.host.get(ice.room_id) or a.parts.host.get(ice.room_id)
        assert runtime is not None
        runtime.room.lock()
        joined = await lobby.join("duel", room_id=only[0].room_id)
        assert joined.room_id == sand.room_id

        async def none_open() -> bool:
            return await lobby.list_rooms("duel") == []

        await eventually(none_open)


async def test_lists_of_rooms_are_checked_and_limited(shard_settings: Settings) -> None:
    async with running(shard_settings) as shard, connect(shard.url) as client:
        with pytest.raises(Refused) as refused:
            await client.list_rooms("no such type")
        assert refused.value.error.code is ErrorCode.NO_SUCH_ROOM_TYPE
        with pytest.raises(Refused) as refused:
            await client.list_rooms("garden", labels={"a b": "c"})
        assert refused.value.error.code is ErrorCode.MALFORMED
        for limit in (-1, 0, 101, 1 << 16):
            with pytest.raises(ValueError, match="must be 1 to 100"):
                await client.list_rooms("garden", limit=limit)
        answers = await asyncio.gather(*(client.list_rooms("garden") for _ in range(40)), return_exceptions=True)
        codes = {answer.error.code for answer in answers if isinstance(answer, Refused)}
        assert codes == {ErrorCode.RATE_LIMITED}
        assert all(answer == [] for answer in answers if not isinstance(answer, Refused))
        assert (await client.join("garden")).room_id


# -- the queue ----------------------------------------------------------------------------------------------


async def test_players_queued_on_two_shards_are_matched_and_seated(fleet: tuple[Shard, Shard]) -> None:
    a, b = fleet
    async with connect(a.url) as one, connect(b.url) as two:
        joined = await asyncio.gather(
            one.match("versus", options={"skill": 10}),
            two.match("versus", options={"skill": 60}),
            return_exceptions=False,
        )
        assert joined[0].room_id == joined[1].room_id
        assert sorted(j.team for j in joined) == [1, 2]
        owner = a if a.parts.host.get(joined[0].room_id) else b
        runtime = owner.parts.host.get(joined[0].room_id)
        assert runtime is not None
        assert (runtime.room.mode, runtime.room.access) == ("versus", "private")
        assert sorted(player.skill for player in runtime.room.players.values()) == [10, 60]
        async with connect(a.url) as stranger:
            assert (await stranger.join("duel")).room_id != joined[0].room_id


async def test_operator_can_see_why_a_strong_player_waits(fleet: tuple[Shard, Shard]) -> None:
    a, b = fleet
    async with connect(a.url) as one, connect(b.url) as two:
        waiting = [
            asyncio.create_task(one.match("versus", options={"skill": 0})),
            asyncio.create_task(two.match("versus", options={"skill": 500})),
        ]

        async def both_wait() -> bool:
            return bool((await ask(a, "/queues/versus"))["waiting"] == 2)

        await eventually(both_wait)
        await eventually(lambda: bool(one.queue_status and one.queue_status.position))
        assert one.queue_status is not None
        assert (one.queue_status.state, one.queue_status.mode) == (QueueState.WAITING, "versus")
        player_id = next(iter(a.parts.edge.registry)).player_id
        why = await ask(b, f"/queues/versus/players/{player_id}")
        assert (why["blocked_by"], why["in_region"], why["in_window"], why["matched_in_s"]) == ("skill", 1, 0, None)
        assert await ask(a, "/queues") == ["pairs", "team", "trios", "versus"]
        await one.cancel_match()
        with pytest.raises(NotMatched):
            await waiting[0]
        async with connect(a.url) as three:
            assert (await three.match("versus", options={"skill": 450})).room_id == (await waiting[1]).room_id


async def test_party_is_matched_into_one_room_and_team(fleet: tuple[Shard, Shard]) -> None:
    a, b = fleet
    async with connect(a.url) as one, connect(b.url) as two, connect(a.url) as three:
        first = asyncio.create_task(one.match("pairs"))
        with pytest.raises(Refused) as refused:
            await two.match("pairs", party=("us", 3))
        assert refused.value.error.code is ErrorCode.MALFORMED
        await two.match("pairs")
        await first
        waiting = asyncio.create_task(three.match("team", party=("us", 2)))
        await eventually(lambda: bool(three.queue_status and three.queue_status.waiting_for == 1))
        async with connect(b.url) as four:
            joined = await four.match("team", party=("us", 2))
            assert joined.room_id == (await waiting).room_id
            assert joined.team == (await waiting).team


async def test_leaving_member_cancels_the_party(fleet: tuple[Shard, Shard]) -> None:
    """No other player waits, so the complete party of two keeps waiting: its mode requires four, later two."""
    a, b = fleet
    async with connect(a.url) as one, connect(b.url) as two:
        waiting = [asyncio.create_task(client.match("trios", party=("us", 2))) for client in (one, two)]
        await eventually(lambda: bool(two.queue_status and two.queue_status.position))
        await one.cancel_match()
        for match in waiting:
            with pytest.raises(NotMatched) as ended:
                await match
        assert (ended.value.status.state, ended.value.status.reason) == (
            QueueState.CANCELLED,
            "a member of the party has left the queue",
        )
        assert (await ask(a, "/queues/trios"))["waiting"] == 0


async def test_cancel_racing_with_a_match_has_one_outcome(shard_settings: Settings) -> None:
    """150 times, at random moments: a player whose cancel was accepted leaves no opponent alone in a room."""
    edge = EdgeSettings(joins_per_minute_max=10_000)
    settings = msgspec.structs.replace(shard_settings, edge=edge)
    outcomes: Counter[str] = Counter()

    async def meet(a: Shard, b: Shard, pair: int, rng: random.Random) -> None:
        options = {"skill": pair * 1000}  # pairs do not meet each other
        async with connect(a.url) as one, connect(b.url) as two:
            started_s = time.monotonic()
            await asyncio.gather(*(client.match("versus", options=options) for client in (one, two)))
            match_s = time.monotonic() - started_s  # while all other pairs are matched
            await asyncio.gather(one.leave(), two.leave())
            for _ in range(15):
                matches = [asyncio.create_task(client.match("versus", options=options)) for client in (one, two)]
                await asyncio.sleep(rng.random() * 2 * match_s)
                with suppress(
                    Disconnected
                ):  # the client is connecting to the shard of the match: the cancel is too late
                    await one.cancel_match()
                try:
                    joined = await matches[0]
                    outcomes["matched"] += 1
                except NotMatched:
                    outcomes["cancelled"] += 1
                    joined = await one.match("versus", options=options)
                assert (await matches[1]).room_id == joined.room_id
                await asyncio.gather(one.leave(), two.leave())

    async with running(settings, "a") as a, running(settings, "b") as b:
        await asyncio.gather(*(meet(a, b, pair, random.Random(pair)) for pair in range(10)))
    assert min(outcomes["matched"], outcomes["cancelled"]) > 0, outcomes


async def test_second_request_starts_after_the_first_is_cancelled(
    shard_settings: Settings,
) -> None:
    """A request for the mode that is being cancelled works too: the player waits in one queue, once."""
    async with running(shard_settings) as shard, connect(shard.url) as one:
        agents = shard.parts.queues.agents
        waiting = asyncio.create_task(one.match("versus"))
        await eventually(lambda: agents["versus"].waiting_total == 1)
        for mode, other in (("trios", "versus"), ("versus", "trios")):
            one._session.send(one.core.match_request(mode))
            await one.wait_for(lambda: one.queue_status is not None and one.queue_status.mode == mode)  # noqa: B023
            assert one.queue_status is not None
            assert one.queue_status.state is QueueState.WAITING
            await eventually(lambda: agents[mode].waiting_total == 1 and len(agents[other]) == 0)  # noqa: B023
        await one.cancel_match()
        one._session.send(one.core.match_request("versus"))
        with pytest.raises(NotMatched):
            await waiting
        await eventually(lambda: agents["versus"].waiting_total == 1 and len(agents["versus"]) == 1)
        again = asyncio.create_task(one.match("versus"))
        async with connect(shard.url) as two:
            joined = await two.match("versus")
            assert (await again).room_id == joined.room_id
        assert shard.parts.queue_service.results["left"] == 3


async def test_unmatched_player_receives_timed_out(fleet: tuple[Shard, Shard]) -> None:
    async with connect(fleet[0].url) as one:
        with pytest.raises(NotMatched) as ended:
            await one.match("pairs")
        assert (ended.value.status.state, ended.value.status.mode) == (QueueState.TIMED_OUT, "pairs")


@pytest.mark.parametrize("is_by_address", [False, True], ids=["one player", "one address"])
async def test_matches_count_against_the_room_quota(shard_settings: Settings, is_by_address: bool) -> None:
    """Otherwise players of one address could fill a shard with rooms of matches that they leave at once."""
    edge = EdgeSettings(rooms_per_minute_max=10_000, rooms_per_minute_per_address_max=8)
    if not is_by_address:
        edge = EdgeSettings(rooms_per_minute_max=4)  # each player creates half of a duel
    async with (
        running(msgspec.structs.replace(shard_settings, edge=edge)) as shard,
        connect(shard.url) as one,
        connect(shard.url) as two,
    ):
        stop_quota_clock(shard)
        for _ in range(2):
            await asyncio.gather(one.match("versus"), two.match("versus"))
            await asyncio.gather(one.leave(), two.leave())
        with pytest.raises(Refused) as refused:
            await one.match("versus")
        assert (refused.value.error.code, refused.value.error.retryable) == (ErrorCode.RATE_LIMITED, True)
        assert 0 < refused.value.error.retry_after_ms <= 15_000
        assert len(shard.parts.queue_service) == 0
        if not is_by_address:
            async with connect(shard.url) as three, connect(shard.url) as four:
                await asyncio.gather(three.match("versus"), four.match("versus"))


async def test_unknown_mode_is_refused(fleet: tuple[Shard, Shard]) -> None:
    async with connect(fleet[0].url) as one:
        with pytest.raises(Refused) as refused:
            await one.match("nothing")
        assert refused.value.error.code is ErrorCode.NO_SUCH_MODE


async def test_resumed_session_keeps_its_position_and_receives_its_status(fleet: tuple[Shard, Shard]) -> None:
    a, b = fleet
    async with connect(a.url) as one, connect(b.url) as two:
        waiting = asyncio.create_task(one.match("versus"))
        await eventually(lambda: len(a.parts.queue_service) == 1)
        await one.drop()
        joined = await two.match("versus")
        assert (await waiting).room_id == joined.room_id
        assert (one.resumes, one.sessions_lost) == (1, 0)


async def test_session_leaves_the_queue_only_when_it_ends(shard_settings: Settings) -> None:
    brief = msgspec.structs.replace(shard_settings, edge=EdgeSettings(resume_window_s=6.0))
    async with running(brief) as shard, connect(shard.url, reconnect_s=0) as one:
        waiting = asyncio.create_task(one.match("versus"))
        await eventually(lambda: len(shard.parts.queue_service) == 1)
        await one.drop()
        with pytest.raises(Disconnected):
            await waiting

        async def tickets() -> int:
            return int((await ask(shard, "/queues/versus"))["waiting"])

        await asyncio.sleep(0.3)
        assert await tickets() == 1, "the session may resume"
        await eventually(lambda: len(shard.parts.queue_service) == 0)

        async def is_empty() -> bool:
            return await tickets() == 0

        await eventually(is_empty)


async def test_backfill_seats_a_new_player_after_one_leaves(fleet: tuple[Shard, Shard]) -> None:
    a, b = fleet
    async with connect(a.url) as one, connect(b.url) as two, connect(a.url) as three:
        joined = await asyncio.gather(one.match("team"), two.match("team"))
        assert joined[0].room_id == joined[1].room_id
        await two.leave()
        newcomer = await three.match("team")
        assert newcomer.room_id == joined[0].room_id, "a match needs two players"
        await one.send_input({"dx": 1.0})
        await three.wait_for(lambda: len(three.world.table("walkers").ids) == 2)


async def test_backfill_seats_a_new_player_after_one_was_moved(fleet: tuple[Shard, Shard]) -> None:
    a, b = fleet
    async with connect(a.url) as one, connect(b.url) as two, connect(a.url) as three:
        seats = await asyncio.gather(one.match("team"), two.match("team"))
        owner = a if a.parts.host.get(seats[0].room_id) else b
        runtime = owner.parts.host.get(seats[0].room_id)
        assert runtime is not None
        player = next(iter(runtime.room.players.values()))
        player.move_to("duel")

        def has_moved() -> bool:
            rooms = {client.core.joined.room_type for client in (one, two) if client.core.joined is not None}
            return "duel" in rooms

        await eventually(has_moved, what="one player is in the other room")
        newcomer = await three.match("team")
        assert newcomer.room_id == seats[0].room_id, "a match needs two players"
        assert len(runtime.room.players) == 2


async def test_a_player_who_is_moved_keeps_a_match_that_was_found(shard_settings: Settings) -> None:
    async with (
        running(shard_settings) as shard,
        raw_client(shard.url, hello()) as one,
        raw_client(shard.url, hello()) as two,
    ):
        welcome = await one.next(Welcome)
        await one.say(Join("garden"))
        joined = await one.next(Joined)
        for client in (one, two):
            await client.say(MatchRequest("team"))
        redirect = await one.next(Redirect)
        runtime = shard.parts.host.get(joined.room_id)
        assert runtime is not None
        [player] = runtime.room.players.values()
        player.move_to("duel")
        assert (await one.next(Joined)).room_type == "duel"
        resume = hello(resume_token=welcome.resume_token, room_id=joined.room_id, attempt=1)
        async with raw_client(shard.url, resume) as again:
            assert (await again.next(MatchStatus)).state is QueueState.FOUND, "the client may not have received it"
            assert (await again.next(Redirect)).ticket == redirect.ticket


async def test_locked_or_full_room_requests_no_backfill(fleet: tuple[Shard, Shard]) -> None:
    a, b = fleet

    def backfills(count: int) -> Callable[[], Awaitable[bool]]:
        async def are() -> bool:
            return bool((await ask(a, "/queues/team"))["backfills"] == count)

        return are

    async with connect(a.url) as one, connect(b.url) as two:
        seats = await asyncio.gather(one.match("team"), two.match("team"))
        await eventually(backfills(1), what="two seats are free")
        owner = a if a.parts.host.get(seats[0].room_id) else b
        runtime = owner.parts.host.get(seats[0].room_id)
        assert runtime is not None
        runtime.room.lock()
        await eventually(backfills(0))
        runtime.room.unlock()
        assert runtime.room.access == "private"
        await eventually(backfills(1))
        await asyncio.gather(one.leave(), two.leave())
        await eventually(backfills(0), what="the room is empty")


@pytest.mark.parametrize(
    ("skill", "labels", "is_found"),
    [
        (np.float32(2.5), {}, True),
        (float("nan"), {}, False),
        ("none", {}, False),
        (1.0, {"map": "x" * 100}, False),
        (1.0, {"map": 5}, False),
    ],
    ids=["numpy", "nan", "text", "long label", "label that is no text"],
)
async def test_room_with_invalid_skills_or_labels_blocks_no_match(
    fleet: tuple[Shard, Shard], skill: Any, labels: dict[str, Any], is_found: bool
) -> None:
    a, b = fleet
    async with connect(a.url) as one, connect(b.url) as two, connect(a.url) as three:
        joined, _ = await asyncio.gather(one.match("team"), two.match("team"))
        owner = a if a.parts.host.get(joined.room_id) else b
        runtime = owner.parts.host.get(joined.room_id)
        assert runtime is not None
        for player in runtime.room.players.values():
            player.skill = skill
        runtime.room.labels = labels
        await two.leave()
        if is_found:
            assert (await three.match("team")).room_id == joined.room_id
        async with connect(a.url) as four, connect(b.url) as five:
            others = await asyncio.gather(four.match("pairs"), five.match("pairs"))
            assert others[0].room_id == others[1].room_id
        assert owner.parts.health.is_alive


async def test_queued_player_may_play_in_another_room(fleet: tuple[Shard, Shard]) -> None:
    """The lobby is a room too. After the match has begun the queue holds nothing of the player."""
    a, b = fleet
    async with connect(a.url) as one, connect(b.url) as two:
        one._session.send(one.core.match_request("versus"))
        await eventually(lambda: len(a.parts.queue_service) == 1)
        lobby = await one.join("garden", name="lobby")
        if one.url != a.url:  # it has another session, which is not queued
            assert len(a.parts.queue_service) == 0
        else:
            assert len(a.parts.queue_service) == 1
            await one.send_input({"dx": 1.0})
            joined = await asyncio.gather(one.match("versus"), two.match("versus"))
            assert joined[0].room_id == joined[1].room_id != lobby.room_id
            there = a if a.parts.host.get(joined[0].room_id) else b
            assert len(there.parts.queue_service) == 0, "a seated player is not queued"


async def test_request_for_another_mode_leaves_the_previous_queue(fleet: tuple[Shard, Shard]) -> None:
    a, _ = fleet
    async with connect(a.url) as one:
        for mode, other in (("versus", "team"), ("team", "versus")):
            one._session.send(one.core.match_request(mode))

            async def waits_there(mode: str = mode, other: str = other) -> bool:
                counts = [(await ask(a, f"/queues/{name}"))["waiting"] for name in (mode, other)]
                return counts == [1, 0]

            await eventually(waits_there)


@pytest.mark.parametrize(
    "options",
    [
        {"latencies": {"eu": -1}},
        {"latencies": {f"{n}": 10 for n in range(99)}},
        {"latencies": {"eu": float("nan")}},
        {"labels": {"a b": "c"}},
        {"party": ("x" * 99, 2)},
        {"party": ("us", 9)},
    ],
)
async def test_invalid_match_requests_are_refused_and_the_session_stays(
    fleet: tuple[Shard, Shard], options: dict[str, Any]
) -> None:
    async with connect(fleet[0].url) as client:
        with pytest.raises(Refused) as refused:
            await client.match("team", **options)
        assert refused.value.error.code is ErrorCode.MALFORMED
        await client.join("duel")


async def test_room_whose_creation_failed_is_created_by_one_join_at_a_time(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = shard.parts.hosted_rooms
    ticket = Ticket("one room", "ann", shard.shard_id, epoch=1, expires_at_s=0.0, is_guest=True, room_type="garden")
    running = most = calls = 0
    third: list[asyncio.Task[RoomRuntime]] = []

    async def create(_: Ticket, __: dict[str, Any]) -> RoomRuntime:
        nonlocal running, most, calls
        running, calls = running + 1, calls + 1
        most = max(most, running)
        for _turn in range(5):
            await asyncio.sleep(0)
        running -= 1
        raise Unavailable("the creation fails")

    def join() -> asyncio.Task[RoomRuntime]:
        return asyncio.create_task(rooms.get_or_create(ticket, {}))

    monkeypatch.setattr(rooms, "_create", create)
    first, second = join(), join()
    first.add_done_callback(lambda task: third.append(join()))  # it arrives while the second one waits, or creates
    results = await asyncio.gather(first, second, return_exceptions=True)
    results += await asyncio.gather(*third, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 3
    assert (calls, most) == (3, 1)
    assert not rooms._creation_locks
