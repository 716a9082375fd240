"""Random runs of a session: drops, resumes, repeats, delays, half-open connections, slow clients, two versions.

Client core, handshake, session, outbox, replies and room are real. The network between them is a pair of queues; a
seeded schedule delivers, delays, drops and repeats messages. At the end of every run the network works again. Then no
event is lost, duplicated or out of order, every command ran once and has its own reply, and the client's world equals
the server's.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Coroutine
from typing import Any

import msgspec

from tests.harness.null_services import NoBanList, NoPlayerQueue, NoSessionLocator
from tests.harness.runtimes import create_runtime
from tests.harness.sample_rooms import Diary
from tests.harness.schema_versions import VERSIONS, assert_has_form, with_version
from tickwire import Player, Room
from tickwire.client.core import ClientCore
from tickwire.client.updates import EventReceived, EventsLost, ReplyReceived, Welcomed
from tickwire.schemas.framing import frame_payloads
from tickwire.schemas.messages import Join, Redirect
from tickwire.server.edge.auth.authenticator import Authenticator, GuestAuthenticator
from tickwire.server.edge.close_codes import SessionCloseCode
from tickwire.server.edge.connection import Connection
from tickwire.server.edge.context import create_session_id
from tickwire.server.edge.counters import EdgeCounters
from tickwire.server.edge.handshake import SessionHandshake
from tickwire.server.edge.resume_tokens import ResumeTokens
from tickwire.server.edge.services import NoSessionPresence
from tickwire.server.edge.session_registry import SessionRegistry
from tickwire.server.edge.session_token import TokenPolicy
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest
from tickwire.server.rooms.subscriber import Subscriber

STEPS = 40


class FakeSessionContext:
    """The context of sessions, without a shard."""

    def __init__(self, settings: EdgeSettings) -> None:
        self.settings = settings
        self.counters = EdgeCounters()
        self.tokens = ResumeTokens({"k": b"a key"}, "k")
        self.registry = SessionRegistry(
            msgspec.structs.replace(settings, connections_max=100),
            self.counters,
            self.tokens,
            get_context=lambda: self,  # type: ignore[arg-type, return-value]
        )
        self.authenticator: Authenticator = GuestAuthenticator()
        self.token_policy = TokenPolicy()
        self.join_service = self
        self.queue, self.session_locator, self.bans = NoPlayerQueue(), NoSessionLocator(), NoBanList()
        self.presence = NoSessionPresence()
        self.runtime: RoomRuntime = create_runtime(Diary)
        self.clock_s = 0.0
        self.tasks: set[asyncio.Task[None]] = set()

    async def join(self, subscriber: Subscriber, join: Join, *, seals_options: bool = False) -> Seat | Redirect:
        return self.runtime.seat(SeatRequest(subscriber, subscriber.player_id))

    def now_s(self) -> float:
        return self.clock_s

    def now_us(self) -> int:
        return 1

    def create_session_id(self) -> str:
        return create_session_id()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


class FakeConnection:
    """One connection: a queue in each direction, which can be cut. The server uses it as a `Connection`."""

    def __init__(self, context: Any, *, authenticator: Authenticator | None = None) -> None:
        self.to_client: deque[bytes] = deque()
        self.to_server: deque[bytes] = deque()
        self.is_open = True
        self.is_cut = False
        self.is_congested = self.has_session = self.is_throttled = False
        self.descriptor = -1
        self.client_close_code: int | None = None
        self.failure = ""
        self.address = "here"
        self.accepted_s = self.last_received_s = context.now_s()
        self.closed_with: int | None = None
        self.receiver: Any = SessionHandshake(
            self._as_connection(),
            token="",
            authenticator=authenticator or context.authenticator,
            sessions=context.registry,
            context=context,
        )

    def _as_connection(self) -> Connection:
        return self  # type: ignore[return-value]

    def write(self, frames: bytes) -> None:
        if not self.is_open or self.is_cut:
            return
        self.to_client.extend(frame_payloads(frames))

    def send(self, frames: bytes) -> bool:
        self.write(frames)
        return True

    def charge(self, tokens: int) -> None: ...

    def is_flooding(self, now_s: float) -> bool:
        return False

    def close(self, code: int, reason: str) -> None:
        self.is_open = False
        self.closed_with = int(code)

    def server_receives(self) -> None:
        data = self.to_server.popleft()
        if self.is_open and self.receiver is not None:
            self.receiver.message_received(data)

    def server_closes(self) -> None:
        self.is_open = False
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            receiver.connection_ended(self._as_connection())


class SessionRun:
    """All connections of one session."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.context = FakeSessionContext(EdgeSettings())
        self.core = ClientCore()
        self.connection: FakeConnection | None = None
        self.dead: list[FakeConnection] = []  # cut, but the server has not noticed
        self.commands = 0
        self.events_sent: list[int] = []
        self.events_received: list[int] = []
        self.replies: dict[int, Any] = {}
        self.drops = self.resumes = 0
        self.is_welcome = False
        self.version = 0  # of the newest connection; each may have another

    @property
    def room(self) -> Room:
        return self.context.runtime.room

    @property
    def player(self) -> Player | None:
        return next(iter(self.room.players.values()), None)

    async def settle(self) -> None:
        """Run all tasks of the server to their end."""
        while self.context.tasks:
            await asyncio.sleep(0)

    def not_replaced(self) -> None:
        """Assert that no older connection has replaced the newest one."""
        assert self.connection is None or self.connection.closed_with != SessionCloseCode.REPLACED

    # -- what may happen ------------------------------------------------------------------------------------

    def connect(self) -> None:
        if self.connection is None:
            self.connection = FakeConnection(self.context)
            self.version = self.rng.choice(VERSIONS)
            self.connection.to_server.append(with_version(self.core.hello(), self.version))
            self.is_welcome = False

    def drop(self) -> None:
        """Cut the connection. The server notices it at once, later, or when the connection is replaced."""
        if self.connection is None:
            return
        connection, self.connection = self.connection, None
        connection.is_cut = True
        self.drops += 1
        for _ in range(self.rng.randint(0, len(connection.to_client))):
            if connection.to_client:
                self.receive(connection.to_client.popleft(), None)
        if self.rng.random() < 0.5:
            for _ in range(self.rng.randint(0, len(connection.to_server))):
                connection.server_receives()
            connection.server_closes()
        else:
            self.dead.append(connection)

    def deliver_late(self) -> None:
        """Deliver a late message of a dead connection; it may be a Hello."""
        if self.dead:
            connection = self.rng.choice(self.dead)
            if connection.to_server:
                connection.server_receives()

    def close_dead(self) -> None:
        """Deliver the last messages of a dead connection, and close it on the server."""
        if self.dead:
            connection = self.dead.pop(self.rng.randrange(len(self.dead)))
            while connection.to_server and self.rng.random() < 0.8:
                connection.server_receives()
            connection.server_closes()
            self.not_replaced()

    def client_receives(self) -> None:
        if self.connection is not None and self.connection.to_client:
            for _ in range(self.rng.randint(1, len(self.connection.to_client))):
                self.receive(self.connection.to_client.popleft(), self.connection)

    def server_receives(self) -> None:
        self.not_replaced()
        if self.connection is not None and self.connection.to_server:
            for _ in range(self.rng.randint(1, len(self.connection.to_server))):
                self.connection.server_receives()

    def receive(self, data: bytes, connection: FakeConnection | None) -> None:
        assert_has_form(data, self.version)
        match self.core.receive(data, now_us=self.now_us):
            case EventReceived(event, missed):
                assert missed == 0
                if event.name == "note":
                    self.events_received.append(msgspec.msgpack.decode(event.payload))
            case ReplyReceived(reply):
                value = msgspec.msgpack.decode(reply.payload) if reply.ok else reply.message
                assert self.replies.setdefault(reply.id, value) == value
            case EventsLost():
                raise AssertionError("events were lost")
            case Welcomed(welcome, has_resumed):
                self.is_welcome = True
                self.resumes += has_resumed
                if connection is not None and not welcome.room_id and not welcome.is_joining:
                    connection.to_server.append(self.core.join("diary"))
        while self.core.outgoing:
            message = self.core.outgoing.popleft()
            if connection is not None:
                connection.to_server.append(message)
        if connection is not None and self.is_welcome:
            self.send_commands(connection)

    @property
    def now_us(self) -> int:
        return int(self.context.clock_s * 1e6) + 1

    def send_commands(self, connection: FakeConnection) -> None:
        """Send all due commands, some of them twice."""
        for data in self.core.commands_due(self.now_us):
            connection.to_server.extend([data] * self.rng.choice([1, 1, 2]))

    def command(self) -> None:
        if self.core.joined is not None:
            self.commands += 1
            self.core.command("do", self.commands)
            if self.connection is not None and self.is_welcome:
                self.send_commands(self.connection)

    def send_input(self) -> None:
        if self.core.joined is not None and self.connection is not None:
            self.connection.to_server.append(self.core.input({"dx": self.rng.uniform(-1, 1)}))

    def ping(self) -> None:
        if self.connection is not None:
            self.connection.to_server.append(self.core.ping(1))

    def event(self) -> None:
        if self.player is not None:
            self.events_sent.append(len(self.events_sent))
            self.player.send("note", self.events_sent[-1])

    def grow(self) -> None:
        self.room.flowers.spawn(x=self.rng.uniform(-9, 9), colour=1)  # type: ignore[attr-defined]

    def congest(self) -> None:
        if self.connection is not None:
            self.connection.is_congested = not self.connection.is_congested

    def tick(self) -> None:
        self.context.clock_s += 0.05
        self.context.runtime.step()

    # -- the end --------------------------------------------------------------------------------------------

    async def deliver_all(self) -> None:
        for _ in range(50):
            self.connect()
            assert self.connection is not None
            self.connection.is_congested = False
            self.not_replaced()
            if not self.connection.is_open:
                self.drop()
                continue
            while self.connection.to_server or self.connection.to_client or self.context.tasks:
                while self.connection.to_server:
                    self.connection.server_receives()
                await self.settle()
                while self.connection.to_client:
                    self.receive(self.connection.to_client.popleft(), self.connection)
            self.tick()
        await self.acknowledged_within_two_ticks()

    async def acknowledged_within_two_ticks(self) -> None:
        """Assert that the room takes an input, and that its acknowledgement names this input."""
        assert self.connection is not None
        self.send_input()
        while self.connection.to_server:
            self.connection.server_receives()
        for _ in range(2):
            self.tick()
            while self.connection.to_client:
                self.receive(self.connection.to_client.popleft(), self.connection)
        assert self.core.acknowledged_seq == self.core.input_seq

    def check(self) -> None:
        assert self.events_received == self.events_sent
        runs = self.room.runs  # type: ignore[attr-defined]
        assert sorted(runs) == list(range(1, self.commands + 1)), "every command runs exactly once"
        assert {id: value[0] for id, value in self.replies.items()} == {n: n for n in range(1, self.commands + 1)}
        assert self.core.events_missed == self.core.mismatches == self.core.resyncs == 0
        assert self.core.world is not None
        walkers = self.context.runtime.replicator._partitions[0].by_channel[0]
        view = self.core.world.table("walkers")
        assert list(view.ids) == list(walkers.ids)
        assert list(view.quantised("x")) == list(walkers.values[0])
        assert len(self.core.world.table("flowers")) == len(self.room.flowers)  # type: ignore[attr-defined]
        noted = self.room.noted  # type: ignore[attr-defined]
        assert noted[0] == "join"
        assert noted.count("join") == 1, "on_join is called once"
        assert noted[1:] == ["disconnect", "resume"] * (len(noted) // 2)


ACTIONS = (
    [SessionRun.tick] * 6
    + [SessionRun.client_receives] * 6
    + [SessionRun.server_receives] * 6
    + [SessionRun.connect] * 3
    + [SessionRun.event] * 2
    + [SessionRun.command] * 2
    + [SessionRun.send_input] * 2
    + [
        SessionRun.drop,
        SessionRun.drop,
        SessionRun.close_dead,
        SessionRun.deliver_late,
        SessionRun.ping,
        SessionRun.grow,
        SessionRun.congest,
    ]
)


async def simulate(seed: int) -> SessionRun:
    run = SessionRun(seed)
    run.connect()
    for _ in range(STEPS):
        run.rng.choice(ACTIONS)(run)
        if run.context.tasks and run.rng.random() < 0.7:
            await run.settle()
    await run.deliver_all()
    while run.dead:
        run.close_dead()
    run.grow()
    await run.deliver_all()
    run.check()
    return run
