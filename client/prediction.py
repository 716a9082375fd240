"""Client-side prediction of the player's own entity: inputs apply immediately, and again on top of each server state.

The server's state arrives one round trip late and contains the inputs up to a sequence number. Later inputs are
applied again; if the game's step equals the server's, the result is the position that the player already sees. As in
Gambetta's "Client-Side Prediction and Server Reconciliation".

Where it differs, `sample` hides the correction over some frames (smoother.py). Pure: the caller passes the time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from tickwire.client.smoother import Smoother, SmootherOptions, Values
from tickwire.client.updates import InputAcknowledged
from tickwire.schemas.fields import InputPacker, from_description
from tickwire.schemas.inputs import InputReader
from tickwire.schemas.messages import FieldDescription

PENDING_MAX = 128
"""The most inputs without an acknowledgement; above it the oldest are dropped, as for a server that went silent."""

Step = Callable[[Values, Values], Values]
"""Applies an input (second argument) to a state for one tick, and returns the new state."""


class PredictionOptions(SmootherOptions, frozen=True, kw_only=True):
    """The options of a prediction.

    Args:
        inputs: the fields of the room's inputs, `Joined.description.inputs`: inputs are rounded as the server reads
            them before they are applied. Without them inputs are applied as they are.
        local: fields of the state that the server does not send, with their first values. They follow from inputs.
    """

    inputs: tuple[FieldDescription, ...] = ()
    local: dict[str, float] = {}


DEFAULT_OPTIONS = PredictionOptions()


class _PendingInput(msgspec.Struct):
    seq: int
    values: Values
    after: Values | None  # the state after this input


class InputQuantiser:
    """Rounds inputs to the values that the server reads.

    Args:
        inputs: the fields of the room's inputs, `Joined.description.inputs`.

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

        options = PredictionOptions(inputs=room.description.inputs, angles=("heading",), snap_distance=80)
        prediction = Prediction(step, options)
        prediction.follow(client, read_own_ship, time.monotonic)
        prediction.sent(await client.send_input(values), values, time.monotonic())
        ship = prediction.sample(time.monotonic())

    Args:
        step: applies an input to a state for one tick, as the room does, and returns the new state.
        options: the fields of inputs, and how errors are corrected.

    Raises:
        MalformedMessage: the description of an input is invalid.
    """

    def __init__(self, step: Step, options: PredictionOptions = DEFAULT_OPTIONS) -> None:
        self._step = step
        self._options = options
        self._quantiser = InputQuantiser(options.inputs) if options.inputs else None
        self._smoother = Smoother(options)
        self._pending: deque[_PendingInput] = deque(maxlen=PENDING_MAX)
        self._local = dict(options.local)
        self._confirmed: dict[str, float] | None = None
        self._predicted: Values | None = None

    @property
    def now(self) -> Values | None:
        """The predicted state, for the game's own rules; None before the first server state."""
        return self._predicted

    @property
    def unacknowledged(self) -> int:
        """The number of inputs that the server has not acknowledged."""
        return len(self._pending)

    def sample(self, now_s: float) -> dict[str, float] | None:
        """Return the state to draw: between the last two steps, and without jumps where the prediction was corrected.

        Args:
            now_s: the caller's clock.
        """
        return None if self._predicted is None else self._smoother.sample(self._predicted, now_s)

    def sent(self, seq: int, values: Values, now_s: float) -> None:
        """Apply an input that was sent.

        Args:
            seq: the result of `Client.send_input`; 0 means that the input was not sent, and changes nothing.
            values: the input, as it was passed to `send_input`.
            now_s: the caller's clock.
        """
        if not seq:
            return
        if self._quantiser is not None:
            values = self._quantiser.quantise(values)
        before = self._predicted
        after = None if before is None else self._step(before, values)
        self._pending.append(_PendingInput(seq, values, after))
        if before is not None:
            self._smoother.stepped(before, now_s)
            self._predicted = after

    def confirmed(self, state: Values, seq: int, now_s: float) -> None:
        """Apply a server state, which contains all inputs up to `seq`.

        Args:
            state: the entity's state in the client's world, without the `local` fields.
            seq: `Client.acknowledged_seq`.
            now_s: the caller's clock.
        """
        self._remove_until(seq)
        self._confirmed = {**self._local, **state}
        self._replay(now_s)

    def acknowledged(self, seq: int, now_s: float) -> None:
        """Apply an acknowledgement: the last server state contains all inputs up to `seq`.

        If no new state was sent, these inputs changed nothing at the server.
        """
        self._remove_until(seq)
        if self._confirmed is not None:
            self._confirmed |= self._local
        self._replay(now_s)

    def clear_pending(self, now_s: float) -> None:
        """Discard pending inputs, after the connection that they were sent on was lost."""
        if self._pending:
            self.acknowledged(self._pending[-1].seq, now_s)

    def reset(self) -> None:
        """Discard the state and all pending inputs."""
        self._pending.clear()
        self._confirmed = self._predicted = None
        self._local = dict(self._options.local)
        self._smoother.reset()

    def _remove_until(self, seq: int) -> None:
        """Remove the inputs up to `seq`. The local fields are those that followed from them."""
        last: Values | None = None
        while self._pending and self._pending[0].seq <= seq:
            last = self._pending.popleft().after
        if last is not None:
            self._local = {name: last[name] for name in self._local}

    def _replay(self, now_s: float) -> None:
        """Apply the pending inputs on top of the server's state."""
        before, state = self._predicted, self._confirmed
        predicted: Values | None = state
        for pending in self._pending:
            predicted = pending.after = None if predicted is None else self._step(predicted, pending.values)
        self._predicted = predicted
        if before is not None and predicted is not None:
            self._smoother.corrected(before, predicted, now_s)

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
