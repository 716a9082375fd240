"""Shards, players and a Redis that forgets, in any order, against the real scripts: after each step no seat is sold
twice, no room has two owners, what is open is found, and every key but one has a TTL."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any, ClassVar, TypeVar

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

from tests.harness.handoffs import hand_over
from tickwire.matchmaking import (
    Matchmaker,
    MatchmakerUnavailable,
    MatchmakingError,
    Party,
    PlaceRequest,
    RoomRecord,
    ShardInfo,
    StaleLease,
    Ticket,
    Ttls,
)
from tickwire.matchmaking.room_ids import RoomIds

T = TypeVar("T")
SEATS = 3
SEATED = 1e15
SHARDS = ("a", "b", "c")
PLAYERS = [f"p{n}" for n in range(8)]
NAMES = ["x", "y"]
shards = st.sampled_from(SHARDS)
players = st.sampled_from(PLAYERS)


class Hosted:
    """A room as its shard believes in it."""

    def __init__(self, room_id: str, name: str, epoch: int, code: str, labels: dict[str, str]) -> None:
        self.room_id, self.name, self.epoch = room_id, name, epoch
        self.code, self.labels = code, labels
        self.access: Any = "private" if code else "open"
        self.players: set[str] = set()

    def record(self) -> RoomRecord:
        return RoomRecord(
            self.room_id,
            "duel",
            self.epoch,
            SEATS,
            self.name,
            access=self.access,
            code=self.code,
            labels=self.labels,
            players=sorted(self.players),
        )


class FleetMachine(RuleBasedStateMachine):
    """Fake shards act like real ones: host rooms, accept tickets, renew, publish, close lost rooms."""

    url: ClassVar[str] = ""
    ids: ClassVar[Iterator[int]] = count()

    def __init__(self) -> None:
        super().__init__()
        FleetMachine.ids = count()
        self.loop = asyncio.new_event_loop()
        self.namespace = f"fleet-{secrets.token_hex(6)}"
        self.redis = blocking.Redis.from_url(self.url, decode_responses=True)
        # Nothing ends by itself while a step is looked at: the machine ends it.
        hour = 3_600_000
        self.matchmaker = Matchmaker.from_url(
            self.url, namespace=self.namespace, ttls=Ttls(hour, hour, hour, recovery_ms=hour), deadline_s=10.0
        )
        self.matchmaker.placement._rng = random.Random(1)
        self.hosted: dict[str, dict[str, Hosted]] = {shard: {} for shard in SHARDS}
        self.states: dict[str, str | None] = dict.fromkeys(SHARDS)
        self.was_there: set[str] = set()
        self.slept: set[str] = set()  # their rooms are listed again with their next renewal
        self.left_alone: set[str] = set()  # rooms whose process has ended, also if another process has its name
        self.tickets: list[Ticket] = []
        self.epoch = 0
        self.newest: dict[str, int] = {}  # room or name: the greatest epoch that was given for it

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def key(self, *parts: str) -> str:
        return ":".join((f"{{{self.namespace}}}", *parts))

    def teardown(self) -> None:
        self.run(self.matchmaker.aclose())
        self.loop.close()
        found = list(self.redis.scan_iter(self.key("*"), count=1000))
        if found:
            self.redis.delete(*found)
        self.redis.close()

    # -- shards come and go -----------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        for shard in SHARDS[:2]:
            self.register(shard, "ready")

    @rule(shard=shards, state=st.sampled_from(["ready", "ready", "draining"]))
    def register(self, shard: str, state: Any) -> None:
        info = ShardInfo(shard, f"ws://{shard}", "1", state=state, room_types=("duel",))
        self.run(self.matchmaker.directory.register(info, was_registered=shard in self.was_there))
        self.states[shard] = state
        self.was_there.add(shard)

    @rule(shard=shards, load=st.sampled_from([0.0, 0.3, 0.9]))
    def heartbeat(self, shard: str, load: float) -> None:
        rooms = len(self.hosted[shard])
        heard = self.run(self.matchmaker.directory.heartbeat(shard, load=load, players=0, rooms=rooms))
        assert heard.is_known == (self.states[shard] is not None)

    @rule(shard=shards)
    def is_not_heard_of(self, shard: str) -> None:
        """It sleeps, or is cut off; it believes in its rooms still."""
        self.redis.delete(self.key("shard", shard))
        self.states[shard] = None
        self.slept.add(shard)

    @rule(shard=shards)
    def dies(self, shard: str) -> None:
        self.left_alone |= {room_id for room_id, room in self.rooms().items() if room["shard"] == shard}
        self.is_not_heard_of(shard)
        self.hosted[shard].clear()

    # -- Redis forgets ----------------------------------------------------------------------------------------

    @rule(data=st.data())
    def a_lease_runs_out(self, data: st.DataObject) -> None:
        rooms = sorted(self.redis.scan_iter(self.key("room", "*"), count=1000))
        if rooms:
            self.redis.delete(data.draw(st.sampled_from(rooms)))

    @rule()
    def reservations_run_out(self) -> None:
        for seats in self.redis.scan_iter(self.key("seats", "*"), count=1000):
            for player, score in self.redis.zrange(seats, 0, -1, withscores=True):
                if score < SEATED:
                    self.redis.zadd(seats, {player: 1})
        for held in self.redis.scan_iter(self.key("held", "*"), count=1000):
            for room in self.redis.zrange(held, 0, -1):
                self.redis.zadd(held, {room: 1})
        for party in self.redis.scan_iter(self.key("party*"), count=1000):
            self.redis.delete(party)
        self.tickets.clear()

    @rule()
    def is_flushed(self) -> None:
        found = list(self.redis.scan_iter(self.key("*"), count=1000))
        if found:
            self.redis.delete(*found)
        self.states = dict.fromkeys(SHARDS)
        self.slept |= set(SHARDS)
        self.epoch = 0
        self.newest.clear()

    @rule(data=st.data())
    def loses_one_key(self, data: st.DataObject) -> None:
        """Any key; within a heartbeat of the shards that are there, everything is as it was."""
        keys = sorted(self.redis.scan_iter(self.key("*"), count=1000))
        if not keys:
            return
        lost = data.draw(st.sampled_from(keys))
        self.redis.delete(lost)
        # Rooms that their first player has not joined yet: no shard restores their entries.
        self.left_alone |= {
            room_id for room_id, room in self.rooms().items() if room_id not in self.hosted[room["shard"]]
        }
        there = [shard for shard, state in self.states.items() if state is not None]
        for shard in there:
            rooms = len(self.hosted[shard])
            beat = partial(self.matchmaker.directory.heartbeat, shard, load=0.1, players=0, rooms=rooms)
            if not self.run(beat()).is_known:
                self.register(shard, self.states[shard])
                assert self.run(beat()).is_known
        self.forget_what_only_redis_knew(lost)
        for shard in there:
            self.renew(shard)
        for shard in there:
            for hosted in self.hosted[shard].values():
                self.is_restored(shard, hosted)

    def forget_what_only_redis_knew(self, lost: str) -> None:
        """Drop the last epoch of a room or name without an owner: any owner is valid then."""
        kind, *names = lost.removeprefix(self.key("")).split(":")
        if kind in ("name", "moved", "room"):
            hosted = {
                what
                for rooms in self.hosted.values()
                for room in rooms.values()
                for what in (room.room_id, room.name)
            }
            for what in {names[-1]} - hosted:
                self.newest.pop(what, None)

    def is_restored(self, shard: str, hosted: Hosted) -> None:
        room = self.redis.hgetall(self.key("room", hosted.room_id))
        assert (room["shard"], int(room["epoch"])) == (shard, hosted.epoch)
        assert self.redis.hexists(self.key("owned", shard), hosted.room_id)
        seated = self.redis.zrangebyscore(self.key("seats", hosted.room_id), SEATED, "+inf")
        assert hosted.players <= set(seated)
        if hosted.name:
            assert self.redis.hget(self.key("name", "duel", hosted.name), "id") == hosted.room_id
        if hosted.code:
            assert self.redis.get(self.key("code", hosted.code)) == hosted.room_id

    @rule()
    def has_healed(self) -> None:
        self.redis.delete(self.key("recovering"))

    # -- players ----------------------------------------------------------------------------------------------

    @rule(player=players, shard=shards, data=st.data())
    def join(self, player: str, shard: str, data: st.DataObject) -> None:
        wish: dict[str, Any] = data.draw(
            st.sampled_from(
                [{}, {}, {"labels": {"map": "ice"}}, {"is_private": True}]
                + [{"name": name} for name in NAMES]
                + [{"party": Party(code, 2)} for code in ("one", "two")]
                + [{"room_id": hosted.room_id} for rooms in self.hosted.values() for hosted in rooms.values()]
                + [
                    {"code": hosted.code}
                    for rooms in self.hosted.values()
                    for hosted in rooms.values()
                    if hosted.code
                ]
            )
        )
        request = PlaceRequest(
            room_type="duel", players=(player,), shard_id=shard, seats=SEATS, seat_here=True, **wish
        )
        try:
            placed = self.run(self.matchmaker.placement.place(request))
        except MatchmakerUnavailable:
            return
        except MatchmakingError:
            return
        assert self.states[shard] is not None
        if placed.is_new:
            assert placed.epoch > self.epoch, "the epoch only grows"
            assert self.states[placed.shard_id] == "ready", "a new room on a shard that is not ready"
            self.epoch = placed.epoch
            self.given(placed.room_id, placed.name, placed.epoch)
        ticket = Ticket(
            placed.room_id,
            player,
            placed.shard_id,
            placed.epoch,
            4e9,
            room_type="duel",
            name=placed.name,
            code=placed.code,
            labels=placed.labels,
        )
        if placed.is_seated:
            assert placed.shard_id == shard
            if not self.let_in(ticket):
                self.unseat(ticket.room_id, player, shard, ticket.epoch)
        elif placed.shard_id == shard:
            raise AssertionError("a seat of the asking shard is taken, not held")
        else:
            self.tickets.append(ticket)

    def given(self, room_id: str, name: str, epoch: int) -> None:
        for what in (room_id, name):
            if what:
                assert epoch > self.newest.get(what, 0), "an epoch was given twice"
                self.newest[what] = epoch

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def come_with_a_ticket(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.tickets))
        self.tickets.remove(ticket)
        if self.let_in(ticket):
            self.say_seated(ticket)

    def say_seated(self, ticket: Ticket) -> None:
        hosted = self.hosted[ticket.shard_id][ticket.room_id]
        leases = self.matchmaker.leases
        try:
            self.run(
                leases.confirm_seat(ticket.room_id, ticket.player_id, shard_id=ticket.shard_id, epoch=hosted.epoch)
            )
            self.owns(ticket.shard_id, hosted)
        except StaleLease:
            pass

    def let_in(self, ticket: Ticket) -> bool:
        """Seat a player as a shard does: create the room if it does not exist, and count its seats."""
        rooms = self.hosted[ticket.shard_id]
        hosted = rooms.get(ticket.room_id)
        if hosted is None:
            hosted = Hosted(ticket.room_id, ticket.name, ticket.epoch, ticket.code, dict(ticket.labels))
            rooms[ticket.room_id] = hosted
        if hosted.epoch != ticket.epoch or (len(hosted.players) >= SEATS and ticket.player_id not in hosted.players):
            return False
        hosted.players.add(ticket.player_id)
        return True

    @rule(shard=shards, data=st.data())
    def leave(self, shard: str, data: st.DataObject) -> None:
        seats = sorted((room.room_id, player) for room in self.hosted[shard].values() for player in room.players)
        if seats:
            room_id, player = data.draw(st.sampled_from(seats))
            hosted = self.hosted[shard][room_id]
            hosted.players.discard(player)
            self.unseat(room_id, player, shard, hosted.epoch)

    def unseat(self, room_id: str, player: str, shard: str, epoch: int) -> None:
        with suppress(StaleLease):
            self.run(self.matchmaker.leases.release_seat(room_id, player, shard_id=shard, epoch=epoch))

    # -- owners -----------------------------------------------------------------------------------------------

    def owns(self, shard: str, hosted: Hosted) -> None:
        """Redis has just done what a shard said of its room: it must be the newest owner."""
        for what in (hosted.room_id, hosted.name):
            if what in self.newest:
                assert hosted.epoch >= self.newest[what], f"{shard} is late with {what}, and was accepted"

    @rule(shard=shards)
    def renew(self, shard: str) -> None:
        rooms = self.hosted[shard]
        owned = [(room.room_id, room.epoch) for room in rooms.values()]
        players = {room.room_id: len(room.players) for room in rooms.values()}
        renewal = self.run(self.matchmaker.leases.renew(owned, shard, players=players))
        for room_id, _ in owned:
            if room_id in renewal.lost:
                del rooms[room_id]
            elif room_id in renewal.gone:
                self.tell(shard, rooms[room_id])
            else:
                self.owns(shard, rooms[room_id])
        if self.states[shard] == "ready":
            self.slept.discard(shard)

    def tell(self, shard: str, hosted: Hosted) -> None:
        try:
            self.run(self.matchmaker.leases.publish(hosted.record(), shard))
        except StaleLease:
            del self.hosted[shard][hosted.room_id]
        except MatchmakerUnavailable:
            assert self.states[shard] is None
        else:
            self.owns(shard, hosted)
            self.epoch = max(self.epoch, hosted.epoch)
            for what in (hosted.room_id, hosted.name):
                if what:
                    self.newest[what] = max(self.newest.get(what, 0), hosted.epoch)

    @rule(
        shard=shards,
        data=st.data(),
        access=st.sampled_from(["open", "locked"]),
        map_=st.sampled_from(["ice", "sand"]),
    )
    def changes(self, shard: str, data: st.DataObject, access: Any, map_: str) -> None:
        if self.hosted[shard]:
            hosted = self.hosted[shard][data.draw(st.sampled_from(sorted(self.hosted[shard])))]
            if not hosted.code:
                hosted.access, hosted.labels = access, {"map": map_}
            self.tell(shard, hosted)

    @rule(shard=shards, data=st.data())
    def release(self, shard: str, data: st.DataObject) -> None:
        if self.hosted[shard]:
            hosted = self.hosted[shard].pop(data.draw(st.sampled_from(sorted(self.hosted[shard]))))
            self.run(self.matchmaker.leases.release(hosted.room_id, shard_id=shard, epoch=hosted.epoch))

    @rule(shard=shards, to=shards, data=st.data())
    def hand_over(self, shard: str, to: str, data: st.DataObject) -> None:
        if not self.hosted[shard] or shard == to:
            return
        hosted = self.hosted[shard][data.draw(st.sampled_from(sorted(self.hosted[shard])))]
        try:
            epoch = self.run(hand_over(self.matchmaker, hosted.room_id, shard_id=shard, epoch=hosted.epoch, to=to))
        except (StaleLease, MatchmakerUnavailable):
            return
        assert self.states[to] == "ready"
        self.owns(shard, hosted)
        self.given(hosted.room_id, hosted.name, epoch)
        self.epoch = max(self.epoch, epoch)
        del self.hosted[shard][hosted.room_id]
        hosted.epoch = epoch
        self.hosted[to][hosted.room_id] = hosted

    @rule(shard=shards, data=st.data(), above=st.integers(0, 100))
    def raise_epoch(self, shard: str, data: st.DataObject, above: int) -> None:
        if not self.hosted[shard]:
            return
        hosted = self.hosted[shard][data.draw(st.sampled_from(sorted(self.hosted[shard])))]
        try:
            epoch = self.run(
                self.matchmaker.leases.raise_epoch(hosted.room_id, shard_id=shard, epoch=hosted.epoch, above=above)
            )
        except (StaleLease, MatchmakerUnavailable):
            return
        assert epoch > max(above, hosted.epoch)
        self.given(hosted.room_id, hosted.name, epoch)
        hosted.epoch = epoch
        self.epoch = max(self.epoch, epoch)

    # -- after each step --------------------------------------------------------------------------------------

    def rooms(self) -> dict[str, dict[str, str]]:
        prefix = self.key("room", "")
        return {
            name.removeprefix(prefix): self.redis.hgetall(name)
            for name in self.redis.scan_iter(f"{prefix}*", count=1000)
        }

    @invariant()
    def no_seat_is_sold_twice(self) -> None:
        for room_id in self.rooms():
            seats = self.redis.zrange(self.key("seats", room_id), 0, -1, withscores=True)
            assert sum(score >= SEATED for _, score in seats) <= SEATS
            assert len(seats) <= SEATS or any(score == 1 for _, score in seats) or self.came_late(room_id)
        for rooms in self.hosted.values():
            assert all(len(room.players) <= SEATS for room in rooms.values())

    def came_late(self, room_id: str) -> bool:
        """Redis has lost the seats of a room and has assigned some before the shard has published them. The room
        counts its own seats, and refuses players above its capacity."""
        return any(ticket.room_id == room_id for ticket in self.tickets)

    @invariant()
    def no_name_has_two_rooms_and_no_epoch_two_owners(self) -> None:
        rooms = self.rooms().values()
        names = [room["name"] for room in rooms if room["name"]]
        assert len(names) == len(set(names))
        epochs = [room["epoch"] for room in rooms]
        assert len(epochs) == len(set(epochs))

    @invariant()
    def what_is_open_is_found_and_nothing_else(self) -> None:
        listed = dict(self.redis.zrange(self.key("open", "", "duel"), 0, -1, withscores=True))
        held = set(self.redis.zrange(self.key("held", "", "duel"), 0, -1))
        for room_id, room in self.rooms().items():
            seats = self.redis.zrange(self.key("seats", room_id), 0, -1, withscores=True)
            free = SEATS - sum(score > 1 for _, score in seats)
            state = self.redis.hget(self.key("shard", room["shard"]), "state")
            is_open = room["access"] == "open" and not room["name"]
            if room_id in listed:
                assert is_open
                assert 0 < listed[room_id] <= max(free, 1)
            elif is_open and state == "ready" and free > 0:
                is_looked_after = room["shard"] not in self.slept and room_id not in self.left_alone
                assert room_id in held or not is_looked_after, "an open room that is not indexed"

    @invariant()
    def labels_lead_to_rooms_that_have_them(self) -> None:
        rooms = self.rooms()
        for label in ("map=ice", "map=sand"):
            for room_id in self.redis.zrange(self.key("with", "", "duel", label), 0, -1):
                assert room_id not in rooms or rooms[room_id]["labels"] == label

    @invariant()
    def every_key_but_the_epoch_has_an_end(self) -> None:
        for name in self.redis.scan_iter(self.key("*"), count=1000):
            assert name == self.key("epoch") or self.redis.ttl(name) >= 0, name


@pytest.mark.timeout(600)
def test_each_seat_and_each_room_has_one_owner_whichever_process_fails(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    FleetMachine.url = redis_url
    # The same steps must produce the same ids, because hypothesis repeats failures.
    monkeypatch.setattr(RoomIds, "create_id", lambda self: f"room{next(FleetMachine.ids):05}")
    examples = max(20, settings().max_examples // 5)
    run_state_machine_as_test(
        FleetMachine, settings=settings(max_examples=examples, stateful_step_count=50, deadline=None)
    )
