"""The numbers of inputs: a room takes the inputs of a client that resumes, however the client counts."""

from __future__ import annotations

import pytest

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.unit.test_runtime import garden, seated, step_input
from tickwire.schemas.messages import Input
from tickwire.server.errors import Malformed
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat


def played(inputs: int = 50) -> tuple[RoomRuntime, Seat, RecordingSubscriber]:
    """A player that has played for a while."""
    runtime = garden()
    seat, subscriber = seated(runtime)
    for seq in range(1, inputs + 1):
        seat.push_input(step_input(seq))
        runtime.step()
    return runtime, seat, subscriber


def resumed(seat: Seat, *, is_told: bool) -> None:
    seat.disconnected()
    seat.resumed(seat.room_id if is_told else "", 0)


def acknowledged(runtime: RoomRuntime, seat: Seat, subscriber: RecordingSubscriber, *numbers: int) -> int:
    for seq in numbers:
        seat.push_input(step_input(seq))
    runtime.step()
    runtime.step()
    return subscriber.core.acknowledged_seq


@pytest.mark.parametrize(
    ("is_told", "numbers"),
    [
        (True, [51]),
        (False, [51]),
        (False, [1]),
        (False, [2]),
        (False, [51, 1]),
        (False, [51, 52, 1, 2]),
    ],
    ids=[
        "resumed",
        "Joined again, and the client counts on",
        "Joined again, and the client counts from 1",
        "Joined again, and the first input was lost",
        "Joined again, and an input was sent before it was read",
        "Joined again, and two inputs were sent before it was read",
    ],
)
def test_the_last_input_after_a_resume_is_acknowledged_within_two_ticks(is_told: bool, numbers: list[int]) -> None:
    runtime, seat, subscriber = played()
    resumed(seat, is_told=is_told)
    assert acknowledged(runtime, seat, subscriber, *numbers) == numbers[-1]


def test_repeated_inputs_are_applied_once() -> None:
    runtime, seat, _ = played()
    resumed(seat, is_told=False)
    x = seat.player.entity.x
    for seq in (1, 1, 2, 1, 2, 3, 3, 2, 1):
        seat.push_input(Input(seq, 0, step_input(seq, dx=1.0).payload))
    runtime.step()
    assert seat.player.entity.x == x + 3.0


def test_old_inputs_are_ignored_before_joined_is_sent_again() -> None:
    runtime, seat, subscriber = played()
    assert acknowledged(runtime, seat, subscriber, 1, 2, 49, 50) == 50


@pytest.mark.parametrize("numbers", [[51], [1]], ids=["the client counts on", "the client counts from 1"])
def test_inputs_for_another_room_are_ignored_until_one_fits(numbers: list[int]) -> None:
    runtime = garden()
    seat, subscriber = seated(runtime)
    seat.attach(subscriber)  # moved from a room with other inputs
    for seq in (49, 50):
        seat.push_input(Input(seq, 0, b"of another room"))
    assert acknowledged(runtime, seat, subscriber, *numbers) == numbers[-1]
    with pytest.raises(Malformed, match="an input must have"):
        seat.push_input(Input(52, 0, b"of another room"))


def test_inputs_for_the_room_before_count_until_the_client_counts_from_1() -> None:
    runtime = garden()
    seat, subscriber = seated(runtime)
    seat.attach(subscriber)
    assert acknowledged(runtime, seat, subscriber, 49, 50, 1, 2) == 2


def test_inputs_for_a_room_that_has_restarted_with_others_are_ignored() -> None:
    runtime, seat, subscriber = played()
    seat.resumed("", 0)
    seat.push_input(Input(51, 0, b"of the class before"))
    assert acknowledged(runtime, seat, subscriber, 52) == 52
