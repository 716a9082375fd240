"""The kernel sends the frames of a tick to sockets, and leaves all other bytes and seats to its caller."""

from __future__ import annotations

import gc
import socket
import weakref
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from tests.harness.socket_subscriber import PairConnection
from tickwire.schemas import kernel
from tickwire.schemas.state_messages import frame_ack
from tickwire.server.rooms.seat_fields import SeatFields

pytestmark = pytest.mark.skipif(not kernel.is_native, reason=f"no native kernel: {kernel.reason}")

TICK = 70_000
LARGE = bytes(range(256)) * 32_768


class BareSeat(SeatFields):
    __slots__ = ("__weakref__",)

    def __init__(self, connection: Any, interest: Any, view: object) -> None:
        self.connection, self.interest, self.view = connection, interest, view  # type: ignore[assignment]
        self.send_rate = None
        self.applied_seq = self.acknowledged_seq = 0
        self.has_events = self.reads_tables = False


def interest_of(data: Any) -> Any:
    return SimpleNamespace(tick=TICK, before="before", after="after", data=data)


def send(seats: Any, prepare: Any = None, bytes_max: int = 1 << 24) -> tuple[int, int, list[Any], list[Any]]:
    writes: list[Any] = []
    return (*kernel.send_state(seats, TICK, bytes_max, prepare, writes), writes)


@pytest.fixture
def pairs() -> Iterator[list[PairConnection]]:
    made = [PairConnection() for _ in range(3)]
    yield made
    for pair in made:
        pair.close()


def test_frames_and_acknowledgements_go_to_the_sockets(pairs: list[PairConnection]) -> None:
    interest = interest_of(b"frame")
    seats = [BareSeat(pair, interest, "before") for pair in pairs]
    seats[1].applied_seq = 65_537
    assert send(seats) == (3, 25, [], [])
    assert [pair.drain() for pair in pairs] == [b"frame", frame_ack(TICK, 65_537) + b"frame", b"frame"]
    assert [(seat.view, seat.acknowledged_seq) for seat in seats] == [("after", 0), ("after", 65_537), ("after", 0)]
    assert not any(pair.written for pair in pairs)


def test_an_empty_frame_without_an_acknowledgement_is_not_sent(pairs: list[PairConnection]) -> None:
    seats = [BareSeat(pair, interest_of(b""), "before") for pair in pairs]
    seats[0].applied_seq = 3
    seats[2].connection = None
    assert send(seats) == (1, 10, [], [])
    assert pairs[0].drain() == frame_ack(TICK, 3)
    assert [seat.view for seat in seats] == ["after", "after", "before"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("send_rate", object()), ("has_events", True), ("reads_tables", True), ("view", "another"), ("view", None)],
)
def test_a_seat_that_needs_more_is_returned_unchanged(pairs: list[PairConnection], name: str, value: object) -> None:
    seats = [BareSeat(pair, interest_of(b"frame"), "before") for pair in pairs]
    seats[1].applied_seq = 1
    setattr(seats[1], name, value)
    before = seats[1].view
    assert send(seats) == (2, 10, [seats[1]], [])
    assert (seats[1].view, seats[1].acknowledged_seq) == (before, 0)
    assert pairs[1].drain() == b""


def test_congested_and_large_frames_and_other_objects_are_returned(pairs: list[PairConnection]) -> None:
    seats: list[Any] = [BareSeat(pair, interest_of(b"frame"), "before") for pair in pairs]
    pairs[0].is_congested = True
    seats[1].interest = interest_of(b"larger")
    seats.append("no seat")
    assert send(seats, bytes_max=5) == (1, 5, [seats[0], seats[1], "no seat"], [])


def test_a_transport_with_bytes_is_written_to_until_it_is_empty(pairs: list[PairConnection]) -> None:
    pair, interest = pairs[0], interest_of(b"frame")
    pair.held, pair.may_hold_bytes = 1, True
    seat = BareSeat(pair, interest, "before")
    seat.applied_seq = 9
    assert send([seat]) == (1, 15, [], [(pair, frame_ack(TICK, 9) + b"frame")])
    seat.view, pair.held = "before", 0  # type: ignore[assignment]
    assert send([seat]) == (1, 5, [], [])
    assert not pair.may_hold_bytes
    assert pair.drain() == b"frame"


def test_a_connection_without_a_socket_is_written_to(pairs: list[PairConnection]) -> None:
    pairs[0].descriptor = -1
    other = SimpleNamespace(is_congested=False)
    seats = [BareSeat(connection, interest_of(b"frame"), "before") for connection in (pairs[0], other)]
    assert send(seats) == (2, 10, [], [(pairs[0], b"frame"), (other, b"frame")])
    other.is_congested, seats[1].view = True, "before"  # type: ignore[assignment]
    assert send(seats[1:]) == (0, 0, seats[1:], [])


@pytest.mark.parametrize("seq", [0, 5])
def test_the_rest_for_a_full_socket_is_written_to_the_transport(pairs: list[PairConnection], seq: int) -> None:
    seats = [
        BareSeat(pair, interest_of(data), "before") for pair, data in zip(pairs, (LARGE, b"x", b"x"), strict=True)
    ]
    seats[0].applied_seq = seq
    expected = (frame_ack(TICK, seq) if seq else b"") + LARGE
    sent, size, others, ((connection, rest),) = send(seats)
    assert (sent, size, others, connection) == (3, len(expected) + 2, [], pairs[0])
    assert 0 < len(rest) < len(expected)
    assert pairs[0].drain() + rest == expected
    assert [pair.drain() for pair in pairs[1:]] == [b"x", b"x"]


@pytest.mark.parametrize("seq", [0, 5])
def test_everything_for_a_socket_that_accepts_nothing_is_written_to_the_transport(
    pairs: list[PairConnection], seq: int
) -> None:
    pairs[0].socket.setblocking(False)
    with suppress(BlockingIOError):
        while pairs[0].socket.send(bytes(1 << 16)):
            pass
    seat = BareSeat(pairs[0], interest_of(b"frame"), "before")
    seat.applied_seq = seq
    assert send([seat])[3] == [(pairs[0], (frame_ack(TICK, seq) if seq else b"") + b"frame")]


@pytest.mark.parametrize("seq", [0, 5])
def test_a_broken_socket_leaves_everything_to_the_transport(pairs: list[PairConnection], seq: int) -> None:
    seats = [BareSeat(pair, interest_of(b"frame"), "before") for pair in pairs]
    seats[0].applied_seq = seq
    pairs[0].peer.close()
    assert send(seats)[3] == [(pairs[0], (frame_ack(TICK, seq) if seq else b"") + b"frame")]
    assert pairs[1].drain() == b"frame"


def test_an_interest_set_of_another_tick_is_prepared_once(pairs: list[PairConnection]) -> None:
    interest, prepared = interest_of(b"old"), []
    interest.tick = TICK - 1

    def prepare(found: Any) -> None:
        prepared.append(found)
        found.tick, found.data = TICK, b"new"

    assert send([BareSeat(pair, interest, "before") for pair in pairs], prepare) == (3, 9, [], [])
    assert prepared == [interest]


def test_a_view_that_changes_while_the_transport_is_asked_is_respected(pairs: list[PairConnection]) -> None:
    seats = [BareSeat(pair, interest_of(b"frame"), "before") for pair in pairs]

    def set_view(seat: BareSeat, view: object) -> int:
        if view is None:
            del seat.view
        else:
            seat.view = view  # type: ignore[assignment]
        return 0

    for seat, pair, view in zip(seats[:2], pairs, ("another", None), strict=False):
        pair.may_hold_bytes = True
        pair.unsent_bytes = partial(set_view, seat, view)  # type: ignore[method-assign]
    assert send(seats) == (1, 5, seats[:2], [])
    assert [pair.drain() for pair in pairs] == [b"", b"", b"frame"]
    assert seats[0].view == "another"


def test_nothing_is_sent_to_a_socket_that_was_closed_meanwhile(pairs: list[PairConnection]) -> None:
    """The number of a closed socket may belong to another connection."""
    seats = [BareSeat(pair, interest_of(b"frame"), "before") for pair in pairs]

    def close_first() -> int:
        pairs[0].descriptor = -1
        return 0

    pairs[1].may_hold_bytes = True
    pairs[1].unsent_bytes = close_first  # type: ignore[method-assign]
    assert send(seats) == (3, 15, [], [(pairs[0], b"frame")])
    assert [pair.drain() for pair in pairs] == [b"", b"frame", b"frame"]


def test_what_was_composed_before_an_error_is_sent(pairs: list[PairConnection]) -> None:
    def prepare(_: Any) -> None:
        raise RuntimeError("a bug")

    late = interest_of(b"late")
    late.tick = 1
    pairs[1].descriptor = -1
    seats = [
        BareSeat(pair, found, "before") for pair, found in zip(pairs, (interest_of(b"a"),) * 2 + (late,), strict=True)
    ]
    writes: list[Any] = []
    with pytest.raises(RuntimeError, match="a bug"):
        kernel.send_state(seats, TICK, 10, prepare, writes)
    assert pairs[0].drain() == b"a"
    assert writes == [(pairs[1], b"a")]
    assert [seat.view for seat in seats] == ["after", "after", "before"]


def test_other_arguments_are_rejected(pairs: list[PairConnection]) -> None:
    with pytest.raises(TypeError):
        send(1)
    with pytest.raises(TypeError):
        kernel.send_state([], TICK, 1, None, ())  # type: ignore[arg-type]
    for interest in (interest_of("text"), SimpleNamespace(), SimpleNamespace(tick="1"), SimpleNamespace(tick=TICK)):
        with pytest.raises((TypeError, AttributeError)):
            send([BareSeat(pairs[0], interest, "before")])
    with pytest.raises(AttributeError):
        send([BareSeat(SimpleNamespace(), interest_of(b""), "before")])
    unset = SeatFields()
    assert send([unset]) == (0, 0, [unset], [])


def test_seats_in_cycles_are_collected() -> None:
    seat = BareSeat(None, None, None)
    seat.interest = seat  # type: ignore[assignment]
    gone = weakref.ref(seat)
    del seat
    gc.collect()
    assert gone() is None


def test_attributes_have_types() -> None:
    seat = BareSeat(None, None, None)
    with pytest.raises(TypeError):
        seat.has_events = 1  # type: ignore[assignment]
    del seat.view
    with pytest.raises(AttributeError):
        _ = seat.view


def test_sockets_of_other_families_are_sent_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as peer:
        accepted, _ = server.accept()
        with accepted:
            pair = PairConnection()
            pair.close()
            pair.descriptor = accepted.fileno()
            seat = BareSeat(pair, interest_of(b"frame"), "before")
            seat.applied_seq = 1
            assert send([seat]) == (1, 15, [], [])
            assert peer.recv(100) == frame_ack(TICK, 1) + b"frame"
