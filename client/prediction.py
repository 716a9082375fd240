"""Client-side prediction of the player's own entity: inputs apply immediately, and again on top of each server state.

The server's state arrives one round trip late and contains the inputs up to a sequence number. Later inputs are
applied again; if the game's step equals the server's, the result is the position that the player already sees. As in
Gambetta's "Client-Side Prediction and Server Reconciliation".

Where the prediction was wrong, the drawn state does not jump: the error is kept as an offset that decays
exponentially. Pure: the caller passes the time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from tickwire.client.updates import InputAcknowledged
from tickwire.schemas.fields import InputPacker, from_description
from tickwire.schemas.inputs import InputReader
from tickwire.schemas.messages import FieldDescription

PENDING_MAX = 128
"""The most inputs without an acknowledgement; above it the oldest are dropped, as for a server that went silent."""
HALF_LIFE_MS = 100.0

Values = Mapping[str, float]
Step = Callable[[Values, Values], Values]
"""Applies an input (second argument) to a state for one tick, and returns the new state."""


class Smoothing(msgspec.Struct, frozen=True, kw_only=True):
    """Which fields of the state are corrected smoothly, and how fast.

    Args:
        fields: the fields of the position.
        angles: the fields that are angles in radians: they turn back by the shorter way.
        half_life_ms: the time in which half of an error is corrected.
        snap_distance: an error of the position above this distance is corrected at once, as after a teleport.
    """

    fields: tuple[str, ...] = ()
    angles: tuple[str, ...] = ()
    half_life_ms: float = HALF_LIFE_MS
    snap_distance: float = math.inf

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: a value is out of its range.
        """
        if not 0 < self.half_life_ms < math.inf:
            raise ValueError(f"half_life_ms must be above 0, not {self.half_life_ms}")
        if not self.snap_distance >= 0:
            raise ValueError(f"snap_distance must be at least 0, not {self.snap_distance}")


NO_SMOOTHING = Smoothing()
"""Corrects every error at once."""


class InputQuantiser:
    """Rounds inputs to the values that the server reads.

    Args:
        inputs: the fields of the room's inputs, from `Joined.description`.

    Raises:
        MalformedMessage: a field is invalid.
    """

    def __init__(self, inputs: Iterable[FieldDescription]) -> None:
        fields = tuple(from_description(description) for description in inputs)
        self._names = tuple(field.name for field in fields)
        self._packer, self._reader = InputPacker(fields), InputReader(fields)

    def quantise(self, values: Values) -> dict[str, float]:
        """Return all fields of an input as the server reads them; missing fields are 0.

        Raises:
            ValueError: a value is not a number.
        """
        return dict(zip(self._names, self._reader.read(self._packer.pack(values)), strict=True))


class Prediction:
    """Predicts the state of one entity.

        prediction = Prediction(step, room.description.inputs, Smoothing(fields=("x", "y"), angles=("heading",)))
        prediction.follow(client, read_own_ship, time.monotonic)
        prediction.sent(await client.send_input(values), values)
        ship = prediction.sample(time.monotonic())

    Args:
        step: applies an input to a state for one tick, as the room does, and returns the new state.
        inputs: the fields of the room's inputs, from `Joined.description`.
        smoothing: how errors are corrected; by default at once.
    """

    def __init__(self, step: Step, inputs: Iterable[FieldDescription], smoothing: Smoothing = NO_SMOOTHING) -> None:
        self._step = step
        self._quantiser = InputQuantiser(inputs)
        self._smoothing = smoothing
        self._pending: deque[tuple[int, Values]] = deque(maxlen=PENDING_MAX)
        self._confirmed: Values | None = None
        self._predicted: Values | None = None
        self._offset: dict[str, float] = {}  # at `_offset_s`
        self._offset_s = 0.0

    @property
    def now(self) -> Values | None:
        """The predicted state, for the game's own rules; None before the first server state."""
        return self._predicted

    @property
    def unacknowledged(self) -> int:
        """The number of inputs that the server has not acknowledged."""
        return len(self._pending)

    def sample(self, now_s: float) -> dict[str, float] | None:
        """Return the state to draw: the predicted one, with the part of earlier errors that is not corrected yet.

        Args:
            now_s: the caller's clock.
        """
        if self._predicted is None:
            return None
        offset = self._offset_at(now_s)
        return {name: value + offset.get(name, 0.0) for name, value in self._predicted.items()}

    def sent(self, seq: int, values: Values) -> None:
        """Apply an input that was sent.

        Args:
            seq: the result of `Client.send_input`; 0 means that the input was not sent, and changes nothing.
            values: the input, as it was passed to `send_input`.
        """
        if not seq:
            return
        values = self._quantiser.quantise(values)
        self._pending.append((seq, values))
        if self._predicted is not None:
            self._predicted = self._step(self._predicted, values)

    def confirmed(self, state: Values, seq: int, now_s: float) -> None:
        """Apply a server state, which contains all inputs up to `seq`.

        Args:
            state: the entity's state in the client's world.
            seq: `Client.acknowledged_seq`.
            now_s: the caller's clock.
        """
        self._confirmed = state
        self.acknowledged(seq, now_s)

    def acknowledged(self, seq: int, now_s: float) -> None:
        """Apply an acknowledgement: the last server state contains all inputs up to `seq`.

        If no new state was sent, these inputs changed nothing at the server.
        """
        while self._pending and self._pending[0][0] <= seq:
            self._pending.popleft()
        self._predict_again(now_s)

    def clear_pending(self, now_s: float) -> None:
        """Discard pending inputs, after the connection that they were sent on was lost."""
        self._pending.clear()
        self._predict_again(now_s)

    def reset(self) -> None:
        """Discard the state and all pending inputs."""
        self._pending.clear()
        self._confirmed = self._predicted = None
        self._offset = {}

    def follow(
        self, client: _Client, read: Callable[[], Values | None], clock_s: Callable[[], float]
    ) -> Callable[[], None]:
        """Update the prediction from a client's events.

        Args:
            client: the client.
            read: returns the own entity's state in the client's world; None if the entity does not exist.
            clock_s: the clock that is passed to `sample`, such as `time.monotonic`.

        Returns:
            A function that stops it.
        """
        follower = _Follower(self, client, read, clock_s)
        removers = [
            client.on("state", follower.state_applied),
            client.on("acknowledged", follower.input_acknowledged),
            client.on("pong", lambda _: follower.apply_acknowledgement()),
            client.on("reconnected", lambda _: self.clear_pending(clock_s())),
            client.on("joined", lambda _: self.clear_pending(clock_s())),
            client.on("left", lambda _: self.reset()),
        ]

        def stop() -> None:
            for remove in removers:
                remove()

        return stop

    def _predict_again(self, now_s: float) -> None:
        before, state = self._predicted, self._confirmed
        if state is not None:
            for _, values in self._pending:
                state = self._step(state, values)
        self._predicted = state
        if before is not None and state is not None:
            self._keep_error(before, state, now_s)

    def _keep_error(self, before: Values, after: Values, now_s: float) -> None:
        """Add the error of the prediction to the offset, so that the drawn state continues where it was."""
        smoothing, offset = self._smoothing, self._offset_at(now_s)
        for name in smoothing.fields:
            offset[name] = offset.get(name, 0.0) + before[name] - after[name]
        for name in smoothing.angles:
            offset[name] = _shorter_turn(offset.get(name, 0.0) + before[name] - after[name])
        if math.hypot(*(offset[name] for name in smoothing.fields)) > smoothing.snap_distance:
            offset = {}
        self._offset, self._offset_s = offset, now_s

    def _offset_at(self, now_s: float) -> dict[str, float]:
        passed_ms = max(0.0, now_s - self._offset_s) * 1000
        left = 0.5 ** (passed_ms / self._smoothing.half_life_ms)
        return {name: value * left for name, value in self._offset.items()}


class _Client(Protocol):
    """The part of `Client` that `Prediction.follow` uses."""

    @property
    def acknowledged_seq(self) -> int: ...

    def on(self, name: str, listener: Callable[..., object], /) -> Callable[[], None]: ...


class _Follower:
    """Passes the states and acknowledgements of a client to a prediction.

    An acknowledgement arrives before the state of its tick, if that tick has one. It is therefore applied with the
    next state, or with the next acknowledgement or Pong if no state has come by then.
    """

    def __init__(
        self, prediction: Prediction, client: _Client, read: Callable[[], Values | None], clock_s: Callable[[], float]
    ) -> None:
        self._prediction = prediction
        self._client = client
        self._read = read
        self._clock_s = clock_s
        self._waiting_seq: int | None = None

    def state_applied(self, _: object) -> None:
        self._waiting_seq = None
        state, seq, now_s = self._read(), self._client.acknowledged_seq, self._clock_s()
        if state is None:
            self._prediction.acknowledged(seq, now_s)
        else:
            self._prediction.confirmed(state, seq, now_s)

    def input_acknowledged(self, update: InputAcknowledged) -> None:
        self.apply_acknowledgement()
        self._waiting_seq = update.seq

    def apply_acknowledgement(self) -> None:
        seq, self._waiting_seq = self._waiting_seq, None
        if seq is not None:
            self._prediction.acknowledged(seq, self._clock_s())


def _shorter_turn(angle: float) -> float:
    """Return an angle from -pi to pi."""
    return (angle + math.pi) % math.tau - math.pi
