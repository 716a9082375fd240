"""Players send many commands at once, in two rooms on two shards; shards fail at every step, and replies are lost.

Each command is committed once and has one reply. The sums of the ledger equal the holdings of the players, and the
rules of a room ("once per player") hold for all committed transactions. Sessions, rooms, ledger and MongoDB are real.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Coroutine, Mapping
from typing import Any, ClassVar, TypeVar

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from pymongo import MongoClient

from tests.harness.frames import messages_in
from tests.harness.null_services import NoBanList, NoPlayerQueue, NoSessionLocator
from tests.harness.runtimes import create_runtime
from tickwire import CommandRefused, Player, Transaction, TransactionOutcome, grant
from tickwire.examples.market import PRICES, WAGE, Market, MarketSave
from tickwire.schemas import SCHEMA_VERSION
from tickwire.schemas.codec import encode_client
from tickwire.schemas.messages import Command, ErrorCode, Event, Hello, Join, Joined, Reply, Welcome
from tickwire.server.edge.auth.authenticator import GuestAuthenticator, Identity
from tickwire.server.edge.context import create_session_id
from tickwire.server.edge.counters import EdgeCounters
from tickwire.server.edge.message_handlers import SessionReceiver
from tickwire.server.edge.resume_tokens import ResumeTokens
from tickwire.server.edge.services import NoSessionPresence
from tickwire.server.edge.session import Session
from tickwire.server.edge.session_connections import attach_connection, detach_connection
from tickwire.server.edge.session_registry import SessionRegistry
from tickwire.server.edge.session_token import TokenPolicy
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.errors import Unavailable
from tickwire.server.persistence.attempts import fence_key
from tickwire.server.persistence.room_transactions import RoomTransactionService
from tickwire.server.persistence.transactions import TransactionService
from tickwire.server.persistence.world_codec import decode_world, encode_world
from tickwire.server.rooms.factory import RoomSpec
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest
from tickwire.server.rooms.task_runner import TaskRunner
from tickwire.server.storage import CallSettings, Ledger, MongoStore, migrate
from tickwire.server.storage.world_document import create_world_write

T = TypeVar("T")
PLAYERS = ("ann", "bob", "cid")
PLACES = ("home", "away")
RULES = ("badge", "crown", "alms", "stamp")
"""Commands that grant one item of that name, once. The room decides by the player's profile, the player's holdings,
the holdings of another player, or its own attributes."""
DEALS = frozenset(("work", "buy", "give", "rename", "accept", "count", *RULES))


class FairSave(MarketSave):
    """The numbers of the payments that the room has started, and of those whose outcome it knows."""

    started: list[int] = []
    paid: list[int] = []


class Fair(Market):
    """A market with rules, which also pays its players without a command."""

    save_type = FairSave

    def on_create(self, options: Mapping[str, Any]) -> None:
        super().on_create(options)
        self.stamped: set[str] = set()
        self.started: list[int] = []
        self.paid: list[int] = []

    def restore(self, saved: Any) -> None:
        super().restore(saved)
        self.stamped = set()
        self.started, self.paid = list(saved.started), list(saved.paid)

    def save(self) -> FairSave:
        return FairSave(list(self.offers.values()), started=list(self.started), paid=list(self.paid))

    def pay(self, number: int, player_id: str) -> None:
        self.started.append(number)
        self.transact(
            Transaction(grant(player_id, "coin"), key=f"{self.name}/pay {number}", reply=number), self.note_paid
        )

    def note_paid(self, outcome: TransactionOutcome) -> None:
        assert outcome.is_committed
        self.paid.append(outcome.transaction.reply)

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        match name:
            case "badge":
                self._refuse_if("badge" in player.profile)
                return Transaction(grant(player.id, "badge"), profile={**player.profile, "badge": True})
            case "crown":
                self._refuse_if("crown" in player.holdings)
                return Transaction(grant(player.id, "crown"))
            case "alms":
                self._refuse_if("alms" in self.find_trader(payload).holdings)
                return Transaction(grant(self.find_trader(payload).id, "alms"), reply=self.find_trader(payload).id)
            case "stamp":
                self._refuse_if(player.id in self.stamped)
                return Transaction(grant(player.id, "stamp"))
            case "count":
                return Transaction(profile={**player.profile, "count": player.profile.get("count", 0) + 1})
        return super().on_command(player, name, payload)

    def on_transaction(self, player: Player, name: str, transaction: Transaction) -> None:
        super().on_transaction(player, name, transaction)
        if name == "stamp":
            self.stamped.add(player.id)

    def _refuse_if(self, has_it_already: bool) -> None:
        if has_it_already:
            raise CommandRefused("once is enough")


class ShardKilled(BaseException):
    """Raised where a shard is killed; no code of the shard catches it."""


class Fuse:
    """Counts the steps of a transaction, and kills the shard at the step where the count ends."""

    def __init__(self) -> None:
        self.left: int | None = None

    def step(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise ShardKilled


class Fragile:
    """A collection whose writes call the fuse, before and after each write."""

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
    """A ledger whose shard may be killed at any step, also between the commit and the reply."""

    fuse: Fuse
    losses: list[str]
    """One entry for each of the next commits: "" succeeds, "before" fails before it, "after" loses the result."""

    async def commit(self, request: Any) -> Any:
        loss = self.losses.pop(0) if self.losses else ""
        if loss == "before":
            raise Unavailable("the call was lost", retry_after_ms=1)
        result = await super().commit(request)
        if loss:
            raise Unavailable("the answer was lost", retry_after_ms=1)
        return result

    async def _transact(self, request: Any) -> Any:
        done = await super()._transact(request)
        self.fuse.step()
        return done


class Wire:
    """A connection that keeps every message."""

    is_congested = False
    descriptor = -1
    is_open = True
    address = "test"
    last_received_s = 0.0
    client_close_code: int | None = None
    failure = ""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.receiver: Any = None

    def write(self, frames: bytes) -> None:
        self.messages += messages_in(frames)

    def send(self, frames: bytes) -> bool:
        self.write(frames)
        return True

    def charge(self, tokens: int) -> None: ...

    def close(self, code: int, reason: str) -> None:
        self.is_open = False


def receiver_of(session: Session) -> SessionReceiver:
    return SessionReceiver(session, session._context)


class LedgerClient:
    """One player, with all replies that it has received."""

    def __init__(self, player_id: str) -> None:
        self.player_id = player_id
        self.ids = 0
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
        """Return whether the command may be repeated, because it has no reply yet or must have the same reply.

        The replies of transactions are in the ledger. All other replies are kept only as long as the room runs.
        """
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


class LedgerShard:
    """The parts of a shard that transactions use: a room under an epoch, its sessions, and a ledger.

    Implements SessionContext, RoomJoiner and SessionRestorer.
    """

    session_locator = NoSessionLocator()
    queue = NoPlayerQueue()
    bans = NoBanList()
    authenticator = GuestAuthenticator()
    token_policy = TokenPolicy()
    presence = NoSessionPresence()

    def __init__(self, store: MongoStore, loop: asyncio.AbstractEventLoop, epoch: int, place: str) -> None:
        self.loop, self.store, self.epoch, self.place_name = loop, store, epoch, place
        self.key = f"market/{place}"
        self.settings = EdgeSettings()
        self.counters = EdgeCounters()
        self.tokens = ResumeTokens({"k": b"the fleet's"}, "k")
        self.registry = SessionRegistry(
            msgspec.structs.replace(self.settings, connections_max=100),
            self.counters,
            self.tokens,
            get_context=lambda: self,  # type: ignore[arg-type, return-value]
        )
        self.join_service = self
        self.tasks: list[asyncio.Task[None]] = []
        self.fuse = Fuse()
        ledger = FragileLedger(store.client, store.database, store.calls, store.stale_transactions)
        ledger.fuse, ledger.losses = self.fuse, []
        self.ledger = ledger
        for name in ("_ledger", "_players", "_fences"):
            setattr(ledger, name, Fragile(getattr(ledger, name), self.fuse))
        self.is_fenced = False
        self.transactions = TransactionService(store.players, ledger, on_fenced=self.fenced, timeout_s=10.0)
        self.room_transactions = RoomTransactionService(self.transactions, self.now_s)
        self.runtime: RoomRuntime | None = None
        self.saves = 0

    def fenced(self, key: str) -> None:
        self.is_fenced = True

    def now_s(self) -> float:
        return 0.0

    def now_us(self) -> int:
        return 0

    def create_session_id(self) -> str:
        return create_session_id()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self.loop.create_task(work, name=name)
        self.tasks.append(task)
        return task

    def restore(self, kept: Any) -> Session | None:
        session = self.registry.restore(kept)
        if session is not None:
            self.registry.settle(session)
        return session

    async def join(self, subscriber: Any, join: Join, *, seals_options: bool = False) -> Seat:
        assert self.runtime is not None
        record = (await self.transactions.load([subscriber.player_id]))[subscriber.player_id]
        return self.runtime.seat(SeatRequest(subscriber, subscriber.player_id, record=record))

    async def claim(self) -> None:
        """Claim the world and restore the room, as the shard does when it places a room."""
        found = await self.store.worlds.claim("market", self.place_name, self.epoch)
        saved, records = None, {}
        if found is not None:
            saved = decode_world(found)
            records = await self.transactions.load([seat.player_id for seat in saved.seats])
            saved = msgspec.structs.replace(saved, seats=await self.transactions.add_replies(saved.seats))
        spec = RoomSpec(self.place_name, Fair.room_type, self.place_name, epoch=self.epoch)
        self.runtime = create_runtime(Fair, saved, spec=spec, sessions=self, records=records)
        assert fence_key(self.runtime) == self.key
        self.runtime.start(self.commit_soon, TaskRunner(self.runtime.counters))

    def commit_soon(self, runtime: RoomRuntime) -> None:
        """Start the commits once the loop runs; the state machine calls rooms outside of it."""
        self.loop.call_soon(self.room_transactions.commit, runtime)

    async def save(self) -> bool:
        assert self.runtime is not None
        self.saves += 1
        world = encode_world("market", self.place_name, self.place_name, self.runtime.checkpoint())
        outcomes = await self.store.worlds.write([create_world_write(world, self.epoch, self.saves, None, NOW)])
        return outcomes[self.key] == "written"


NOW = __import__("datetime").datetime(2026, 1, 1)


class Place:
    """A room with its players' sessions, its owner, and former owners that have not noticed that they lost it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.clients = {player: LedgerClient(player) for player in PLAYERS}
        self.sleepers: list[tuple[LedgerShard, dict[str, Session]]] = []
        self.shard: LedgerShard

    @property
    def room(self) -> Fair:
        assert self.shard.runtime is not None
        room = self.shard.runtime.room
        assert isinstance(room, Fair)
        return room


places = st.sampled_from(PLACES)
players = st.sampled_from(PLAYERS)
wishes = st.sampled_from(
    ["work", "work", "buy bread", "buy sword", "give", "rename", "offer", "accept", "count", "count", *RULES]
)


class TwoRooms(RuleBasedStateMachine):
    """Three players, each in both rooms. Each room is owned by one shard at a time."""

    url: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.name = f"ledger_{secrets.token_hex(6)}"
        self.store = MongoStore(self.url, self.name, calls=CallSettings(10.0))
        self.places = {name: Place(name) for name in PLACES}
        self.epoch = 0
        self.payments = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize()
    def begin(self) -> None:
        self.run(migrate(self.store.database, self.store.calls))
        for place in self.places.values():
            place.shard = self.next_shard(place)
            for client in place.clients.values():
                self.join(place, client)
            assert self.run(place.shard.save())

    def next_shard(self, place: Place) -> LedgerShard:
        self.epoch += 1
        shard = LedgerShard(self.store, self.loop, self.epoch, place.name)
        self.run(shard.claim())
        return shard

    def join(self, place: Place, client: LedgerClient) -> None:
        context: Any = place.shard
        session = Session(Identity(client.player_id, False), schema_version=SCHEMA_VERSION, context=context)
        place.shard.registry.add(session)
        self.attach(place, client, session)
        receiver_of(session).message_received(encode_client(Join("market")))
        self.finish()
        assert any(isinstance(message, Joined) for message in client.wire.messages)
        client.read()

    def attach(self, place: Place, client: LedgerClient, session: Session) -> None:
        client.attempt += 1
        client.wire, client.session, client.epoch = Wire(), session, place.shard.epoch
        hello = Hello(
            SCHEMA_VERSION, resume_token=client.resume_token, last_event=client.last_event, attempt=client.attempt
        )
        context: Any = place.shard
        wire: Any = client.wire
        assert attach_connection(session, context, wire, hello, session.generations.reserve())

    def finish(self, *more: LedgerShard) -> None:
        """Run all tasks of both rooms to their end, or to the end of their shard."""
        self.run(asyncio.sleep(0))
        shards = [*more, *(place.shard for place in self.places.values() if hasattr(place, "shard"))]
        while True:
            tasks = [task for shard in shards for task in shard.tasks]
            tasks += [task for shard in shards for task in shard.room_transactions._tasks.values()]
            if not tasks:
                return
            for shard in shards:
                shard.tasks = []
            for result in self.run(_gather(tasks)):
                assert result is None or isinstance(result, ShardKilled), repr(result)

    def ask(self, client: LedgerClient, command: Command) -> None:
        assert client.session is not None
        receiver_of(client.session).message_received(encode_client(command))

    # -- what players do --------------------------------------------------------------------------------------

    @rule(asked=st.lists(st.tuples(places, players, wishes, players), min_size=1, max_size=6))
    def ask_at_once(self, asked: list[tuple[str, str, str, str]]) -> None:
        for name, player, wish, other in asked:
            self.ask_new(self.places[name], player, wish, other)
        self.finish()
        self.read_all()

    @rule(player=players, wish=wishes, other=players, count=st.integers(2, 6), is_in_both=st.booleans())
    def ask_the_same_many_times(self, player: str, wish: str, other: str, count: int, is_in_both: bool) -> None:
        for place in self.places.values():
            if is_in_both or place.name == "home":
                for _ in range(count):
                    self.ask_new(place, player, wish, other)
        self.finish()
        self.read_all()

    def ask_new(self, place: Place, player: str, wish: str, other: str) -> None:
        client = place.clients[player]
        client.ids += 1
        client.asked[client.ids] = command = self.command_of(place, client.ids, wish, other)
        self.ask(client, command)

    def command_of(self, place: Place, number: int, wish: str, other: str) -> Command:
        verb, _, item = wish.partition(" ")
        there = place.room.players.get(other)
        entity = there.entity.id if there is not None else 0
        payload: Any = {
            "buy": {"item": item},
            "give": {"to": entity, "item": "gold", "amount": 3},
            "rename": f"name {number}",
            "offer": {"to": entity, "gives": {"gold": 1 + number % 3}, "takes": {"bread": 1}},
            "accept": next(reversed(place.room.offers), ""),
            "alms": entity,
        }.get(verb)
        return Command(number, verb, msgspec.msgpack.encode(payload))

    @rule(place=places, player=players)
    def ask_again(self, place: str, player: str) -> None:
        """Repeat all commands that the player has sent, with and without a reply."""
        self.ask_all_again(self.places[place], self.places[place].clients[player])
        self.finish()
        self.read_all()

    def ask_all_again(self, place: Place, client: LedgerClient) -> None:
        for command in client.asked.values():
            if client.may_ask_again(command, place.shard.epoch):
                self.ask(client, command)

    @rule(place=places, player=players)
    def lose_the_connection(self, place: str, player: str) -> None:
        """Lose all messages in flight. The client reconnects."""
        client = self.places[place].clients[player]
        assert client.session is not None
        client.wire.messages.clear()
        context: Any = self.places[place].shard
        wire: Any = client.wire
        detach_connection(client.session, context, wire)
        self.attach(self.places[place], client, client.session)
        client.read()

    # -- what rooms do ----------------------------------------------------------------------------------------

    @rule(place=places, payees=st.lists(players, min_size=1, max_size=4))
    def pay(self, place: str, payees: list[str]) -> None:
        self.pay_all(self.places[place], payees)
        self.finish()
        self.read_all()

    def pay_all(self, place: Place, payees: list[str]) -> None:
        for player_id in payees:
            self.payments += 1
            place.room.pay(self.payments, player_id)

    @rule(
        place=places, step=st.integers(0, 9), payees=st.lists(players, min_size=1, max_size=3), is_saved=st.booleans()
    )
    def die_in_a_payment(self, place: str, step: int, payees: list[str], is_saved: bool) -> None:
        """Kill the shard at some step of a payment; the room may have been saved after it has started the payment."""
        there = self.places[place]
        self.pay_all(there, payees)
        if is_saved:
            assert self.run(there.shard.save())
        there.shard.fuse.left = step
        self.finish()
        self.take_over(there)

    # -- what shards do ---------------------------------------------------------------------------------------

    @rule(place=places, losses=st.lists(st.sampled_from(["", "before", "after", "after"]), max_size=4))
    def answers_are_lost(self, place: str, losses: list[str]) -> None:
        """The results of the next commits are lost."""
        self.places[place].shard.ledger.losses = losses

    @rule(place=places)
    def save(self, place: str) -> None:
        assert self.run(self.places[place].shard.save())

    @rule(place=places)
    def tick(self, place: str) -> None:
        simulation = self.places[place].shard.runtime
        assert simulation is not None
        simulation.step()
        self.read_all()

    @rule(
        place=places,
        step=st.integers(0, 9),
        player=players,
        wish=st.sampled_from(["work", "buy bread", "give", "accept", "count", *RULES]),
        count=st.integers(1, 3),
        is_told=st.booleans(),
    )
    def die_in_a_deal(self, place: str, step: int, player: str, wish: str, count: int, is_told: bool) -> None:
        """Kill the shard at some step of a transaction: before, during or after it."""
        there = self.places[place]
        there.shard.fuse.left = step
        for _ in range(count):
            self.ask_new(there, player, wish, "bob")
        self.finish()
        if is_told:
            self.read_all()
        self.take_over(there)

    @rule(place=places)
    def fall_asleep(self, place: str) -> None:
        """Another shard takes over the room; the former owner has not noticed yet."""
        there = self.places[place]
        there.sleepers.append((there.shard, {p: c.session for p, c in there.clients.items() if c.session}))
        self.take_over(there)

    @rule(place=places, player=players)
    def a_sleeper_goes_on(self, place: str, player: str) -> None:
        """A former owner commits nothing, and all its replies are UNAVAILABLE."""
        for shard, sessions in self.places[place].sleepers:
            wire = Wire()
            assert shard.runtime is not None
            assert isinstance(shard.runtime.room, Fair)
            self.payments += 1
            shard.runtime.room.pay(self.payments, player)
            sessions[player].connection = wire  # type: ignore[assignment]
            before = self.run(self.store.database["ledger"].count_documents({}))
            receiver_of(sessions[player]).message_received(encode_client(Command(10_000, "work", b"\xc0")))
            self.finish(shard)
            replies = [message for message in wire.messages if isinstance(message, Reply)]
            assert all(reply.error is ErrorCode.UNAVAILABLE and not reply.ok for reply in replies)
            assert self.run(self.store.database["ledger"].count_documents({})) == before
            assert not self.run(shard.save())

    def take_over(self, place: Place) -> None:
        place.shard = self.next_shard(place)
        for client in place.clients.values():
            client.wire.messages.clear()
            session = place.shard.registry.find(client.resume_token)
            assert session is not None, "the session is restored with the room"
            self.attach(place, client, session)
            client.read()
            for number in client.asked.keys() - client.told.keys():
                self.ask(client, client.asked[number])
        self.finish()
        self.read_all()

    # -- what holds -------------------------------------------------------------------------------------------

    def read_all(self) -> None:
        for place in self.places.values():
            for client in place.clients.values():
                client.read()

    @invariant()
    def sums_are_holdings_and_rules_are_kept(self) -> None:
        sums = Counter[tuple[str, str]]()
        stamps = Counter[tuple[str, str, int]]()
        with MongoClient[dict[str, Any]](self.url) as client:
            for entry in client[self.name]["ledger"].find():
                for one in entry["entries"]:
                    sums[one["player_id"], one["item"]] += one["amount"]
                    if one["item"] == "stamp":
                        stamps[one["player_id"], entry["fence"], entry["epoch"]] += 1
            found = list(client[self.name]["players"].find())
        held = {(player["_id"], item): n for player in found for item, n in player["holdings"].items()}
        assert {key: amount for key, amount in sums.items() if amount} == {k: v for k, v in held.items() if v}
        assert all(amount >= 0 for amount in held.values())
        for player in PLAYERS:
            assert all(held.get((player, item), 0) <= 1 for item in ("badge", "crown", "alms")), "at most once"
        assert all(count == 1 for count in stamps.values()), "at most once per epoch"
        self.held = held
        self.profiles = {player["_id"]: player.get("profile", {}) for player in found}

    def teardown(self) -> None:
        try:
            if all(hasattr(place, "shard") for place in self.places.values()):
                self.settle()
        finally:
            self.run(self.store.ledger.close())
            self.store.close()
            self.loop.close()
            with MongoClient[dict[str, Any]](self.url) as client:
                client.drop_database(self.name)

    def settle(self) -> None:
        """Repeat all commands until they have a reply, then compare the holdings with the replies."""
        for place in self.places.values():
            place.shard.fuse.left, place.shard.ledger.losses = None, []
            for client in place.clients.values():
                self.ask_all_again(place, client)
        self.finish()
        self.read_all()
        self.sums_are_holdings_and_rules_are_kept()
        expected = Counter[tuple[str, str]]()
        counted = Counter[str]()
        self.count_payments(expected)
        accepted = set[str]()
        for place in self.places.values():
            for player, client in place.clients.items():
                assert client.told.keys() == client.asked.keys(), "a command without an answer"
                for number, reply in client.told.items():
                    if reply.ok:
                        self.count(expected, accepted, client, client.asked[number], reply)
                        counted[player] += client.asked[number].name == "count"
        assert {k: v for k, v in expected.items() if v} == {k: v for k, v in self.held.items() if v}
        assert {player: self.profiles.get(player, {}).get("count", 0) for player in PLAYERS} == {
            player: counted[player] for player in PLAYERS
        }

    def count_payments(self, expected: Counter[tuple[str, str]]) -> None:
        """Each payment of a room is in the ledger, and was reported once to the room that started it."""
        for place in self.places.values():
            room = place.room
            assert len(room.transactions) == 0
            assert room.paid == room.started, "reported once and in order"
            for number in room.paid:
                assert self.run(self.store.database["ledger"].find_one({"_id": f"key:{place.name}/pay {number}"}))
        # A payment that a crash has removed from the room may be in the ledger nevertheless.
        for entry in self.run(self.store.database["ledger"].find({"entries.item": "coin"}).to_list(None)):
            for one in entry["entries"]:
                expected[one["player_id"], "coin"] += one["amount"]

    def count(
        self,
        expected: Counter[tuple[str, str]],
        accepted: set[str],
        client: LedgerClient,
        command: Command,
        reply: Reply,
    ) -> None:
        payload, player = msgspec.msgpack.decode(command.payload), client.player_id
        assert client.session is not None
        match command.name:
            case "work":
                expected[player, "gold"] += WAGE
            case "buy":
                expected[player, "gold"] -= PRICES[payload["item"]]
                expected[player, payload["item"]] += 1
            case "give":
                self.move(expected, f"{client.session.session_id}/{command.id}")
            case "alms":
                expected[msgspec.msgpack.decode(reply.payload), "alms"] += 1
            case "badge" | "crown" | "stamp":
                expected[player, command.name] += 1
            case "accept" if payload not in accepted:
                accepted.add(payload)  # an offer is accepted once, even if several players accept it
                self.move(expected, f"key:offer/{payload}")

    def move(self, expected: Counter[tuple[str, str]], key: str) -> None:
        """Add the entries of a committed transaction: the recipient was decided when the command ran."""
        entry = self.run(self.store.database["ledger"].find_one({"_id": key}))
        assert entry is not None, "a reply without a ledger entry"
        for one in entry["entries"]:
            expected[one["player_id"], one["item"]] += one["amount"]


async def _gather(tasks: list[asyncio.Task[None]]) -> list[Any]:
    return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)


@pytest.mark.timeout(1500)
def test_each_command_is_committed_once_whichever_process_ends(
    mongo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickwire.server.persistence.room_transactions.RETRY_S", 0.001)
    TwoRooms.url = mongo_url
    examples = max(15, settings().max_examples // 20)
    run_state_machine_as_test(
        TwoRooms, settings=settings(max_examples=examples, stateful_step_count=25, deadline=None)
    )
