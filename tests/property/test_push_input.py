"""The native kernel queues inputs at seats as the Python code does, and leaves all other frames to it."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load import masked
from benchmarks.rooms import Fan
from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tests.property.test_send_state import Street
from tickwire import Room
from tickwire.schemas import kernel
from tickwire.schemas.codec import encode_client, encode_input, push_input_frame
from tickwire.schemas.messages import Input, Resync
from tickwire.server.edge.message_handlers import SessionReceiver
from tickwire.server.edge.session import SessionState
from tickwire.server.rooms.seat import INBOX_MAX, SeatRequest

pytestmark = pytest.mark.skipif(not kernel.is_native, reason=f"no native kernel: {kernel.reason}")


class Received:
    """A seat, and the receiver of its session."""

    def __init__(self, room: type[Room]) -> None:
        self.runtime = create_runtime(room)
        self.subscriber = RecordingSubscriber("p")
        self.seat = self.runtime.seat(SeatRequest(self.subscriber, "p"))
        self.answers: list[Any] = []
        session: Any = SimpleNamespace(
            seat=self.seat,
            connection=None,
            state=SessionState.SEATED,
            send_message=self.answers.append,
            terminate=lambda *args, **details: self.answers.append((args, details)),
        )
        self.counters = SimpleNamespace(messages_received=0, rejected=Counter())
        context: Any = SimpleNamespace(counters=self.counters)
        self.receiver = SessionReceiver(session, context)

    def receive(self, frame: bytes, *, is_native: bool) -> None:
        kernel.is_native = is_native
        try:
            self.receiver.frame_received(frame)
        finally:
            kernel.is_native = True

    def act(self, action: str) -> None:
        if action == "tick":
            self.runtime.step()
        elif action == "another room":
            self.seat.attach(self.subscriber)
        elif action == "another world":
            self.seat.resumed("another", 0)
        else:
            self.seat.leave("left")

    def state(self) -> tuple[object, ...]:
        seat, newest = self.seat, self.runtime.newest_inputs
        queued = seat.inbox if newest is None else [newest[key] for key in newest]
        flags = seat.is_open, seat._may_restart, seat._may_misfit
        numbers = seat._received_seq, seat.applied_seq, seat.inputs_superseded, self.counters.messages_received
        return (list(queued), flags, numbers, self.counters.rejected, self.answers)


INPUTS = st.builds(
    Input,
    seq=st.integers(0, 12) | st.sampled_from([2**31, 2**32 - 1]),
    tick=st.integers(0, 3),
    payload=st.sampled_from([4, 4, 4, 4, 8]).map(bytes) | st.binary(max_size=70),
)


@given(
    st.sampled_from([Street, Fan]),
    st.lists(INPUTS | st.sampled_from(["tick", "another room", "another world", "leave"]), max_size=30),
)
def test_inputs_are_queued_as_in_python(room: type[Room], actions: list[Input | str]) -> None:
    python, native = Received(room), Received(room)
    for action in actions:
        for received, is_native in ((python, False), (native, True)):
            if isinstance(action, str):
                received.act(action)
            else:
                frame = masked(encode_input(action.seq, action.tick, action.payload))
                if len(frame) <= 131:
                    received.receive(frame, is_native=is_native)
        assert native.state() == python.state()


@pytest.mark.parametrize("room", [Street, Fan])
def test_an_input_is_queued_by_the_kernel(room: type[Room], monkeypatch: pytest.MonkeyPatch) -> None:
    received = Received(room)
    size = received.runtime.input_size
    monkeypatch.setattr(type(received.seat), "push_input", None)
    for seq in range(1, 1 + (INBOX_MAX if room is Street else 1)):
        received.receive(masked(encode_input(seq, 7, bytes(range(size)))), is_native=True)
        assert received.state()[0][-1] == Input(seq, 7, bytes(range(size)))  # type: ignore[index]
    assert received.seat._received_seq == received.counters.messages_received == seq
    frame = masked(encode_input(seq + 1, 7, bytes(size)))
    assert not push_input_frame(frame, received.seat), "the seat counts the input that this one supersedes"


def test_other_messages_seats_and_arguments_are_left_alone() -> None:
    seat = Received(Street).seat
    head = encode_input(1, 2, bytes(4))[:44]
    frame = masked(encode_input(1, 2, bytes(seat._input_size)))
    assert not kernel.push_input(masked(encode_client(Resync(1, 2))), head, seat, Input)
    for other in (None, object()):
        assert not kernel.push_input(frame, head, other, Input)
    with pytest.raises(ValueError, match="44 bytes"):
        kernel.push_input(frame, b"", seat, Input)
    with pytest.raises(TypeError):
        kernel.push_input(frame, head, seat, None)  # type: ignore[arg-type]
    assert (seat.inbox, seat._received_seq) == ([], 0)
    unset = type(seat).__new__(type(seat))
    assert not kernel.push_input(frame, head, unset, Input)


@pytest.mark.parametrize("room", [Street, Fan])
def test_a_seat_that_changes_while_its_input_is_created_is_read_again(room: type[Room]) -> None:
    """Creating an object may run the garbage collector, and with it any finalizer."""
    received = Received(room)
    seat, head = received.seat, encode_input(1, 2, bytes(4))[:44]
    frame = masked(encode_input(1, 2, bytes(seat._input_size)))
    others: list[Any] = []

    def replace_inbox(seq: int, tick: int, payload: bytes) -> Input:
        seat.inbox, seat._newest_inputs = [], None
        others.extend([] for _ in range(4))  # one of them has the memory of the former inbox
        return Input(seq, tick, payload)

    def give_up(seq: int, tick: int, payload: bytes) -> Input:
        seat.is_open = False
        return Input(seq, tick, payload)

    assert kernel.push_input(frame, head, seat, replace_inbox)  # type: ignore[arg-type]
    assert seat.inbox == [Input(1, 2, bytes(seat._input_size))]
    assert not any(others)
    frame = masked(encode_input(3, 4, bytes(seat._input_size)))
    assert not kernel.push_input(frame, head, seat, give_up)  # type: ignore[arg-type]
    assert (len(seat.inbox), seat._received_seq) == (1, 1)
