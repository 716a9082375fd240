"""Records one room: its entries and inputs, and the checksums of its state after each tick.

    attached --keyframe--> recording --the room ends, moves or restarts; stop--> detached

The entries since the last tick become one frame when the tick ends; a tick that fails is recorded with its exception.
The recorder of a room has one or several sinks. Nothing that it does changes the room, except that a keyframe runs
the game's `save`; that call is recorded, too. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tickwire.schemas.messages import Command, Input
from tickwire.schemas.payloads import encode_payload
from tickwire.server.observability.redaction import redact_text
from tickwire.server.recording.checksum import StateChecksums
from tickwire.server.recording.entries import (
    ENTRIES_MAX,
    MESSAGE_CHARACTERS_MAX,
    NO_SEAT,
    CallEntry,
    CommandEntry,
    CommitEntry,
    DisconnectEntry,
    Entry,
    FailureEntry,
    JoinEntry,
    LeaveEntry,
    MoveEntry,
    RecordsEntry,
    ResumeEntry,
    SettlementEntry,
    TaskEntry,
    TickRecord,
    TuningEntry,
    text_of,
    to_transaction_entry,
    to_unicode,
)
from tickwire.server.recording.frames import KEYFRAME, TICK, FrameTooLarge, encode_frame
from tickwire.server.recording.header import encode_header
from tickwire.server.recording.keyframe import RoomKeyframe, create_keyframe, encode_keyframe
from tickwire.server.recording.redaction import encode_redacted, redact_encoded, redact_payload
from tickwire.server.recording.sinks import RecordingSink
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.room_tasks import TaskResult
from tickwire.server.rooms.room_transactions import PendingTransaction
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest
from tickwire.server.rooms.transactions import RecordVersion, Transaction
from tickwire.server.rooms.value_codec import NotCopied

_NOT_ENCODED = (TypeError, ValueError, OverflowError, RecursionError)
"""A value of the game that MessagePack cannot hold: an integer of more than 64 bits, or text that is not Unicode."""
FORMER_SEATS_MAX = 256
"""The seats of players who have left, of whom a transaction may still be committed."""


class RoomRecorder:
    """Records one room from now on. Implements `tickwire.server.rooms.ports.EntryRecorder`.

    Create it between two ticks. A sink that is passed here begins with a keyframe.

    Args:
        runtime: the room, which has no recorder.
        *sinks: the receivers of the frames.
        checksum_ticks: the ticks from one checksum to the next. A divergence is found this many ticks later at most.

    Attributes:
        header: the beginning of a file with the frames of this recorder.
        reason: why the recorder has stopped; empty before that.

    Raises:
        RoomCodeRaised: the game's `save` raised an exception; nothing is recorded.
    """

    def __init__(self, runtime: RoomRuntime, *sinks: RecordingSink, checksum_ticks: int = 1) -> None:
        self.reason = ""
        self._runtime = runtime
        self._checksums = StateChecksums(runtime.room)
        self.header = encode_header(runtime.room, self._checksums.parts)
        self._sinks: tuple[RecordingSink, ...] = sinks  # replaced, so that a sink may remove itself in its `write`
        self._numbers: dict[Seat, int] = {seat: number for number, seat in enumerate(runtime.seats)}
        self._former: dict[Seat, int] = {}
        self._last_number = len(self._numbers) - 1
        self._entries: list[Entry] = []
        self._inputs: list[Any] = []  # of InputEntry
        self._failures: list[FailureEntry] = []
        self._checksum_ticks = checksum_ticks
        self._has_keyframe = False
        self._written_tick = runtime.tick
        self._encode = msgspec.msgpack.Encoder().encode
        runtime.attach_recorder(self)
        try:
            self.write_keyframe()
        except RoomCodeRaised:
            runtime.attach_recorder(None)
            raise

    @property
    def sinks(self) -> tuple[RecordingSink, ...]:
        """The receivers of the frames."""
        return self._sinks

    def add_sink(self, sink: RecordingSink) -> None:
        """Add a receiver; call `write_keyframe` next."""
        self._sinks = (*self._sinks, sink)

    def remove_sink(self, sink: RecordingSink) -> None:
        """Remove a receiver; its `end` is not called."""
        self._sinks = tuple(one for one in self._sinks if one is not sink)

    def write_keyframe(self) -> None:
        """Write the whole state of the room. Call it between two ticks; runs the game's `save`.

        A state that cannot be encoded ends the recording, not the room.

        Raises:
            RoomCodeRaised: `save` raised an exception, or a column holds an invalid value.
        """
        try:
            keyframe = create_keyframe(self._runtime, self._numbers, self._last_number + 1)
            payload = self._encode_keyframe(keyframe)
        except _NOT_ENCODED as error:
            self.stop(f"the state of the room cannot be recorded: {error}")
            return
        if self._has_keyframe and self._entries:  # among them the call of `save`, which a replay runs, too
            self._write_record(ran=False)
        self._entries.clear()
        self._has_keyframe = True
        self._write(KEYFRAME, payload, is_keyframe=True)

    def _encode_keyframe(self, keyframe: RoomKeyframe) -> bytes:
        # `save` may have changed the state, so the checksums are computed after it.
        return encode_keyframe(msgspec.structs.replace(keyframe, checksums=self._checksums.compute()))

    def write_failure(self, hook: str, error: BaseException) -> None:
        """Record that the room's tick has failed outside of a hook of the game, such as by a NaN in a column."""
        if not any(not failure.is_ignored for failure in self._failures):
            self.record_failure(hook, error, is_ignored=False)
        self._write_record(ran=True, has_failed=True)

    def stop(self, reason: str, /) -> None:
        """End the recording, and detach the recorder from the room. Idempotent."""
        if self._runtime.recorder is not self:
            return
        self.reason = reason
        self._runtime.attach_recorder(None)
        ran = self._runtime.tick > self._written_tick  # the tick has begun and not ended
        if ran or self._entries:
            self._write_record(ran=ran, has_failed=ran)
        for sink in self._sinks:
            sink.end(reason)

    # -- entries ----------------------------------------------------------------------------------------------

    def record_join(self, seat: Seat, request: SeatRequest, /) -> None:
        """See `EntryRecorder.record_join`."""
        self._last_number += 1
        self._numbers[seat] = self._last_number
        options = self._encode_value(redact_payload(dict(request.options)), "the options of a join")
        session = request.session
        self._add(
            JoinEntry(
                self._last_number,
                request.player_id,
                options,
                request.team,
                request.skill,
                request.record,
                session.is_guest,
                session.schema_version,
            )
        )

    def record_leave(self, seat: Seat, reason: str, /) -> None:
        """See `EntryRecorder.record_leave`."""
        self._add(LeaveEntry(self._number_of(seat), seat.player_id, reason))

    def record_disconnect(self, seat: Seat, /) -> None:
        """See `EntryRecorder.record_disconnect`."""
        self._add(DisconnectEntry(self._number_of(seat), seat.player_id))

    def record_resume(self, seat: Seat, /, *, keeps_world: bool) -> None:
        """See `EntryRecorder.record_resume`."""
        self._add(ResumeEntry(self._number_of(seat), seat.player_id, keeps_world))

    def record_move(self, seat: Seat, refused: str, /) -> None:
        """See `EntryRecorder.record_move`."""
        self._add(MoveEntry(self._number_of(seat), seat.player_id, refused))

    def record_command(self, seat: Seat, message: Command, /) -> None:
        """See `EntryRecorder.record_command`."""
        payload = redact_encoded(message.payload)
        self._add(CommandEntry(self._number_of(seat), seat.player_id, message.id, message.name, payload))

    def record_records(self, seat: Seat | None, records: Mapping[str, RecordVersion], /) -> None:
        """See `EntryRecorder.record_records`."""
        self._add(RecordsEntry(NO_SEAT if seat is None else self._number_of(seat), dict(records)))

    def record_commit(
        self, seat: Seat, name: str, transaction: Transaction, records: Mapping[str, RecordVersion], /
    ) -> None:
        """See `EntryRecorder.record_commit`."""
        reply = self._encode_value(redact_payload(transaction.reply), "the reply of a transaction")
        profile = b"" if transaction.profile is None else self._encode_value(transaction.profile, "a profile")
        entry = to_transaction_entry(transaction, reply, profile)
        self._add(CommitEntry(self._number_of(seat), seat.player_id, name, entry, dict(records)))

    def record_settlement(
        self, pending: PendingTransaction, refused: str, records: Mapping[str, RecordVersion], /
    ) -> None:
        """See `EntryRecorder.record_settlement`."""
        self._add(SettlementEntry(pending.transaction.key, refused, dict(records)))

    def record_task(self, index: int, result: TaskResult, /) -> None:
        """See `EntryRecorder.record_task`. A value that cannot be encoded ends the recording."""
        error = result.error
        if error is not None:
            # A KeyError with this text is created again from its argument, not from its `str`.
            is_text = len(error.args) == 1 and isinstance(error.args[0], str)
            text = to_unicode(redact_text(error.args[0])) if is_text else text_of(error)
            self._add(TaskEntry(index, b"", type(error).__name__, text[:MESSAGE_CHARACTERS_MAX]))
            return
        try:
            value = encode_redacted(result.value, self._runtime.room)
        except (NotCopied, OverflowError, ValueError):
            self.stop(f"the result of a task, a {type(result.value).__name__}, cannot be recorded")
            return
        self._add(TaskEntry(index, value))

    def record_tuning(self) -> None:
        """See `EntryRecorder.record_tuning`."""
        room = self._runtime.room
        self._add(TuningEntry(room.tuning_version, msgspec.msgpack.encode(room.tuning)))

    def record_call(self, method: str, argument: str = "", /) -> None:
        """See `EntryRecorder.record_call`."""
        self._add(CallEntry(method, argument))

    def record_input(self, seat: Seat, message: Input, /) -> None:
        """See `EntryRecorder.record_input`."""
        if len(self._inputs) < ENTRIES_MAX:  # plain tuples: the room calls this once for each input
            number = self._numbers.get(seat, NO_SEAT)
            self._inputs.append((number, message.seq, seat.player._lag_ticks, message.payload))

    def record_failure(self, hook: str, error: BaseException, /, *, is_ignored: bool) -> None:
        """See `EntryRecorder.record_failure`."""
        if len(self._failures) < ENTRIES_MAX:
            self._failures.append(FailureEntry(hook, type(error).__name__, text_of(error), is_ignored))

    def record_tick(self) -> None:
        """See `EntryRecorder.record_tick`."""
        is_due = self._runtime.tick % self._checksum_ticks == 0
        self._write_record(ran=True, checksums=self._checksums.compute() if is_due else b"")
        if len(self._numbers) > len(self._runtime.seats):
            self._forget_seats()

    # -- frames -----------------------------------------------------------------------------------------------

    def _add(self, entry: Entry) -> None:
        if len(self._entries) >= ENTRIES_MAX:
            self.stop(f"more than {ENTRIES_MAX} entries between two ticks")
            return
        self._entries.append(entry)

    def _write_record(self, *, ran: bool, checksums: bytes = b"", has_failed: bool = False) -> None:
        tick = self._written_tick = self._runtime.tick
        entries, inputs, failures = tuple(self._entries), tuple(self._inputs), tuple(self._failures)
        record = TickRecord(tick, ran, entries, inputs, checksums, failures, has_failed)
        self._entries, self._inputs, self._failures = [], [], []
        try:
            payload = self._encode(record)
        except _NOT_ENCODED as error:
            self.stop(f"the entries of tick {tick} cannot be recorded: {error}")
            return
        self._write(TICK, payload)

    def _write(self, kind: int, payload: bytes, *, is_keyframe: bool = False) -> None:
        try:
            frame = encode_frame(kind, payload)
        except FrameTooLarge as error:
            self.stop(str(error))
            return
        tick = self._runtime.tick
        for sink in self._sinks:
            sink.write(frame, tick, is_keyframe=is_keyframe)

    def _encode_value(self, value: Any, where: str) -> bytes:
        try:
            return encode_payload(value)
        except (TypeError, ValueError, OverflowError, RecursionError):
            self.stop(f"{where} cannot be recorded")
            return b""

    def _number_of(self, seat: Seat) -> int:
        number = self._numbers.get(seat)
        return self._former.get(seat, NO_SEAT) if number is None else number

    def _forget_seats(self) -> None:
        """Move the seats of players who have left to the former ones, of which the newest are kept."""
        for seat in [seat for seat in self._numbers if not seat.is_open]:
            self._former[seat] = self._numbers.pop(seat)
        for seat in list(self._former)[:-FORMER_SEATS_MAX]:
            del self._former[seat]
