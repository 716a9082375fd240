"""Players keep their sessions and seats while their rooms migrate, whichever shard they first connected to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest

from tests.harness.polling import acknowledges, eventually
from tests.harness.shard_process import running
from tests.harness.tokens import SECRET, token_of
from tickwire.client.client import Client, connect
from tickwire.client.connection import ClientSocket
from tickwire.client.options import JoinOptions
from tickwire.matchmaking import HandoffOffer, MatchmakerUnavailable, StaleLease, Ticket, sign
from tickwire.schemas.messages import Joined
from tickwire.server.assembly import create_ticket_keys
from tickwire.server.config import Settings
from tickwire.server.edge.auth.settings import AuthSettings
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.shard import Shard

PLAYERS, ROOMS = 15, 5
POLICIES = pytest.mark.parametrize("policy", ["replace", "refuse", "allow"])


def settings_with(settings: Settings, policy: Any) -> Settings:
    auth = AuthSettings(secret=SECRET, guests=False)
    return msgspec.structs.replace(
        settings, auth=auth, edge=EdgeSettings(duplicate_sessions=policy), drain_timeout_s=30.0
    )


def player(url: str, name: str) -> Any:
    return connect(url, token=token_of(name))


@asynccontextmanager
async def fleet(settings: Settings, count: int) -> AsyncIterator[dict[str, Shard]]:
    """Shards by name, as a StatefulSet names them. `replaced` puts another one in a shard's place."""
    async with AsyncExitStack() as stack:
        shards = {}
        for ordinal in range(count):
            name = f"shard-{ordinal}"
            shards[name] = await stack.enter_async_context(running(settings, name))
        yield shards


async def left_without_a_close(link: ClientSocket, *_: object) -> None:
    await link.drop()


async def join_with_options(client: Client, options: JoinOptions) -> Joined:
    joined: Joined = await client._session.call(lambda now_ms: client._machine.join("duel", options, now_ms))
    return joined


def sessions_of(shard: Shard, name: str) -> list[str]:
    return [session.session_id for session in shard.parts.edge.registry.find_by_player(name)]


async def plays_on(client: Client, session_id: str) -> None:
    """Assert that the client has kept its session and its seat, and that the room takes its inputs."""
    assert client.core.resume_token.partition(".")[0] == session_id
    assert (client.sessions_lost, client.core.events_missed, client.core.mismatches) == (0, 0, 0)
    await acknowledges(client)


@POLICIES
@pytest.mark.parametrize("ending", ["closed", "broken"])
async def test_drain_back_to_the_first_shard_loses_no_session(
    shard_settings: Settings, monkeypatch: pytest.MonkeyPatch, policy: str, ending: str
) -> None:
    if ending == "broken":  # the client's network fails, or the client ignores close code 1000
        monkeypatch.setattr(ClientSocket, "close", left_without_a_close)
    settings = settings_with(shard_settings, policy)
    async with running(settings) as owner, AsyncExitStack() as stack:
        for number in range(ROOMS):
            holder = await stack.enter_async_context(player(owner.url, f"holder {number}"))
            await holder.join("garden", name=f"room {number}")
        entry = await stack.enter_async_context(running(settings))
        clients: dict[str, Client] = {}
        for number in range(PLAYERS):
            name = f"player {number}"
            clients[name] = await stack.enter_async_context(player(entry.url, name))
            await clients[name].join("garden", name=f"room {number % ROOMS}")
        assert {client.url for client in clients.values()} == {owner.url}, "all were redirected"
        if ending == "closed":
            await eventually(lambda: not len(entry.parts.edge.registry), what="the sessions left behind have ended")
        session_ids = {name: client.core.resume_token.partition(".")[0] for name, client in clients.items()}
        await owner.drain()
        for name, client in clients.items():
            await client.wait_for(lambda client=client: client.is_connected and client.url == entry.url)  # type: ignore[misc]
            await plays_on(client, session_ids[name])
            alive = sessions_of(entry, name)
            assert alive == [session_ids[name]] or (policy == "allow" and ending == "broken")
        assert sum(len(runtime.seats) for runtime in entry.parts.host) == PLAYERS + ROOMS


@POLICIES
async def test_rolling_update_from_the_highest_ordinal_down_loses_no_session(
    shard_settings: Settings, policy: str
) -> None:
    settings = settings_with(shard_settings, policy)
    async with fleet(settings, 3) as shards, AsyncExitStack() as stack:
        clients: dict[str, Client] = {}
        for number in range(PLAYERS):
            name, entry = f"player {number}", shards[f"shard-{number % 3}"]
            clients[name] = await stack.enter_async_context(player(entry.url, name))
            await clients[name].join("garden", name=f"room {number % ROOMS}")
        session_ids = {name: client.core.resume_token.partition(".")[0] for name, client in clients.items()}
        for name in ("shard-2", "shard-1", "shard-0"):
            await shards[name].drain()
            await shards[name].stop()
            shards[name] = await stack.enter_async_context(running(settings, name))
            urls = {shard.url for shard in shards.values()}
            for player_name, client in clients.items():
                await client.wait_for(lambda client=client: client.is_connected and client.url in urls, 20)  # type: ignore[misc] # noqa: B023
                await plays_on(client, session_ids[player_name])
        for player_name, session_id in session_ids.items():
            alive = [each for shard in shards.values() for each in sessions_of(shard, player_name)]
            assert alive == [session_id], "exactly one session"
        assert sum(len(runtime.seats) for shard in shards.values() for runtime in shard.parts.host) == PLAYERS


# -- while a room is moving ------------------------------------------------------------------------------------


@pytest.fixture
async def two(shard_settings: Settings) -> AsyncIterator[tuple[Shard, Shard]]:
    settings = msgspec.structs.replace(shard_settings, drain_timeout_s=30.0)
    async with running(settings) as one, running(settings) as other:
        yield one, other


def meanwhile(
    monkeypatch: pytest.MonkeyPatch, one: Shard, other: Shard, do: Callable[[], Awaitable[None]]
) -> asyncio.Event:
    """Do something after the state of a room of `one` was sent, and before `other` claims it."""
    receive, done = other.parts.room_receiver._receive, asyncio.Event()

    async def after(offer: HandoffOffer) -> None:
        runtime = one.parts.host.get(offer.room_id)
        assert runtime is not None
        await eventually(lambda: runtime.handover.is_sealed)
        await do()
        done.set()
        await receive(offer)

    monkeypatch.setattr(other.parts.room_receiver, "_receive", after)
    return done


async def test_session_that_ends_during_a_migration_loses_its_seat(
    two: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    async with connect(one.url) as client, connect(one.url) as stays:
        joined = await client.join("duel")
        await stays.join("duel", room_id=joined.room_id)

        async def leave() -> None:
            await client.close()
            await eventually(lambda: len(one.parts.edge.registry) == 1)

        done = meanwhile(monkeypatch, one, other, leave)
        await one.drain()
        assert done.is_set()
        await stays.wait_for(lambda: stays.url == other.url and stays.is_connected)
        moved = other.parts.host.get(joined.room_id)
        assert moved is not None
        await eventually(lambda: len(moved.seats) == 1, what="the seat is free")
        assert len(other.parts.edge.registry) == 1
        walkers = moved.room.walkers  # type: ignore[attr-defined]
        await eventually(lambda: len(walkers) == 1, what="the player's entity is gone")
        await acknowledges(stays)


async def test_player_that_leaves_during_a_migration_keeps_its_session(
    two: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    async with connect(one.url) as client:
        joined = await client.join("duel", name="final")
        session_id = client.core.resume_token.partition(".")[0]
        done = meanwhile(monkeypatch, one, other, client.leave)
        await one.drain()
        assert done.is_set()
        await client.wait_for(lambda: client.url == other.url and client.is_connected)
        again = await client.join("duel", name="final")
        assert again.entity != joined.entity or again.room_id != joined.room_id, "it is a new seat"
        await plays_on(client, session_id)
        assert [len(runtime.seats) for runtime in other.parts.host] == [1]


async def test_room_that_is_not_claimed_applies_the_deferred_changes(
    two: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    monkeypatch.setattr("tickwire.server.migration.handoff_steps.CLAIM_TIMEOUT_S", 0.5)

    async def nothing(offer: HandoffOffer) -> None:
        runtime = one.parts.host.get(offer.room_id)
        assert runtime is not None
        await eventually(lambda: runtime.handover.is_sealed)
        await leaver.close()
        await dropper.drop()
        await eventually(lambda: one.parts.edge.registry.disconnected_count == 1 or len(one.parts.edge.registry) == 1)

    monkeypatch.setattr(other.parts.room_receiver, "_receive", nothing)
    async with connect(one.url) as leaver, connect(one.url) as dropper:
        joined = await leaver.join("diary", name="d")
        await dropper.join("diary", name="d")
        room = one.parts.host.get(joined.room_id)
        assert room is not None
        target = next(
            shard
            for shard in await one.parts.matchmaker.directory.list_shards()
            if shard.info.shard_id == other.shard_id
        )
        assert not await one.parts.room_sender.migrate(room, target)
        assert room.room.noted.count("leave") == 1  # type: ignore[attr-defined]
        assert "disconnect" in room.room.noted  # type: ignore[attr-defined]
        assert len(room.seats) == 1
        await dropper.wait_for(lambda: dropper.is_connected)
        await acknowledges(dropper)


@pytest.mark.parametrize("how", ["by name", "by ticket"])
async def test_join_during_a_migration_follows_the_room(
    two: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    one, other = two
    async with connect(one.url) as first, connect(one.url) as second:
        joined = await first.join("duel", name="final")
        joining: list[asyncio.Task[Joined]] = []

        async def join() -> None:
            room = one.parts.host.get(joined.room_id)
            assert room is not None
            if how == "by ticket":
                ticket = Ticket(
                    room_id=joined.room_id,
                    player_id="guest-of-a-match",
                    shard_id=one.shard_id,
                    epoch=room.epoch,
                    expires_at_s=time.time() + 60,
                    is_guest=True,
                    room_type="duel",
                    name="final",
                )
                options = JoinOptions(ticket=sign(ticket, create_ticket_keys(one.settings)))
                joining.append(asyncio.create_task(join_with_options(second, options)))
            else:
                joining.append(asyncio.create_task(second.join("duel", name="final")))
            await asyncio.sleep(0)
            await eventually(lambda: len(one.parts.edge._tasks) > 0, what="the join has begun")

        done = meanwhile(monkeypatch, one, other, join)
        await one.drain()
        assert done.is_set()
        seated = await joining[0]
        assert (second.url, seated.room_id) == (other.url, joined.room_id)
        assert (len(one.parts.host), len(other.parts.host)) == (0, 1)
        await acknowledges(second)


async def test_ticket_for_a_migrated_room_is_redirected_with_a_new_ticket(two: tuple[Shard, Shard]) -> None:
    one, other = two
    async with connect(one.url) as first, connect(one.url) as second:
        joined = await first.join("duel", name="final")
        room = one.parts.host.get(joined.room_id)
        assert room is not None
        ticket = Ticket(
            room_id=joined.room_id,
            player_id="guest-of-a-match",
            shard_id=one.shard_id,
            epoch=room.epoch,
            expires_at_s=time.time() + 60,
            is_guest=True,
            room_type="duel",
            name="final",
        )
        target = next(
            shard
            for shard in await one.parts.matchmaker.directory.list_shards()
            if shard.info.shard_id == other.shard_id
        )
        assert await one.parts.room_sender.migrate(room, target)
        options = JoinOptions(ticket=sign(ticket, create_ticket_keys(one.settings)))
        seated = await join_with_options(second, options)
        assert (second.url, seated.room_id) == (other.url, joined.room_id)


async def test_session_without_a_room_is_found_from_any_shard(two: tuple[Shard, Shard]) -> None:
    one, other = two
    async with connect(one.url) as client:
        waiting = asyncio.create_task(client.match("versus", timeout_s=30))
        await eventually(lambda: len(one.parts.queue_service) == 1)
        for _ in range(2):
            (session,) = one.parts.edge.registry
            client._machine.connection.moved(other.url)  # as behind a load balancer without session affinity
            await client.drop()
            await client.wait_for(lambda: client.is_connected and client.url == one.url)
            assert list(one.parts.edge.registry) == [session]
            assert not len(other.parts.edge.registry)
        assert (client.resumes, client.sessions_lost, len(one.parts.queue_service)) == (2, 0, 1)
        async with connect(other.url) as opponent:
            await asyncio.gather(waiting, opponent.match("versus", timeout_s=30))


async def test_queued_player_in_a_migrating_room_keeps_its_position(two: tuple[Shard, Shard]) -> None:
    one, other = two
    async with connect(one.url) as client:
        await client.join("garden", name="home")
        session_id = client.core.resume_token.partition(".")[0]
        waiting = asyncio.create_task(client.match("versus", timeout_s=60))
        await eventually(lambda: len(one.parts.queue_service) == 1)
        (session,) = one.parts.edge.registry
        before = one.parts.queue_service.find_position(session)
        assert before is not None
        await one.drain()
        await client.wait_for(lambda: client.is_connected and client.url == other.url)
        await eventually(lambda: len(other.parts.queue_service) == 1)
        (session,) = other.parts.edge.registry
        after = other.parts.queue_service.find_position(session)
        assert after is not None
        assert (session.session_id, after.entry.entry_id) == (session_id, before.entry.entry_id)
        assert after.enqueued_ms == before.enqueued_ms, "the time that the player has waited counts"
        await plays_on(client, session_id)
        async with connect(other.url) as opponent:
            await asyncio.gather(waiting, opponent.match("versus", timeout_s=30))


async def test_room_survives_a_lost_reply_to_its_claim(
    two: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    take, lost = other.parts.matchmaker.handoffs.claim, 0

    async def and_lose_the_answer(room_id: str, shard_id: str) -> int:
        nonlocal lost
        epoch = await take(room_id, shard_id)
        if not lost:
            lost += 1
            raise MatchmakerUnavailable("Redis does not answer")
        return epoch

    monkeypatch.setattr(other.parts.matchmaker.handoffs, "claim", and_lose_the_answer)
    async with connect(one.url) as client:
        joined = await client.join("duel")
        session_id = client.core.resume_token.partition(".")[0]
        await one.drain()
        assert lost == 1
        await eventually(lambda: other.parts.host.get(joined.room_id) is not None)
        await client.wait_for(lambda: client.is_connected and client.url == other.url)
        await plays_on(client, session_id)


@pytest.mark.parametrize("is_claimed", [True, False])
async def test_client_that_reconnects_before_the_claim_keeps_its_session(
    two: tuple[Shard, Shard], monkeypatch: pytest.MonkeyPatch, is_claimed: bool
) -> None:
    one, other = two
    take = other.parts.room_receiver._handoffs.claim
    early: list[str] = []

    async def late(room_id: str) -> int:
        if not early:
            client._machine.connection.moved(other.url)
            await client.drop()
            redirected = other.parts.edge.counters.resumes
            await eventually(
                lambda: redirected["redirected"] == 1 and one.parts.edge.counters.rejected["unavailable"] > 0
            )
            early.append("redirected to the source, which answers UNAVAILABLE")
        if not is_claimed:
            raise StaleLease("it was withdrawn")
        return await take(room_id)

    monkeypatch.setattr(other.parts.room_receiver._handoffs, "claim", late)
    monkeypatch.setattr("tickwire.server.migration.handoff_steps.CLAIM_TIMEOUT_S", 2.0)
    async with connect(one.url) as client:
        joined = await client.join("duel")
        session_id = client.core.resume_token.partition(".")[0]
        room = one.parts.host.get(joined.room_id)
        assert room is not None
        (target,) = await one.parts.room_sender._ready_shards.find()
        assert await one.parts.room_sender.migrate(room, target) == is_claimed
        assert early
        await client.wait_for(lambda: client.is_connected and client.url == (other if is_claimed else one).url)
        assert sum(len(shard.parts.edge.registry) for shard in two) == 1
        await plays_on(client, session_id)
