"""The session machine under any events: it never stalls, sends only on open connections, and ends each call once."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.scenarios.connection import UNAVAILABLE, joined, welcome
from tests.scenarios.rooms import CANCELLED, FOUND, TICKET, WAITING
from tickwire.client.connection_machine import MachineOptions, Phase
from tickwire.client.errors import ClientError, ConnectFailed
from tickwire.client.machine_commands import (
    CloseSocket,
    Connect,
    Emit,
    MachineCommand,
    Reject,
    RequestToken,
    Resolve,
    Send,
    SetTimer,
    StoreSession,
)
from tickwire.client.options import ANY_MATCH, ANY_ROOM
from tickwire.client.session_machine import SessionMachine
from tickwire.schemas.codec import decode_client, encode_server
from tickwire.schemas.messages import (
    Authenticate,
    Authenticated,
    Error,
    ErrorCode,
    Event,
    Goodbye,
    Hello,
    Join,
    Leave,
    Left,
    ListRooms,
    MatchRequest,
    Redirect,
    Reply,
    RoomList,
    TokenExpiring,
    to_request_type,
)

REQUESTS = (Join, Leave, MatchRequest, ListRooms, Authenticate)
TOKENS = ("", "a", "b", "x" * 5000)


class MachineWorld:
    """A machine, and the network and the application around it, which do anything that is possible.

    Args:
        rng: decides.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        options = MachineOptions(url="ws://home/", reconnect_ms=rng.choice([0, 3000, 60_000]), has_storage=True)
        self.machine = SessionMachine(options, rng.random)
        self.now_ms = 0
        self.timer_ms: float | None = None
        self.has_token_request = self.is_opening = self.is_connected = False
        self.waiting: set[int] = set()
        self.stored = ""
        self.generation = 0

    def step(self) -> None:
        """Let one event happen."""
        self.now_ms += self.rng.choice([0, 1, 50, 1000])
        self._do(self.rng.choice(self._possible()))

    def end_network(self) -> None:
        """Discard all messages until the machine gives up."""
        for _ in range(300):
            if self.machine.connection.phase is Phase.CLOSED:
                return
            if self.has_token_request:
                self.has_token_request = False
                self._do(lambda: self.machine.token_received("", self.now_ms))
            elif self.is_opening:
                self._do(self._connect_failed)
            else:
                self._do(self._timer)
        raise AssertionError("the machine tries to reconnect without end")

    def _do(self, happened: Callable[[], Any]) -> None:
        result = happened()
        commands = self.machine.take_commands()
        if isinstance(result, int) and not isinstance(result, bool):
            self.waiting.add(result)
        for command in commands:
            self._carry_out(command)
        is_closed = self.machine.connection.phase is Phase.CLOSED
        assert is_closed or self.timer_ms is not None, "a machine without a timer would wait forever"
        assert not (is_closed and self.waiting), "all calls end with the session"

    def _carry_out(self, command: MachineCommand) -> None:
        match command:
            case RequestToken():
                self.has_token_request = True
            case Connect():
                assert not self.is_connected, "the connection before is closed or lost"
                self.has_token_request, self.is_opening = False, True
            case Send(data):
                assert self.is_connected
                if isinstance(decode_client(data), Hello):
                    self.generation += self.rng.random() < 0.9
            case CloseSocket():
                assert self.is_opening or self.is_connected
                self.is_opening = self.is_connected = False
            case SetTimer(at_ms):
                self.timer_ms = at_ms
            case Resolve(call) | Reject(call):
                assert call in self.waiting, "a call ends once"
                self.waiting.discard(call)
            case StoreSession(text):
                self.stored = text
            case Emit(event):
                assert event != "closed" or self.machine.connection.phase is Phase.CLOSED

    def _possible(self) -> list[Callable[[], Any]]:
        machine, now_ms = self.machine, self.now_ms
        if machine.connection.phase is Phase.CLOSED:
            stored = self.rng.choice(["", self.stored, "{"])
            return [lambda: machine.open(stored, now_ms)]
        possible: list[Callable[[], Any]] = [
            lambda: machine.join("arena", ANY_ROOM, now_ms),
            lambda: machine.leave(now_ms),
            lambda: machine.match("duel", ANY_MATCH, 2000, now_ms),
            lambda: machine.list_rooms("arena", None, 10, now_ms),
            lambda: machine.command("buy", None, 5000, now_ms),
            lambda: machine.authenticate(self.rng.choice(TOKENS), now_ms),
            lambda: machine.cancel_match(now_ms),
            lambda: machine.network_changed(now_ms),
            lambda: machine.drop(now_ms),
            self._input,
        ]
        if self.rng.random() < 0.05:
            possible.append(lambda: machine.close(now_ms))
        if self.waiting:
            call = self.rng.choice(sorted(self.waiting))
            possible.append(lambda: self._abandon(call))
        if self.timer_ms is not None:
            possible += [self._timer] * 4
        if self.has_token_request:
            possible += [lambda: machine.token_received(self.rng.choice(TOKENS[:3]), now_ms)] * 8
            possible.append(lambda: machine.token_failed("no token", now_ms))
        if self.is_opening:
            possible += [self._connected] * 8 + [self._connect_failed]
        if self.is_connected:
            possible += [self._message] * 30 + [self._lost]
        return possible

    def _input(self) -> None:
        try:
            self.machine.send_input({"dx": 1.0})
        except ClientError:
            assert self.machine.core.world is None

    def _abandon(self, call: int) -> None:
        self.waiting.discard(call)
        self.machine.abandon(call, self.now_ms)

    def _timer(self) -> None:
        assert self.timer_ms is not None
        self.now_ms = max(self.now_ms, int(self.timer_ms) + self.rng.choice([0, 0, 0, 5000]))
        self.timer_ms = None
        self.machine.timer_fired(self.now_ms)

    def _connected(self) -> None:
        self.is_opening, self.is_connected = False, True
        self.machine.connected(self.now_ms)

    def _connect_failed(self) -> None:
        self.is_opening = False
        self.machine.connect_failed(ConnectFailed("refused"), self.now_ms)

    def _lost(self) -> None:
        self.is_connected = False
        self.machine.connection_lost(self.rng.choice([None, 1001, 1006, 4000, 4003, 4004]), "", self.now_ms)

    def _message(self) -> None:
        request = to_request_type(self.rng.choice(REQUESTS))
        in_hello = self.machine.connection.phase is Phase.HELLO
        room_id = self.rng.choice(["", "r1", "r2"])
        messages = (
            [welcome(self.generation or 1, room_id, is_joining=self.rng.random() < 0.2)] * 6
            + [UNAVAILABLE, Error(ErrorCode.UNAUTHORIZED), Redirect("ws://shard/", is_resume=True)]
            if in_hello
            else [
                joined(self.rng.choice(["r1", "r2"])),
                Left("left"),
                TICKET,
                Redirect("", "ticket", "arena"),
                Redirect("ws://shard/", is_resume=True),
                WAITING,
                FOUND,
                CANCELLED,
                Error(ErrorCode.ROOM_FULL, retryable=True, request_type=request),
                Error(ErrorCode.UNAUTHORIZED, request_type=request),
                Error(ErrorCode.RESYNC),
                Authenticated("ann", 600_000),
                TokenExpiring(self.rng.choice([0, 9_000, 25_000])),
                Reply(self.machine.core.command_id, ok=self.rng.random() < 0.5),
                Reply(self.machine.core.command_id, error=ErrorCode.RATE_LIMITED, retry_after_ms=100),
                RoomList(self.rng.randrange(3)),
                Event(self.machine.core.event_number + 1, "hit"),
                Goodbye(come_back=True),
            ]
        )
        self.machine.message_received(encode_server(self.rng.choice(messages)), self.now_ms)


@given(st.integers(0, 2**32))
def test_machine_never_stalls_and_ends_each_call_once(seed: int) -> None:
    world = MachineWorld(random.Random(seed))
    for _ in range(150):
        world.step()
    world.end_network()
