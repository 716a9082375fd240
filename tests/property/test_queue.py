"""A model of the queue: players are enqueued, leave and lose shards, leaders end between any two calls, and Redis
loses keys. After each step a player is in at most one match, and no key of the queue is inconsistent. A player whose
dequeue was accepted is in no match of which another player was notified."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from itertools import count
from typing import Any, ClassVar, TypeVar

import msgspec
import pytest
import redis as blocking
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.harness.queue_factories import create_leader
from tickwire.matchmaking import Matchmaker, MatchmakerUnavailable, ShardInfo, Ttls
from tickwire.matchmaking.queue import (
    Leader,
    Mode,
    QueueAgent,
    QueueNotification,
    QueuePosition,
    QueueRequest,
    QueueTicket,
    Rules,
)
from tickwire.matchmaking.queue.committed_match import CommittedMatch
from tickwire.matchmaking.queue.regional_queue import RegionalQueue
from tickwire.matchmaking.script_runner import ScriptRunner

T = TypeVar("T")
SHARDS = ("a", "b")
TEAMS, TEAM_SIZE = 2, 2
PLAYERS_MIN = 2
MODE = Mode(
    "m",
    Rules(
        room_type="duel",
        teams=TEAMS,
        team_size=TEAM_SIZE,
        players_min=PLAYERS_MIN,
        fill_after_s=0.0,
        skill_window=200,
    ),
)
shards = st.sampled_from(SHARDS)
PLAYERS = [f"p{n}" for n in range(12)]
CALLS = ["queue/acquire_leadership", "queue/read", "queue/sweep", "queue/commit", "rooms/place", "queue/assign"]


class LeaderKilled(BaseException):
    """The leader ends here."""


class Queue(RuleBasedStateMachine):
    """Agents and leaders stepped by hand, on a real Redis."""

    url: ClassVar[str] = ""
    ids: ClassVar[Iterator[int]] = count()

    def __init__(self) -> None:
        super().__init__()
        Queue.ids = count()
        self.loop = asyncio.new_event_loop()
        self.namespace = f"queue-{secrets.token_hex(6)}"
        self.prefix = f"{{{self.namespace}:m}}"
        self.redis = blocking.Redis.from_url(self.url)
        hour = 3_600_000
        self.matchmaker = Matchmaker.from_url(
            self.url, namespace=self.namespace, ttls=Ttls(hour, hour, hour), deadline_s=10.0
        )
        self.now_s = 1000.0
        self.runners: list[ScriptRunner] = []
        self.agents = {shard: self.new_agent(shard) for shard in SHARDS}
        self.leaders = {shard: self.new_leader(shard) for shard in SHARDS}
        self.waiting: dict[str, tuple[str, str]] = {}  # player: agent and entry, as the shard believes
        self.found: dict[str, list[QueueNotification]] = {}  # entry: its notifications of matches
        self.entries: dict[str, list[str]] = {}  # of each player
        self.members: dict[str, set[str]] = {}  # match: the entries in it
        self.cut_off: set[str] = set()  # entries whose agent has ended, or whose notifications Redis has forgotten
        self.dead: set[str] = set()  # entries whose agent has ended
        self.dead_agents: set[str] = set()
        self.lost: set[str] = set()  # names of the keys that Redis has lost alone
        self.sizes: Counter[str] = Counter()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def create_runner(self) -> ScriptRunner:
        self.runners.append(ScriptRunner(self.matchmaker.connection.client, prefix=self.prefix, deadline_s=10.0))
        return self.runners[-1]

    def new_agent(self, shard: str) -> QueueAgent:
        return QueueAgent(
            shard, "", self.create_runner(), now_s=lambda: self.now_s, now_ms=lambda: time.time_ns() // 1_000_000
        )

    def new_leader(self, shard: str) -> Leader:
        queue = RegionalQueue(MODE, "", self.create_runner())
        leader = create_leader(queue, self.matchmaker, shard_id=shard, now_s=lambda: self.now_s)
        commit = leader.commit

        async def remember(*arguments: Any) -> list[CommittedMatch]:
            made = await commit(*arguments)
            self.members |= {match.match_id: {entry_id for _, entry_id, _, _ in match.players} for match in made}
            return made

        leader.commit = remember  # type: ignore[method-assign]
        return leader

    def teardown(self) -> None:
        for runner in self.runners:
            self.run(runner.aclose())
        self.run(self.matchmaker.aclose())
        self.loop.close()
        found = list(self.redis.scan_iter(f"{{{self.namespace}*", count=1000))
        if found:
            self.redis.delete(*found)
        self.redis.close()

    @initialize()
    def begin(self) -> None:
        self.register()

    def register(self) -> None:
        for shard in SHARDS:
            info = ShardInfo(shard, f"ws://{shard}", "1", room_types=("duel",))
            self.run(self.matchmaker.directory.register(info))

    # -- players ----------------------------------------------------------------------------------------------

    @rule(
        player=st.sampled_from(PLAYERS),
        shard=shards,
        skill=st.sampled_from([0.0, 100.0, 500.0]),
        party=st.sampled_from([None, None, ("us", 2), ("we", 2)]),
    )
    def enter(self, player: str, shard: str, skill: float, party: tuple[str, int] | None) -> None:
        agent = self.agents[shard]
        notifications: list[QueueNotification] = []

        def told(news: QueuePosition | QueueNotification) -> None:
            if isinstance(news, QueueNotification):
                assert not notifications, "told twice"
                notifications.append(news)
                if news.reason.startswith("a match has been found"):
                    ends = [self.found[entry] for entry in self.entries[player] if entry != entry_id]
                    assert any(not end or end[0].kind != "left" for end in ends), "it has left that match"
                if self.waiting.get(player) == (shard, entry_id):
                    del self.waiting[player]
                if news.kind == "found":
                    self.sizes[news.match_id] += 1
                    assert self.sizes[news.match_id] <= TEAMS * TEAM_SIZE

        entry_id = agent.enqueue(player, QueueRequest(skill, {"": 1}, party=party), told)
        self.waiting[player] = (shard, entry_id)
        self.entries.setdefault(player, []).append(entry_id)
        self.found[entry_id] = notifications

    @rule(players=st.lists(st.sampled_from(PLAYERS), min_size=2, max_size=6, unique=True), data=st.data())
    def several_enter(self, players: list[str], data: st.DataObject) -> None:
        """So many that the next round makes matches."""
        for player in players:
            self.enter(player, data.draw(shards), 0.0, None)
        for agent in self.agents.values():
            self.run(agent.sync())

    @rule(player=st.sampled_from(PLAYERS))
    def leave(self, player: str) -> None:
        if player in self.waiting:
            shard, entry_id = self.waiting.pop(player)
            self.agents[shard].dequeue(entry_id)
            assert self.found[entry_id] == [], "the answer comes from Redis"

    @precondition(lambda self: self.waiting)
    @rule(
        data=st.data(),
        shard=shards,
        script=st.sampled_from(CALLS),
        is_done=st.booleans(),
        is_said=st.booleans(),
        lives=st.booleans(),
    )
    def leave_in_a_round(
        self, data: st.DataObject, shard: str, script: str, is_done: bool, is_said: bool, lives: bool
    ) -> None:
        """A player leaves before or after one of the leader's calls; perhaps its shard says so at once, and perhaps
        the leader dies there."""
        leader, player = self.leaders[shard], data.draw(st.sampled_from(sorted(self.waiting)))

        async def meanwhile() -> None:
            if player in self.waiting:
                agent, entry_id = self.waiting.pop(player)
                self.agents[agent].dequeue(entry_id)
                if is_said:
                    await self.agents[agent].sync()
            if not lives:
                raise LeaderKilled

        self.interrupt(leader, script, meanwhile, is_done=is_done)
        if not lives:
            self.leaders[shard] = self.new_leader(shard)
            self.lead_is_lost()

    def interrupt(
        self, leader: Leader, script: str, meanwhile: Callable[[], Awaitable[None]], *, is_done: bool
    ) -> None:
        """Steps a round of a leader, and does something else before or after its first call of a script."""
        runner = self.matchmaker.scripts if script == "rooms/place" else leader._scripts
        run, has_happened = runner.run, False

        async def hooked(name: str, request: Any, answer: Any, *packed: Any) -> Any:
            nonlocal has_happened
            is_it = name == script and not has_happened
            has_happened |= is_it
            if is_it and not is_done:
                await meanwhile()
            found = await run(name, request, answer, *packed)
            if is_it and is_done:
                await meanwhile()
            return found

        async def step() -> None:
            runner.run = hooked  # type: ignore[method-assign]
            try:
                await leader.round()
            except LeaderKilled:
                others = asyncio.all_tasks() - {asyncio.current_task()}
                await asyncio.wait(others, timeout=1) if others else None
            finally:
                runner.run = run  # type: ignore[method-assign]

        self.run(step())

    # -- agents ------------------------------------------------------------------------------------------------

    @rule(shard=shards, seconds=st.sampled_from([0.2, 0.2, 1.5, 6.0]))
    def sync(self, shard: str, seconds: float) -> None:
        self.now_s += seconds
        self.run(self.agents[shard].sync())

    @rule(shard=shards)
    def lose_a_reply(self, shard: str) -> None:
        agent = self.agents[shard]
        run = agent._scripts.run

        async def lose(script: str, request: Any, answer: Any, *packed: Any) -> Any:
            await run(script, request, answer, *packed)
            raise MatchmakerUnavailable("lost")

        agent._scripts.run = lose  # type: ignore[method-assign]
        with pytest.raises(Exception, match="lost"):
            self.run(agent.sync())
        agent._scripts.run = run  # type: ignore[method-assign]

    @rule(shard=shards)
    def shard_dies(self, shard: str) -> None:
        """Its players end with it; its agent has been silent for the timeout."""
        dead = self.agents[shard]
        self.dead |= set(dead._players) | set(dead._to_dequeue)
        self.cut_off |= self.dead
        self.dead_agents.add(dead.agent_id)
        self.silence_dead_agents()
        self.agents[shard], self.leaders[shard] = self.new_agent(shard), self.new_leader(shard)
        for player, (of, _) in list(self.waiting.items()):
            if of == shard:
                del self.waiting[player]

    def silence_dead_agents(self) -> None:
        for agent_id in self.dead_agents:
            self.redis.zadd(f"{self.prefix}:agents", {agent_id: 1}, xx=True)

    # -- leaders ----------------------------------------------------------------------------------------------

    @rule(shard=shards, seconds=st.sampled_from([0.25, 0.25, 3.0]))
    def round(self, shard: str, seconds: float) -> None:
        self.now_s += seconds
        self.run(self.leaders[shard].round())

    @rule(shard=shards, script=st.sampled_from(CALLS), is_done=st.booleans())
    def leader_dies_in_a_round(self, shard: str, script: str, is_done: bool) -> None:
        async def die() -> None:
            raise LeaderKilled

        self.interrupt(self.leaders[shard], script, die, is_done=is_done)
        self.leaders[shard] = self.new_leader(shard)
        self.lead_is_lost()

    @rule(is_full=st.booleans())
    def fleet_is_full(self, is_full: bool) -> None:
        """No room can be had, or again."""
        for shard in SHARDS:
            load = 0.99 if is_full else 0.1
            self.run(self.matchmaker.directory.heartbeat(shard, load=load, players=0, rooms=0))

    @rule()
    def lead_is_lost(self) -> None:
        """The lease ended: the previous leader does not know yet."""
        self.redis.delete(f"{self.prefix}:leader:")

    @rule()
    def is_flushed(self) -> None:
        """Players who were matched and not notified are enqueued again: their match is lost with all keys."""
        found = list(self.redis.scan_iter(f"{{{self.namespace}*", count=1000))
        if found:
            self.redis.delete(*found)
        self.register()
        self.cut_off |= {entry_id for entry_id, notifications in self.found.items() if not notifications}

    @rule(data=st.data())
    def loses_one_key(self, data: st.DataObject) -> None:
        """Any key; once the agents have asked whether their players are known, everything is as it was."""
        keys = sorted(key.decode() for key in self.redis.scan_iter(f"{self.prefix}:*", count=1000))
        if not keys:
            return
        lost = data.draw(st.sampled_from(keys))
        for agent in self.agents.values():  # one fault at a time: answers that were lost come now
            if agent._is_retry:
                self.run(agent.sync())
        name = lost.split(":")[2]
        if name in ("inbox", "left"):  # only these know which players have been answered, and which have left
            self.cut_off |= {
                entry_id for entry_id, notifications in self.found.items() if not notifications or name == "left"
            }
        self.redis.delete(lost)
        self.lost.add(name)
        for _ in range(3):
            for agent in self.agents.values():
                self.now_s += 6
                while self.run(agent.sync()):
                    pass
            leader = self.leaders["a"]
            self.now_s += 3
            self.lead_is_lost()
            assert self.run(leader.acquire_lease())
            leader._swept_s = -1e9
            self.run(leader.sweep(self.run(leader.read()).now_ms))

    # -- after each step --------------------------------------------------------------------------------------

    def hash(self, name: str) -> dict[str, Any]:
        return {key.decode(): value for key, value in self.redis.hgetall(f"{self.prefix}:{name}").items()}

    def names(self, name: str) -> list[str]:
        return [key.decode() for key in self.redis.zrange(f"{self.prefix}:{name}", 0, -1)]

    @invariant()
    def a_ticket_is_in_one_place(self) -> None:
        decoded = [msgspec.msgpack.decode(value, type=CommittedMatch) for value in self.hash("matches").values()]
        matched = [name for match in decoded for name in match.tickets]
        places = Counter(self.names("waiting") + self.names("gathering") + matched)
        assert set(places.values()) <= {1}, "a ticket is in two matches, or waits though it is in one"
        tickets = {n: msgspec.msgpack.decode(v, type=QueueTicket) for n, v in self.hash("tickets").items()}
        left = set(self.names("left"))  # of matches that are to be dropped; such a player may be enqueued again
        whole = set(places)
        if self.lost & {"tickets", "players"}:  # a match that was made before needs neither of them
            whole -= set(matched) - set(tickets)
            left |= {entry_id for match in decoded for _, entry_id, _, _ in match.players}
        assert set(tickets) == whole, "a ticket is in no set, or a set contains an unknown ticket"
        live = [(one, entry) for one in tickets.values() for entry in one.members if entry.entry_id not in left]
        players = {entry.player_id: f"{entry.entry_id} {one.ticket_id}" for one, entry in live}
        assert len(live) == len(players), "a player waits twice"
        known = {player: value.decode() for player, value in self.hash("players").items()}
        # Entries of a agent that has ended are not restored.
        over = left | (self.dead - {entry.entry_id for _, entry in live})
        assert {player: value for player, value in known.items() if value.split()[0] not in over} == players
        parties = {code: name.decode() for code, name in self.hash("parties").items()}
        assert set(parties.values()) & set(tickets) == set(self.names("gathering"))

    @invariant()
    def every_key_has_an_end(self) -> None:
        for name in self.redis.scan_iter(f"{self.prefix}:*", count=1000):
            assert self.redis.ttl(name) >= 0, name

    @invariant()
    def matches_are_whole(self) -> None:
        """A player who was notified of a match has a seat in its room."""
        for notifications in self.found.values():
            for letter in notifications:
                assert letter.kind in ("found", "cancelled", "left")
                assert letter.room is not None or letter.kind != "found"

    @invariant()
    def no_player_is_notified_of_a_match_that_another_has_left(self) -> None:
        told = {
            letter.match_id
            for notifications in self.found.values()
            for letter in notifications
            if letter.kind == "found"
        }
        for match_id in told:
            for entry_id in self.members.get(match_id, set()) - self.cut_off:
                assert [letter.kind for letter in self.found[entry_id]] in ([], ["found"]), f"{entry_id} is not there"


class Settling(Queue):
    """The same, and at the end of each run everything comes to rest."""

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            super().teardown()

    def settle(self) -> None:
        self.fleet_is_full(False)
        self.lead_is_lost()
        for _ in range(8):
            self.silence_dead_agents()  # also those that the leader has added again
            for agent in self.agents.values():
                self.now_s += 6
                while self.run(agent.sync()):
                    pass
            self.run(self.leaders["a"].round())
        for agent in self.agents.values():
            assert not agent._to_dequeue, "a dequeue without a decision"
        for player, (shard, entry_id) in self.waiting.items():
            assert entry_id in self.agents[shard]._players, f"{player} was forgotten"
            assert self.hash("players")[player].split()[0].decode() == entry_id, f"{player} waits for nothing"
        assert self.hash("matches") == {}
        told = {
            letter.match_id
            for notifications in self.found.values()
            for letter in notifications
            if letter.kind == "found"
        }
        for match_id in told:
            for entry_id in self.members.get(match_id, set()) - self.cut_off:
                assert [letter.kind for letter in self.found[entry_id]] == ["found"], f"{entry_id} was not notified"
        by_skill = Counter[float]()
        believed = {entry_id for agent in self.agents.values() for entry_id in agent._players}
        for one in self.hash("tickets").values():
            ticket = msgspec.msgpack.decode(one, type=QueueTicket)
            ghosts = [entry.player_id for entry in ticket.members if entry.entry_id not in believed]
            assert not ghosts, "who has left, or is gone, waits still"
            if ticket.ticket_id in self.names("waiting"):
                by_skill[ticket.skill] += ticket.size
        assert all(waiting < PLAYERS_MIN for waiting in by_skill.values()), "a match that no leader makes"


@pytest.mark.timeout(900)
def test_a_player_is_in_at_most_one_match_whichever_process_fails(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Queue.url = redis_url
    # The same steps must produce the same ids, because hypothesis repeats failures.
    monkeypatch.setattr("secrets.token_urlsafe", lambda size: f"id{next(Queue.ids):06}")
    examples = max(20, settings().max_examples // 2)
    run_state_machine_as_test(
        Settling, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None)
    )
