"""The native kernel writes the same bytes to every seat as the Python code, and changes the seats in the same way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.harness.runtimes import create_runtime
from tests.harness.sample_rooms import Garden
from tests.harness.socket_subscriber import SocketSubscriber
from tickwire import Room, Table, boolean, real
from tickwire.schemas import kernel
from tickwire.schemas.fields import pack_input
from tickwire.schemas.messages import Input, Resync
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.seat import Seat, SeatRequest

pytestmark = pytest.mark.skipif(not kernel.is_native, reason=f"no native kernel: {kernel.reason}")

SEATS = 4
COUNTED = ("frames_sent", "bytes_sent", "player_ticks", "updates_skipped", "slow_clients", "resyncs")
ACTIONS = (
    "input",
    "event",
    "watch",
    "unwatch",
    "congest",
    "relieve",
    "hold",
    "release",
    "no socket",
    "resync",
    "cut",
    "resume",
)


class Lamps(Table):
    x = real(-100, 100, step=1 / 16)
    is_lit = boolean()


class Street(Room):
    """A lamp in each channel; every tick moves those of some channels, so that some frames are empty."""

    room_type = "street"
    max_players = SEATS
    input_type = Garden.input_type
    checksum_ticks = 4
    lamps: Lamps

    def on_create(self, options: object) -> None:
        for channel in range(3):
            self.lamps.spawn(channel=channel)

    def on_tick(self, dt: float) -> None:
        if self.tick % 3:
            self.lamps.x[self.tick % 2 :] += 0.25


class Play:
    """One room with its seats, driven by actions; everything that it has sent."""

    def __init__(self, versions: list[int]) -> None:
        self.counters = RoomCounters()
        self.runtime = create_runtime(Street, counters=self.counters)
        self.subscribers = [SocketSubscriber(f"p{number}", version) for number, version in enumerate(versions)]
        self.seats: list[Seat] = [
            self.runtime.seat(SeatRequest(subscriber, subscriber.player_id)) for subscriber in self.subscribers
        ]
        self.seq = 0

    def act(self, number: int, action: str) -> None:
        seat, subscriber = self.seats[number], self.subscribers[number]
        pair, player = subscriber.pair, seat.player
        if action == "input":
            self.seq += 1
            seat.push_input(Input(self.seq, 0, pack_input(Street.input_fields, {"dx": 0.5})))
        elif action == "event":
            player.send("note", self.seq)
        elif action in ("watch", "unwatch"):
            getattr(player, action)(1 + number % 2)
        elif action in ("congest", "relieve"):
            pair.is_congested = action == "congest"
        elif action == "hold":
            pair.held, pair.may_hold_bytes = 1, True
        elif action == "release":
            pair.held = 0
        elif action == "no socket":
            pair.descriptor = -1
        elif action == "resync":
            seat.resync(Resync(0, self.runtime.tick))
        elif action == "cut" and subscriber.connection is not None:
            subscriber.connection = None
            seat.disconnected()
        elif action == "resume" and subscriber.connection is None:
            subscriber.connection = pair  # type: ignore[assignment]
            seat.resumed("r", self.runtime.tick - 1)

    def state(self) -> list[object]:
        return [
            *(
                (seat.applied_seq, seat.acknowledged_seq, seat.has_events, seat.send_rate is None)
                for seat in self.seats
            ),
            *(seat.view and (seat.view.last_sent_tick, seat.view is seat.interest.after) for seat in self.seats),
            *(subscriber.notices for subscriber in self.subscribers),
            *(getattr(self.counters, name) for name in COUNTED),
        ]

    def close(self) -> None:
        for subscriber in self.subscribers:
            subscriber.pair.close()


@contextmanager
def played_on_both(versions: list[int]) -> Iterator[tuple[Play, Play]]:
    python, native = Play(versions), Play(versions)
    try:
        yield python, native
    finally:
        python.close()
        native.close()


def run(play: Play, actions: list[tuple[int, str]], *, is_native: bool) -> None:
    kernel.is_native = is_native
    try:
        for number, action in actions:
            play.act(number, action)
        play.runtime.step()
    finally:
        kernel.is_native = True


STEPS = st.lists(
    st.lists(st.tuples(st.integers(0, SEATS - 1), st.sampled_from(ACTIONS)), max_size=5), min_size=1, max_size=25
)


@given(st.lists(st.sampled_from([3, 4, 4, 4]), min_size=SEATS, max_size=SEATS), STEPS)
@example(
    [4, 4, 4, 4],
    [[], [], [(0, "input"), (1, "hold")], [(0, "input"), (1, "input")], [(1, "release")], [(1, "input")]],
)
def test_both_implementations_send_the_same_bytes(versions: list[int], steps: list[list[tuple[int, str]]]) -> None:
    with played_on_both(versions) as (python, native):
        for actions in steps:
            run(python, actions, is_native=False)
            run(native, actions, is_native=True)
            assert native.state() == python.state()
            for ours, theirs in zip(native.subscribers, python.subscribers, strict=True):
                assert ours.pair.drain() == theirs.pair.drain()


def test_the_common_frame_is_sent_to_sockets_and_not_written_to_transports() -> None:
    with played_on_both([4] * SEATS) as (_, play):
        for _ in range(
            3
        ):  # the first frame is a keyframe for each client, and the second has the events of the joins
            run(play, [], is_native=True)
        written = [len(subscriber.pair.written) for subscriber in play.subscribers]
        before = [len(subscriber.pair.drain()) for subscriber in play.subscribers]
        run(play, [(0, "input")], is_native=True)
        assert [len(subscriber.pair.written) for subscriber in play.subscribers] == written
        grown = [
            len(subscriber.pair.drain()) - size for subscriber, size in zip(play.subscribers, before, strict=True)
        ]
        assert grown == [10 + grown[1], grown[1], grown[1], grown[1]]
        assert grown[1] > 0
