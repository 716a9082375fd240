"""The classes that declare a room's inputs."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire import Input, InputBatch, Player, Room, Table, angle, boolean, real, sint, uint
from tickwire.schemas.fields import pack_input
from tickwire.schemas.messages import Input as InputMessage
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.seat import Seat, SeatRequest


class KiteInput(Input):
    WINDS: ClassVar[int] = 4

    pull = real(-1, 1, step=0.25)
    heading = angle(bits=16)
    wind = uint(bits=3)
    lift = sint(bits=12)
    is_reeling = boolean()


class Kites(Table):
    x = real(-100, 100, step=0.25)


class Beach(Room):
    room_type = "beach"
    input_type = KiteInput
    kites: Kites

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.received: list[tuple[str, KiteInput]] = []

    def on_join(self, player: Player, options: Any) -> None:
        if player.id != "onlooker":
            player.entity = self.kites.spawn(x=0.0)

    def on_input(self, player: Player, input: KiteInput) -> None:
        self.received.append((player.id, input))


class WideBeach(Beach):
    room_type = "wide beach"

    def on_inputs(self, inputs: InputBatch[KiteInput]) -> None:
        rows, kites = inputs.of(self.kites)
        self.kites.x[rows] += kites.pull
        self.received += [("batch", inputs.values), ("kites", kites)]


def play(
    kind: type[Beach], *names: str, counters: RoomCounters | None = None
) -> tuple[Beach, list[tuple[str, KiteInput]]]:
    runtime = create_runtime(kind, counters=counters)
    room = runtime.room
    assert isinstance(room, Beach)
    for number, name in enumerate(names):
        seat: Seat = runtime.seat(SeatRequest(RecordingSubscriber(name), name))
        values = {"pull": 0.5 + number / 4, "heading": np.pi / 2, "wind": 3, "lift": -700, "is_reeling": number == 0}
        seat.push_input(InputMessage(1, 0, pack_input(kind.input_fields, values)))
    runtime.step()
    return room, room.received


def test_on_input_receives_an_object_with_the_values() -> None:
    _, received = play(Beach, "ann", "bob")
    quarter = pytest.approx(np.pi / 2)
    assert received == [
        ("ann", KiteInput(pull=0.5, heading=quarter, wind=3, lift=-700, is_reeling=True)),
        ("bob", KiteInput(pull=0.75, heading=quarter, wind=3, lift=-700, is_reeling=False)),
    ]
    assert received[0][1].is_reeling is True
    assert received[1][1].is_reeling is False


def test_on_inputs_receives_columns_with_the_same_values() -> None:
    room, received = play(WideBeach, "ann", "bob")
    (_, batch), (_, kites) = received
    assert batch is kites, "nothing is copied if every player has an entity"
    assert kites.pull.tolist() == [0.5, 0.75]
    assert kites.lift.tolist() == [-700, -700]
    assert kites.is_reeling.tolist() == [True, False]
    assert kites.is_reeling.dtype == np.bool_
    assert room.kites.x.tolist() == [0.5, 0.75]


def test_players_without_an_entity_are_left_out_of_the_columns() -> None:
    room, received = play(WideBeach, "ann", "onlooker", "bob")
    assert received[0][1].pull.tolist() == [0.5, 0.75, 1.0]
    assert received[1][1].pull.tolist() == [0.5, 1.0]
    assert room.kites.x.tolist() == [0.5, 1.0]


class FragileInput(KiteInput):
    """Its check is code of the game, and has a mistake."""

    def __post_init__(self) -> None:
        if np.any(self.wind):
            raise KeyError("wind")


class Cliff(Beach):
    room_type = "cliff"
    input_type = FragileInput
    error_policy = "ignore"


class WideCliff(WideBeach):
    room_type = "wide cliff"
    input_type = FragileInput
    error_policy = "ignore"


@pytest.mark.parametrize(("kind", "failures"), [(Cliff, 2), (WideCliff, 1)])
def test_an_exception_of_the_class_is_one_of_the_hook(kind: type[Beach], failures: int) -> None:
    counters = RoomCounters()
    room, received = play(kind, "ann", "bob", counters=counters)
    assert (room.tick, received) == (1, [])
    assert counters.room_errors == {kind.room_type: failures}
    assert counters.tick_failures == {"ignored": failures}


def test_the_fields_of_a_class_must_be_positional() -> None:
    class NamedInput(Input, kw_only=True):  # type: ignore[call-arg]
        pull = boolean()

    with pytest.raises(TypeError, match="NamedInput: Extra positional arguments provided"):
        type("Harbour", (Room,), {"input_type": NamedInput})


def test_an_input_that_a_test_creates_has_zero_for_missing_fields() -> None:
    assert KiteInput(pull=1.0).wind == 0
    assert repr(KiteInput(pull=1.0)) == "KiteInput(pull=1.0, heading=0, wind=0, lift=0, is_reeling=0)"
    assert KiteInput() == KiteInput(pull=0)
    assert KiteInput() != KiteInput(pull=1)
    with pytest.raises(TypeError, match="rise"):
        KiteInput(rise=1)


def test_a_subclass_has_the_fields_of_its_base_first() -> None:
    class StuntInput(KiteInput):
        trick = uint(bits=4)

    assert list(StuntInput.columns) == ["pull", "heading", "wind", "lift", "is_reeling", "trick"]
    assert list(KiteInput.columns) == ["pull", "heading", "wind", "lift", "is_reeling"]
    assert Input.columns == {}


@pytest.mark.parametrize("name", ["columns", "select"])
def test_a_field_cannot_have_a_name_that_input_uses(name: str) -> None:
    with pytest.raises(TypeError, match=rf"SailInput\.{name}: Input uses this name itself"):
        type("SailInput", (Input,), {name: boolean()})


def test_an_annotation_alone_declares_no_field() -> None:
    with pytest.raises(TypeError, match=r"SailInput\.pull: an annotation declares no field; write `pull = real"):
        type("SailInput", (Input,), {"__annotations__": {"pull": "float"}})
