"""The command window against a server that limits, drops, forgets and cannot say: every command is answered once."""

from __future__ import annotations

import random
from collections import OrderedDict, deque

from hypothesis import given
from hypothesis import strategies as st

from tickwire.client.command_window import IDS_MAX, CommandWindow
from tickwire.schemas.codec import decode_client, encode_client
from tickwire.schemas.messages import Command, ErrorCode, Reply, Welcome

STEP_S = 0.01
REPLIES_KEPT = 64
IN_FLIGHT_MAX = 16
RATE = 120


class CommandServer:
    """As a session of a shard treats commands: its limits, its reply cache, and faults."""

    def __init__(self, rng: random.Random, *, faults: float) -> None:
        self.runs: dict[int, int] = {}
        self.too_old = self.dropped = 0
        self._rng = rng
        self._faults = faults
        self._level, self._at_s = float(RATE), 0.0
        self._replies: OrderedDict[int, Reply] = OrderedDict()
        self._forgotten = 0
        self._in_flight: dict[int, float] = {}

    def receive(self, data: bytes, now_s: float) -> Reply | None:
        message = decode_client(data)
        assert isinstance(message, Command)
        self._level = min(RATE, self._level + (now_s - self._at_s) * RATE)
        self._at_s = now_s
        if self._level < 1:
            self.dropped += 1
            return Reply(message.id, error=ErrorCode.RATE_LIMITED, retry_after_ms=1000)
        self._level -= 1
        if message.id in self._replies:
            return self._replies[message.id]
        if message.id <= self._forgotten:
            self.too_old += 1
            return Reply(message.id, error=ErrorCode.COMMAND_TOO_OLD)
        if message.id in self._in_flight:
            return None
        if len(self._in_flight) >= IN_FLIGHT_MAX:
            return Reply(message.id, error=ErrorCode.RATE_LIMITED, retry_after_ms=200)
        if self._rng.random() < self._faults:
            return Reply(message.id, error=ErrorCode.UNAVAILABLE, retry_after_ms=300)
        self._in_flight[message.id] = now_s + self._rng.uniform(0, 0.1)
        return None

    def finished(self, now_s: float) -> list[Reply]:
        replies = []
        for command_id, done_s in list(self._in_flight.items()):
            if done_s <= now_s:
                del self._in_flight[command_id]
                self.runs[command_id] = self.runs.get(command_id, 0) + 1
                self._replies[command_id] = Reply(command_id, ok=True)
                replies.append(self._replies[command_id])
        while len(self._replies) > REPLIES_KEPT:
            forgotten, _ = self._replies.popitem(last=False)
            self._forgotten = max(self._forgotten, forgotten)
        return replies


@given(st.integers(0, 2**32), st.integers(1, 400), st.sampled_from([0.0, 0.05, 0.3]), st.sampled_from([0.0, 0.02]))
def test_every_command_is_answered_and_run_once_whatever_is_dropped(
    seed: int, count: int, faults: float, losses: float
) -> None:
    rng = random.Random(seed)
    server, window, way = CommandServer(rng, faults=faults), CommandWindow(rng.random), deque[Reply]()
    window.welcomed(Welcome(messages_per_second_max=RATE, bytes_per_second_max=65536))
    for command_id in range(1, count + 1):
        window.add(command_id, encode_client(Command(command_id, "work")))
    now_s, answered, oldest = 0.0, set[int](), 1
    while len(window):
        now_s += STEP_S
        assert now_s < 900, "all of them are answered, though each message that is lost holds the window for 10 s"
        sent = window.due(now_s * 1000)
        for data in sent:
            message = decode_client(data)
            assert isinstance(message, Command)
            assert message.id < oldest + IDS_MAX
            if rng.random() >= losses and (reply := server.receive(data, now_s)) is not None:
                way.append(reply)
        way.extend(server.finished(now_s))
        while way and rng.random() < 0.7:
            reply = way.popleft()
            window.replied(reply, now_s * 1000)
            if reply.ok:
                answered.add(reply.id)
        while oldest in answered:
            oldest += 1
    assert answered == set(range(1, count + 1))
    assert server.runs == dict.fromkeys(range(1, count + 1), 1)
    assert server.too_old == 0
    assert faults or losses or server.dropped == 0, "the client stays below the server's rate"
