"""Players deal, their shards die at every step, others take over, answers are lost and asked for again: each command
happens once, its player is told one thing, and the sums of the ledger are what everybody holds. Sessions, a room and
the ledger are the real ones; MongoDB is, too."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Coroutine
from typing import Any, ClassVar, TypeVar

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from pymongo import MongoClient

from examples.market import PRICES, WAGE, Market
from schemas import SCHEMA_VERSION
from schemas.codec import encode_client
from schemas.messages import Command, ErrorCode, Event, Hello, Join, Joined, Reply, Welcome
from server.dealing import Dealing, fence_of
from server.edge.auth import Identity
from server.edge.counters import EdgeCounters
from server.edge.session import Session
from server.edge.sessions import Sessions
from server.edge.settings import EdgeSettings
from server.edge.surroundings import NoBans
from server.edge.tokens import ResumeTokens
from server.rooms.counters import RoomCounters
from server.rooms.making import create
from server.rooms.ports import NoHomes, NoQueue
from server.rooms.seat import Seat
from server.rooms.simulation import Simulation
from server.saving import state_of, world_of
from server.storage import Ledger, Store, migrate
from server.storage.documents import save_of
from tests.frames import messages_in

T = TypeVar("T")
PLAYERS = ("ann", "bob", "cid")
DEALS = frozenset(("work", "buy", "give", "name", "accept"))


class Killed(Exception):
    """The shard ends here."""


class Fuse:
    """Burns down by one at each step of a deal; what comes after it does not happen."""

    def __init__(self) -> None:
        self.left: int | None = None

    def step(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed


class Fragile:
    """A collection whose writes burn the fuse, before and after."""

    def __init__(self, inner: Any, fuse: Fuse) -> None:
        self._inner, self._fuse = inner, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in ("insert_one", "update_one", "find_one_and_update"):
            return found

        async def fragile(*args: Any, **more: Any) -> Any:
            self._fuse.step()
            result = await found(*args, **more)
            self._fuse.step()
            return result

        return fragile


class FragileLedger(Ledger):
    """Its shard may end at any step: also when it has just been written, and nobody was told."""

    fuse: Fuse

    async def _transact(self, booking: Any) -> Any:
        done = await super()._transact(booking)
        self.fuse.step()
        return done


class Wire:
    """A connection of which every message is kept."""

    is_congested = False
    is_open = True
    address = "test"
    heard_s = 0.0
    was_closed_normally = False

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.receiver: Any = None

    def write(self, frames: bytes) -> None:
        self.messages += messages_in(frames)

    def close(self, code: int, reason: str) -> None:
        self.is_open = False


class Client:
    """One player, and all that it was told."""

    def __init__(self, player_id: str) -> None:
        self.player_id = player_id
        self.wire = Wire()
        self.session: Session | None = None
        self.resume_token = ""
        self.last_event = 0
        self.attempt = 0
        self.asked: dict[int, Command] = {}
        self.told: dict[int, Reply] = {}
        self.told_by: dict[int, int] = {}
        self.epoch = 1

    def read(self) -> None:
        for message in self.wire.messages:
            match message:
                case Welcome():
                    self.resume_token = message.resume_token
                case Event(number):
                    assert number == self.last_event + 1 or number <= self.last_event, "an event is missing"
                    self.last_event = max(self.last_event, number)
                case Reply():
                    self.told_of(message)
        self.wire.messages.clear()

    def may_ask_again(self, command: Command, epoch: int) -> bool:
        """What is in the ledger is answered alike for ever; what a room alone has said, as long as it lives."""
        reply = self.told.get(command.id)
        is_booked = reply is not None and ((reply.ok and command.name in DEALS) or "not enough" in reply.message)
        return reply is None or is_booked or self.told_by[command.id] == epoch

    def told_of(self, reply: Reply) -> None:
        if not reply.ok and reply.error is ErrorCode.UNAVAILABLE:
            assert reply.retry_after_ms > 0, "the client knows when to ask again"
            return
        assert reply.retry_after_ms == 0, "a reply that decides something"
        self.told_by.setdefault(reply.id, self.epoch)
        before = self.told.setdefault(reply.id, reply)
        assert (before.ok, before.payload, before.message) == (reply.ok, reply.payload, reply.message), "two answers"


class Shard:
    """A shard as far as deals know it: the room under an epoch, its sessions, its door to the ledger.
    Implements Surroundings, Placer and Reviver."""

    homes = NoHomes()
    queue = NoQueue()
    bans = NoBans()

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop, epoch: int) -> None:
        self.loop, self.store, self.epoch = loop, store, epoch
        self.settings = EdgeSettings()
        self.counters = EdgeCounters()
        self.tokens = ResumeTokens({"k": b"the fleet's"}, "k")
        self.registry = Sessions(
            window_s=1e9, away_max=100, same_player="replace", counters=self.counters, tokens=self.tokens
        )
        self.placer = self
        self.tasks: list[asyncio.Task[None]] = []
        self.fuse = Fuse()
        ledger = FragileLedger(store.client, store.database, store.calls, store.abandoned)
        ledger.fuse = self.fuse
        for name in ("_ledger", "_players", "_fences"):
            setattr(ledger, name, Fragile(getattr(ledger, name), self.fuse))
        self.is_fenced = False
        self.dealer = Dealing(store.players, ledger, on_fenced=self.fenced, deadline_s=10.0)
        self.simulation: Simulation | None = None
        self.saves = 0

    def fenced(self, key: str) -> None:
        self.is_fenced = True

    def now_s(self) -> float:
        return 0.0

    def now_us(self) -> int:
        return 0

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self.loop.create_task(work, name=name)
        self.tasks.append(task)
        return task

    def revive(self, kept: Any) -> Session | None:
        return self.registry.revive(kept, self)  # type: ignore[arg-type]

    async def place(self, subscriber: Any, join: Join) -> Seat:
        assert self.simulation is not None
        record = (await self.dealer.load([subscriber.player_id]))[subscriber.player_id]
        return self.simulation.seat(subscriber, subscriber.player_id, {}, lambda seat: None, record=record)

    async def claim(self) -> None:
        """As the placer makes a room."""
        found = await self.store.worlds.claim("market", "home", self.epoch)
        saved, records = None, {}
        if found is not None:
            saved = state_of(found)
            records = await self.dealer.load([seat.player_id for seat in saved.seats])
            saved = msgspec.structs.replace(saved, seats=await self.dealer.answered(saved.seats))
        self.simulation = create(
            Market, room_id="r", name="home", epoch=self.epoch, seed=1, counters=RoomCounters(), options={},
            saved=saved, reviver=self, records=records,
        )  # fmt: skip
        assert fence_of(self.simulation) == "market/home"

    async def save(self) -> bool:
        assert self.simulation is not None
        self.saves += 1
        world = world_of("market", "home", "r", self.simulation.state())
        fates = await self.store.worlds.write([save_of(world, self.epoch, self.saves, None, NOW)])
        return fates["market/home"] == "written"


NOW = __import__("datetime").datetime(2026, 1, 1)


class Market3(RuleBasedStateMachine):
    """Three players, and one shard after the other."""

    url: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.name = f"ledger_{secrets.token_hex(6)}"
        self.store = Store(self.url, self.name, call_s_max=10.0)
        self.store.calls.call_s_max = 10.0
        self.clients = {player: Client(player) for player in PLAYERS}
        self.sleepers: list[tuple[Shard, dict[str, Session]]] = []
        self.epoch = 0
        self.ids = Counter[str]()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize()
    def begin(self) -> None:
        self.run(migrate(self.store.database, self.store.calls))
        self.shard = self.next_shard()
        for client in self.clients.values():
            self.join(client)
        assert self.run(self.shard.save())

    def next_shard(self) -> Shard:
        self.epoch += 1
        shard = Shard(self.store, self.loop, self.epoch)
        self.run(shard.claim())
        return shard

    def join(self, client: Client) -> None:
        session = Session(Identity(client.player_id, False), schema_version=SCHEMA_VERSION, around=self.shard)  # type: ignore[arg-type]
        self.shard.registry.add(session)
        self.attach(client, session)
        session.message_received(encode_client(Join("market")))
        self.finish(self.shard)
        assert any(isinstance(message, Joined) for message in client.wire.messages)
        client.read()

    def attach(self, client: Client, session: Session) -> None:
        client.attempt += 1
        client.wire, client.session, client.epoch = Wire(), session, self.shard.epoch
        hello = Hello(
            SCHEMA_VERSION, resume_token=client.resume_token, last_event=client.last_event, attempt=client.attempt
        )
        assert session.attach(client.wire, hello, session.reserve_generation(client.attempt))  # type: ignore[arg-type]

    def finish(self, shard: Shard) -> None:
        """Everything that is under way comes to its end, or to the shard's."""
        self.run(asyncio.sleep(0))
        while shard.tasks:
            tasks, shard.tasks = shard.tasks, []
            for result in self.run(_gather(tasks)):
                assert result is None or isinstance(result, Killed), repr(result)

    def ask(self, client: Client, command: Command) -> None:
        assert client.session is not None
        client.session.message_received(encode_client(command))

    # -- what players do --------------------------------------------------------------------------------------

    @rule(
        wishes=st.lists(
            st.tuples(
                st.sampled_from(PLAYERS),
                st.sampled_from(["work", "work", "buy bread", "buy sword", "give", "name", "offer", "accept"]),
                st.sampled_from(PLAYERS),
            ),
            min_size=1,
            max_size=4,
        )
    )
    def ask_at_once(self, wishes: list[tuple[str, str, str]]) -> None:
        for player, wish, other in wishes:
            client = self.clients[player]
            self.ids[player] += 1
            client.asked[self.ids[player]] = command = self.command_of(self.ids[player], wish, other)
            self.ask(client, command)
        self.finish(self.shard)
        self.read_all()

    def command_of(self, number: int, wish: str, other: str) -> Command:
        verb, _, item = wish.partition(" ")
        assert self.shard.simulation is not None
        there = self.shard.simulation.room.players.get(other)
        entity = there.entity.id if there is not None and there.entity is not None else 0
        payload: Any = {
            "work": None,
            "buy": {"item": item},
            "give": {"to": entity, "item": "gold", "amount": 3},
            "name": f"name {number}",
            "offer": {"to": entity, "gives": {"gold": 2}, "takes": {"bread": 1}},
            "accept": 1,
        }[verb]
        return Command(number, verb, msgspec.msgpack.encode(payload))

    @rule(player=st.sampled_from(PLAYERS))
    def ask_again(self, player: str) -> None:
        """All that was ever asked, whether it was answered or not."""
        client = self.clients[player]
        for command in client.asked.values():
            if client.may_ask_again(command, self.shard.epoch):
                self.ask(client, command)
        self.finish(self.shard)
        self.read_all()

    @rule(player=st.sampled_from(PLAYERS))
    def lose_the_connection(self, player: str) -> None:
        """What was on its way is lost; the client comes back and asks again."""
        client = self.clients[player]
        assert client.session is not None
        client.wire.messages.clear()
        client.session.connection_ended(client.wire)  # type: ignore[arg-type]
        self.attach(client, client.session)
        client.read()

    # -- what shards do ---------------------------------------------------------------------------------------

    @rule()
    def save(self) -> None:
        assert self.run(self.shard.save())

    @rule()
    def tick(self) -> None:
        assert self.shard.simulation is not None
        self.shard.simulation.step()
        self.read_all()

    @rule(
        step=st.integers(0, 9),
        player=st.sampled_from(PLAYERS),
        wish=st.sampled_from(["work", "buy bread", "give", "accept"]),
        is_told=st.booleans(),
    )
    def die_in_a_deal(self, step: int, player: str, wish: str, is_told: bool) -> None:
        """The shard ends at some step of a deal: before, within or after its transaction."""
        client = self.clients[player]
        self.ids[player] += 1
        client.asked[self.ids[player]] = command = self.command_of(self.ids[player], wish, "bob")
        self.shard.fuse.left = step
        self.ask(client, command)
        self.finish(self.shard)
        if is_told:
            self.read_all()
        self.take_over()

    @rule()
    def fall_asleep(self) -> None:
        """Another shard takes the room over, and this one does not know yet."""
        self.sleepers.append((self.shard, {p: c.session for p, c in self.clients.items() if c.session}))
        self.take_over()

    @rule(player=st.sampled_from(PLAYERS))
    def a_sleeper_goes_on(self, player: str) -> None:
        """It writes nothing, whatever it is asked; what it says decides nothing."""
        for shard, sessions in self.sleepers:
            wire = Wire()
            sessions[player].wire = wire  # type: ignore[assignment]
            before = self.run(self.store.database["ledger"].count_documents({}))
            sessions[player].message_received(encode_client(Command(10_000, "work", b"\xc0")))
            self.finish(shard)
            replies = [message for message in wire.messages if isinstance(message, Reply)]
            assert all(reply.error is ErrorCode.UNAVAILABLE and not reply.ok for reply in replies)
            assert self.run(self.store.database["ledger"].count_documents({})) == before
            assert not self.run(shard.save())

    def take_over(self) -> None:
        self.shard = self.next_shard()
        for client in self.clients.values():
            client.wire.messages.clear()
            session = self.shard.registry.find(client.resume_token)
            assert session is not None, "the session went on with the room"
            self.attach(client, session)
            client.read()
            for number in client.asked.keys() - client.told.keys():
                self.ask(client, client.asked[number])
        self.finish(self.shard)
        self.read_all()

    # -- what holds -------------------------------------------------------------------------------------------

    def read_all(self) -> None:
        for client in self.clients.values():
            client.read()

    @invariant()
    def sums_are_holdings(self) -> None:
        sums = Counter[tuple[str, str]]()
        with MongoClient[dict[str, Any]](self.url) as client:
            for entry in client[self.name]["ledger"].find():
                for one in entry["entries"]:
                    sums[one["player_id"], one["item"]] += one["amount"]
            held = {
                (player["_id"], item): amount
                for player in client[self.name]["players"].find()
                for item, amount in player["holdings"].items()
            }
        assert {key: amount for key, amount in sums.items() if amount} == {k: v for k, v in held.items() if v}
        assert all(amount >= 0 for amount in held.values())
        self.held = held

    def teardown(self) -> None:
        try:
            if hasattr(self, "shard"):
                self.settle()
        finally:
            self.run(self.store.ledger.close())
            self.store.close()
            self.loop.close()
            with MongoClient[dict[str, Any]](self.url) as client:
                client.drop_database(self.name)

    def settle(self) -> None:
        """All is asked until it is answered: then what everybody holds is what everybody was told."""
        self.shard.fuse.left = None
        for client in self.clients.values():
            for command in client.asked.values():
                if client.may_ask_again(command, self.shard.epoch):
                    self.ask(client, command)
        self.finish(self.shard)
        self.read_all()
        self.sums_are_holdings()
        expected = Counter[tuple[str, str]]()
        accepted = set[str]()
        for player, client in self.clients.items():
            assert client.told.keys() == client.asked.keys(), "a command without an answer"
            for number, reply in client.told.items():
                if reply.ok:
                    self.count(expected, accepted, player, client.asked[number])
        assert {k: v for k, v in expected.items() if v} == {k: v for k, v in self.held.items() if v}

    def count(self, expected: Counter[tuple[str, str]], accepted: set[str], player: str, command: Command) -> None:
        payload = msgspec.msgpack.decode(command.payload)
        match command.name:
            case "work":
                expected[player, "gold"] += WAGE
            case "buy":
                expected[player, "gold"] -= PRICES[payload["item"]]
                expected[player, payload["item"]] += 1
            case "give":
                self.move(expected, f"{self.sessions[player]}/{command.id}")
            case "accept" if not accepted:
                accepted.add(player)  # one offer, accepted once, however many said yes
                self.move(expected, "key:market/home/offer 1")

    @property
    def sessions(self) -> dict[str, str]:
        return {player: c.session.session_id for player, c in self.clients.items() if c.session is not None}

    def move(self, expected: Counter[tuple[str, str]], key: str) -> None:
        """To whom was decided when it was asked: that is in the entry, which must be there."""
        entry = self.run(self.store.database["ledger"].find_one({"_id": key}))
        assert entry is not None, "told, and not written"
        for one in entry["entries"]:
            expected[one["player_id"], one["item"]] += one["amount"]


async def _gather(tasks: list[asyncio.Task[None]]) -> list[Any]:
    return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)


@pytest.mark.timeout(1500)
def test_whatever_ends_when_each_command_happens_once(mongo_url: str) -> None:
    Market3.url = mongo_url
    examples = max(15, settings().max_examples // 20)
    run_state_machine_as_test(
        Market3, settings=settings(max_examples=examples, stateful_step_count=25, deadline=None)
    )
