"""The guarantees of the queue: a ticket is in at most one match, whichever process fails.

They hold on a real Redis and on the in-process store of `tickwire.testing`. Tests that take `redis_queue` run on
Redis alone: only Redis loses keys and has a client library.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from tests.harness.matchmaker_stores import MatchmakerStore, RedisStore
from tests.harness.polling import eventually
from tests.harness.queue_factories import create_leader
from tickwire.matchmaking import Matchmaker, MatchmakerUnavailable, MatchmakingError, PlaceRequest, ShardInfo
from tickwire.matchmaking.queue import (
    Backfill,
    Leader,
    Match,
    Mode,
    QueueAgent,
    QueueNotification,
    QueuePosition,
    QueueRequest,
    Queues,
    Rules,
    find_matches,
    slices,
)
from tickwire.matchmaking.queue import leader as leading
from tickwire.matchmaking.queue.match_function import STEP_COST
from tickwire.matchmaking.queue.regional_queue import RegionalQueue
from tickwire.matchmaking.script_runner import ScriptRunner
from tickwire.matchmaking.scripts import Scripts

DUEL = Mode("duel", Rules(room_type="duel", teams=2, team_size=1, skill_window=100))


class ManualClock:
    """A clock that the test advances; the clock of the store is not affected."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class QueueFixture:
    """Agents and leaders of some shards, stepped by the test; records all notifications."""

    def __init__(self, store: MatchmakerStore, matchmaker: Matchmaker, mode: Mode) -> None:
        self.store = store
        self.matchmaker = matchmaker
        self.mode = mode
        self.now_ms = time.time_ns() // 1_000_000 - 60_000  # the clocks of the shards: a minute behind
        self.clock = ManualClock()
        self.news: dict[str, list[QueuePosition | QueueNotification]] = {}
        self.entries: dict[str, str] = {}

    def create_runner(self) -> Scripts:
        return self.store.create_runner(self.mode.name)

    def agent(self, shard: str = "a") -> QueueAgent:
        return QueueAgent(shard, "", self.create_runner(), now_s=self.clock, now_ms=lambda: self.now_ms)

    def leader(self, shard: str = "a", region: str = "", **changes: Any) -> Leader:
        queue = RegionalQueue(self.mode, region, self.create_runner())
        return create_leader(queue, self.matchmaker, shard_id=shard, now_s=self.clock, **changes)

    async def forget(self, pattern: str) -> None:
        """Delete the keys that match a pattern."""
        script = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end"
        await self.redis("EVAL", script, 0, f"{{{self.matchmaker.namespace}{pattern}")

    def enqueue(self, agent: QueueAgent, player: str, skill: float = 0.0, **wish: Any) -> None:
        request = QueueRequest(**{"skill": skill, "latencies": {"": 10}} | wish)
        self.news[player] = []
        self.entries[player] = agent.enqueue(player, request, self.news[player].append)

    def ends(self, player: str) -> list[str]:
        """Return the kinds of the final notifications of a player."""
        return [news.kind for news in self.news[player] if isinstance(news, QueueNotification)]

    def room(self, player: str) -> str:
        (letter,) = (news for news in self.news[player] if isinstance(news, QueueNotification))
        assert letter.room is not None
        return letter.room.room_id

    async def redis(self, *command: Any) -> Any:
        assert isinstance(self.store, RedisStore)
        return await self.store.run(*command)


async def register_shards(store: MatchmakerStore) -> Matchmaker:
    matchmaker = store.create()
    for shard in "ab":
        await matchmaker.directory.register(ShardInfo(shard, f"ws://{shard}", "1", room_types=("duel",)))
    return matchmaker


@pytest.fixture
async def create_queue(store: MatchmakerStore) -> Callable[[Mode], QueueFixture]:
    return partial(QueueFixture, store, await register_shards(store))


@pytest.fixture
def queue(create_queue: Callable[[Mode], QueueFixture]) -> QueueFixture:
    return create_queue(DUEL)


@pytest.fixture
async def redis_queue(redis_store: RedisStore) -> QueueFixture:
    return QueueFixture(redis_store, await register_shards(redis_store), DUEL)


async def test_a_listener_that_raises_does_not_affect_other_players(queue: QueueFixture) -> None:
    agent, leader = queue.agent("a"), queue.leader()

    def faulty(news: QueuePosition | QueueNotification) -> None:
        raise ZeroDivisionError("a fault of the shard")

    agent.enqueue("p1", QueueRequest(0.0, {"": 10}), faulty)
    queue.enqueue(agent, "p2")
    await agent.sync()
    assert await leader.round()
    await agent.sync()
    assert queue.ends("p2") == ["found"]
    assert len(agent) == 0


async def test_calls_continue_after_an_unexpected_error(
    redis_queue: QueueFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = redis_queue.matchmaker.scripts
    execute = calls._execute

    async def faulty(*args: Any, **more: Any) -> Any:
        monkeypatch.undo()
        raise ZeroDivisionError("a fault of the client library")

    monkeypatch.setattr(calls, "_execute", faulty)
    with pytest.raises(MatchmakerUnavailable):
        await redis_queue.matchmaker.directory.list_shards()
    assert calls._execute == execute
    assert len(await redis_queue.matchmaker.directory.list_shards()) == 2


async def test_players_of_two_agents_are_matched_into_one_room(queue: QueueFixture) -> None:
    one, two, leader = queue.agent("a"), queue.agent("b"), queue.leader()
    queue.enqueue(one, "p1")
    queue.enqueue(two, "p2")
    await one.sync()
    await two.sync()
    assert await leader.round()
    await one.sync()
    await two.sync()
    assert queue.ends("p1") == queue.ends("p2") == ["found"]
    assert queue.room("p1") == queue.room("p2")
    letters = [news for player in ("p1", "p2") for news in queue.news[player] if isinstance(news, QueueNotification)]
    assert sorted(letter.team for letter in letters) == [1, 2]
    assert len(one) == len(two) == 0
    queued = await queue.store.list_queued("duel")
    assert (queued["tickets"], queued["waiting"]) == ([], [])


async def test_a_repeated_enqueue_has_no_effect(queue: QueueFixture) -> None:
    agent = queue.agent()
    queue.enqueue(agent, "p1")
    entering = list(agent._to_enqueue)
    await agent.sync()
    agent._to_enqueue.extend(entering)
    await agent.sync()
    assert agent.waiting_total == 1


async def test_matched_player_has_no_queue_position(queue: QueueFixture) -> None:
    """The position is requested between the match and its room, when it does not exist."""
    agent, leader = queue.agent(), queue.leader()
    for player in ("p1", "p2"):
        queue.enqueue(agent, player)
    await agent.sync()
    assert await leader.acquire_lease()
    made = await leader.commit(await leader.match(await leader.read()), 0)
    assert len(made) == 1
    queue.clock.now_s += 2
    await agent.sync()
    assert queue.news["p1"] == queue.news["p2"] == []
    await leader.find_rooms(made, {}, 0)
    await agent.sync()
    assert queue.ends("p1") == queue.ends("p2") == ["found"]


async def test_an_agent_continues_after_any_reply_of_redis(
    queue: QueueFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = queue.agent()
    running = asyncio.create_task(agent.run())
    run, answers = agent._scripts.run, [b"\xc3", b""]

    async def nonsense(script: str, request: Any, answer: Any, *packed: Any) -> Any:
        await run(script, request, dict[str, Any], *packed)
        if answers:
            raise MatchmakingError(f"{script}.lua answered {answers.pop()!r}")
        return await run(script, request, answer, *packed)

    monkeypatch.setattr(agent._scripts, "run", nonsense)
    queue.enqueue(agent, "p1")
    await eventually(lambda: agent.waiting_total == 1)
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])


async def test_an_invalid_reply_raises_a_matchmaking_error(queue: QueueFixture) -> None:
    with pytest.raises(MatchmakingError, match="returned an invalid reply"):
        await queue.create_runner().run("queue/resign", {"region": "", "leader": "x", "epoch": 1}, list[int])


async def test_a_notification_is_returned_until_it_is_acknowledged(queue: QueueFixture) -> None:
    agent, leader = queue.agent(), queue.leader()
    for player in ("p1", "p2"):
        queue.enqueue(agent, player)
    await agent.sync()
    await leader.round()
    again = await agent._scripts.run(
        "queue/sync",
        {n: [] for n in ("enqueue", "dequeue", "verify", "positions", "backfills", "filled")}
        | {"agent": agent.agent_id, "region": "", "delete_up_to": 0, "after": 0, "notifications_max": 10},
        dict[str, Any],
    )
    assert len(again["notifications"]) == 2, "read by a call whose answer was lost"
    await agent.sync()
    assert queue.ends("p1") == queue.ends("p2") == ["found"]
    await agent.sync()
    assert queue.ends("p1") == ["found"]


async def test_one_leader_holds_the_lease_and_another_acquires_it_later(
    queue: QueueFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leading, "LEASE_MS", 300)
    first, second = queue.leader("a"), queue.leader("b")
    assert await first.round()
    assert not await second.round()
    assert await first.round()

    async def takes_over() -> bool:
        return await second.round()

    await queue.store.wait(0.4)
    await eventually(takes_over)
    assert second.epoch > 0
    before = first.epoch
    assert not await first.round(), "it finds that another leads"
    assert second.epoch > before


async def test_a_leader_that_resigns_is_replaced_at_once(queue: QueueFixture) -> None:
    first, second = queue.leader("a"), queue.leader("b")
    assert await first.round()
    await first.resign()
    await first.resign()
    assert await second.round()


async def test_decisions_of_a_leader_that_was_paused_are_refused(queue: QueueFixture) -> None:
    """It has read the queue, matched, and is about to commit when another has taken the lead."""
    agent, first, second = queue.agent(), queue.leader("a"), queue.leader("b")
    assert await first.round()
    for player in ("p1", "p2"):
        queue.enqueue(agent, player)
    await agent.sync()
    read = await first.read()
    matches = await first.match(read)
    assert len(matches) == 1
    await queue.store.end_leadership("duel")
    assert await second.round()
    assert await first.commit(matches, 0) == []
    assert first.epoch == 0
    await agent.sync()
    assert queue.ends("p1") == ["found"]


@pytest.mark.parametrize("ends_at", ["queue/commit", "rooms/place", "queue/assign"])
@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
async def test_a_leader_can_end_at_any_step_and_the_next_one_continues(
    queue: QueueFixture, ends_at: str, is_done: bool
) -> None:
    """It ends before the call is made, or when the call was made and the answer did not come."""

    class RoundKilled(BaseException):
        pass

    agent = queue.agent()
    for player in ("p1", "p2", "p3", "p4"):
        queue.enqueue(agent, player)
    await agent.sync()
    dying, heir = queue.leader("a"), queue.leader("b")
    runner = queue.matchmaker.scripts if ends_at == "rooms/place" else dying._scripts
    run = runner.run

    async def run_and_die(script: str, request: Any, answer: Any, *packed: Any) -> Any:
        if script == ends_at:
            if is_done:
                await run(script, request, answer, *packed)
            raise RoundKilled
        return await run(script, request, answer, *packed)

    runner.run = run_and_die  # type: ignore[method-assign]
    with pytest.raises(RoundKilled):
        await dying.round()
    runner.run = run  # type: ignore[method-assign]
    if isinstance(queue.matchmaker.scripts, ScriptRunner):
        calls = queue.matchmaker.scripts
        await eventually(lambda: calls._sender is None, what="the other calls in flight have ended")
    await queue.store.end_leadership("duel")
    assert await heir.round()
    await agent.sync()
    rooms = [queue.room(player) for player in ("p1", "p2", "p3", "p4")]
    assert sorted(rooms.count(room) for room in set(rooms)) == [2, 2]
    assert [queue.ends(player) for player in ("p1", "p2", "p3", "p4")] == [["found"]] * 4
    assert len(await queue.store.list_room_ids()) == 2, "no room was made twice"


async def test_of_two_regions_that_select_the_same_tickets_one_gets_them(
    create_queue: Callable[[Mode], QueueFixture],
) -> None:
    queue = create_queue(DUEL)
    for region in ("eu", "us"):
        info = ShardInfo(region, f"ws://{region}", "1", region, room_types=("duel",))
        await queue.matchmaker.directory.register(info)
    agent = queue.agent()
    for n in range(40):
        queue.enqueue(agent, f"p{n}", latencies={"eu": 20, "us": 20})
    await agent.sync()
    both = queue.leader("eu", "eu"), queue.leader("us", "us")
    for _ in range(3):
        await asyncio.gather(*(leader.round() for leader in both))
        queue.clock.now_s += 10
    await agent.sync()
    rooms = [queue.room(f"p{n}") for n in range(40)]
    assert {rooms.count(room) for room in rooms} == {2}
    assert all(queue.ends(f"p{n}") == ["found"] for n in range(40))


async def test_players_keep_their_positions_when_no_shard_has_capacity(queue: QueueFixture) -> None:
    agent, leader = queue.agent(), queue.leader()
    for shard in "ab":
        await queue.matchmaker.directory.heartbeat(shard, load=0.99, players=0, rooms=0)
    for player in ("p1", "p2"):
        queue.enqueue(agent, player)
    queue.enqueue(agent, "p3", skill=5000)
    await agent.sync()
    assert await leader.round()
    await agent.sync()
    assert (queue.ends("p1"), leader.results["no_room"], agent.waiting_total) == ([], 1, 3)
    queue.clock.now_s += 2
    await agent.sync()
    places = {
        p: [news.position for news in queue.news[p] if isinstance(news, QueuePosition)] for p in ("p1", "p2", "p3")
    }
    assert places == {"p1": [1], "p2": [2], "p3": [3]}
    await queue.matchmaker.directory.heartbeat("a", load=0.1, players=0, rooms=0)
    assert await leader.round()
    await agent.sync()
    assert queue.ends("p1") == queue.ends("p2") == ["found"]


async def test_a_party_waits_until_it_is_complete_and_is_one_ticket(
    create_queue: Callable[[Mode], QueueFixture],
) -> None:
    queue = create_queue(Mode("pairs", Rules(room_type="duel", teams=2, team_size=2)))
    one, two, leader = queue.agent("a"), queue.agent("b"), queue.leader()
    queue.enqueue(one, "f1", party=("us", 2))
    queue.enqueue(one, "p1")
    queue.enqueue(two, "p2")
    await one.sync()
    await two.sync()
    assert await leader.round()
    queue.clock.now_s += 2
    await one.sync()
    assert [news for news in queue.news["f1"] if isinstance(news, QueuePosition)][-1].missing == 1
    queue.enqueue(two, "f2", party=("us", 2))
    await two.sync()
    assert await leader.round()
    for agent in (one, two):
        await agent.sync()
    letters = {player: queue.news[player][-1] for player in ("f1", "f2", "p1", "p2")}
    teams = {player: letter.team for player, letter in letters.items() if isinstance(letter, QueueNotification)}
    assert teams["f1"] == teams["f2"] != teams["p1"] == teams["p2"]


async def waiting_since_ms(agent: QueueAgent) -> dict[str, int]:
    """Return when each waiting player was enqueued."""
    request = {"limit": 10, "regions": [""], "player_id": ""}
    waiting = await agent._scripts.run("queue/inspect", request, dict[str, Any])
    return {ticket[3][0][1]: ticket[2] for ticket in waiting["tickets"]}


async def test_player_that_leaves_a_match_without_a_room_is_not_requeued(queue: QueueFixture) -> None:
    agent, leader = queue.agent(), queue.leader()
    for player in ("p1", "p2"):
        queue.enqueue(agent, player)
    await agent.sync()
    assert await leader.acquire_lease()
    made = await leader.commit(await leader.match(await leader.read()), 0)
    agent.dequeue(queue.entries["p1"])
    await agent.sync()
    for shard in "ab":
        await queue.matchmaker.directory.heartbeat(shard, load=0.99, players=0, rooms=0)
    await leader.find_rooms(made, {}, 0)
    await agent.sync()
    assert (agent.waiting_total, queue.ends("p1"), queue.ends("p2")) == (1, ["left"], []), "the other one waits on"


@pytest.mark.parametrize("is_beaten", [True, False], ids=["before the room", "after the room"])
async def test_a_match_that_a_player_leaves_before_it_has_a_room_is_dropped(
    queue: QueueFixture, is_beaten: bool
) -> None:
    """The commit point is the call that assigns the room: a leave before it drops the match, a later one is void."""
    agent, other, leader = queue.agent("a"), queue.agent("b"), queue.leader()
    queue.enqueue(agent, "p1")
    await agent.sync()
    queue.now_ms += 5_000
    queue.enqueue(other, "p2")
    await other.sync()
    enqueued_ms = (await waiting_since_ms(other))["p2"]
    await queue.store.wait(0.01)
    assert await leader.acquire_lease()
    made = await leader.commit(await leader.match(await leader.read()), 0)
    agent.dequeue(queue.entries["p1"])
    if is_beaten:
        await agent.sync()
        assert queue.ends("p1") == ["left"]
    await leader.find_rooms(made, {}, 0)
    for _ in range(2):
        await agent.sync()
        await other.sync()
    if is_beaten:
        assert (queue.ends("p1"), queue.ends("p2")) == (["left"], [])
        assert (other.waiting_total, leader.results["dropped"]) == (1, 1)
        assert await waiting_since_ms(other) == {"p2": enqueued_ms}, "the time that the other has waited counts"
        assert await queue.store.list_room_ids() == [], "the room that was found for it is given back"
    else:
        assert queue.ends("p1") == queue.ends("p2") == ["found"]
        assert queue.room("p1") == queue.room("p2")


async def test_player_that_left_a_match_can_be_enqueued_before_it_is_dropped(queue: QueueFixture) -> None:
    agent, other, leader = queue.agent("a"), queue.agent("b"), queue.leader()
    queue.enqueue(agent, "p1")
    queue.enqueue(other, "p2")
    await agent.sync()
    await other.sync()
    assert await leader.acquire_lease()
    made = await leader.commit(await leader.match(await leader.read()), 0)
    agent.dequeue(queue.entries["p1"])
    queue.enqueue(agent, "p1")
    await agent.sync()
    await leader.find_rooms(made, {}, 0)
    await agent.sync()
    assert (queue.ends("p1"), queue.ends("p2"), agent.waiting_total) == ([], [], 2)
    assert await leader.round()
    await agent.sync()
    await other.sync()
    assert queue.room("p1") == queue.room("p2")


async def test_player_that_was_enqueued_again_can_leave_after_the_old_match_is_dropped(queue: QueueFixture) -> None:
    """The ticket of the old match is deleted with the match; the player's new entry is not."""
    agent, other, leader = queue.agent("a"), queue.agent("b"), queue.leader()
    queue.enqueue(agent, "p1")
    queue.enqueue(other, "p2")
    await agent.sync()
    await other.sync()
    assert await leader.acquire_lease()
    made = await leader.commit(await leader.match(await leader.read()), 0)
    agent.dequeue(queue.entries["p1"])
    queue.enqueue(agent, "p1")
    await agent.sync()
    await leader.find_rooms(made, {}, 0)
    await agent.sync()
    assert agent.waiting_total == 2
    agent.dequeue(queue.entries["p1"])
    await agent.sync()
    assert (queue.ends("p1"), agent.waiting_total) == (["left"], 1)


async def test_a_dequeue_is_answered_even_if_redis_has_lost_the_player(redis_queue: QueueFixture) -> None:
    agent = redis_queue.agent()
    for player in ("p1", "p2"):
        redis_queue.enqueue(agent, player)
    await agent.sync()
    agent.dequeue(redis_queue.entries["p1"])
    agent.dequeue(redis_queue.entries["p1"])
    await agent.sync()
    assert (redis_queue.ends("p1"), agent.waiting_total) == (["left"], 1)
    await redis_queue.forget(":duel}*")
    agent.dequeue(redis_queue.entries["p2"])
    await agent.sync()
    assert (redis_queue.ends("p2"), len(agent)) == (["left"], 0)


async def test_seats_in_a_running_room_are_released_when_a_match_is_dropped(queue: QueueFixture) -> None:
    """A player who sits in the room already keeps the seat; only reservations go."""
    placement, leases = queue.matchmaker.placement, queue.matchmaker.leases
    placed = await placement.place(PlaceRequest(room_type="duel", players=("host",), shard_id="a", seats=8))
    await leases.confirm_seat(placed.room_id, "host", shard_id=placed.shard_id, epoch=placed.epoch)
    for player in ("host", "p2"):
        wanted = PlaceRequest(
            room_type="duel", players=(player,), shard_id="b", seats=8, room_id=placed.room_id, may_enter=True
        )
        await placement.place(wanted)
        await leases.release_reservation(placed.room_id, player, shard_id=placed.shard_id, epoch=placed.epoch)
    assert await queue.store.list_seats(placed.room_id) == ["host"]


async def test_matching_thousands_that_never_agree_does_not_block_the_loop(
    create_queue: Callable[[Mode], QueueFixture], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    queue = create_queue(Mode("labels", Rules(room_type="duel", labels=("map",))))
    agent, leader = queue.agent(), queue.leader()
    for number in range(2_000):
        queue.enqueue(agent, f"p{number}", labels=[f"map=m{number}"])
    while await agent.sync():
        pass
    assert await leader.acquire_lease()
    read = await leader.read()
    assert len(leader.tickets) == 2_000
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    others = asyncio.create_task(count())
    assert await leader.match(read) == []
    others.cancel()
    steps = 4 * 2_000 / STEP_COST  # to choose, to sort, to index and to look around
    assert turns > steps


async def test_a_match_function_of_a_game_runs_in_a_thread(create_queue: Callable[[Mode], QueueFixture]) -> None:
    threads: list[bool] = []

    def match(*arguments: Any, **more: Any) -> list[Match]:
        threads.append(threading.current_thread() is threading.main_thread())
        return find_matches(*arguments, **more)

    queue = create_queue(Mode("own", DUEL.rules, match=match))
    agent, leader = queue.agent(), queue.leader()
    for player in ("p1", "p2"):
        queue.enqueue(agent, player)
    await agent.sync()
    assert await leader.round()
    await agent.sync()
    assert queue.ends("p1") == ["found"]
    assert threads == [False]


async def test_a_leader_renews_its_lease_during_a_long_match(
    create_queue: Callable[[Mode], QueueFixture], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leading, "LEASE_MS", 3_000)
    is_over = threading.Event()

    def match(*arguments: Any, **more: Any) -> list[Match]:
        is_over.wait(60)
        return find_matches(*arguments, **more)

    queue = create_queue(Mode("own", DUEL.rules, match=match))
    agent, leader, other = queue.agent(), queue.leader("a"), queue.leader("b")
    leader._now_s = other._now_s = time.monotonic
    for player in ("p1", "p2"):
        queue.enqueue(agent, player)
    await agent.sync()
    round_ = asyncio.create_task(leader.round())
    await eventually(lambda: leader.epoch > 0)
    for _ in range(20):
        await asyncio.sleep(0.3)  # two leases in all
        assert not await other.acquire_lease()
    is_over.set()
    assert await round_
    await agent.sync()
    assert queue.ends("p1") == ["found"]


async def test_the_tickets_of_a_failed_agent_are_found_in_small_steps(queue: QueueFixture) -> None:
    gone, stays, leader = queue.agent("gone"), queue.agent("a"), queue.leader()
    for number in range(1_200):  # more than one call looks at
        queue.enqueue(gone, f"g{number}", skill=number * 1000)
    while await gone.sync():
        pass
    queue.enqueue(stays, "p1", skill=-1000)
    await stays.sync()
    assert stays.waiting_total == 1_201
    await queue.store.silence_agent("duel", gone.agent_id)
    assert await leader.round()
    await stays.sync()
    assert stays.waiting_total == 1
    assert (await queue.store.list_queued("duel"))["agents"] == [stays.agent_id]


async def test_matches_of_a_region_without_a_leader_are_returned(
    queue: QueueFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leading, "ABANDONED_MS", 100)
    agent, gone, other = queue.agent(), queue.leader("eu", "eu"), queue.leader("a", "")
    for player in ("p1", "p2"):
        queue.enqueue(agent, player, latencies={"eu": 10, "": 20})
    await agent.sync()
    assert await gone.acquire_lease()
    read = await gone.read()
    assert len(await gone.commit(await gone.match(read), read.now_ms)) == 1

    async def are_matched_elsewhere() -> bool:
        queue.clock.now_s += 3
        await other.round()
        await agent.sync()
        return queue.ends("p1") == queue.ends("p2") == ["found"]

    await queue.store.wait(0.2)
    await eventually(are_matched_elsewhere)
    assert other.results["abandoned"] == 1


async def test_more_notifications_than_one_sync_returns_are_all_delivered(
    queue: QueueFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent asks whether those who wait are known, and those whose letters are not read yet are not."""
    monkeypatch.setattr("tickwire.matchmaking.queue.agent.NOTIFICATIONS_PER_SYNC_MAX", 10)
    agent, leader = queue.agent(), queue.leader()
    for n in range(30):
        queue.enqueue(agent, f"p{n}")
    await agent.sync()
    await leader.round()
    queue.clock.now_s += 10
    while await agent.sync():
        pass
    assert [queue.ends(f"p{n}") for n in range(30)] == [["found"]] * 30
    await agent.sync()
    assert agent.waiting_total == 0


@pytest.mark.parametrize(
    ("is_matched", "blocked_by", "words"),
    [
        (False, "friends", "2 members of its party are missing"),
        (True, "nothing", "a match was found, and its room follows"),
    ],
)
async def test_a_ticket_that_cannot_be_matched_is_explained(
    queue: QueueFixture, is_matched: bool, blocked_by: str, words: str
) -> None:
    queues = Queues([(queue.mode, 2)], queue.matchmaker, shard_id="a", region="")
    agent, leader = queue.agent(), queue.leader()
    if is_matched:
        queue.enqueue(agent, "p1")
        queue.enqueue(agent, "p2")
    else:
        queue.enqueue(agent, "p1", party=("us", 3))
    await agent.sync()
    if is_matched:
        assert await leader.acquire_lease()
        assert await leader.commit(await leader.match(await leader.read()), 0)
    explanation = await queues.explain("duel", "p1")
    assert explanation is not None
    assert (explanation.blocked_by, explanation.message) == (blocked_by, words)
    assert await queues.explain("duel", "nobody") is None
    await queues.close()


async def test_a_ticket_beyond_the_inspected_ones_is_explained(
    queue: QueueFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickwire.matchmaking.queue.queues.TICKETS_INSPECTED_MAX", 3)
    queues = Queues([(queue.mode, 2)], queue.matchmaker, shard_id="a", region="")
    agent = queue.agent()
    for n in range(6):
        queue.enqueue(agent, f"p{n}", skill=1000 * n)
    await agent.sync()
    explanation = await queues.explain("duel", "p5")
    assert explanation is not None
    assert (explanation.blocked_by, explanation.in_region) == ("skill", 3)
    await queues.close()


async def test_one_wait_is_explained_at_a_time(create_queue: Callable[[Mode], QueueFixture]) -> None:
    is_running, may_end = threading.Event(), threading.Event()

    def match(*arguments: Any, **more: Any) -> list[Match]:
        is_running.set()
        may_end.wait(60)
        return find_matches(*arguments, **more)

    queue = create_queue(Mode("own", DUEL.rules, match=match))
    queues = Queues([(queue.mode, 2)], queue.matchmaker, shard_id="a", region="")
    agent = queue.agent()
    queue.enqueue(agent, "p1")
    await agent.sync()
    first = asyncio.create_task(queues.explain("own", "p1"))
    await eventually(is_running.is_set)
    try:
        with pytest.raises(MatchmakerUnavailable, match="explains another wait"):
            await queues.explain("own", "p1")
    finally:
        may_end.set()
    for explanation in (await first, await queues.explain("own", "p1")):
        assert explanation is not None
        assert explanation.blocked_by == "players"
    await queues.close()


@pytest.mark.parametrize("is_complete", [False, True])
async def test_party_is_cancelled_when_a_member_leaves(
    create_queue: Callable[[Mode], QueueFixture], is_complete: bool
) -> None:
    queue = create_queue(Mode("pairs", Rules(room_type="duel", teams=2, team_size=3)))
    one, two = queue.agent("a"), queue.agent("b")
    for agent, player in ((one, "f1"), (two, "f2"), (two, "f3"))[: 3 if is_complete else 2]:
        queue.enqueue(agent, player, party=("us", 3))
        await agent.sync()
    one.dequeue(queue.entries["f1"])
    await one.sync()
    await two.sync()
    assert (queue.ends("f1"), queue.ends("f2")) == (["left"], ["cancelled"])
    assert one.waiting_total == 0
    queue.enqueue(one, "f1", party=("us", 3))
    await one.sync()
    assert queue.ends("f1") == [], "the code is free again"


async def test_members_of_a_party_must_send_the_same_size(queue: QueueFixture) -> None:
    agent = queue.agent()
    queue.enqueue(agent, "f1", party=("us", 2))
    queue.enqueue(agent, "f2", party=("us", 3))
    await agent.sync()
    assert (queue.ends("f1"), queue.ends("f2")) == ([], ["cancelled"])


async def test_request_on_another_shard_replaces_the_queue_entry(queue: QueueFixture) -> None:
    one, two = queue.agent("a"), queue.agent("b")
    queue.enqueue(one, "p1")
    await one.sync()
    old = queue.news["p1"]
    queue.enqueue(two, "p1")
    await two.sync()
    await one.sync()
    assert [news.kind for news in old if isinstance(news, QueueNotification)] == ["cancelled"]
    assert two.waiting_total == 1


async def test_a_ticket_times_out(create_queue: Callable[[Mode], QueueFixture]) -> None:
    queue = create_queue(Mode("brief", Rules(room_type="duel", teams=2, team_size=3, timeout_s=0.05)))
    agent, leader = queue.agent(), queue.leader()
    queue.enqueue(agent, "p1")
    queue.enqueue(agent, "f1", party=("us", 3))
    await agent.sync()

    async def both_told() -> bool:
        queue.clock.now_s += 2
        await leader.round()
        await agent.sync()
        return queue.ends("p1") == queue.ends("f1") == ["timed_out"]

    await queue.store.wait(0.1)
    await eventually(both_told)


async def test_the_players_of_a_failed_shard_are_removed(
    queue: QueueFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leading, "AGENT_TIMEOUT_S", 0.2)
    gone, stays, leader = queue.agent("a"), queue.agent("b"), queue.leader("b")
    queue.enqueue(gone, "p1")
    queue.enqueue(gone, "f1", party=("us", 2))
    await gone.sync()
    gone.set_backfill(Backfill("room", "", 0.0, [1], 0))
    await gone.sync()
    queue.enqueue(stays, "f2", party=("us", 2))

    async def only_ours_wait() -> bool:
        queue.clock.now_s += 2
        await stays.sync()
        await leader.round()
        return stays.waiting_total == 0 and queue.ends("f2") == ["cancelled"]

    await queue.store.wait(0.3)
    await eventually(only_ours_wait)
    assert (await leader.read()).backfills == []
    queue.clock.now_s += 10
    await gone.sync()  # it had only slept
    await gone.sync()
    assert gone.waiting_total == 1, "who was forgotten enters again"
    assert await waiting_since_ms(gone) == {"p1": queue.now_ms}, "the time that the player has waited counts"


async def test_players_are_enqueued_again_in_order_after_a_flush(redis_queue: QueueFixture) -> None:
    agent = redis_queue.agent()
    for n in range(5):
        redis_queue.enqueue(agent, f"p{n}", skill=1000 * n)
    await agent.sync()
    await redis_queue.forget("*")
    redis_queue.clock.now_s += 10
    await agent.sync()
    assert agent.waiting_total == 0
    await agent.sync()
    assert agent.waiting_total == 5
    redis_queue.clock.now_s += 2
    await agent.sync()
    places = [
        [news.position for news in redis_queue.news[f"p{n}"] if isinstance(news, QueuePosition)][-1] for n in range(5)
    ]
    assert places == [1, 2, 3, 4, 5]
    leader = redis_queue.leader()
    assert await leader.round()
    assert {one.since_ms for one in leader.tickets.values()} == {redis_queue.now_ms}, (
        "they have waited since they entered"
    )


async def test_notifications_after_a_flush_are_delivered(redis_queue: QueueFixture) -> None:
    agent, leader = redis_queue.agent(), redis_queue.leader()
    for n in range(8):
        redis_queue.enqueue(agent, f"p{n}")
    await agent.sync()
    await leader.round()
    await agent.sync()
    await redis_queue.forget(":*")
    redis_queue.clock.now_s += 3  # the leader reads all tickets at intervals
    for player in ("q1", "q2"):
        redis_queue.enqueue(agent, player)
    await agent.sync()
    await leader.round()
    await agent.sync()
    assert redis_queue.ends("q1") == redis_queue.ends("q2") == ["found"]


async def test_a_running_room_gets_players_and_requests_more_if_needed(
    create_queue: Callable[[Mode], QueueFixture],
) -> None:
    queue = create_queue(Mode("fill", Rules(room_type="duel", teams=2, team_size=2, backfill=True)))
    agent, leader = queue.agent(), queue.leader()
    for n in range(4):
        queue.enqueue(agent, f"p{n}")
    await agent.sync()
    await leader.round()
    await agent.sync()
    room = queue.room("p0")
    (letter,) = (news for news in queue.news["p0"] if isinstance(news, QueueNotification))
    assert letter.room is not None
    owner = {"shard_id": letter.room.shard_id, "epoch": letter.room.epoch}
    await queue.matchmaker.leases.release_seat(room, "p0", **owner)
    agent.set_backfill(Backfill(room, "", 0.0, [1, 0], 0))
    queue.enqueue(agent, "p4")
    queue.enqueue(agent, "p5")
    await agent.sync()
    await leader.round()
    await agent.sync()
    assert [queue.ends(player) for player in ("p4", "p5")] in ([["found"], []], [[], ["found"]])
    lucky = "p4" if queue.ends("p4") else "p5"
    assert queue.room(lucky) == room
    queue.clock.now_s += 10  # the room has not received its players yet, and repeats its request: it is full
    await agent.sync()
    await leader.round()
    await agent.sync()
    assert agent.waiting_total == 1
    agent.remove_backfill(room)
    agent.remove_backfill(room)
    await agent.sync()
    assert (await leader.read()).backfills == []


async def test_a_room_that_removes_its_backfill_gets_no_players(create_queue: Callable[[Mode], QueueFixture]) -> None:
    """The leader has read that it wants players; before it commits, the room has changed its mind."""
    queue = create_queue(Mode("fill", Rules(room_type="duel", teams=2, team_size=2, backfill=True)))
    agent, leader = queue.agent(), queue.leader()
    assert await leader.round()
    agent.set_backfill(Backfill("room", "", 0.0, [1, 0], 0))
    queue.enqueue(agent, "p1")
    await agent.sync()
    read = await leader.read()
    agent.remove_backfill("room")
    await agent.sync()
    assert await leader.commit(await leader.match(read), 0) == []
    assert agent.waiting_total == 1


async def test_a_match_with_a_room_is_deleted(queue: QueueFixture) -> None:
    agent, leader = queue.agent(), queue.leader()
    for player in ("p1", "p2"):
        queue.enqueue(agent, player)
    await agent.sync()
    for _ in range(3):
        await leader.round()
        queue.clock.now_s += 10
    assert leader.results["found"] == 1
    assert (await queue.store.list_queued("duel"))["matches"] == []


async def test_invalid_matches_of_a_game_are_refused(create_queue: Callable[[Mode], QueueFixture]) -> None:
    asked: list[int] = []

    def greedy(tickets: Any, backfills: Any, rules: Any, *, now_ms: int, rng: random.Random) -> Any:
        """The same tickets twice: only the first of the two can be."""
        asked.append(len(tickets))
        found = find_matches(tickets, backfills, rules, now_ms=now_ms, rng=rng)
        return found + found

    queue = create_queue(Mode("greedy", DUEL.rules, match=greedy))
    agent, leader = queue.agent(), queue.leader()
    for n in range(4):
        queue.enqueue(agent, f"p{n}")
    await agent.sync()
    await leader.round()
    await agent.sync()
    rooms = [queue.room(f"p{n}") for n in range(4)]
    assert sorted(rooms.count(room) for room in set(rooms)) == [2, 2]
    assert (asked, leader.results["found"], leader.results["conflict"]) == ([4], 2, 2)


async def test_a_match_function_that_raises_does_not_stop_the_leader(
    create_queue: Callable[[Mode], QueueFixture],
) -> None:
    def broken(*args: Any, **more: Any) -> Any:
        raise RuntimeError("told to fail")

    queue = create_queue(Mode("broken", DUEL.rules, match=broken))
    leader = queue.leader()
    task = asyncio.create_task(leader.run())
    await eventually(lambda: leader.results["error"] > 0)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


async def test_the_quality_of_each_match_is_observed(queue: QueueFixture) -> None:
    seen: list[tuple[str, float]] = []
    agent = queue.agent()
    leader = queue.leader(on_match=lambda mode, quality: seen.append((mode, quality.skill_spread)))
    queue.enqueue(agent, "p1", 10)
    queue.enqueue(agent, "p2", 40)
    await agent.sync()
    await leader.round()
    assert seen == [("duel", 30)]
    await leader.round()
    queue.enqueue(agent, "p3")
    queue.clock.now_s += 2
    await agent.sync()
    queue.clock.now_s += 2
    await agent.sync()
    assert [news.recent_wait_ms > 0 for news in queue.news["p3"] if isinstance(news, QueuePosition)] == [True, True]


async def test_every_key_of_a_queue_expires(redis_queue: QueueFixture) -> None:
    agent, leader = redis_queue.agent(), redis_queue.leader()
    for n in range(3):
        redis_queue.enqueue(agent, f"p{n}", party=("us", 2) if n == 2 else None)
    agent.set_backfill(Backfill("room", "", 0.0, [1], 0))
    await agent.sync()
    await leader.round()
    keys = await redis_queue.redis("KEYS", f"{{{redis_queue.matchmaker.namespace}:duel}}*")
    assert len(keys) >= 8
    for key in keys:
        assert await redis_queue.redis("PTTL", key) > 0, key


async def test_thousands_of_players_are_matched_once_each(queue: QueueFixture) -> None:
    agents = [queue.agent(shard) for shard in "ab"]
    leader = queue.leader()
    rng = random.Random(3)
    for n in range(3000):
        queue.enqueue(agents[n % 2], f"p{n}", rng.gauss(0, 300))
    for _ in range(30):
        for agent in agents:
            while await agent.sync():
                pass
        await leader.round()
        if not any(len(agent) for agent in agents):
            break
    unmatched = [player for player in queue.news if not queue.ends(player)]
    assert len(unmatched) < 30
    rooms = [queue.room(player) for player in queue.news if queue.ends(player)]
    assert len(set(rooms)) * 2 == len(rooms)


async def test_a_full_agent_refuses_players(queue: QueueFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickwire.matchmaking.queue.agent.PLAYERS_MAX", 2)
    agent = queue.agent()
    for n in range(2):
        queue.enqueue(agent, f"p{n}")
    with pytest.raises(MatchmakerUnavailable, match="more than 2 players"):
        queue.enqueue(agent, "p2")


# -- moves to another agent ------------------------------------------------------------------------------------


async def pass_on(queue: QueueFixture, player: str, before: QueueAgent, after: QueueAgent) -> None:
    """A player's shard drains, and another one has the player from now on."""
    packed = before.get_entry(queue.entries[player])
    assert packed is not None
    before.detach(queue.entries[player])
    await after.attach(*packed, queue.news[player].append)


async def test_a_player_attached_to_another_agent_keeps_the_position(queue: QueueFixture) -> None:
    one, two, leader = queue.agent("a"), queue.agent("b"), queue.leader()
    queue.enqueue(one, "p1")
    await one.sync()
    await pass_on(queue, "p1", one, two)
    await pass_on_again_does_nothing(queue, one)
    queue.enqueue(two, "p2")
    queue.clock.now_s += 2
    await two.sync()
    assert [news.position for news in queue.news["p1"] if isinstance(news, QueuePosition)] == [1]
    assert two.waiting_total == 2
    assert await leader.round()
    for agent in (one, two):
        await agent.sync()
    assert queue.ends("p1") == queue.ends("p2") == ["found"]


async def pass_on_again_does_nothing(queue: QueueFixture, agent: QueueAgent) -> None:
    agent.detach(queue.entries["p1"])
    assert agent.get_entry(queue.entries["p1"]) is None
    await agent.sync()


async def test_a_notification_between_detach_and_attach_is_not_lost(queue: QueueFixture) -> None:
    """Matched, and notified at the previous agent, which had detached the player already."""
    one, two, leader = queue.agent("a"), queue.agent("b"), queue.leader()
    for player in ("p1", "p2"):
        queue.enqueue(one, player)
    await one.sync()
    packed = one.get_entry(queue.entries["p1"])
    assert packed is not None
    one.detach(queue.entries["p1"])
    assert await leader.round()
    await one.sync()
    await one.sync()
    assert (queue.ends("p1"), queue.ends("p2")) == ([], ["found"])
    await two.attach(*packed, queue.news["p1"].append)
    await two.sync()
    await two.sync()
    assert queue.ends("p1") == ["found"]
    assert queue.room("p1") == queue.room("p2")


@pytest.mark.parametrize("is_matched", [False, True], ids=["waiting", "matched"])
@pytest.mark.parametrize("has_run", [False, True], ids=["request lost", "reply lost"])
async def test_a_player_is_attached_when_redis_answers_again(
    queue: QueueFixture, monkeypatch: pytest.MonkeyPatch, *, is_matched: bool, has_run: bool
) -> None:
    one, two, leader = queue.agent("a"), queue.agent("b"), queue.leader()
    for player in ("p1", "p2"):
        queue.enqueue(one, player)
    await one.sync()
    packed = one.get_entry(queue.entries["p1"])
    assert packed is not None
    one.detach(queue.entries["p1"])
    if is_matched:
        assert await leader.round()
    run = two._scripts.run

    async def fails(*call: Any) -> None:
        if has_run:
            await run(*call)
        raise MatchmakerUnavailable("Redis does not answer")

    monkeypatch.setattr(two._scripts, "run", fails)
    with pytest.raises(MatchmakerUnavailable):
        await two.attach(*packed, queue.news["p1"].append)
    monkeypatch.setattr(two._scripts, "run", run)
    await two.sync()
    if not is_matched:
        assert await leader.round()
    for agent in (one, two):
        await agent.sync()
    assert queue.ends("p1") == queue.ends("p2") == ["found"]
    assert queue.room("p1") == queue.room("p2")
    queue.clock.now_s += 60
    await two.sync()
    assert two.waiting_total == 0, "the player does not wait for another match"


async def test_a_pending_attach_does_not_take_a_player_back_from_a_third_agent(
    queue: QueueFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three, leader = queue.agent("a"), queue.agent("b"), queue.agent("c"), queue.leader()
    for player in ("p1", "p2"):
        queue.enqueue(one, player)
    await one.sync()

    async def fails(*call: Any) -> None:
        raise MatchmakerUnavailable("Redis does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(two._scripts, "run", fails)
        with pytest.raises(MatchmakerUnavailable):
            await pass_on(queue, "p1", one, two)
    await pass_on(queue, "p1", two, three)
    await two.sync()
    assert await leader.round()
    for agent in (one, two, three):
        await agent.sync()
    assert queue.ends("p1") == queue.ends("p2") == ["found"]


@pytest.mark.parametrize("failure", ["none", "request lost", "reply lost"])
async def test_a_third_agent_receives_the_notification_of_an_earlier_one(
    queue: QueueFixture, monkeypatch: pytest.MonkeyPatch, *, failure: str
) -> None:
    """The player is matched before it is attached to the third agent, which knows only the second one."""
    one, two, three, leader = queue.agent("a"), queue.agent("b"), queue.agent("c"), queue.leader()
    for player in ("p1", "p2"):
        queue.enqueue(one, player)
    await one.sync()
    run = two._scripts.run

    async def run_or_fail(*call: Any) -> Any:
        reply = await run(*call) if failure != "request lost" else None
        if failure != "none":
            raise MatchmakerUnavailable("Redis does not answer")
        return reply

    with monkeypatch.context() as patched, suppress(MatchmakerUnavailable):
        patched.setattr(two._scripts, "run", run_or_fail)
        await pass_on(queue, "p1", one, two)
    assert await leader.round()
    await pass_on(queue, "p1", two, three)
    for agent in (one, two, three):
        await agent.sync()
    assert queue.ends("p1") == queue.ends("p2") == ["found"]
    assert queue.room("p1") == queue.room("p2")
    queue.clock.now_s += 60
    await three.sync()
    assert three.waiting_total == 0, "the player does not wait for another match"


async def test_a_player_attached_before_the_first_enqueue_arrives_is_at_the_new_agent(
    queue: QueueFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the previous agent does not cancel the player."""
    one, two, leader = queue.agent("a"), queue.agent("b"), queue.leader()
    queue.enqueue(one, "p1")
    run = one._scripts.run

    async def run_late(*call: Any) -> Any:
        await pass_on(queue, "p1", one, two)
        return await run(*call)

    monkeypatch.setattr(one._scripts, "run", run_late)
    await one.sync()
    await two.sync()
    await queue.store.silence_agent("duel", one.agent_id)
    assert await leader.round()
    await two.sync()
    assert queue.ends("p1") == []
    assert two.waiting_total == 1


async def test_a_match_without_a_room_notifies_the_new_agent(queue: QueueFixture) -> None:
    one, two, leader = queue.agent("a"), queue.agent("b"), queue.leader()
    for player in ("p1", "p2"):
        queue.enqueue(one, player)
    await one.sync()
    assert await leader.acquire_lease()
    made = await leader.commit(await leader.match(await leader.read()), 0)
    await pass_on(queue, "p1", one, two)
    await leader.find_rooms(made, {}, 0)
    for agent in (one, two):
        await agent.sync()
    assert queue.ends("p1") == queue.ends("p2") == ["found"]


async def test_a_party_stays_together_when_members_move_to_other_agents(
    create_queue: Callable[[Mode], QueueFixture],
) -> None:
    queue = create_queue(Mode("pairs", Rules(room_type="duel", teams=2, team_size=2)))
    one, two, leader = queue.agent("a"), queue.agent("b"), queue.leader()
    queue.enqueue(one, "f1", party=("us", 2))
    await one.sync()
    await pass_on(queue, "f1", one, two)
    queue.enqueue(two, "f2", party=("us", 2))
    for player in ("p1", "p2"):
        queue.enqueue(two, player)
    await two.sync()
    assert await leader.round()
    await two.sync()
    assert [queue.ends(player) for player in ("f1", "f2", "p1", "p2")] == [["found"]] * 4


async def test_the_end_of_the_previous_agent_does_not_affect_attached_players(
    queue: QueueFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, leader = queue.agent("a"), queue.agent("b"), queue.leader()
    for player in ("p1", "stayed"):
        queue.enqueue(one, player, skill=0.0 if player == "p1" else 1000.0)
    await one.sync()
    await pass_on(queue, "p1", one, two)
    await queue.store.silence_agent("duel", one.agent_id)
    queue.clock.now_s += 60
    await leader.round()
    queue.clock.now_s += 60
    await two.sync()
    assert two.waiting_total == 1
    assert queue.ends("p1") == []


async def test_a_lost_player_that_is_attached_is_enqueued_with_the_waiting_time(redis_queue: QueueFixture) -> None:
    one, two = redis_queue.agent("a"), redis_queue.agent("b")
    redis_queue.enqueue(one, "p1")
    await one.sync()
    await redis_queue.forget(":duel}:*")
    await pass_on(redis_queue, "p1", one, two)
    redis_queue.enqueue(two, "p2")
    await two.sync()
    since_ms = await waiting_since_ms(two)
    assert since_ms["p1"] < since_ms["p2"]
