"""Prediction: the player's inputs apply at once, and what the server decides in the end is what is predicted."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from tickwire import Input, Player, Room, Table, angle, boolean, real
from tickwire.client import Prediction, PredictionOptions
from tickwire.client.prediction import InputQuantiser
from tickwire.client.updates import InputAcknowledged
from tickwire.schemas import fields
from tickwire.testing import HarnessClient, Network, RoomHarness, seeds

Values = Mapping[str, float]
INPUTS = (fields.real("dx", -1, 1, 1 / 4).describe(), fields.boolean("dash").describe())
OPTIONS = PredictionOptions(inputs=INPUTS)
BAD = Network(latency_ms=(20, 120), loss=0.05)


def step(state: Values, values: Values) -> Values:
    return {"x": state["x"] + values["dx"] * (2 if values["dash"] else 1)}


# -- inputs -------------------------------------------------------------------------------------------------


def test_inputs_are_predicted_with_the_values_that_the_server_reads() -> None:
    quantiser = InputQuantiser(INPUTS)
    assert quantiser.quantise({"dx": 0.3, "dash": 1}) == {"dx": 0.25, "dash": True}
    assert quantiser.quantise({"dx": 7.0}) == {"dx": 1.0, "dash": False}, "limited to the range"
    assert quantiser.quantise({}) == {"dx": 0.0, "dash": False}
    with pytest.raises(ValueError, match="'dx'"):
        quantiser.quantise({"dx": math.nan})


def test_an_input_applies_at_once_and_again_on_top_of_each_state() -> None:
    own = Prediction(step, OPTIONS)
    own.sent(1, {"dx": 1.0}, 0.0)
    assert own.now is None, "no state yet"
    own.confirmed({"x": 10.0}, 0, 0.0)
    assert own.now == {"x": 11.0}
    own.sent(2, {"dx": 0.3}, 0.0)
    assert own.now == {"x": 11.25}
    own.sent(0, {"dx": 1.0}, 0.0)
    assert (own.now, own.unacknowledged) == ({"x": 11.25}, 2), "an input that was not sent"
    own.confirmed({"x": 20.0}, 1, 0.1)
    assert (own.now, own.unacknowledged) == ({"x": 20.25}, 1)
    own.acknowledged(2, 0.2)
    assert (own.now, own.unacknowledged) == ({"x": 20.0}, 0), "the input changed nothing"


def test_a_lost_connection_discards_the_inputs_and_a_new_room_everything() -> None:
    own = Prediction(step, OPTIONS)
    own.confirmed({"x": 1.0}, 0, 0.0)
    own.sent(1, {"dx": 1.0}, 0.0)
    own.clear_pending(0.1)
    assert (own.now, own.unacknowledged) == ({"x": 1.0}, 0)
    own.reset()
    assert (own.now, own.sample(0.2)) == (None, None)


# -- smoothing ----------------------------------------------------------------------------------------------


def test_an_error_is_corrected_by_half_in_each_half_life() -> None:
    own = Prediction(step, PredictionOptions(inputs=INPUTS, fields=("x",), half_life_ms=100))
    own.confirmed({"x": 8.0, "speed": 1.0}, 0, 1.0)
    assert own.sample(1.0) == {"x": 8.0, "speed": 1.0}, "the first state is no error"
    own.confirmed({"x": 0.0, "speed": 3.0}, 0, 2.0)
    assert own.now == {"x": 0.0, "speed": 3.0}
    assert own.sample(2.0) == {"x": 8.0, "speed": 3.0}, "what is drawn does not jump"
    drawn = [own.sample(2.0 + passed)["x"] for passed in (0.1, 0.2, 0.4)]  # type: ignore[index]
    assert drawn == pytest.approx([4.0, 2.0, 0.5])


def test_errors_add_up_and_the_drawn_state_is_continuous() -> None:
    own = Prediction(step, PredictionOptions(inputs=INPUTS, fields=("x",)))
    own.confirmed({"x": 8.0}, 0, 0.0)
    own.confirmed({"x": 0.0}, 0, 0.0)
    before = own.sample(0.1)
    own.confirmed({"x": -2.0}, 0, 0.1)
    assert own.sample(0.1) == before == pytest.approx({"x": 4.0})


def test_an_input_is_no_error() -> None:
    own = Prediction(step, PredictionOptions(inputs=INPUTS, fields=("x",)))
    own.confirmed({"x": 0.0}, 0, 0.0)
    own.sent(1, {"dx": 1.0}, 0.0)
    assert own.sample(0.0) == {"x": 1.0}
    own.confirmed({"x": 1.0}, 1, 0.1)
    assert own.sample(0.1) == {"x": 1.0}, "the prediction was right"


def test_angles_turn_back_by_the_shorter_way() -> None:
    own = Prediction(step, PredictionOptions(inputs=INPUTS, angles=("heading",)))
    own.confirmed({"heading": 0.1}, 0, 0.0)
    own.confirmed({"heading": math.tau - 0.1}, 0, 0.0)
    first, later = own.sample(0.0), own.sample(0.1)
    assert first is not None
    assert later is not None
    assert first["heading"] == pytest.approx(math.tau + 0.1)
    assert later["heading"] == pytest.approx(math.tau)


def test_a_large_error_of_the_position_is_corrected_at_once() -> None:
    own = Prediction(step, PredictionOptions(angles=("heading",), snap_distance=5.0))
    own.confirmed({"x": 0.0, "y": 0.0, "heading": 1.0}, 0, 0.0)
    own.confirmed({"x": 3.0, "y": 4.0, "heading": 0.0}, 0, 0.0)
    assert own.sample(0.0) == {"x": 0.0, "y": 0.0, "heading": 1.0}, "not above the distance"
    own.confirmed({"x": 3.0, "y": 5.0, "heading": 0.0}, 0, 0.0)
    assert own.sample(0.0) == own.now == {"x": 3.0, "y": 5.0, "heading": 0.0}


@pytest.mark.parametrize("wrong", [{"tick_ms": -1}, {"half_life_ms": math.nan}, {"snap_distance": -1}])
def test_values_of_the_smoothing_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PredictionOptions(**wrong)  # type: ignore[arg-type]


def test_a_half_life_of_zero_corrects_at_once() -> None:
    own = Prediction(step, PredictionOptions(half_life_ms=0))
    own.confirmed({"x": 1.0}, 0, 0.0)
    own.confirmed({"x": 2.0}, 0, 0.0)
    assert own.sample(0.0) == {"x": 2.0}


def test_the_drawn_state_moves_between_the_last_two_steps_and_a_correction_moves_both() -> None:
    own = Prediction(step, PredictionOptions(inputs=INPUTS, tick_ms=50, half_life_ms=100))
    own.confirmed({"x": 0.0}, 0, 0.0)
    own.sent(1, {"dx": 1.0}, 1.0)
    assert [own.sample(at_s) for at_s in (1.0, 1.025, 1.05, 2.0)] == [
        pytest.approx({"x": x}) for x in (0.0, 0.5, 1.0, 1.0)
    ]
    own.confirmed({"x": 4.0}, 0, 1.025)
    assert own.now == {"x": 5.0}
    assert own.sample(1.025) == pytest.approx({"x": 0.5}), "it does not jump"


def test_local_fields_follow_from_the_inputs_that_the_server_has_applied() -> None:
    def accelerate(state: Values, values: Values) -> Values:
        speed = state["speed"] + values["dx"]
        return {"x": state["x"] + speed, "speed": speed}

    own = Prediction(accelerate, PredictionOptions(inputs=INPUTS, fields=(), local={"speed": 0.0}))
    own.confirmed({"x": 0.0}, 0, 0.0)
    for seq in (1, 2, 3):
        own.sent(seq, {"dx": 1.0}, 0.0)
    assert own.now == {"x": 6.0, "speed": 3.0}
    own.confirmed({"x": 3.0}, 2, 0.0)
    assert own.now == {"x": 6.0, "speed": 3.0}, "the server does not send the speed of 2.0"
    own.acknowledged(3, 0.0)
    assert own.now == {"x": 3.0, "speed": 3.0}
    own.reset()
    own.confirmed({"x": 0.0}, 3, 0.0)
    assert own.now == {"x": 0.0, "speed": 0.0}


# -- following a client -------------------------------------------------------------------------------------


class FollowedClient:
    """A client whose events the test sends."""

    def __init__(self) -> None:
        self.acknowledged_seq = 0
        self.state: Values | None = {"x": 0.0}
        self.listeners: dict[str, list[object]] = {}

    def on(self, name: str, listener: object, /) -> object:
        self.listeners.setdefault(name, []).append(listener)
        return lambda: self.listeners[name].remove(listener)

    def emit(self, name: str, value: object = None) -> None:
        if isinstance(value, InputAcknowledged):
            self.acknowledged_seq = value.seq
        for listener in self.listeners[name]:
            listener(value)  # type: ignore[operator]


def test_an_acknowledgement_waits_for_the_state_of_its_tick() -> None:
    client, own = FollowedClient(), Prediction(step, OPTIONS)
    stop = own.follow(client, lambda: client.state, lambda: 0.0)  # type: ignore[arg-type]
    client.emit("state")
    own.sent(1, {"dx": 1.0}, 0.0)
    client.emit("acknowledged", InputAcknowledged(5, 1))
    assert own.now == {"x": 1.0}, "the entity does not jump back for the moment between the two messages"
    client.state = {"x": 1.0}
    client.emit("state")
    assert (own.now, own.unacknowledged) == ({"x": 1.0}, 0)
    for seq, following in ((2, InputAcknowledged(7, 3)), (4, None)):  # a wall: no state follows
        own.sent(seq, {"dx": 1.0}, 0.0)
        client.emit("acknowledged", InputAcknowledged(6, seq))
        client.emit("pong" if following is None else "acknowledged", following)
        assert (own.now, own.unacknowledged) == ({"x": 1.0}, 0)
    client.state = None
    own.sent(5, {"dx": 1.0}, 0.0)
    client.emit("acknowledged", InputAcknowledged(8, 5))
    client.emit("state")
    assert own.unacknowledged == 0
    client.emit("left", "removed")
    assert own.now is None
    stop()
    assert not any(client.listeners.values())


# -- in a room ----------------------------------------------------------------------------------------------


class Cars(Table):
    x = real(-500, 500, step=1 / 64)
    y = real(-500, 500, step=1 / 64)
    heading = angle(bits=16)


class CarInput(Input):
    turn = real(-1, 1, step=1 / 8)
    drive = real(0, 1, step=1 / 8)
    brake = boolean()


def drive(car: Values, values: Values) -> Values:
    heading = car["heading"] + values["turn"] * 0.25
    speed = 0.0 if values["brake"] else 3.0 * values["drive"]
    x, y = car["x"] + math.cos(heading) * speed, car["y"] + math.sin(heading) * speed
    return {"x": x, "y": y, "heading": heading}


class RaceTrack(Room):
    room_type = "track"
    input_type = CarInput
    cars: Cars

    def on_join(self, player: Player, options: object) -> None:
        player.entity = self.cars.spawn(x=0.0, y=0.0, heading=0.0)

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()

    def on_input(self, player: Player, input: CarInput) -> None:
        car = player.entity
        state = {"x": float(car.x), "y": float(car.y), "heading": float(car.heading)}
        values = {"turn": input.turn, "drive": input.drive, "brake": input.brake}
        for name, value in drive(state, values).items():
            setattr(car, name, value)


def read_car(client: HarnessClient) -> Values:
    car = client.world.table("cars")[client.entity]
    return {"x": car.x, "y": car.y, "heading": car.heading}


def turn_between(left: float, right: float) -> float:
    return abs((left - right + math.pi) % math.tau - math.pi)


@seeds(20)
def test_a_prediction_on_a_bad_network_is_the_position_that_the_server_reaches(seed: int) -> None:
    with RoomHarness(RaceTrack, seed=seed, network=BAD) as room:
        ann = room.join("ann")
        room.run(ticks=20)
        joined = ann.core.joined
        assert joined is not None
        inputs = joined.description.inputs
        own = Prediction(drive, PredictionOptions(inputs=inputs, angles=("heading",), snap_distance=50))
        worst, rng = 0.0, room.schedule.stream("inputs").rng
        for tick in range(150):
            now_s = tick / joined.tick_rate_hz
            before = own.sample(now_s)
            own.confirmed(read_car(ann), ann.core.acknowledged_seq, now_s)
            after = own.sample(now_s)
            if before is not None and after is not None:
                worst = max(worst, math.hypot(before["x"] - after["x"], before["y"] - after["y"]))
            values = {"turn": rng.uniform(-1, 1), "drive": rng.uniform(0, 1), "brake": float(rng.random() < 0.1)}
            ann.input(**values)
            own.sent(ann.core.input_seq, values, now_s)
            room.run(ticks=1)
        assert own.unacknowledged > 0, "some inputs are still in flight"
        predicted = own.now
        assert predicted is not None
        room.run(seconds=3)
        server = read_car(ann)
        assert math.hypot(predicted["x"] - server["x"], predicted["y"] - server["y"]) < 1.0
        assert turn_between(predicted["heading"], server["heading"]) < 0.05
        assert worst < 1e-6, "no correction moves what is drawn"
