"""Delivers the inputs of a tick to the game: one by one to `on_input`, or all together to `on_inputs`. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from tickwire.schemas.inputs import InputReader
from tickwire.schemas.messages import Input
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.error_policy import TickErrors
from tickwire.server.rooms.fan_out import FanOutMeter
from tickwire.server.rooms.inputs import InputBatch
from tickwire.server.rooms.lag_compensation import LAG_TICKS_MIN
from tickwire.server.rooms.ports import EntryRecorder
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.seat import Seat

READERS_MAX = 64
_create_reader = lru_cache(READERS_MAX)(InputReader)
"""Creates the reader of a room type once: it has tables of 10 KB for each field of one byte."""


class InputDelivery:
    """The inputs of one room.

    Args:
        room: the room.
        fan_out: charges the players for the events that their inputs cause.
        errors: applies the error policy of the room.
        counters: the counters of the shard.

    Attributes:
        newest: the newest input of each seat, if the game receives all inputs of a tick together; else None.
        recorder: records the inputs; None while the room is not recorded.
    """

    __slots__ = ("_counters", "_errors", "_fan_out", "_has_history", "_reader", "_room", "newest", "recorder")

    def __init__(self, room: Room, fan_out: FanOutMeter, errors: TickErrors, counters: RoomCounters) -> None:
        self._room = room
        self._errors = errors
        self._fan_out = fan_out
        self._counters = counters
        self._reader = _create_reader(room.input_fields)
        self._has_history = room._history is not None
        self.recorder: EntryRecorder | None = None
        self.newest: dict[Seat, Input] | None = {} if type(room).on_inputs is not Room.on_inputs else None

    @property
    def size(self) -> int:
        """The size of an input's payload in bytes."""
        return self._reader.size

    def discard(self, seat: Seat) -> None:
        """Discard the input of a seat that was given up, and count its superseded inputs."""
        self._counters.inputs_superseded += seat.inputs_superseded
        if self.newest is not None:
            self.newest.pop(seat, None)

    def deliver(self, seats: Iterable[Seat]) -> None:
        """Run the game's hooks with all inputs that have arrived since the last tick.

        Raises:
            RoomCodeRaised: a hook raised an exception, and the room does not ignore it.
        """
        if self.newest is not None:
            self._deliver_batch(self.newest)
            return
        fan_out, on_input, read = self._fan_out, self._room.on_input, self._reader.read
        create, recorder = self._room.input_type, self.recorder
        for seat in seats:
            if seat.inbox and not (seat.fan_out is not None and fan_out.wait_ms(seat)):
                before = fan_out.cost
                for message in seat.inbox:
                    if self._has_history:
                        self._record_lag(seat, message)
                    if recorder is not None:
                        recorder.record_input(seat, message)
                    values: Any = message
                    try:
                        values = create(*read(message.payload))
                        on_input(seat.player, values)
                    except BaseException as error:  # any type: see server/rooms/containment.py
                        if not self._errors.ignores("on_input", (seat.player, values), error):
                            raise RoomCodeRaised("on_input") from error
                if fan_out.cost != before:
                    fan_out.charge_since(seat, before)
                self._counters.inputs_applied += len(seat.inbox)
                seat.applied_seq = seat.inbox[-1].seq
                seat.inbox.clear()

    def _deliver_batch(self, newest: dict[Seat, Input]) -> None:
        if newest:
            if self._has_history:
                for seat, message in newest.items():
                    self._record_lag(seat, message)
            if self.recorder is not None:
                for seat, message in newest.items():
                    self.recorder.record_input(seat, message)
            players, payloads = [], []
            for seat, message in newest.items():
                seat.applied_seq = message.seq
                players.append(seat.player)
                payloads.append(message.payload)
            newest.clear()
            self._counters.inputs_applied += len(players)
            batch: Any = players
            try:
                batch = InputBatch(players, self._room.input_type(*self._reader.read_many(payloads)))
                self._room.on_inputs(batch)
            except BaseException as error:  # any type: see server/rooms/containment.py
                if not self._errors.ignores("on_inputs", (batch,), error):
                    raise RoomCodeRaised("on_inputs") from error

    def _record_lag(self, seat: Seat, message: Input) -> None:
        """Record the ticks from the newest state of a client to the tick that applies its input.

        The lag of earlier inputs stays if the client had no state yet, or if it has all that there was to send: a
        world that is still sends nothing, and the age of the newest state is then no latency. A slow client is not
        sent every state.
        """
        lag, view = self._room.tick - message.tick, seat.view
        is_newest = view is not None and message.tick >= view.last_sent_tick
        has_all = lag > LAG_TICKS_MIN and is_newest and seat.send_rate is None
        if message.tick and not has_all:
            seat.player._lag_ticks = lag
