"""Random runs of a player in a fleet of three shards: rooms migrate, shards crash, clients connect to other shards.

Client core, handshake, session, registry, seat, room and the encoding of rooms and sessions are real. The network is
a pair of queues, as in tests/harness/session_simulator.py. A `Fleet` replaces the directory and the stores: it knows
the owner of the room, and keeps the last saves. These faults occur:

    the network     drops, delays, partial delivery
    a redirect      to another shard, after a join or after a match
    a drain         the room is offered, and claimed or not; sessions without a room are stored for other shards
    a crash         a shard loses its memory; another one restores its room from one of the last saves
    a load balancer the client reconnects to any shard

At the end of every run the network works again, and time passes until abandoned sessions have expired. Then the
player has one session and one seat, and the room takes its inputs. No command ran twice, no event was delivered
twice, and no event since the last crash is missing.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Coroutine
from typing import Any, Literal

import msgspec

from tests.harness.null_services import NoBanList, NoPlayerQueue
from tests.harness.runtimes import create_runtime
from tests.harness.schema_versions import VERSIONS, assert_has_form, with_version
from tests.harness.session_simulator import FakeConnection
from tickwire import Input, Player, Room, SaveData, Table, real
from tickwire.client.core import ClientCore
from tickwire.client.options import JoinOptions
from tickwire.client.updates import (
    ErrorReceived,
    EventReceived,
    EventsLost,
    Redirected,
    ReplyReceived,
    SeatLost,
    Welcomed,
)
from tickwire.schemas.codec import encode_client
from tickwire.schemas.messages import Authenticate, ErrorCode, Join, Redirect
from tickwire.server.edge.auth.authenticator import GuestAuthenticator, Identity
from tickwire.server.edge.close_codes import SessionCloseCode
from tickwire.server.edge.context import create_session_id
from tickwire.server.edge.counters import EdgeCounters
from tickwire.server.edge.message_handlers import SessionReceiver
from tickwire.server.edge.resume_tokens import ResumeTokens
from tickwire.server.edge.services import NoSessionPresence
from tickwire.server.edge.session import Session, SessionState
from tickwire.server.edge.session_registry import SessionRegistry
from tickwire.server.edge.session_token import TokenPolicy
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.errors import NoSuchRoom, Unavailable
from tickwire.server.migration.room_codec import decode_room, encode_room
from tickwire.server.persistence.world_codec import decode_world, encode_world, recover_world
from tickwire.server.rooms.checkpoint import RoomCheckpoint, SessionCheckpoint
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest
from tickwire.server.rooms.subscriber import Subscriber
from tickwire.server.storage import SavedWorld

SHARDS = 3
STEPS = 80
Policy = Literal["replace", "refuse", "allow"]


class Footsteps(Table):
    """One row for each player."""

    x = real(-1000, 1000, step=1 / 16)


class NotebookSave(SaveData):
    runs: list[int] = []


class FleetInput(Input):
    dx = real(-1, 1, step=1 / 16)


class Notebook(Room):
    """A room that records the commands that it has run."""

    room_type = "notebook"
    durable = True
    save_type = NotebookSave
    input_type = FleetInput
    steps: Footsteps

    def on_create(self, options: Any) -> None:
        self.runs: list[int] = []

    def save(self) -> NotebookSave:
        return NotebookSave(list(self.runs))

    def restore(self, saved: NotebookSave) -> None:
        self.runs = list(saved.runs)

    def on_join(self, player: Player, options: Any) -> None:
        player.entity = self.steps.spawn(x=0.0)

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()

    def on_input(self, player: Player, input: FleetInput) -> None:
        player.entity.x += input.dx

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        self.runs.append(payload)
        return payload


class Account(GuestAuthenticator):
    """Accepts every token as the id of an account; players without a token are guests."""

    async def authenticate(self, token: str) -> Identity:
        return Identity(token, is_guest=False) if token else await super().authenticate(token)


class SimulatedShard:
    """One shard of a fleet. Implements `SessionContext` and its services."""

    def __init__(self, fleet: SimulatedFleet, name: str, policy: Policy) -> None:
        self.fleet = fleet
        self.name = name
        self.settings = EdgeSettings(
            messages_per_second_max=10**6,
            bytes_per_second_max=10**9,
            joins_per_minute_max=10**6,
            duplicate_sessions=policy,
        )
        self.counters = EdgeCounters()
        self.tokens = ResumeTokens({"k": b"the fleet's key"}, "k", name)
        self.registry = SessionRegistry(
            msgspec.structs.replace(self.settings, connections_max=1000),
            self.counters,
            self.tokens,
            get_context=lambda: self,  # type: ignore[arg-type, return-value]
        )
        self.join_service = self.session_locator = self
        self.authenticator = Account()
        self.token_policy = TokenPolicy()
        self.queue, self.bans = NoPlayerQueue(), NoBanList()
        self.presence = NoSessionPresence()
        self.runtime: RoomRuntime | None = None
        self.is_expecting = False  # a room is on its way to this shard
        self.tasks: set[asyncio.Task[None]] = set()

    # -- SessionContext -----------------------------------------------------------------------------------------

    def now_s(self) -> float:
        return self.fleet.clock_s

    def now_us(self) -> int:
        return self.fleet.now_us()

    def create_session_id(self) -> str:
        return create_session_id()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    # -- RoomJoiner, SessionLocator, SessionRestorer ----------------------------------------------------------------

    async def join(self, subscriber: Subscriber, join: Join, *, seals_options: bool = False) -> Seat | Redirect:
        """Seat the player if this shard owns the room, else return a redirect to the owner."""
        owner = self.fleet.owner
        if owner is None:
            self.recover()
            owner = self
        if owner is not self:
            return Redirect(owner.name, ticket="of the fleet", room_type="notebook")
        if self.runtime is None:
            raise NoSuchRoom("it is migrating")
        return self.runtime.seat(SeatRequest(subscriber, subscriber.player_id))

    async def find(self, room_id: str, session_id: str, shard_id: str) -> Redirect | None:
        """Find a session as tickwire/server/migration/session_recovery.py does."""
        if room_id and self.runtime is not None:
            self.take_handoff(session_id)
            return None
        owner = self.fleet.owner if room_id else None
        if owner is self:
            raise Unavailable("the room is just coming to this shard", retry_after_ms=1)
        if owner is not None:
            return Redirect(owner.name, is_resume=True)
        if self.take_handoff(session_id):
            return None
        address = self.fleet.addresses.get(session_id, "")
        if address == self.name and self.is_expecting:
            raise Unavailable("the session may be just coming to this shard", retry_after_ms=1)
        shard_id = address or shard_id
        if shard_id != self.name:
            return Redirect(shard_id, is_resume=True)
        if room_id and self.fleet.has_saved(session_id):
            self.recover()
        return None

    def take_handoff(self, session_id: str) -> bool:
        """Restore a session that another shard has stored; return whether there was one."""
        kept = self.fleet.handoffs.pop(session_id, None)
        session = self.registry.restore(kept) if kept is not None else None
        if session is not None:
            self.registry.settle(session)
            self.fleet.addresses[session_id] = self.name
        return kept is not None

    def restore(self, kept: SessionCheckpoint, /) -> Session | None:
        return self.registry.restore(kept)

    # -- rooms ----------------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Become the owner of the room, restored from the last save, or of a new one."""
        saved = self.fleet.saved
        simulation = self._make(recover_world(saved) if saved is not None else None)
        self.fleet.owner, self.runtime = self, simulation
        self.settle(simulation)

    def prepare(self, data: bytes) -> RoomRuntime:
        """Create a room from a handoff, before it is claimed."""
        _, state = decode_room(data)
        simulation = self._make(state)
        simulation.has_rolled_back = False
        return simulation

    def _make(self, saved: RoomCheckpoint | None) -> RoomRuntime:
        return create_runtime(Notebook, saved, name="n", sessions=self)

    def settle(self, simulation: RoomRuntime) -> None:
        for seat in list(simulation.seats):
            if isinstance(seat.subscriber, Session):
                self.registry.settle(seat.subscriber)


class SimulatedFleet:
    """Three shards with a common directory, store and clock."""

    def __init__(self, policy: Policy) -> None:
        self.clock_s = 0.0
        self.handoffs: dict[str, SessionCheckpoint] = {}
        self.addresses: dict[str, str] = {}
        self.owner: SimulatedShard | None = None
        self.saved: SavedWorld | None = None
        self.saves: deque[SavedWorld] = deque(maxlen=3)
        self.policy: Policy = policy
        self.shards = {name: SimulatedShard(self, name, policy) for name in ("a", "b", "c")}
        self._micros = 0

    def now_us(self) -> int:
        """Return a time that is later with every call."""
        self._micros += 1
        return self._micros

    @property
    def sessions(self) -> list[tuple[str, Session]]:
        """All sessions, each with the name of its shard."""
        return [(shard.name, session) for shard in self.shards.values() for session in shard.registry]

    @property
    def room(self) -> RoomRuntime | None:
        return self.owner.runtime if self.owner is not None else None

    def has_saved(self, session_id: str) -> bool:
        saved = decode_world(self.saved) if self.saved is not None else None
        return saved is not None and any(kept.session.session_id == session_id for kept in saved.seats)

    def save(self) -> None:
        if self.room is not None and not self.room.is_frozen:
            self.saves.append(encode_world("notebook", "n", "r", self.room.checkpoint()))
            self.saved = self.saves[-1]

    def tick(self) -> None:
        self.clock_s += 0.05
        if self.room is not None and not self.room.is_frozen:
            self.room.step()

    def pass_time(self, seconds: float) -> None:
        self.clock_s += seconds
        for shard in self.shards.values():
            shard.registry.expire(self.clock_s)

    def crash(self, name: str) -> None:
        """Replace a shard by an empty one."""
        before = self.shards[name]
        for task in before.tasks:
            task.cancel()
        self.shards[name] = SimulatedShard(self, name, self.policy)
        if self.owner is before:
            self.owner = None


class Move:
    """The migration of a room from one shard to another."""

    def __init__(self, fleet: SimulatedFleet, target: SimulatedShard) -> None:
        assert fleet.owner is not None
        assert fleet.owner.runtime is not None
        self.source, self.target = fleet.owner, target
        self.runtime = fleet.owner.runtime
        self.runtime.handover.freeze()
        self.runtime.handover.seal()
        self._leave_addresses(fleet, target)
        target.is_expecting = True
        self.data = encode_room(self.runtime)
        self.prepared: RoomRuntime | None = None

    def step(self, fleet: SimulatedFleet, *, is_taken: bool) -> bool:
        """Create the room on the target, or finish the migration. Return whether it is finished."""
        shards = fleet.shards.values()
        if self.source not in shards or self.target not in shards:  # the source or the target has crashed
            if self.source in shards:
                self._keep(fleet)
            return True
        if self.prepared is None:
            self.prepared = self.target.prepare(self.data)
            return False
        if not is_taken:
            self.prepared.close("the room did not come", has_moved=True)
            self._keep(fleet)
            return True
        fleet.owner, self.target.runtime = self.target, self.prepared
        self.target.settle(self.prepared)
        for session_id in self.runtime.handover.leavers:
            copy = self.target.registry.get(session_id)
            if copy is not None and copy.connection is None:
                copy.end("the player left while the room was migrating", counted_as="left_during_migration")
        self._leave_addresses(fleet, self.target)
        self.target.is_expecting = False
        self.source.runtime = None
        self.runtime.release(Redirect(self.target.name, is_resume=True))
        return True

    def _keep(self, fleet: SimulatedFleet) -> None:
        self.runtime.unfreeze()
        self.target.is_expecting = False
        self._leave_addresses(fleet, self.source)

    def _leave_addresses(self, fleet: SimulatedFleet, shard: SimulatedShard) -> None:
        away = [seat.subscriber.session_id for seat in self.runtime.seats if seat.connection is None]
        fleet.addresses |= dict.fromkeys(away, shard.name)


class FleetRun:
    """All connections of one player."""

    def __init__(self, seed: int, policy: Policy) -> None:
        self.rng = random.Random(seed)
        self.fleet = SimulatedFleet(policy)
        self.token = "ada" if self.rng.random() < 0.7 else ""
        self.core = ClientCore()
        self.url, owner = self.rng.choices(sorted(self.fleet.shards), k=2)
        self.fleet.shards[owner].recover()
        self.connection: FakeConnection | None = None
        self.ticket = False
        self.is_asking = False
        self.move: Move | None = None
        self.commands = 0
        self.events: dict[int, tuple[str, int]] = {}  # number: the session that it was sent to, crashes before it
        self.events_received: list[int] = []
        self.is_resuming = self.is_welcome = self.believed_room = False
        self.hello_session = ""
        self.version = 0  # the schema version of the newest connection; each may have another
        self.abandoned: set[str] = set()  # sessions that the server cannot know to be left for good
        self.shards_lost = self.lost_before = 0
        self.crashes = self.moves = self.redirects = self.resumes = self.logins = 0

    # -- the client -----------------------------------------------------------------------------------------------

    @property
    def session_id(self) -> str:
        return self.core.resume_token.partition(".")[0]

    def connect(self) -> None:
        """Connect to the shard of the session, or to any other one."""
        if self.connection is not None:
            return
        name = self.url if self.rng.random() < 0.7 else self.rng.choice(sorted(self.fleet.shards))
        shard = self.fleet.shards[name]
        self.url, self.is_asking = name, False
        self.connection = FakeConnection(shard, authenticator=shard.authenticator)
        self.is_resuming, self.is_welcome = bool(self.core.resume_token), False
        self.believed_room, self.hello_session = self.core.joined is not None, self.session_id
        self.version = self.rng.choice(VERSIONS)
        self.connection.to_server.append(with_version(self.core.hello(token=self.token), self.version))

    def drop(self, *, client_close_code: int | None = None) -> None:
        """End the connection: the network breaks it, or the client closes it."""
        if self.connection is None:
            return
        connection, self.connection = self.connection, None
        self._abandon_unknown(connection)
        if client_close_code is None:  # some messages in flight arrive, in both directions
            for _ in range(self.rng.randint(0, len(connection.to_client))):
                self.receive(connection.to_client.popleft(), None)
            for _ in range(self.rng.randint(0, len(connection.to_server))):
                connection.server_receives()
        else:
            while connection.to_server:
                connection.server_receives()
            connection.client_close_code = client_close_code
        connection.is_cut = True
        connection.server_closes()

    def _abandon_unknown(self, connection: FakeConnection) -> None:
        """Record a new session whose Welcome is lost with its connection."""
        if isinstance(connection.receiver, SessionReceiver) and not self.core.resume_token:
            self.abandoned.add(connection.receiver.session.session_id)

    def client_receives(self) -> None:
        connection = self.connection
        while connection is not None and connection is self.connection and connection.to_client:
            self.receive(connection.to_client.popleft(), connection)
        if connection is not None and connection is self.connection and not connection.is_open:
            assert connection.closed_with != SessionCloseCode.REPLACED, (
                "an older connection must not take over the session"
            )
            self.drop()

    def server_receives(self) -> None:
        if self.connection is not None and self.connection.to_server:
            for _ in range(self.rng.randint(1, len(self.connection.to_server))):
                self.connection.server_receives()

    def receive(self, data: bytes, connection: FakeConnection | None) -> None:
        assert_has_form(data, self.version)
        match self.core.receive(data, now_us=int(self.fleet.clock_s * 1e6)):
            case EventReceived(event, missed):
                assert missed == 0, "no event is lost without a word"
                number = msgspec.msgpack.decode(event.payload)
                assert number not in self.events_received, "no event comes twice"
                self.events_received.append(number)
            case ReplyReceived(reply):
                if reply.ok:
                    assert msgspec.msgpack.decode(reply.payload) <= self.commands
                else:
                    assert reply.error in (ErrorCode.UNAVAILABLE, ErrorCode.OUT_OF_ORDER)
            case EventsLost():
                raise AssertionError("events were lost")
            case Welcomed(_, has_resumed, _):
                self.resumes += has_resumed
                self.is_asking, self.is_welcome = False, True
                if not has_resumed and self.is_resuming and not self._has_left_unknown():
                    assert self.shards_lost > self.lost_before, "no session is lost while every shard lives"
                self.lost_before = self.shards_lost
                self.request_seat(connection)
            case ErrorReceived():
                self.is_asking = False
            case SeatLost():
                self.is_asking = False
            case Redirected(redirect) if redirect.is_resume:
                self.url = redirect.url
            case Redirected(redirect):
                self.follow(redirect)
            case _:
                pass
        while self.core.outgoing:
            message = self.core.outgoing.popleft()
            if connection is not None:
                connection.to_server.append(message)
        self.send_commands(connection)

    def _has_left_unknown(self) -> bool:
        """Return whether the client assumes a room that its session has left, on another shard than the room's."""
        idle = {each.session_id for _, each in self.fleet.sessions if not each.room_id}
        if self.believed_room and self.hello_session in idle:
            self.abandoned.add(self.hello_session)
            return True
        return False

    def follow(self, redirect: Redirect) -> None:
        """Follow a redirect to a seat; close with 1000, as the bundled clients do, or in other ways."""
        self.redirects += 1
        is_match = redirect.ticket == "of the match"
        code = self.rng.choice([1000, 1001, None])
        if self.connection is None or code is None or (code == 1001 and is_match):
            self.abandoned.add(self.session_id)
        self.drop(client_close_code=code)
        self.core.discard_session()
        self.url, self.ticket = redirect.url, True

    def request_seat(self, connection: FakeConnection | None) -> None:
        if connection is not None and self.core.joined is None and not self.is_asking:
            self.is_asking = True
            ticket = "of the fleet" if self.ticket else ""
            connection.to_server.append(self.core.join("notebook", JoinOptions(ticket=ticket)))
            self.ticket = False

    def command(self) -> None:
        if self.core.joined is not None:
            self.commands += 1
            self.core.command("do", self.commands)
            self.send_commands(self.connection)

    def send_commands(self, connection: FakeConnection | None) -> None:
        """Send all due commands, some of them twice."""
        if connection is not None and self.core.resume_token and self.core.joined is not None:
            for data in self.core.commands_due(int(self.fleet.clock_s * 1e6)):
                connection.to_server.extend([data] * self.rng.choice([1, 1, 2]))

    def send_input(self) -> None:
        if self.core.joined is not None and self.connection is not None:
            self.connection.to_server.append(self.core.input({"dx": self.rng.choice([-1.0, 0.5, 1.0])}))

    def end_session(self) -> None:
        """End the session; the client starts a new one later."""
        if self.core.resume_token and self.connection is not None:
            if self.rng.random() < 0.5:
                self.connection.to_server.append(self.core.end_session())
            if not (self.is_welcome and self.connection.is_open):  # the session may be on another shard
                self.abandoned.add(self.session_id)
            self.drop(client_close_code=1000)
            self.core.discard_session()

    def log_in(self) -> None:
        """Log in as a guest during the session. The client does not wait, and has the token from now on."""
        if not self.token and self.is_welcome and self.connection is not None:
            self.token = "ada"
            self.logins += 1
            self.connection.to_server.append(encode_client(Authenticate(self.token)))

    def leave(self) -> None:
        """Leave the room; the client joins again later."""
        if self.core.joined is not None and self.connection is not None:
            self.connection.to_server.append(self.core.leave())

    def join_again(self) -> None:
        if self.is_welcome:
            self.request_seat(self.connection)

    def ping(self) -> None:
        if self.connection is not None:
            self.connection.to_server.append(self.core.ping(1))

    # -- the fleet --------------------------------------------------------------------------------------------------

    def event(self) -> None:
        """Send the player an event from the room."""
        room = self.fleet.room
        if room is not None and not room.is_frozen and room.seats:
            number = len(self.events)
            self.events[number] = room.seats[0].subscriber.session_id, self.crashes
            room.seats[0].player.send("note", number)

    def match_redirect(self) -> None:
        """Redirect the player to the room, as after a match."""
        owner = self.fleet.owner
        for name, session in self.fleet.sessions:
            if owner is not None and name != owner.name and session.connection is not None and not session.room_id:
                session.send_message(Redirect(owner.name, ticket="of the match", room_type="notebook"))

    def start_migration(self) -> None:
        owner = self.fleet.owner
        if self.move is None and owner is not None and owner.runtime is not None:
            others = [shard for shard in self.fleet.shards.values() if shard is not owner]
            self.move = Move(self.fleet, self.rng.choice(others))

    def step_migration(self, *, is_taken: bool | None = None) -> None:
        if self.move is not None:
            taken = self.rng.random() < 0.8 if is_taken is None else is_taken
            if self.move.step(self.fleet, is_taken=taken):
                self.moves += 1
                self.move = None

    def transfer(self) -> None:
        """Drain the sessions of a shard that are not in a room."""
        shard = self.rng.choice(list(self.fleet.shards.values()))
        for session in shard.registry:
            if session.state is SessionState.IDLE and not session.has_pending_commands:
                self.fleet.handoffs[session.session_id] = session.to_checkpoint()
                others = [name for name in self.fleet.shards if name != shard.name]
                session.redirect(Redirect(self.rng.choice(others), is_resume=True))

    def crash(self) -> None:
        """Crash a shard; all changes since the last save are lost."""
        name = self.rng.choice(sorted(self.fleet.shards))
        if self.fleet.owner is not None and self.rng.random() < 0.5:
            name = self.fleet.owner.name
        if self.fleet.owner is self.fleet.shards[name]:
            if self.move is not None:
                return  # Redis decides such cases: tests/contract/test_handoffs.py
            self.crashes += 1
            self.fleet.saved = self.rng.choice(self.fleet.saves) if self.fleet.saves else None
        self.fleet.crash(name)
        self.shards_lost += 1
        if self.connection is not None and self.url == name:
            self.connection.is_cut, self.connection.receiver = True, None
            self.connection = None

    def recover_by_another(self) -> None:
        """Recover the room of a crashed shard, as the join of another player does."""
        if self.fleet.owner is None:
            self.rng.choice(list(self.fleet.shards.values())).recover()

    async def settle(self) -> None:
        """Run all tasks of the shards to their end."""
        while any(shard.tasks for shard in self.fleet.shards.values()):
            await asyncio.sleep(0)

    # -- the end ----------------------------------------------------------------------------------------------------

    async def deliver_all(self) -> None:
        """Deliver all messages until the client has a seat and nothing migrates."""
        while self.move is not None:
            self.step_migration(is_taken=True)
        for _ in range(60):
            self.connect()
            for _ in range(20):
                self.server_receives()
                await self.settle()
                self.client_receives()
                self.fleet.tick()
            self.join_again()
            if self.connection is not None and self.core.joined is not None and not self.core.commands_unanswered:
                return
            self.fleet.pass_time(1)  # another session of the player may hold the seat or block this one
        raise AssertionError("the client did not get a seat")

    async def check(self) -> None:
        """Assert that no session, seat, command or event is lost or duplicated."""
        await self.deliver_all()
        if not self.shards_lost:
            others = {each.session_id for _, each in self.fleet.sessions} - {self.session_id}
            assert others <= self.abandoned, "every other session has ended at once"
        for _ in range(4):  # abandoned sessions expire; the client stays connected
            self.ping()
            self.server_receives()
            self.fleet.pass_time(10)
        await self.deliver_all()
        room = self.fleet.room
        assert room is not None
        notebook = room.room
        assert isinstance(notebook, Notebook)
        owner = self.fleet.owner
        assert owner is not None
        assert [(name, each.session_id) for name, each in self.fleet.sessions] == [(owner.name, self.session_id)]
        assert [seat.subscriber.session_id for seat in room.seats] == [self.session_id], "one seat"
        assert len(notebook.steps) == len(notebook.players) == 1, "no entity of a former player remains"
        assert sum(shard.runtime is not None for shard in self.fleet.shards.values()) == 1
        assert len(notebook.runs) == len(set(notebook.runs)), "no command runs twice"
        self._check_events()
        await self._check_input(room)
        await self._check_login()
        core = self.core
        assert (core.events_missed, core.mismatches, core.resyncs) == (0, 0, 0)

    def _check_events(self) -> None:
        assert self.events_received == sorted(self.events_received)
        expected = {
            number
            for number, (session_id, crashes) in self.events.items()
            if session_id == self.session_id and crashes == self.crashes
        }
        assert expected <= set(self.events_received), "no event of this session is lost"

    async def _check_login(self) -> None:
        """Assert that the session is the player's, or becomes it if its room has moved during the login."""
        if self.token and self.connection is not None:
            self.connection.to_server.append(encode_client(Authenticate(self.token)))
            self.server_receives()
            await self.settle()
            ((_, session),) = self.fleet.sessions
            assert (session.player_id, session.is_guest) == (self.token, False)

    async def _check_input(self, room: RoomRuntime) -> None:
        assert self.connection is not None
        (seat,) = room.seats
        before = float(seat.player.entity.x)
        self.connection.to_server.append(self.core.input({"dx": 1.0}))
        while self.connection.to_server:
            self.connection.server_receives()
        for _ in range(2):
            self.fleet.tick()
        self.client_receives()
        assert self.core.acknowledged_seq == self.core.input_seq, "acknowledged within two ticks"
        assert float(seat.player.entity.x) == before + 1.0


ALWAYS = {
    FleetRun.client_receives: 8,
    FleetRun.server_receives: 8,
    FleetRun.connect: 5,
    FleetRun.step_migration: 4,
    FleetRun.event: 3,
    FleetRun.command: 2,
    FleetRun.send_input: 3,
    FleetRun.join_again: 2,
    FleetRun.ping: 1,
}
SOMETIMES = [
    FleetRun.start_migration,
    FleetRun.drop,
    FleetRun.leave,
    FleetRun.end_session,
    FleetRun.log_in,
    FleetRun.transfer,
    FleetRun.match_redirect,
    FleetRun.crash,
    FleetRun.recover_by_another,
]


async def simulate(seed: int, policy: Policy) -> FleetRun:
    """Run one random run and check it. The weights of the actions are random, too."""
    run = FleetRun(seed, policy)
    weights = ALWAYS | {action: run.rng.choice([0, 1, 2, 5]) for action in SOMETIMES}
    weights[FleetRun.crash] = run.rng.choice([0, 0, 1, 2])
    if run.rng.random() < 0.7:
        await run.deliver_all()  # start in the room
    for action in run.rng.choices(list(weights), list(weights.values()), k=STEPS):
        action(run)
        if run.rng.random() < 0.5:
            run.fleet.tick()
        if run.rng.random() < 0.3:
            run.fleet.save()
        if run.rng.random() < 0.5:
            await run.settle()
    await run.check()
    return run
