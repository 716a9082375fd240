"""Applies the entries of a recording to a replayed room, at the same places between its ticks. Pure."""

from __future__ import annotations

import builtins
from contextlib import suppress

from tickwire.schemas.messages import Command, Input
from tickwire.schemas.payloads import decode_payload
from tickwire.server.errors import RoomClosed, TickwireError
from tickwire.server.recording.entries import (
    CallEntry,
    CommandEntry,
    CommitEntry,
    DisconnectEntry,
    Entry,
    JoinEntry,
    LeaveEntry,
    MoveEntry,
    RecordsEntry,
    ResumeEntry,
    SettlementEntry,
    TaskEntry,
    TickRecord,
    TuningEntry,
    from_transaction_entry,
)
from tickwire.server.recording.replay_session import ReplayedEvent, ReplaySession
from tickwire.server.recording.room_builder import BuiltRoom, apply_tuning, start
from tickwire.server.rooms.checkpoint import SessionCheckpoint
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.room_tasks import TaskCancelled, TaskResult
from tickwire.server.rooms.room_transactions import PendingTransaction
from tickwire.server.rooms.seat import Seat, SeatRequest
from tickwire.server.rooms.transactions import Transaction
from tickwire.server.rooms.value_codec import decode_value

FORMER_SEATS_MAX = 1024


class RecordedError(Exception):
    """The error of a task whose class a replay cannot create: the name of the class and the text."""


class EntryPlayer:
    """Applies entries to one room.

    Args:
        built: the room.
    """

    def __init__(self, built: BuiltRoom) -> None:
        self._runtime = built.runtime
        self._seats = built.seats
        self._sessions = built.sessions

    def apply(self, entry: Entry) -> None:
        """Apply one entry. An entry about a seat that this replay does not have is ignored.

        Raises:
            Exception: the entry is damaged, in one of many ways; never an exception of the game's code.
        """
        runtime, room = self._runtime, self._runtime.room
        for seat in runtime.seats:
            seat.fan_out = None  # its limit depends on the time; the commands that it has refused are not recorded
        match entry:
            case JoinEntry():
                self._join(entry)
            case RecordsEntry(seat=number, records=records):
                holder = self._seats.get(number)
                if holder is None:
                    runtime.update_present(records)
                else:
                    runtime.update_records(holder, records)
            case CommitEntry():
                holder = self._seats.get(entry.seat) or self._create_seat(entry.player_id)
                transaction = from_transaction_entry(entry.transaction)
                runtime.apply_transaction(holder, entry.name, transaction, entry.records)
            case SettlementEntry(key=key, refused=refused, records=records):
                runtime.settle_transaction(self._find_transaction(key), refused, records)
            case TaskEntry():
                room.tasks.end(entry.index, self._to_result(entry))
            case TuningEntry(version=version, values=values):
                apply_tuning(room, version, values)
                runtime.notify_tuned()
            case CallEntry(method=method, argument=argument):
                self._call(method, argument)
            case _:
                if (seat_of_entry := self._seats.get(entry.seat)) is not None:
                    self._apply_to_seat(entry, seat_of_entry)

    def _apply_to_seat(
        self, entry: LeaveEntry | DisconnectEntry | ResumeEntry | CommandEntry | MoveEntry, seat: Seat
    ) -> None:
        runtime = self._runtime
        match entry:
            case LeaveEntry(reason=reason):
                seat.leave(reason)
            case DisconnectEntry():
                seat.disconnected()
            case ResumeEntry(keeps_world=keeps_world):
                runtime.player_resumed(seat, keeps_world=keeps_world)
            case CommandEntry(id=id, name=name, payload=payload):
                if seat.is_open:  # within its limits: only such a command is recorded
                    runtime.run_command(seat, Command(id, name, payload), is_again=True)
            case MoveEntry(refused=""):
                runtime.complete_move(seat)
            case MoveEntry(refused=refused):
                runtime.move_refused(seat, refused)

    def _join(self, entry: JoinEntry) -> None:
        session = ReplaySession(
            SessionCheckpoint(f"seat {entry.seat}", entry.player_id, entry.is_guest, entry.schema_version)
        )
        request = SeatRequest(
            session, entry.player_id, decode_payload(entry.options), entry.team, entry.skill, entry.record
        )
        self._sessions[entry.seat] = session
        with suppress(TickwireError):  # the recorded room may have refused the player, too
            self._seats[entry.seat] = self._runtime.seat(request)
        if len(self._seats) > len(self._runtime.seats) + FORMER_SEATS_MAX:
            for number in [number for number, seat in self._seats.items() if not seat.is_open]:
                self._seats.pop(number)
                self._sessions.pop(number, None)

    def _create_seat(self, player_id: str) -> Seat:
        """Return the seat of a player who had left before the recording began."""
        session = ReplaySession(SessionCheckpoint("", player_id, False, 0))
        return Seat(self._runtime, SeatRequest(session, player_id), lambda seat: None)

    def _find_transaction(self, key: str) -> PendingTransaction:
        pending = self._runtime.room.transactions.find(key)
        return pending or PendingTransaction(Transaction(key=key), b"", "")

    def _to_result(self, entry: TaskEntry) -> TaskResult:
        if entry.error:
            return TaskResult(error=_create_error(entry.error, entry.message))
        return TaskResult(decode_value(entry.value, self._runtime.room))

    def _call(self, method: str, argument: str) -> None:
        runtime = self._runtime
        with suppress(RoomCodeRaised, RoomClosed):
            match method:
                case "freeze":
                    runtime.freeze()
                case "unfreeze":
                    start(runtime)
                    runtime.unfreeze()
                case "seal":
                    runtime.seal()
                case "cancel_work":
                    runtime.cancel_work(argument)
                case "unseat_kicked":
                    runtime.unseat_kicked()
                case "metadata":
                    runtime.metadata()
                case "can_migrate":
                    runtime.can_migrate()

    def deliver(self, record: TickRecord) -> str:
        """Put the inputs of a tick where the tick finds them.

        Returns:
            Why inputs were left out; empty if none was.
        """
        runtime, newest, left_out = self._runtime, self._runtime.newest_inputs, ""
        for seat in runtime.seats:
            seat.fan_out = None
        for number, seq, lag, payload in record.inputs:
            holder = self._seats.get(number)
            if holder is None or not holder.is_open:
                continue
            if len(payload) != runtime.input_size:
                left_out = f"inputs of {len(payload)} bytes do not fit; those of this build have {runtime.input_size}"
                continue
            # The tick that yields the recorded lag; see InputDelivery. 0 leaves the lag as it is.
            message = Input(seq, 0 if lag is None else record.tick - lag, payload)
            if newest is None:
                holder.inbox.append(message)
            else:
                newest[holder] = message
        return left_out

    def take_events(self) -> tuple[ReplayedEvent, ...]:
        """Return the events that the room has sent since the last call."""
        return tuple(event for session in self._sessions.values() for event in session.take_events())


def _create_error(name: str, message: str) -> BaseException:
    if name == TaskCancelled.__name__:
        return TaskCancelled(message)
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        with suppress(TypeError):  # a class that needs other arguments, such as UnicodeDecodeError
            return kind(message)
    return RecordedError(f"{name}: {message}")
