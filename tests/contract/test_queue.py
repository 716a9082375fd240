"""What the queue promises, on a real Redis: a ticket is in one match or none, whatever ends when."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

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
    Queues,
    Rules,
    find_matches,
    slices,
)
from tickwire.matchmaking.queue import leader as leading
from tickwire.matchmaking.queue.match_function import STEP_COST
from tickwire.matchmaking.script_runner import ScriptRunner

DUEL = Mode("duel", Rules(room_type="duel", teams=2, team_size=1, skill_window=100))


class Clock:
    """Seconds that pass when a test says so; what Redis measures goes on by itself."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Hall:
    """Agents and leaders of some shards, stepped by hand; what players are told is kept."""

    def __init__(self, matchmaker: Matchmaker, mode: Mode) -> None:
        self.matchmaker = matchmaker
        self.mode = mode
        self.now_ms = time.time_ns() // 1_000_000 - 60_000  # what the shards' clocks say: a minute ago
        self.clock = Clock()
        self.told: dict[str, list[QueuePosition | QueueNotification]] = {}
        self.entries: dict[str, str] = {}
        self.runners: list[ScriptRunner] = []

    def door(self) -> ScriptRunner:
        prefix = f"{{{self.matchmaker.namespace}:{self.mode.name}}}"
        self.runners.append(ScriptRunner(self.matchmaker.client, prefix=prefix, deadline_s=5.0))
        return self.runners[-1]

    def agent(self, shard: str = "a") -> QueueAgent:
        return QueueAgent(shard, "", self.door(), now_s=self.clock, now_ms=lambda: self.now_ms)

    def leader(self, shard: str = "a", region: str = "", **changes: Any) -> Leader:
        return create_leader(
            self.mode, self.matchmaker, self.door(), shard_id=shard, now_s=self.clock, region=region, **changes
        )

    async def forget(self, pattern: str) -> None:
        """A flush of some keys alone."""
        script = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end"
        await self.redis("EVAL", script, 0, f"{{{self.matchmaker.namespace}{pattern}")

    def enter(self, agent: QueueAgent, player: str, skill: float = 0.0, **wish: Any) -> None:
        about: dict[str, Any] = {"latencies": {"": 10}, "labels": (), "party": None} | wish
        self.told[player] = []
        self.entries[player] = agent.enqueue(player, self.told[player].append, skill=skill, **about)

    def ends(self, player: str) -> list[str]:
        """What became of a player."""
        return [news.kind for news in self.told[player] if isinstance(news, QueueNotification)]

    def room(self, player: str) -> str:
        (letter,) = (news for news in self.told[player] if isinstance(news, QueueNotification))
        assert letter.room is not None
        return letter.room.room_id

    async def redis(self, *command: Any) -> Any:
        async with Redis.from_url(self.url, decode_responses=True) as redis:
            return await redis.execute_command(*command)

    url = ""


@pytest.fixture
async def hall_of(redis_url: str, redis_namespace: str) -> AsyncIterator[Callable[[Mode], Hall]]:
    matchmaker = Matchmaker.from_url(redis_url, namespace=redis_namespace, deadline_s=5.0)
    for shard in "ab":
        await matchmaker.directory.register(ShardInfo(shard, f"ws://{shard}", "1", room_types=("duel",)))
    halls: list[Hall] = []

    def make(mode: Mode) -> Hall:
        halls.append(Hall(matchmaker, mode))
        halls[-1].url = redis_url
        return halls[-1]

    yield make
    for hall in halls:
        for runner in hall.runners:
            await runner.aclose()
    await matchmaker.aclose()


@pytest.fixture
def hall(hall_of: Callable[[Mode], Hall]) -> Hall:
    return hall_of(DUEL)


async def test_a_player_whose_listener_raises_keeps_no_other_waiting(hall: Hall) -> None:
    agent, leader = hall.agent("a"), hall.leader()

    def faulty(news: QueuePosition | QueueNotification) -> None:
        raise ZeroDivisionError("a fault of the shard")

    agent.enqueue("p1", faulty, skill=0.0, latencies={"": 10})
    hall.enter(agent, "p2")
    await agent.sync()
    assert await leader.round()
    await agent.sync()
    assert hall.ends("p2") == ["found"]
    assert len(agent) == 0


async def test_calls_after_one_that_raises_what_it_should_not_are_made(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = hall.matchmaker.scripts
    execute = calls._execute

    async def faulty(*args: Any, **more: Any) -> Any:
        monkeypatch.undo()
        raise ZeroDivisionError("a fault of the client library")

    monkeypatch.setattr(calls, "_execute", faulty)
    with pytest.raises(MatchmakerUnavailable):
        await hall.matchmaker.directory.list_shards()
    assert calls._execute == execute
    assert len(await hall.matchmaker.directory.list_shards()) == 2


async def test_two_wait_at_two_desks_and_are_told_of_one_room(hall: Hall) -> None:
    one, two, leader = hall.agent("a"), hall.agent("b"), hall.leader()
    hall.enter(one, "p1")
    hall.enter(two, "p2")
    await one.sync()
    await two.sync()
    assert await leader.round()
    await one.sync()
    await two.sync()
    assert hall.ends("p1") == hall.ends("p2") == ["found"]
    assert hall.room("p1") == hall.room("p2")
    letters = [news for player in ("p1", "p2") for news in hall.told[player] if isinstance(news, QueueNotification)]
    assert sorted(letter.team for letter in letters) == [1, 2]
    assert len(one) == len(two) == 0
    assert (
        await hall.redis("EXISTS", *[f"{{{hall.matchmaker.namespace}:duel}}:{k}" for k in ("tickets", "waiting")])
        == 0
    )


async def test_entering_is_said_once_however_often_the_call_is_made(hall: Hall) -> None:
    agent = hall.agent()
    hall.enter(agent, "p1")
    entering = list(agent._to_enqueue)
    await agent.sync()
    agent._to_enqueue.extend(entering)
    await agent.sync()
    assert agent.waiting_total == 1


async def test_who_has_just_been_matched_has_no_place_to_be_told(hall: Hall) -> None:
    """Asked between the match and its room: there is nothing to say, and that is no mistake."""
    agent, leader = hall.agent(), hall.leader()
    for player in ("p1", "p2"):
        hall.enter(agent, player)
    await agent.sync()
    assert await leader._acquire_lease()
    made = await leader._commit(await leader._match(await leader._read()), 0)
    assert len(made) == 1
    hall.clock.now_s += 2
    await agent.sync()
    assert hall.told["p1"] == hall.told["p2"] == []
    await leader._find_rooms(made, {}, 0)
    await agent.sync()
    assert hall.ends("p1") == hall.ends("p2") == ["found"]


async def test_a_desk_goes_on_whatever_redis_answers(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = hall.agent()
    running = asyncio.create_task(agent.run())
    run, answers = agent._scripts.run, [b"\xc3", b""]

    async def nonsense(script: str, request: Any, answer: Any, *packed: Any) -> Any:
        await run(script, request, dict[str, Any], *packed)
        if answers:
            raise MatchmakingError(f"{script}.lua answered {answers.pop()!r}")
        return await run(script, request, answer, *packed)

    monkeypatch.setattr(agent._scripts, "run", nonsense)
    hall.enter(agent, "p1")
    await eventually(lambda: agent.waiting_total == 1)
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])


async def test_an_answer_that_cannot_be_read_has_a_name(hall: Hall) -> None:
    with pytest.raises(MatchmakingError, match="returned an invalid reply"):
        await hall.door().run("queue/resign", {"region": "", "leader": "x", "epoch": 1}, list[int])


async def test_a_letter_comes_until_it_is_said_to_be_read(hall: Hall) -> None:
    agent, leader = hall.agent(), hall.leader()
    for player in ("p1", "p2"):
        hall.enter(agent, player)
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
    assert hall.ends("p1") == hall.ends("p2") == ["found"]
    await agent.sync()
    assert hall.ends("p1") == ["found"]


async def test_only_one_leads_and_another_takes_over_when_it_is_gone(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leading, "LEASE_MS", 300)
    first, second = hall.leader("a"), hall.leader("b")
    assert await first.round()
    assert not await second.round()
    assert await first.round()

    async def takes_over() -> bool:
        return await second.round()

    await eventually(takes_over)
    assert second.epoch > 0
    before = first.epoch
    assert not await first.round(), "it finds that another leads"
    assert second.epoch > before


async def test_a_leader_that_resigns_need_not_be_waited_for(hall: Hall) -> None:
    first, second = hall.leader("a"), hall.leader("b")
    assert await first.round()
    await first.resign()
    await first.resign()
    assert await second.round()


async def test_a_leader_that_slept_decides_nothing(hall: Hall) -> None:
    """It has read the queue, matched, and is about to commit when another has taken the lead."""
    agent, first, second = hall.agent(), hall.leader("a"), hall.leader("b")
    assert await first.round()
    for player in ("p1", "p2"):
        hall.enter(agent, player)
    await agent.sync()
    read = await first._read()
    matches = await first._match(read)
    assert len(matches) == 1
    await hall.redis("DEL", f"{{{hall.matchmaker.namespace}:duel}}:leader:")
    assert await second.round()
    assert await first._commit(matches, 0) == []
    assert first.epoch == 0
    await agent.sync()
    assert hall.ends("p1") == ["found"]


@pytest.mark.parametrize("ends_at", ["queue/commit", "rooms/place", "queue/assign"])
@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
async def test_a_leader_may_end_at_any_step_and_the_next_goes_on(hall: Hall, ends_at: str, is_done: bool) -> None:
    """It ends before the call is made, or when the call was made and the answer did not come."""

    class Killed(BaseException):
        pass

    agent = hall.agent()
    for player in ("p1", "p2", "p3", "p4"):
        hall.enter(agent, player)
    await agent.sync()
    dying, heir = hall.leader("a"), hall.leader("b")
    door = hall.matchmaker.scripts if ends_at == "rooms/place" else dying._scripts
    run = door.run

    async def run_and_die(script: str, request: Any, answer: Any, *packed: Any) -> Any:
        if script == ends_at:
            if is_done:
                await run(script, request, answer, *packed)
            raise Killed
        return await run(script, request, answer, *packed)

    door.run = run_and_die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        await dying.round()
    door.run = run  # type: ignore[method-assign]
    await eventually(lambda: hall.matchmaker.scripts._sender is None, what="what was under way beside it has ended")
    await hall.redis("DEL", f"{{{hall.matchmaker.namespace}:duel}}:leader:")
    assert await heir.round()
    await agent.sync()
    rooms = [hall.room(player) for player in ("p1", "p2", "p3", "p4")]
    assert sorted(rooms.count(room) for room in set(rooms)) == [2, 2]
    assert [hall.ends(player) for player in ("p1", "p2", "p3", "p4")] == [["found"]] * 4
    listed = await hall.redis("KEYS", f"{{{hall.matchmaker.namespace}}}:room:*")
    assert len(listed) == 2, "no room was made twice"


async def test_two_regions_want_the_same_players_and_one_gets_them(hall_of: Callable[[Mode], Hall]) -> None:
    hall = hall_of(DUEL)
    for region in ("eu", "us"):
        info = ShardInfo(region, f"ws://{region}", "1", region, room_types=("duel",))
        await hall.matchmaker.directory.register(info)
    agent = hall.agent()
    for n in range(40):
        hall.enter(agent, f"p{n}", latencies={"eu": 20, "us": 20})
    await agent.sync()
    both = hall.leader("eu", "eu"), hall.leader("us", "us")
    for _ in range(3):
        await asyncio.gather(*(leader.round() for leader in both))
        hall.clock.now_s += 10
    await agent.sync()
    rooms = [hall.room(f"p{n}") for n in range(40)]
    assert {rooms.count(room) for room in rooms} == {2}
    assert all(hall.ends(f"p{n}") == ["found"] for n in range(40))


async def test_no_room_can_be_had_and_the_players_keep_their_places(hall: Hall) -> None:
    agent, leader = hall.agent(), hall.leader()
    for shard in "ab":
        await hall.matchmaker.directory.heartbeat(shard, load=0.99, players=0, rooms=0)
    for player in ("p1", "p2"):
        hall.enter(agent, player)
    await agent.sync()
    assert await leader.round()
    await agent.sync()
    assert (hall.ends("p1"), leader.results["no_room"], agent.waiting_total) == ([], 1, 2)
    hall.enter(agent, "p3", skill=5000)
    hall.clock.now_s += 2
    await agent.sync()
    places = {
        p: [news.position for news in hall.told[p] if isinstance(news, QueuePosition)] for p in ("p1", "p2", "p3")
    }
    assert places == {"p1": [1], "p2": [2], "p3": [3]}
    await hall.matchmaker.directory.heartbeat("a", load=0.1, players=0, rooms=0)
    assert await leader.round()
    await agent.sync()
    assert hall.ends("p1") == hall.ends("p2") == ["found"]


async def test_a_party_waits_for_its_friends_and_is_one_ticket(hall_of: Callable[[Mode], Hall]) -> None:
    hall = hall_of(Mode("pairs", Rules(room_type="duel", teams=2, team_size=2)))
    one, two, leader = hall.agent("a"), hall.agent("b"), hall.leader()
    hall.enter(one, "f1", party=("us", 2))
    hall.enter(one, "p1")
    hall.enter(two, "p2")
    await one.sync()
    await two.sync()
    assert await leader.round()
    hall.clock.now_s += 2
    await one.sync()
    assert [news for news in hall.told["f1"] if isinstance(news, QueuePosition)][-1].missing == 1
    hall.enter(two, "f2", party=("us", 2))
    await two.sync()
    assert await leader.round()
    for agent in (one, two):
        await agent.sync()
    letters = {player: hall.told[player][-1] for player in ("f1", "f2", "p1", "p2")}
    teams = {player: letter.team for player, letter in letters.items() if isinstance(letter, QueueNotification)}
    assert teams["f1"] == teams["f2"] != teams["p1"] == teams["p2"]


async def test_who_leaves_between_a_match_and_its_room_does_not_wait_again_when_there_is_none(hall: Hall) -> None:
    agent, leader = hall.agent(), hall.leader()
    for player in ("p1", "p2"):
        hall.enter(agent, player)
    await agent.sync()
    assert await leader._acquire_lease()
    made = await leader._commit(await leader._match(await leader._read()), 0)
    agent.dequeue(hall.entries["p1"])
    await agent.sync()
    for shard in "ab":
        await hall.matchmaker.directory.heartbeat(shard, load=0.99, players=0, rooms=0)
    await leader._find_rooms(made, {}, 0)
    await agent.sync()
    assert (agent.waiting_total, hall.ends("p1"), hall.ends("p2")) == (1, ["left"], []), "the other one waits on"


@pytest.mark.parametrize("is_beaten", [True, False], ids=["before the room", "after the room"])
async def test_a_match_that_a_player_leaves_is_dropped_until_it_has_its_room(hall: Hall, is_beaten: bool) -> None:
    """The commit point is the call that assigns the room: a leave before it drops the match, a later one is void."""
    agent, other, leader = hall.agent("a"), hall.agent("b"), hall.leader()
    hall.enter(agent, "p1")
    await agent.sync()
    hall.now_ms += 5_000
    hall.enter(other, "p2")
    await other.sync()
    assert await leader._acquire_lease()
    made = await leader._commit(await leader._match(await leader._read()), 0)
    agent.dequeue(hall.entries["p1"])
    if is_beaten:
        await agent.sync()
        assert hall.ends("p1") == ["left"]
    await leader._find_rooms(made, {}, 0)
    for _ in range(2):
        await agent.sync()
        await other.sync()
    if is_beaten:
        assert (hall.ends("p1"), hall.ends("p2")) == (["left"], [])
        assert (other.waiting_total, leader.results["dropped"]) == (1, 1)
        listed = await hall.redis("KEYS", f"{{{hall.matchmaker.namespace}}}:room:*")
        assert listed == [], "the room that was found for it is given back"
    else:
        assert hall.ends("p1") == hall.ends("p2") == ["found"]
        assert hall.room("p1") == hall.room("p2")


async def test_a_player_who_has_left_a_match_may_enter_again_before_it_is_dropped(hall: Hall) -> None:
    agent, other, leader = hall.agent("a"), hall.agent("b"), hall.leader()
    hall.enter(agent, "p1")
    hall.enter(other, "p2")
    await agent.sync()
    await other.sync()
    assert await leader._acquire_lease()
    made = await leader._commit(await leader._match(await leader._read()), 0)
    agent.dequeue(hall.entries["p1"])
    hall.enter(agent, "p1")
    await agent.sync()
    await leader._find_rooms(made, {}, 0)
    await agent.sync()
    assert (hall.ends("p1"), hall.ends("p2"), agent.waiting_total) == ([], [], 2)
    assert await leader.round()
    await agent.sync()
    await other.sync()
    assert hall.room("p1") == hall.room("p2")


async def test_a_leave_of_a_waiting_player_is_answered_and_one_of_a_forgotten_player_too(hall: Hall) -> None:
    agent = hall.agent()
    for player in ("p1", "p2"):
        hall.enter(agent, player)
    await agent.sync()
    agent.dequeue(hall.entries["p1"])
    agent.dequeue(hall.entries["p1"])
    await agent.sync()
    assert (hall.ends("p1"), agent.waiting_total) == (["left"], 1)
    await hall.forget(":duel}*")
    agent.dequeue(hall.entries["p2"])
    await agent.sync()
    assert (hall.ends("p2"), len(agent)) == (["left"], 0)


async def test_seats_in_a_room_in_play_are_given_back_when_a_match_is_dropped(hall: Hall) -> None:
    """A player who sits in the room already keeps the seat; only reservations go."""
    places, leases = hall.matchmaker.placement, hall.matchmaker.leases
    placed = await places.place(PlaceRequest(room_type="duel", players=("host",), shard_id="a", seats=8))
    await leases.confirm_seat(placed.room_id, "host", shard_id=placed.shard_id, epoch=placed.epoch)
    for player in ("host", "p2"):
        wanted = PlaceRequest(
            room_type="duel", players=(player,), shard_id="b", seats=8, room_id=placed.room_id, may_enter=True
        )
        await places.place(wanted)
        await leases.release_reservation(placed.room_id, player, shard_id=placed.shard_id, epoch=placed.epoch)
    seats = f"{{{hall.matchmaker.namespace}}}:seats:{placed.room_id}"
    assert await hall.redis("ZRANGE", seats, 0, -1) == ["host"]


async def test_a_leader_lets_others_run_while_it_matches_thousands_that_never_agree(
    hall_of: Callable[[Mode], Hall], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    hall = hall_of(Mode("labels", Rules(room_type="duel", labels=("map",))))
    agent, leader = hall.agent(), hall.leader()
    for number in range(2_000):
        hall.enter(agent, f"p{number}", labels=[f"map=m{number}"])
    while await agent.sync():
        pass
    assert await leader._acquire_lease()
    read = await leader._read()
    assert len(leader._tickets) == 2_000
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    others = asyncio.create_task(count())
    assert await leader._match(read) == []
    others.cancel()
    steps = 4 * 2_000 / STEP_COST  # to choose, to sort, to index and to look around
    assert turns > steps


async def test_a_games_own_match_function_runs_in_a_thread(hall_of: Callable[[Mode], Hall]) -> None:
    threads: list[bool] = []

    def match(*arguments: Any, **more: Any) -> list[Match]:
        threads.append(threading.current_thread() is threading.main_thread())
        return find_matches(*arguments, **more)

    hall = hall_of(Mode("own", DUEL.rules, match=match))
    agent, leader = hall.agent(), hall.leader()
    for player in ("p1", "p2"):
        hall.enter(agent, player)
    await agent.sync()
    assert await leader.round()
    await agent.sync()
    assert hall.ends("p1") == ["found"]
    assert threads == [False]


async def test_a_leader_keeps_its_lease_while_it_matches_for_long(
    hall_of: Callable[[Mode], Hall], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leading, "LEASE_MS", 300)
    is_over = threading.Event()

    def match(*arguments: Any, **more: Any) -> list[Match]:
        is_over.wait(10)
        return find_matches(*arguments, **more)

    hall = hall_of(Mode("own", DUEL.rules, match=match))
    agent, leader, other = hall.agent(), hall.leader("a"), hall.leader("b")
    leader._now_s = other._now_s = time.monotonic
    for player in ("p1", "p2"):
        hall.enter(agent, player)
    await agent.sync()
    round_ = asyncio.create_task(leader.round())
    await eventually(lambda: leader.epoch > 0)
    for _ in range(20):
        await asyncio.sleep(0.05)  # more than three leases in all
        assert not await other._acquire_lease()
    is_over.set()
    assert await round_
    await agent.sync()
    assert hall.ends("p1") == ["found"]


async def test_the_tickets_of_a_gone_desk_are_found_in_many_small_steps(hall: Hall) -> None:
    gone, stays, leader = hall.agent("gone"), hall.agent("a"), hall.leader()
    for number in range(1_200):  # more than one call looks at
        hall.enter(gone, f"g{number}", skill=number * 1000)
    while await gone.sync():
        pass
    hall.enter(stays, "p1", skill=-1000)
    await stays.sync()
    assert stays.waiting_total == 1_201
    agents = f"{{{hall.matchmaker.namespace}:duel}}:agents"
    await hall.redis("ZADD", agents, 1, gone.agent_id)
    assert await leader.round()
    await stays.sync()
    assert stays.waiting_total == 1
    assert await hall.redis("ZRANGE", agents, 0, -1) == [stays.agent_id]


async def test_a_match_of_a_region_where_nobody_leads_any_more_is_given_back(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leading, "ABANDONED_MS", 100)
    agent, gone, other = hall.agent(), hall.leader("eu", "eu"), hall.leader("a", "")
    for player in ("p1", "p2"):
        hall.enter(agent, player, latencies={"eu": 10, "": 20})
    await agent.sync()
    assert await gone._acquire_lease()
    read = await gone._read()
    assert len(await gone._commit(await gone._match(read), read.now_ms)) == 1

    async def are_matched_elsewhere() -> bool:
        hall.clock.now_s += 3
        await other.round()
        await agent.sync()
        return hall.ends("p1") == hall.ends("p2") == ["found"]

    await eventually(are_matched_elsewhere)
    assert other.results["abandoned"] == 1


async def test_more_letters_than_are_read_at_once_are_all_heard_and_nobody_enters_again(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent asks whether those who wait are known, and those whose letters are not read yet are not."""
    monkeypatch.setattr("tickwire.matchmaking.queue.agent.NOTIFICATIONS_PER_SYNC_MAX", 10)
    agent, leader = hall.agent(), hall.leader()
    for n in range(30):
        hall.enter(agent, f"p{n}")
    await agent.sync()
    await leader.round()
    hall.clock.now_s += 10
    while await agent.sync():
        pass
    assert [hall.ends(f"p{n}") for n in range(30)] == [["found"]] * 30
    await agent.sync()
    assert agent.waiting_total == 0


@pytest.mark.parametrize(
    ("is_matched", "blocked_by", "words"),
    [
        (False, "friends", "2 members of its party are missing"),
        (True, "nothing", "a match was found, and its room follows"),
    ],
)
async def test_who_is_in_no_line_is_explained_too(hall: Hall, is_matched: bool, blocked_by: str, words: str) -> None:
    queues = Queues([(hall.mode, 2)], hall.matchmaker, shard_id="a", region="")
    agent, leader = hall.agent(), hall.leader()
    if is_matched:
        hall.enter(agent, "p1")
        hall.enter(agent, "p2")
    else:
        hall.enter(agent, "p1", party=("us", 3))
    await agent.sync()
    if is_matched:
        assert await leader._acquire_lease()
        assert await leader._commit(await leader._match(await leader._read()), 0)
    told = await queues.explain("duel", "p1")
    assert told is not None
    assert (told.blocked_by, told.message) == (blocked_by, words)
    assert await queues.explain("duel", "nobody") is None
    await queues.close()


async def test_one_beyond_those_that_are_looked_at_is_explained_too(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickwire.matchmaking.queue.queues.TICKETS_INSPECTED_MAX", 3)
    queues = Queues([(hall.mode, 2)], hall.matchmaker, shard_id="a", region="")
    agent = hall.agent()
    for n in range(6):
        hall.enter(agent, f"p{n}", skill=1000 * n)
    await agent.sync()
    told = await queues.explain("duel", "p5")
    assert told is not None
    assert (told.blocked_by, told.in_region) == ("skill", 3)
    await queues.close()


@pytest.mark.parametrize("is_complete", [False, True])
async def test_a_friend_who_leaves_ends_it_for_all(hall_of: Callable[[Mode], Hall], is_complete: bool) -> None:
    hall = hall_of(Mode("pairs", Rules(room_type="duel", teams=2, team_size=3)))
    one, two = hall.agent("a"), hall.agent("b")
    for agent, player in ((one, "f1"), (two, "f2"), (two, "f3"))[: 3 if is_complete else 2]:
        hall.enter(agent, player, party=("us", 3))
        await agent.sync()
    one.dequeue(hall.entries["f1"])
    await one.sync()
    await two.sync()
    assert (hall.ends("f1"), hall.ends("f2")) == (["left"], ["cancelled"])
    assert one.waiting_total == 0
    hall.enter(one, "f1", party=("us", 3))
    await one.sync()
    assert hall.ends("f1") == [], "the code is free again"


async def test_friends_must_agree_on_how_many_they_are(hall: Hall) -> None:
    agent = hall.agent()
    hall.enter(agent, "f1", party=("us", 2))
    hall.enter(agent, "f2", party=("us", 3))
    await agent.sync()
    assert (hall.ends("f1"), hall.ends("f2")) == ([], ["cancelled"])


async def test_a_player_who_asks_again_elsewhere_waits_once(hall: Hall) -> None:
    one, two = hall.agent("a"), hall.agent("b")
    hall.enter(one, "p1")
    await one.sync()
    old = hall.told["p1"]
    hall.enter(two, "p1")
    await two.sync()
    await one.sync()
    assert [news.kind for news in old if isinstance(news, QueueNotification)] == ["cancelled"]
    assert two.waiting_total == 1


async def test_who_waits_too_long_is_told(hall_of: Callable[[Mode], Hall]) -> None:
    hall = hall_of(Mode("brief", Rules(room_type="duel", teams=2, team_size=3, timeout_s=0.05)))
    agent, leader = hall.agent(), hall.leader()
    hall.enter(agent, "p1")
    hall.enter(agent, "f1", party=("us", 3))
    await agent.sync()

    async def both_told() -> bool:
        hall.clock.now_s += 2
        await leader.round()
        await agent.sync()
        return hall.ends("p1") == hall.ends("f1") == ["timed_out"]

    await eventually(both_told)


async def test_the_players_of_a_shard_that_is_gone_wait_no_more(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leading, "AGENT_TIMEOUT_S", 0.2)
    gone, stays, leader = hall.agent("a"), hall.agent("b"), hall.leader("b")
    hall.enter(gone, "p1")
    hall.enter(gone, "f1", party=("us", 2))
    await gone.sync()
    gone.set_backfill(Backfill("room", "", 0.0, [1], 0))
    await gone.sync()
    hall.enter(stays, "f2", party=("us", 2))

    async def only_ours_wait() -> bool:
        hall.clock.now_s += 2
        await stays.sync()
        await leader.round()
        return stays.waiting_total == 0 and hall.ends("f2") == ["cancelled"]

    await eventually(only_ours_wait)
    assert (await leader._read()).backfills == []
    hall.clock.now_s += 10
    await gone.sync()  # it had only slept
    await gone.sync()
    assert gone.waiting_total == 1, "who was forgotten enters again"


async def test_a_flushed_redis_is_told_again_and_who_came_first_stays_first(hall: Hall) -> None:
    agent = hall.agent()
    for n in range(5):
        hall.enter(agent, f"p{n}", skill=1000 * n)
    await agent.sync()
    await hall.forget("*")
    hall.clock.now_s += 10
    await agent.sync()
    assert agent.waiting_total == 0
    await agent.sync()
    assert agent.waiting_total == 5
    hall.clock.now_s += 2
    await agent.sync()
    places = [[news.position for news in hall.told[f"p{n}"] if isinstance(news, QueuePosition)][-1] for n in range(5)]
    assert places == [1, 2, 3, 4, 5]
    leader = hall.leader()
    assert await leader.round()
    assert {one.since_ms for one in leader._tickets.values()} == {hall.now_ms}, "they have waited since they entered"


async def test_letters_after_a_flush_are_not_taken_for_those_that_were_read(hall: Hall) -> None:
    agent, leader = hall.agent(), hall.leader()
    for n in range(8):
        hall.enter(agent, f"p{n}")
    await agent.sync()
    await leader.round()
    await agent.sync()
    await hall.forget(":*")
    hall.clock.now_s += 3  # the leader reads everything anew now and then
    for player in ("q1", "q2"):
        hall.enter(agent, player)
    await agent.sync()
    await leader.round()
    await agent.sync()
    assert hall.ends("q1") == hall.ends("q2") == ["found"]


async def test_a_room_in_play_gets_players_and_asks_again_when_it_still_wants_some(
    hall_of: Callable[[Mode], Hall],
) -> None:
    hall = hall_of(Mode("fill", Rules(room_type="duel", teams=2, team_size=2, backfill=True)))
    agent, leader = hall.agent(), hall.leader()
    for n in range(4):
        hall.enter(agent, f"p{n}")
    await agent.sync()
    await leader.round()
    await agent.sync()
    room = hall.room("p0")
    (letter,) = (news for news in hall.told["p0"] if isinstance(news, QueueNotification))
    assert letter.room is not None
    owner = {"shard_id": letter.room.shard_id, "epoch": letter.room.epoch}
    await hall.matchmaker.leases.release_seat(room, "p0", **owner)
    agent.set_backfill(Backfill(room, "", 0.0, [1, 0], 0))
    hall.enter(agent, "p4")
    hall.enter(agent, "p5")
    await agent.sync()
    await leader.round()
    await agent.sync()
    assert [hall.ends(player) for player in ("p4", "p5")] in ([["found"], []], [[], ["found"]])
    lucky = "p4" if hall.ends("p4") else "p5"
    assert hall.room(lucky) == room
    hall.clock.now_s += 10  # the room has not heard yet, and says again what it wants: it is full
    await agent.sync()
    await leader.round()
    await agent.sync()
    assert agent.waiting_total == 1
    agent.remove_backfill(room)
    agent.remove_backfill(room)
    await agent.sync()
    assert (await leader._read()).backfills == []


async def test_a_room_that_wants_nobody_any_more_gets_nobody(hall_of: Callable[[Mode], Hall]) -> None:
    """The leader has read that it wants players; before it commits, the room has changed its mind."""
    hall = hall_of(Mode("fill", Rules(room_type="duel", teams=2, team_size=2, backfill=True)))
    agent, leader = hall.agent(), hall.leader()
    assert await leader.round()
    agent.set_backfill(Backfill("room", "", 0.0, [1, 0], 0))
    hall.enter(agent, "p1")
    await agent.sync()
    read = await leader._read()
    agent.remove_backfill("room")
    await agent.sync()
    assert await leader._commit(await leader._match(read), 0) == []
    assert agent.waiting_total == 1


async def test_a_match_that_has_its_room_is_forgotten(hall: Hall) -> None:
    agent, leader = hall.agent(), hall.leader()
    for player in ("p1", "p2"):
        hall.enter(agent, player)
    await agent.sync()
    for _ in range(3):
        await leader.round()
        hall.clock.now_s += 10
    assert leader.results["found"] == 1
    assert await hall.redis("EXISTS", f"{{{hall.matchmaker.namespace}:duel}}:matches") == 0


async def test_a_game_may_match_as_it_likes_and_its_mistakes_are_its_own(hall_of: Callable[[Mode], Hall]) -> None:
    asked: list[int] = []

    def greedy(tickets: Any, backfills: Any, rules: Any, *, now_ms: int, rng: random.Random) -> Any:
        """The same tickets twice: only the first of the two can be."""
        asked.append(len(tickets))
        found = find_matches(tickets, backfills, rules, now_ms=now_ms, rng=rng)
        return found + found

    hall = hall_of(Mode("greedy", DUEL.rules, match=greedy))
    agent, leader = hall.agent(), hall.leader()
    for n in range(4):
        hall.enter(agent, f"p{n}")
    await agent.sync()
    await leader.round()
    await agent.sync()
    rooms = [hall.room(f"p{n}") for n in range(4)]
    assert sorted(rooms.count(room) for room in set(rooms)) == [2, 2]
    assert (asked, leader.results["found"], leader.results["conflict"]) == ([4], 2, 2)


async def test_a_match_function_that_raises_stops_nothing_else(hall_of: Callable[[Mode], Hall]) -> None:
    def broken(*args: Any, **more: Any) -> Any:
        raise RuntimeError("told to fail")

    hall = hall_of(Mode("broken", DUEL.rules, match=broken))
    leader = hall.leader()
    task = asyncio.create_task(leader.run())
    await eventually(lambda: leader.results["error"] > 0)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


async def test_quality_is_told_of_each_match(hall: Hall) -> None:
    seen: list[tuple[str, float]] = []
    agent = hall.agent()
    leader = hall.leader(on_match=lambda mode, quality: seen.append((mode, quality.skill_spread)))
    hall.enter(agent, "p1", 10)
    hall.enter(agent, "p2", 40)
    await agent.sync()
    await leader.round()
    assert seen == [("duel", 30)]
    await leader.round()
    hall.enter(agent, "p3")
    hall.clock.now_s += 2
    await agent.sync()
    hall.clock.now_s += 2
    await agent.sync()
    assert [news.recent_wait_ms > 0 for news in hall.told["p3"] if isinstance(news, QueuePosition)] == [True, True]


async def test_every_key_of_a_queue_expires(hall: Hall) -> None:
    agent, leader = hall.agent(), hall.leader()
    for n in range(3):
        hall.enter(agent, f"p{n}", party=("us", 2) if n == 2 else None)
    agent.set_backfill(Backfill("room", "", 0.0, [1], 0))
    await agent.sync()
    await leader.round()
    keys = await hall.redis("KEYS", f"{{{hall.matchmaker.namespace}:duel}}*")
    assert len(keys) >= 8
    for key in keys:
        assert await hall.redis("PTTL", key) > 0, key


async def test_thousands_wait_and_each_is_matched_once(hall: Hall) -> None:
    agents = [hall.agent(shard) for shard in "ab"]
    leader = hall.leader()
    rng = random.Random(3)
    for n in range(3000):
        hall.enter(agents[n % 2], f"p{n}", rng.gauss(0, 300))
    for _ in range(30):
        for agent in agents:
            while await agent.sync():
                pass
        await leader.round()
        if not any(len(agent) for agent in agents):
            break
    unmatched = [player for player in hall.told if not hall.ends(player)]
    assert len(unmatched) < 30
    rooms = [hall.room(player) for player in hall.told if hall.ends(player)]
    assert len(set(rooms)) * 2 == len(rooms)


async def test_a_crowded_desk_says_so(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickwire.matchmaking.queue.agent.PLAYERS_MAX", 2)
    agent = hall.agent()
    for n in range(2):
        hall.enter(agent, f"p{n}")
    with pytest.raises(MatchmakerUnavailable, match="more than 2 players"):
        hall.enter(agent, "p2")


# -- places that go on at another agent ------------------------------------------------------------------------


async def pass_on(hall: Hall, player: str, before: QueueAgent, after: QueueAgent) -> None:
    """A player's shard drains, and another one has the player from now on."""
    packed = before.get_entry(hall.entries[player])
    assert packed is not None
    before.detach(hall.entries[player])
    await after.attach(*packed, hall.told[player].append)


async def test_who_goes_on_at_another_desk_keeps_the_place_and_is_told_there(hall: Hall) -> None:
    one, two, leader = hall.agent("a"), hall.agent("b"), hall.leader()
    hall.enter(one, "p1")
    await one.sync()
    await pass_on(hall, "p1", one, two)
    await pass_on_again_does_nothing(hall, one)
    hall.enter(two, "p2")
    hall.clock.now_s += 2
    await two.sync()
    assert [news.position for news in hall.told["p1"] if isinstance(news, QueuePosition)] == [1]
    assert two.waiting_total == 2
    assert await leader.round()
    for agent in (one, two):
        await agent.sync()
    assert hall.ends("p1") == hall.ends("p2") == ["found"]


async def pass_on_again_does_nothing(hall: Hall, agent: QueueAgent) -> None:
    agent.detach(hall.entries["p1"])
    assert agent.get_entry(hall.entries["p1"]) is None
    await agent.sync()


async def test_a_letter_that_came_between_two_desks_is_not_lost(hall: Hall) -> None:
    """Matched, and told so at the agent before, which had let go of the player already."""
    one, two, leader = hall.agent("a"), hall.agent("b"), hall.leader()
    for player in ("p1", "p2"):
        hall.enter(one, player)
    await one.sync()
    packed = one.get_entry(hall.entries["p1"])
    assert packed is not None
    one.detach(hall.entries["p1"])
    assert await leader.round()
    await one.sync()
    await one.sync()
    assert (hall.ends("p1"), hall.ends("p2")) == ([], ["found"])
    await two.attach(*packed, hall.told["p1"].append)
    await two.sync()
    await two.sync()
    assert hall.ends("p1") == ["found"]
    assert hall.room("p1") == hall.room("p2")


async def test_a_match_that_has_no_room_yet_finds_its_players_at_their_new_desk(hall: Hall) -> None:
    one, two, leader = hall.agent("a"), hall.agent("b"), hall.leader()
    for player in ("p1", "p2"):
        hall.enter(one, player)
    await one.sync()
    assert await leader._acquire_lease()
    made = await leader._commit(await leader._match(await leader._read()), 0)
    await pass_on(hall, "p1", one, two)
    await leader._find_rooms(made, {}, 0)
    for agent in (one, two):
        await agent.sync()
    assert hall.ends("p1") == hall.ends("p2") == ["found"]


async def test_a_party_stays_together_wherever_its_members_go(hall_of: Callable[[Mode], Hall]) -> None:
    hall = hall_of(Mode("pairs", Rules(room_type="duel", teams=2, team_size=2)))
    one, two, leader = hall.agent("a"), hall.agent("b"), hall.leader()
    hall.enter(one, "f1", party=("us", 2))
    await one.sync()
    await pass_on(hall, "f1", one, two)
    hall.enter(two, "f2", party=("us", 2))
    for player in ("p1", "p2"):
        hall.enter(two, player)
    await two.sync()
    assert await leader.round()
    await two.sync()
    assert [hall.ends(player) for player in ("f1", "f2", "p1", "p2")] == [["found"]] * 4


async def test_the_end_of_the_desk_before_ends_nobody_who_went_on(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, leader = hall.agent("a"), hall.agent("b"), hall.leader()
    for player in ("p1", "stayed"):
        hall.enter(one, player, skill=0.0 if player == "p1" else 1000.0)
    await one.sync()
    await pass_on(hall, "p1", one, two)
    await hall.redis("ZADD", f"{{{hall.matchmaker.namespace}:duel}}:agents", 1, one.agent_id)
    hall.clock.now_s += 60
    await leader.round()
    hall.clock.now_s += 60
    await two.sync()
    assert two.waiting_total == 1
    assert hall.ends("p1") == []


async def test_who_is_adopted_by_a_redis_that_has_forgotten_enters_again_with_its_time(hall: Hall) -> None:
    one, two = hall.agent("a"), hall.agent("b")
    hall.enter(one, "p1")
    await one.sync()
    await hall.forget(":duel}:*")
    await pass_on(hall, "p1", one, two)
    hall.enter(two, "p2")
    await two.sync()
    waiting = await two._scripts.run("queue/inspect", {"limit": 10, "regions": [""], "player_id": ""}, dict[str, Any])
    since = {ticket[3][0][1]: ticket[2] for ticket in waiting["tickets"]}
    assert since["p1"] < since["p2"]
