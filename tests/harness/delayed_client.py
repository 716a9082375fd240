"""A client with latency, on a clock of the test: it interpolates as the Python client does, and shoots."""

from __future__ import annotations

import random
from collections import deque

from tests.harness.recording_subscriber import RecordingSubscriber
from tickwire.client.interpolation import Interpolation, TickClock
from tickwire.schemas.codec import decode_client
from tickwire.schemas.messages import Input
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import SeatRequest


class DelayedWire(RecordingSubscriber):
    """Delivers what a room writes after a latency, in order.

    Args:
        player_id: the player.
        latency_ms: the least and the greatest latency of one direction.
    """

    def __init__(self, player_id: str, latency_ms: tuple[float, float]) -> None:
        super().__init__(player_id)
        self.now_ms = 0.0
        self._latency_ms = latency_ms
        self._random = random.Random(player_id)
        self._to_client: deque[tuple[float, bytes]] = deque()
        self._to_server: deque[tuple[float, bytes]] = deque()

    def write(self, frames: bytes) -> None:
        self._to_client.append((self._arrival(self._to_client), frames))

    def send(self, message: bytes) -> None:
        """Send a message of the client."""
        self._to_server.append((self._arrival(self._to_server), message))

    def receive(self) -> bool:
        """Apply the frames that have arrived at the client; return whether there were any."""
        arrived = self._pop_arrived(self._to_client)
        for frames in arrived:
            super().write(frames)
        return bool(arrived)

    def messages(self) -> list[bytes]:
        """Return the messages that have arrived at the server."""
        return self._pop_arrived(self._to_server)

    def _arrival(self, queue: deque[tuple[float, bytes]]) -> float:
        arrives_ms = self.now_ms + self._random.uniform(*self._latency_ms)
        return max(arrives_ms, queue[-1][0]) if queue else arrives_ms

    def _pop_arrived(self, queue: deque[tuple[float, bytes]]) -> list[bytes]:
        arrived = []
        while queue and queue[0][0] <= self.now_ms:
            arrived.append(queue.popleft()[1])
        return arrived


class DelayedShooter:
    """A player who aims at the only entity of the table `targets` as the client shows it.

    Its inputs have the position that it aims at, and the delay of its view.

    Args:
        runtime: the room.
        latency_ms: the least and the greatest latency of one direction.
    """

    def __init__(self, runtime: RoomRuntime, latency_ms: tuple[float, float]) -> None:
        self.wire = DelayedWire("ann", latency_ms)
        self._seat = runtime.seat(SeatRequest(self.wire, "ann"))
        self._clock = TickClock(runtime.room.tick_rate_hz)
        self._motion = Interpolation("targets")

    def advance(self, now_ms: float) -> None:
        """Deliver the messages of both directions that have arrived by now."""
        self.wire.now_ms = now_ms
        for data in self.wire.messages():
            message = decode_client(data)
            assert isinstance(message, Input)
            self._seat.push_input(message)
        world = self.wire.core.world
        if self.wire.receive() and world is not None:
            self._clock.observe(world.tick, now_ms / 1000)
            self._motion.push(world)

    def shoot(self) -> None:
        """Aim at the target as it is on the screen now, and send the input."""
        core = self.wire.core
        rendered = self._clock.render_tick(self.wire.now_ms / 1000)
        ids, x = self._motion.sample(rendered, "x")
        if core.world is not None and ids.size:
            self.wire.send(core.input({"aim": float(x[0]), "view_delay": max(0.0, core.world.tick - rendered)}))
