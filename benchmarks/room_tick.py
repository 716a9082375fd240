"""How long does each part of the tick of a room of 1,000 players take? In one process, without sockets.

The room, its players and their inputs are those of `big_room`; the connections discard what is written to them. All
runs have the same ticks, so that two builds can be compared.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import perf_counter

from benchmarks.big_room import PLAYERS
from benchmarks.report import Report, report, row
from benchmarks.rooms import Crowd
from tickwire.schemas import SCHEMA_VERSION
from tickwire.schemas.fields import pack_input
from tickwire.schemas.messages import Input, Message, Redirect
from tickwire.server.process import tune_process
from tickwire.server.rooms.checkpoint import SessionCheckpoint
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.factory import RoomContext, RoomSpec, create_room
from tickwire.server.rooms.move_request import MoveRequest
from tickwire.server.rooms.outbox import Outbox
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest

WARM_TICKS, SEED = 40, 7
TICKS_PER_INPUT = 2
"""Inputs at 10 Hz in ticks at 20 Hz; half of the players send theirs in each tick."""


class DiscardingSession:
    """A session, and its connection without a socket.

    Args:
        player_id: the player.
    """

    is_congested = False
    is_guest = False
    address = ""
    descriptor = -1
    schema_version = SCHEMA_VERSION

    def __init__(self, player_id: str) -> None:
        self.session_id = self.player_id = player_id
        self.connection: DiscardingSession | None = self
        self.outbox = Outbox()

    def write(self, frames: bytes) -> None:
        """Discard the frames."""

    def unsent_bytes(self) -> int:
        """Return 0."""
        return 0

    def send_message(self, message: Message) -> None:
        """Discard the message."""

    def slow_consumer(self, reason: str) -> None:
        """Fail: the session is never congested."""
        raise RuntimeError(reason)

    def seat_lost(self, reason: str) -> None:
        """Fail: the room stays open."""
        raise RuntimeError(reason)

    def seat_moved(self, reason: str, redirect: Redirect | None = None) -> None:
        """Fail: the room does not move."""
        raise RuntimeError(reason)

    def start_move(self, request: MoveRequest) -> Callable[[], object]:
        """Fail: the room moves no player."""
        raise RuntimeError(request.room_type)

    def to_checkpoint(self) -> SessionCheckpoint:
        """Return the checkpoint."""
        return SessionCheckpoint(self.session_id, self.player_id, False, self.schema_version)


def run(*, quick: bool) -> Report:
    """Run the benchmark."""
    tune_process()
    turns, ticks = (3, 200) if quick else (10, 600)
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(turns):
        for part, seconds in measure(ticks).items():
            found.setdefault((part, "time_p50"), []).append(statistics.median(seconds) * 1000)
            found.setdefault((part, "time_p99"), []).append(statistics.quantiles(seconds, n=100)[98] * 1000)
    rows = [row(part, metric, "ms", values) for (part, metric), values in found.items()]
    return report("room_tick", quick=quick, rows=rows, goals=[])


def measure(ticks: int) -> dict[str, list[float]]:
    """Return the time of each part of each tick in seconds."""
    runtime, seats = fill_room()
    parts = (runtime.simulate, runtime.encode, runtime.write)
    times: dict[str, list[float]] = {"tick": [], **{part.__name__: [] for part in parts}}
    payload = pack_input(Crowd.input_fields, {"turn": 0.1})
    for tick in range(WARM_TICKS + ticks):
        for seat in seats[tick % TICKS_PER_INPUT :: TICKS_PER_INPUT]:
            seat.push_input(Input(seq=1 + tick, payload=payload))
        marks = [perf_counter()]
        for part in parts:
            part()
            marks.append(perf_counter())
        if tick >= WARM_TICKS:
            times["tick"].append(marks[-1] - marks[0])
            for part, start, end in zip(parts, marks, marks[1:], strict=False):
                times[part.__name__].append(end - start)
    return times


def fill_room() -> tuple[RoomRuntime, list[Seat]]:
    """Return a room with all of its players."""
    context = RoomContext(RoomCounters(), lambda room: None, perf_counter)
    runtime = create_room(Crowd, RoomSpec("room", Crowd.room_type), context, {}, seed=SEED)
    sessions = [DiscardingSession(f"player {number}") for number in range(PLAYERS)]
    return runtime, [runtime.seat(SeatRequest(session, session.player_id)) for session in sessions]
