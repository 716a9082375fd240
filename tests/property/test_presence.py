"""A model of the presence of a fleet: sessions open, resume, move, are transferred and recovered on several shards.

The keepers of the shards run rounds at any time. Shards are paused, killed and forgotten; Redis is emptied, loses
notices, and does not answer, before or after it has run a call.

A session is replaced only if its player has opened another one later. After a quiet round each player has at most one
session, the one that was opened last, and presence names it. A player whose session lives is present again one round
after Redis was emptied, and a player is not refused for a session that has ended.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.harness.matchmaker_stores import MatchmakerStore, MemoryStore, RedisStore
from tickwire.matchmaking import MatchmakerUnavailable, Presence, SessionPolicy
from tickwire.server.edge.generations import Generations
from tickwire.server.errors import AlreadyConnected
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.presence import presence_keeper
from tickwire.server.presence.presence_keeper import PresenceKeeper
from tickwire.server.presence.presence_settings import PresenceSettings

T = TypeVar("T")
PLAYERS = ("ann", "bob")
SHARDS = 3
STEP_S = 0.05
players = st.sampled_from(PLAYERS)
shards = st.integers(0, SHARDS - 1)
chance = st.integers(0, 10**6)


class ModelSession:
    """A session on one shard. Implements `PresentSession`."""

    is_guest = False
    previous_session_id = ""

    def __init__(self, shard: ModelShard, session_id: str, player_id: str, opened_us: int, number: int) -> None:
        self.shard = shard
        self.session_id, self.player_id = session_id, player_id
        self.opened_us, self.number = opened_us, number  # `number`: the order of opening, as the test knows it
        self.generations = Generations(0.0)
        self.connection: object | None = object()
        self.room_id = self.room_type = ""
        self.is_moving = self.is_over = False

    def copy_to(self, shard: ModelShard) -> ModelSession:
        made = ModelSession(shard, self.session_id, self.player_id, self.opened_us, self.number)
        made.generations = Generations(0.0, self.generations.current)
        made.connection = None
        return made

    def replace(self) -> None:
        later = [each for each in self.shard.fleet.opened[self.player_id] if each > self.number]
        assert later, "only a later session replaces it"
        self.end()

    def end_if_redirected(self) -> bool:
        return self.is_over

    def kick(self, reason: str) -> None:
        self.end()

    def end(self, *, has_moved: bool = False) -> None:
        if not self.is_over:
            self.is_over = True
            if has_moved:
                self.shard.fleet.moved.add(self.session_id)
            self.shard.sessions.remove(self)
            self.shard.keeper.session_ended(self, has_moved=has_moved)


class UnreliablePresence(Presence):
    """Presence whose calls fail on request of a test: before Redis has run them, or afterwards."""

    failure = ""

    def _run(self, call: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., Coroutine[Any, Any, T]]:
        async def run(*arguments: Any, **options: Any) -> T:
            if self.failure == "request lost":
                raise MatchmakerUnavailable("Redis does not answer")
            result = await call(*arguments, **options)
            if self.failure == "reply lost":
                raise MatchmakerUnavailable("Redis does not answer")
            return result

        return run

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return self._run(found) if name in ("claim", "renew", "release", "notify") else found


class ModelShard:
    """A shard: its keeper and its sessions."""

    def __init__(self, fleet: PresenceFleet) -> None:
        self.fleet = fleet
        self.shard_id = f"shard-{next(fleet.numbers)}"
        self.is_paused = False
        self.sessions: list[ModelSession] = []
        matchmaker = fleet.store.create()
        self.presence = UnreliablePresence(matchmaker.connection, matchmaker.namespace, matchmaker.ttls)
        self.keeper = PresenceKeeper(
            self.presence,
            PresenceSettings(self.shard_id, fleet.policy, renewal_interval_s=1.0),
            # Redis computes the time of opening by its own clock, from the age of a session.
            (lambda: fleet.now_s) if fleet.has_exact_time else time.monotonic,
            FaultIsolation(),
        )

    async def sync(self) -> None:
        self.keeper._next_round_s = 0.0  # every round is a regular one
        try:
            await self.keeper.sync()
        except MatchmakerUnavailable:
            assert self.presence.failure
        assert not self.keeper._isolation.faults, "no assertion of the model has failed"

    def add(self, session: ModelSession) -> None:
        """Add a session as the registry does: of the sessions of one player here, the last one stays."""
        self.sessions.append(session)

    def others(self, session: ModelSession) -> list[ModelSession]:
        return [each for each in self.sessions if each.player_id == session.player_id and each is not session]


class PresenceFleet(RuleBasedStateMachine):
    create_store: Callable[[], MatchmakerStore]
    policy: SessionPolicy
    has_exact_time: bool

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.numbers = count(1)
        self.store = type(self).create_store()
        self.now_s = 100.0
        self.opened: dict[str, list[int]] = {player: [] for player in PLAYERS}
        self.shards = [ModelShard(self) for _ in range(SHARDS)]
        self.moves: list[tuple[ModelSession, ModelSession]] = []  # a session whose room moves, and its copy
        self.transfers: list[ModelSession] = []
        self.moved: set[str] = set()  # sessions that have left a shard for another one, which may have failed since
        self.run(self.sync_all())

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.check()
        finally:
            self.run(self.store.aclose())
            self.loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def pick(self, number: int, *, only_awake: bool = True) -> ModelSession | None:
        found = [each for shard in self.shards if not (only_awake and shard.is_paused) for each in shard.sessions]
        return found[number % len(found)] if found else None

    async def sync_all(self) -> None:
        for shard in self.shards:
            if not shard.is_paused:
                await shard.sync()

    def pass_time(self) -> None:
        self.now_s += STEP_S
        self.run(self.store.wait(STEP_S if self.has_exact_time else 0.0))

    # -- sessions -------------------------------------------------------------------------------------------

    @rule(player=players, at=shards, is_awaited=st.booleans())
    def open(self, player: str, at: int, is_awaited: bool) -> None:
        shard = self.shards[at]
        if shard.is_paused:
            return
        self.pass_time()
        session = ModelSession(shard, secrets.token_hex(4), player, self.store.now_us(), next(self.numbers))
        if self.policy == "refuse":
            if shard.others(session):
                return  # the registry refuses it, before it is claimed
            if not self.run(self.admit(session)):
                shard.keeper.withdraw(session)
                return
        self.opened[player].append(session.number)
        for other in shard.others(session):
            other.replace()
        shard.add(session)
        shard.keeper.session_opened(session)
        if is_awaited:
            self.run(shard.sync())

    async def admit(self, session: ModelSession) -> bool:
        try:
            await session.shard.keeper.admit(session)
        except AlreadyConnected:
            return False
        return True

    @rule(number=chance)
    def resume(self, number: int) -> None:
        session = self.pick(number)
        if session is not None and not session.is_moving:
            session.generations.attach(0, session.generations.reserve(), 0.0)
            session.connection = object()
            session.shard.keeper.session_changed(session)

    @rule(number=chance)
    def lose_connection(self, number: int) -> None:
        session = self.pick(number)
        if session is not None:
            session.connection = None
            session.shard.keeper.session_changed(session)

    @rule(number=chance)
    def change_room(self, number: int) -> None:
        session = self.pick(number)
        if session is not None and not session.is_moving:
            session.room_id, session.room_type = f"r{number % 3}", "duel"
            session.shard.keeper.session_changed(session)

    @rule(number=chance)
    def end(self, number: int) -> None:
        session = self.pick(number)
        if session is not None:
            session.end()

    # -- moves ----------------------------------------------------------------------------------------------

    def settle(self, copy: ModelSession) -> None:
        """Add a session that has come from another shard, as the registry does."""
        for other in copy.shard.others(copy):
            if other.session_id == copy.session_id:
                other.end()
        copy.shard.add(copy)
        copy.shard.keeper.session_arrived(copy)
        *replaced, _ = sorted((copy, *copy.shard.others(copy)), key=lambda each: each.opened_us)
        for each in replaced:
            each.end()

    @rule(number=chance, to=shards)
    def start_migration(self, number: int, to: int) -> None:
        session, target = self.pick(number), self.shards[to]
        if session is None or session.is_moving or session.shard is target or target.is_paused:
            return
        if any(each.session_id == session.session_id for each in target.sessions):
            return
        session.is_moving = True
        copy = session.copy_to(target)
        self.settle(copy)
        self.moves.append((session, copy))

    @precondition(lambda self: self.moves)
    @rule()
    def finish_migration(self) -> None:
        source, copy = self.moves.pop(0)
        if source.is_over and not copy.is_over and copy.connection is None:
            copy.end()  # the source has published that the session has ended
        source.end(has_moved=True)

    @rule(number=chance)
    def transfer(self, number: int) -> None:
        session = self.pick(number)
        if session is not None and not session.is_moving:
            session.end(has_moved=True)
            self.transfers.append(session)

    @precondition(lambda self: self.transfers)
    @rule(to=shards)
    def receive_transfer(self, to: int) -> None:
        if not self.shards[to].is_paused:
            self.settle(self.transfers.pop(0).copy_to(self.shards[to]))

    # -- faults ---------------------------------------------------------------------------------------------

    @rule(at=shards)
    def run_round(self, at: int) -> None:
        self.pass_time()
        if not self.shards[at].is_paused:
            self.run(self.shards[at].sync())

    @rule(at=shards, failure=st.sampled_from(["", "request lost", "reply lost"]))
    def fail(self, at: int, failure: str) -> None:
        self.shards[at].presence.failure = failure

    @rule()
    def empty_redis(self) -> None:
        self.run(self.store.forget_presence())
        if any(shard.presence.failure for shard in self.shards):
            return
        for _ in range(2):
            self.run(self.sync_all())
        for shard in self.shards:
            for session in shard.sessions:
                if not shard.is_paused and not session.is_moving:
                    assert self.run(self.store.create().presence.get(session.player_id)), "present again"

    @rule(at=shards)
    def lose_notices(self, at: int) -> None:
        self.run(self.store.lose_notices(self.shards[at].shard_id))

    @rule(at=shards)
    def pause(self, at: int) -> None:
        self.shards[at].is_paused = True

    @rule(at=shards)
    def forget(self, at: int) -> None:
        """Let a paused shard sleep for longer than its key lives."""
        if self.shards[at].is_paused:
            self.run(self.store.forget_present_shard(self.shards[at].shard_id))

    @rule(at=shards)
    def wake(self, at: int) -> None:
        self.shards[at].is_paused = False

    @rule(at=shards, recovers=st.booleans(), to=shards)
    def kill(self, at: int, recovers: bool, to: int) -> None:
        """Kill a shard; its room is recovered elsewhere with its sessions once its lease has ended, or is lost."""
        dead = self.shards[at]
        self.moves = [move for move in self.moves if dead not in (move[0].shard, move[1].shard) or _abort(*move)]
        self.shards[at] = ModelShard(self)
        self.run(self.shards[at].sync())
        if recovers and not self.shards[to].is_paused:
            self.run(self.store.forget_present_shard(dead.shard_id))
            present = {each.session_id for shard in self.shards for each in shard.sessions}
            for session in dead.sessions:
                if session.session_id not in present:
                    self.settle(session.copy_to(self.shards[to]))
        self.killed = dead

    # -- the end --------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Let all faults end; then each player has at most one session, and presence names it."""
        while self.moves:
            self.finish_migration()
        for shard in self.shards:
            shard.is_paused, shard.presence.failure = False, ""
        alive: dict[str, list[ModelSession]] = {player: [] for player in PLAYERS}
        for shard in self.shards:
            for session in shard.sessions:
                alive[session.player_id].append(session)
        for _ in range(4):
            self.run(self.sync_all())
        for player, before in alive.items():
            left = [each for shard in self.shards for each in shard.sessions if each.player_id == player]
            numbers = {each.number for each in before}
            assert len(left) <= 1, "one session stays"
            # A later session may have replaced the others, and have ended or been lost since.
            assert left or max(numbers, default=0) != max(self.opened[player], default=1), "the last one is not ended"
            record = self.run(self.store.create().presence.get(player))
            if left:
                order = (lambda each: each.number) if self.has_exact_time else (lambda each: each.opened_us)
                assert order(left[0]) == max(map(order, before)), "the one that was opened last"
                assert record is not None
                assert (record.shard_id, record.session_id) == (left[0].shard.shard_id, left[0].session_id)
                assert (record.room_id, record.is_connected) == (left[0].room_id, left[0].connection is not None)
            elif record is not None:
                known = {shard.shard_id for shard in self.shards}
                is_on_its_way = record.session_id in self.moved
                assert is_on_its_way or record.shard_id not in known, "nothing else remains"
            self._check_admission(player, has_session=bool(left), is_moving=record is not None)

    def _check_admission(self, player: str, *, has_session: bool, is_moving: bool) -> None:
        shard = self.shards[0]
        session = ModelSession(shard, secrets.token_hex(4), player, self.store.now_us(), next(self.numbers))
        if self.policy == "refuse" and (has_session or not is_moving):
            assert self.run(self.admit(session)) is not has_session, "refused for a session that lives, and only then"


def _abort(source: ModelSession, copy: ModelSession) -> bool:
    """End a migration of which one shard was killed. Return False: it is over."""
    source.is_moving = False
    return False


def machine(
    create_store: Callable[[], MatchmakerStore], policy: SessionPolicy, *, has_exact_time: bool
) -> type[PresenceFleet]:
    fields = {"create_store": staticmethod(create_store), "policy": policy, "has_exact_time": has_exact_time}
    return type("PresenceFleetOnStore", (PresenceFleet,), fields)


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse at once: nothing happens in the model while a refused session waits."""
    monkeypatch.setattr(presence_keeper, "CHALLENGE_TIMEOUT_S", -1.0)


@pytest.mark.parametrize("policy", ["replace", "refuse"])
def test_one_session_a_player_stays_after_all_faults(policy: SessionPolicy) -> None:
    run_state_machine_as_test(
        machine(MemoryStore, policy, has_exact_time=True),
        settings=settings(max_examples=settings().max_examples, stateful_step_count=40, deadline=None),
    )


@pytest.mark.parametrize("policy", ["replace", "refuse"])
def test_one_session_a_player_stays_after_all_faults_on_redis(redis_url: str, policy: SessionPolicy) -> None:
    def create_store() -> RedisStore:
        return RedisStore(redis_url, f"test-{secrets.token_hex(6)}")

    run_state_machine_as_test(
        machine(create_store, policy, has_exact_time=False),
        settings=settings(max_examples=settings().max_examples // 15, stateful_step_count=40, deadline=None),
    )
