"""Runs one room. The parts of a running room have modules of their own.

    seat_lifecycle     seats and unseats players
    hooks              runs the game's code: contains exceptions, and records durations
    input_delivery     delivers the inputs of a tick
    command_runner     runs commands and applies transactions
    interest           keeps the channels of each player
    state_writer       writes the state to the clients
    handover           freezes the room while it moves to another shard
    checkpoint_writer  creates checkpoints

Pure: no clock, no socket, no task. `server/rooms/tick_loop.py` calls the parts of a step when a tick is due.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import structlog
from numpy.typing import NDArray

from tickwire.schemas.messages import Command, Error, ErrorCode, Redirect, Reply
from tickwire.server.errors import RoomClosed, RoomFull, Unavailable
from tickwire.server.replication.replicator import Replicator
from tickwire.server.rooms.attributes import GameAttributes
from tickwire.server.rooms.bandwidth_sampler import BandwidthSampler
from tickwire.server.rooms.checkpoint import RoomCheckpoint, RoomMetadata, SeatCheckpoint, SetAsideData
from tickwire.server.rooms.checkpoint_writer import create_checkpoint, create_metadata
from tickwire.server.rooms.command_runner import CommandRunner, refuse_command
from tickwire.server.rooms.containment import RoomCodeRaised, contain
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.error_policy import TickErrors
from tickwire.server.rooms.fan_out import FanOutMeter
from tickwire.server.rooms.handover import MOVES_MS, RoomHandover
from tickwire.server.rooms.hooks import HookRunner
from tickwire.server.rooms.input_delivery import InputDelivery
from tickwire.server.rooms.interest import InterestTracker
from tickwire.server.rooms.move_request import MoveOutcome
from tickwire.server.rooms.options_types import parse_options
from tickwire.server.rooms.player_moves import PlayerMoves
from tickwire.server.rooms.ports import EntryRecorder, RestoredSubscriber
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.room_methods import find_method
from tickwire.server.rooms.room_tasks import TaskResult, TaskStarter
from tickwire.server.rooms.room_transactions import PendingTransaction, TransactionOutcome
from tickwire.server.rooms.seat import Seat, SeatEnded, SeatRequest
from tickwire.server.rooms.seat_lifecycle import SeatLifecycle
from tickwire.server.rooms.slow_log import SlowLog
from tickwire.server.rooms.state_writer import OversizedState, StateWriter, report_oversized_state
from tickwire.server.rooms.transactions import Decision, RecordVersion, Transaction

log = structlog.get_logger(__name__)


class RoomRuntime:
    """A running room.

    Args:
        room: the game's room, created or restored.
        epoch: the fencing number under which this shard owns the room.
        counters: the counters of the shard; the room adds to them.
        now_s: a monotonic clock in seconds, for the duration of hooks.

    Attributes:
        seats: the seats of all players, in the order of their joins.
        has_rolled_back: whether the room was restored from a save, so that clients may have seen later ticks.
        closes_at_s: when the host closes the room because it is empty; infinite while it has players.
        set_aside: stored data of the room that this build does not declare.
        slow_log: logs calls of the game's code that take too long.
        fan_out: measures the cost of events.
        hooks: runs the game's code outside of ticks.
        handover: freezes the room while it moves to another shard.
        attributes: the attributes that the game has set on the room.
        bandwidth: samples the bandwidth of the room's fields.
        moves: the moves of players to other rooms.
        tick_errors: applies the error policy of the room.
        recorder: records what enters the room; None while the room is not recorded. See `attach_recorder`.
        record_reads: collects the records that the decision on a command is based on.
        newest_inputs: the newest input of each seat, if the game receives all inputs of a tick together; else None.
    """

    def __init__(self, room: Room, *, epoch: int, counters: RoomCounters, now_s: Callable[[], float]) -> None:
        self.room = room
        self.epoch = epoch
        self.counters = counters
        self.dt = 1.0 / room.tick_rate_hz
        self.closes_at_s = math.inf
        self.is_open = True
        self.has_rolled_back = False
        self.recorder: EntryRecorder | None = None
        self.set_aside = SetAsideData()
        self.slow_log = SlowLog(room, self.dt, counters)
        self.replicator = Replicator(room.all_tables(), checksum_ticks=room.checksum_ticks)
        self.fan_out = FanOutMeter(room, now_s)
        self.hooks = HookRunner(room, counters, self.slow_log, now_s)
        self.handover = RoomHandover()
        self.attributes = GameAttributes(room)
        self.bandwidth = BandwidthSampler(room, self.replicator, counters)
        self.tick_errors = TickErrors(room, room.error_policy, counters)
        self._inputs = InputDelivery(room, self.fan_out, self.tick_errors, counters)
        self._commands = CommandRunner(room, self.hooks, self.fan_out, counters)
        self._interest = InterestTracker(room, self.replicator)
        self._lifecycle = SeatLifecycle(room, self.hooks, self.handover, self._interest, self._inputs)
        self._writer = StateWriter(room, self.replicator, counters)
        self._history = room._history
        self._is_settled = False
        self._kicked: dict[Seat, str] = {}  # with the reasons, until the end of the tick
        self._successor: RoomRuntime | None = None  # after a restart
        self.moves = PlayerMoves(room, self._deliver_move)
        self.seats = self._lifecycle.seats
        self.record_reads = self._commands.record_reads
        self.newest_inputs = self._inputs.newest

    @property
    def tick(self) -> int:
        """The number of the last tick."""
        return self.room.tick

    @property
    def input_size(self) -> int:
        """The size of an input's payload in bytes."""
        return self._inputs.size

    @property
    def transactions_applied(self) -> int:
        """The number of calls about committed transactions, each of which may have changed the room's own data."""
        return self._commands.transactions_applied

    @property
    def changed_tick(self) -> int:
        """The last tick that changed the state that clients see."""
        return self.replicator.changed_tick

    @property
    def is_durable(self) -> bool:
        """Whether the room is saved, so that a named room can be restored."""
        return self.room.durable and bool(self.room.name)

    @property
    def is_idle(self) -> bool:
        """Whether ticks are skipped: the room is empty, and the game does not set `ticks_when_empty`.

        One more tick runs after the last change, so that the change is replicated and saved.
        """
        if self.seats or not self._is_settled:
            return False
        return not self.room.ticks_when_empty and self.room.close_reason is None

    # -- seats ----------------------------------------------------------------------------------------------

    def seat(self, request: SeatRequest, on_ended: SeatEnded = lambda seat: None) -> Seat:
        """Seat a player and send `Joined` to the session; state follows with the next tick.

        Args:
            request: the session, the player and its options.
            on_ended: called once when the seat is given up.

        Raises:
            InvalidArgument: the options do not have the type that `on_join` declares.
            RoomFull: all seats are taken, or the player already has a seat in the room.
            JoinRefused: `on_join` refused the player.
            RoomClosed: the room has ended, or its `on_join` raised an exception.
            Unavailable: the room is moving to another shard.
        """
        if not self.is_open or self.room.close_reason is not None:
            raise RoomClosed("the room has ended")
        if self.is_frozen:
            raise Unavailable("the room is moving to another shard", retry_after_ms=MOVES_MS)
        if len(self.seats) >= self.room.max_players:
            raise RoomFull(f"all {self.room.max_players} seats are taken")
        if request.player_id in self.room.players:
            raise RoomFull("the player already has a seat in this room")
        options = parse_options("on_join", self.room.options_type, request.options, self.room, self.counters)
        seat = Seat(self, request, on_ended)
        self._is_settled = False
        self.closes_at_s = math.inf
        if self.recorder is not None:
            self.recorder.record_join(seat, request)
        self._lifecycle.join(seat, options)
        return seat

    def restore_seat(
        self,
        checkpoint: SeatCheckpoint,
        subscriber: RestoredSubscriber,
        on_ended: SeatEnded,
        record: RecordVersion | None = None,
    ) -> None:
        """Restore the seat of a player from a checkpoint; the player is disconnected."""
        request = SeatRequest(subscriber, checkpoint.player_id, record=record)
        seat = Seat(self, request, on_ended, checkpoint)
        self._lifecycle.restore(seat, checkpoint)
        subscriber.seat_restored(seat)

    def leave(self, seat: Seat, reason: str) -> None:
        """Remove a player who leaves."""
        if self.recorder is not None:
            self.recorder.record_leave(seat, reason)
        self.unseat(seat, reason)

    def unseat(self, seat: Seat, reason: str) -> None:
        """Remove a player from the room and run `on_leave`."""
        self._lifecycle.unseat(seat, reason)
        if not seat.is_open:
            self.moves.cancel(seat, "the player has left the room")

    def kick(self, seat: Seat, reason: str) -> None:
        """Remove a player at the end of the tick, when no hook runs, and send its client the reason. Idempotent."""
        if seat.is_open:
            self._kicked.setdefault(seat, reason)

    def unseat_kicked(self) -> None:
        """Remove the players whom the game has removed, before a checkpoint of the room."""
        if self._kicked:
            if self.recorder is not None:
                self.recorder.record_call("unseat_kicked")
            self._unseat_kicked()

    def _unseat_kicked(self) -> None:
        while self._kicked:
            seat = next(iter(self._kicked))
            reason = self._kicked.pop(seat)
            if seat.is_open:
                room = self.room
                log.info(
                    "player_kicked",
                    room_id=room.room_id,
                    room_type=room.room_type,
                    player_id=seat.player_id,
                    session_id=seat.subscriber.session_id,
                    reason=reason,
                )
                self.unseat(seat, reason)
                seat.subscriber.seat_lost(reason)

    def player_disconnected(self, seat: Seat) -> None:
        """Notify the game that a player has lost its connection; the seat stays."""
        if self.recorder is not None:
            self.recorder.record_disconnect(seat)
        self._lifecycle.disconnected(seat)

    def player_resumed(self, seat: Seat, *, keeps_world: bool) -> None:
        """Notify the game that a player has reconnected; see `SeatLifecycle.resumed`."""
        if self.recorder is not None:
            self.recorder.record_resume(seat, keeps_world=keeps_world)
        self._lifecycle.resumed(seat, keeps_world=keeps_world)

    def move_refused(self, seat: Seat, reason: str) -> None:
        """Notify the game that a player keeps its seat, because it cannot be moved."""
        if self.recorder is not None:
            self.recorder.record_move(seat, reason)
        self.moves.end(seat, reason)

    def complete_move(self, seat: Seat) -> None:
        """Remove a player who has a seat in another room or a reservation, and notify the game."""
        if self.recorder is not None:
            self.recorder.record_move(seat, "")
        report = self.moves.take(seat)
        if seat.is_open:
            self.unseat(seat, "moved")
        if report is not None:
            report()

    def notify_tuned(self) -> None:
        """Notify the game that its tuning values have changed."""
        if self.recorder is not None:
            self.recorder.record_tuning()
        self._is_settled = False
        self.hooks.notify("on_tuned", self.room.on_tuned)

    def interest_changed(self, seat: Seat) -> None:
        """Update the player's channels before the next write."""
        self._interest.mark_changed(seat)

    # -- commands -------------------------------------------------------------------------------------------

    def run_command(self, seat: Seat, message: Command, *, is_again: bool = False) -> Reply | Decision:
        """Run one command of a player; see `Seat.run_command`.

        Returns:
            The reply, also for a command that failed; or a decision that must be committed before the reply is sent.
        """
        if self.is_frozen:
            text = "the room is moving to another shard"
            return refuse_command(message.id, ErrorCode.UNAVAILABLE, text, retry_after_ms=MOVES_MS)
        return self._commands.run(seat, message, is_again=is_again)

    def apply_transaction(
        self, seat: Seat, name: str, transaction: Transaction, records: Mapping[str, RecordVersion]
    ) -> None:
        """Notify the game that the transaction of a command is committed, also if its player has left the room.

        Args:
            seat: the seat of the player who sent the command.
            name: the name of the command.
            transaction: the committed transaction.
            records: the new records of the players whom the transaction has changed, by player id.
        """
        if self.recorder is not None:
            self.recorder.record_commit(seat, name, transaction, records)
        self._update_records(seat, records)
        self._is_settled = False
        self._commands.transactions_applied += 1
        if self.is_open:
            self._commands.transaction_committed(seat, name, transaction)

    def update_records(self, seat: Seat, records: Mapping[str, RecordVersion]) -> None:
        """Replace the records of this seat's player, and of other players in the room, with newer versions."""
        if self.recorder is not None:
            self.recorder.record_records(seat, records)
        self._update_records(seat, records)

    def _update_records(self, seat: Seat, records: Mapping[str, RecordVersion]) -> None:
        self._commands.update_records(seat, records)
        if self._successor is not None:
            self._successor.update_present(records)

    def update_present(self, records: Mapping[str, RecordVersion]) -> None:
        """Replace the records of players in the room, and in the one that has taken over, with newer versions."""
        if self.recorder is not None:
            self.recorder.record_records(None, records)
        self._update_present(records)

    def _update_present(self, records: Mapping[str, RecordVersion]) -> None:
        self._commands.update_present(records)
        if self._successor is not None:
            self._successor.update_present(records)

    # -- transactions and tasks of the room -----------------------------------------------------------------

    def start(self, commit: Callable[[RoomRuntime], None], starter: TaskStarter) -> None:
        """Have the transactions of the room committed and its tasks run from now on; this shard owns the room.

        Args:
            commit: starts to commit the pending transactions of a room.
            starter: runs the tasks of the room.
        """
        self.room.transactions.start(partial(commit, self))
        self.room.tasks.start(self._deliver_result, starter)
        self.moves.allow()

    def _deliver_result(self, then: str, result: TaskResult) -> None:
        self._is_settled = False
        self.hooks.notify(then, getattr(self.room, then), result)

    def _deliver_move(self, then: str, outcome: MoveOutcome) -> None:
        if self.is_open:
            self._is_settled = False
            self.hooks.notify(then, getattr(self.room, then), outcome)

    def settle_transaction(
        self, pending: PendingTransaction, refused: str, records: Mapping[str, RecordVersion]
    ) -> None:
        """Apply the outcome of a transaction that the room has started, and run its `then`.

        Args:
            pending: the transaction.
            refused: why it was refused; empty if it is committed.
            records: the new records of the players whom it has changed, by player id.
        """
        room = self.room
        if self.recorder is not None:
            self.recorder.record_settlement(pending, refused, records)
        self._update_present(records)
        self._is_settled = False
        if not room.transactions.remove(pending) or not self.is_open or not pending.then:
            return
        self._commands.transactions_applied += 1
        if find_method(room, pending.then) is None:
            log.error("room_method_missing", room_id=room.room_id, room_type=room.room_type, method=pending.then)
            return
        outcome = TransactionOutcome(pending.transaction, refused)
        self.hooks.notify(pending.then, getattr(room, pending.then), outcome)

    # -- one tick -------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Run one tick: simulate, encode and write.

        Raises:
            RoomCodeRaised: the game's code raised an exception, or left a NaN in a column.
        """
        self.simulate()
        self.encode()
        self.write()

    def simulate(self) -> None:
        """Run the first part of a step: inputs, timers, the game's tick, the snapshot.

        Raises:
            RoomCodeRaised: the game's code raised an exception, or left a NaN in a column.
        """
        room = self.room
        room.tick += 1
        room.entity_ids.tick = room.tick
        self._inputs.deliver(self.seats)
        while room.tick >= room.clock.next_tick:
            self._run_timers()
        try:
            room.on_tick(self.dt)
        except BaseException as error:  # any type: see server/rooms/containment.py
            if not self.tick_errors.ignores("on_tick", (self.dt,), error):
                raise RoomCodeRaised("on_tick") from error
        with contain("tick", room, self.counters):
            if self._kicked:
                self._unseat_kicked()
            if self.moves.has_new:
                self.moves.start_new()
            self._compact()
            self._interest.refresh(self.seats)
            self.replicator.capture(room.tick)
        if self._history is not None:
            self._history.capture(room.tick)
            self._count_rewinds(self._history.clamped)
        self.counters.ticks += 1
        self._is_settled = not self.seats
        if self.recorder is not None:
            self.recorder.record_tick()

    def _count_rewinds(self, clamped: Counter[str]) -> None:
        self.counters.rewinds_clamped.update(clamped)
        clamped.clear()

    def _run_timers(self) -> None:
        """Run the timers that are due, up to the first one that raises an exception.

        Raises:
            RoomCodeRaised: a timer raised an exception, and the room does not ignore it.
        """
        clock = self.room.clock
        try:
            clock.run_due()
        except BaseException as error:  # any type: see server/rooms/containment.py
            if not self.tick_errors.ignores(clock.running.method, clock.running_arguments(), error):
                raise RoomCodeRaised(clock.running.method) from error

    def _compact(self) -> None:
        """Remove despawned entities, and free the ids whose quarantine is over."""
        tables, ids = self.room.all_tables(), self.room.entity_ids
        for table in tables:
            table.compact()
        if ids.has_reusable:
            ids.recycle(tables, in_use={seat.known_entity for seat in self.seats})

    def encode(self) -> None:
        """Run the second part of a step: encode the deltas that nearly all clients share."""
        if any(seat.connection is not None for seat in self.seats):
            self.replicator.encode()
            self.bandwidth.sample()

    def write(self) -> None:
        """Run the third part of a step: one write a session; see server/rooms/state_writer.py."""
        for oversized in self._writer.write(self.seats):
            self._refuse_state(oversized)

    def _refuse_state(self, oversized: OversizedState) -> None:
        """Unseat a player whose client cannot read the room's state: it would reconnect endlessly."""
        seat = oversized.seat
        self.counters.states_refused += 1
        text = report_oversized_state(self.room, oversized)
        seat.subscriber.send_message(Error(ErrorCode.STATE_TOO_LARGE, text))
        self.leave(seat, "the state of the room is too large")
        seat.subscriber.seat_lost("the state of the room is too large")

    # -- closing and moving ---------------------------------------------------------------------------------

    def close(self, reason: str, *, has_moved: bool = False) -> None:
        """Close the room: unseat all players, notify their sessions, and run `on_dispose`.

        Args:
            reason: the reason for logs and clients.
            has_moved: the room and the sessions of its players run on another shard.
        """
        if not self.is_open:
            return
        self._stop_recording(reason)
        self.handover.unseal()
        self.is_open = False
        self.room.tasks.stop("the room has ended")
        self.moves.stop("the room has ended")
        for seat in list(self.seats):
            self.unseat(seat, reason)
            if has_moved:
                seat.subscriber.seat_moved(reason)
            else:
                seat.subscriber.seat_lost(reason)
        self.hooks.notify("on_dispose", self.room.on_dispose)
        if has_moved:
            self.room.transactions.clear()
        self.room.transactions.stop()
        self._compact()

    @property
    def is_frozen(self) -> bool:
        """Whether the room is frozen because it moves to another shard."""
        return self.handover.is_frozen

    def freeze(self) -> None:
        """Stop the room until `unfreeze`; players whom the game has removed leave first."""
        if self.recorder is not None:
            self.recorder.record_call("freeze")
        self._cancel_work("the room moves to another shard")
        self._unseat_kicked()
        self.handover.freeze()

    def unfreeze(self) -> None:
        """Resume a frozen room; see `RoomHandover.unfreeze`."""
        if self.recorder is not None:
            self.recorder.record_call("unfreeze")
        self.handover.unfreeze()

    def cancel_work(self, reason: str) -> None:
        """Cancel the tasks of the room and the moves of its players before its state is copied.

        The game receives the reason for each, so that the copy does not wait for results.
        """
        if self.recorder is not None:
            self.recorder.record_call("cancel_work", reason)
        self._cancel_work(reason)

    def _cancel_work(self, reason: str) -> None:
        self.room.tasks.stop(reason, reports=True)
        self.moves.stop(reason, reports=True)

    def seal(self) -> None:
        """Stop all changes of a frozen room before its state is sent; see `RoomHandover.seal`.

        Raises:
            RoomClosed: the game closes the room.
        """
        if self.recorder is not None:
            self.recorder.record_call("seal")
        self._unseat_kicked()
        if self.room.close_reason is not None:
            raise RoomClosed("the game closes the room")
        self.handover.seal()

    def release(self, redirect: Redirect) -> None:
        """Close a room that another shard has taken over: send its players there, and run `on_dispose`."""
        self._stop_recording("the room has moved to another shard")
        self.is_open = False
        for seat in list(self.seats):
            self.seats.remove(seat)
            seat.end()
            seat.release()
            if seat.subscriber.session_id not in self.handover.leavers:
                seat.subscriber.seat_moved("the room has moved to another shard", redirect)
        self.room.transactions.clear()
        self.room.transactions.stop()
        self.hooks.notify("on_dispose", self.room.on_dispose)

    def discard(self, successor: RoomRuntime, reason: str) -> None:
        """End this room object, whose players and id another one has taken over, and run `on_dispose`.

        Args:
            successor: the room that has taken over.
            reason: the reason for the players that it has not taken over.
        """
        self._stop_recording("the room has restarted")
        self.is_open = False
        self._successor = successor
        self.room.tasks.stop("the room has restarted")
        self.moves.stop("the room has restarted")
        kept = {seat.subscriber.session_id for seat in successor.seats}
        for seat in list(self.seats):
            self.seats.remove(seat)
            if seat.subscriber.session_id in kept:
                seat.is_open = False
            else:
                seat.end()
                seat.subscriber.seat_lost(reason)
            seat.release()
        self.room.transactions.clear()  # the successor has them
        self.room.transactions.stop()
        self.hooks.notify("on_dispose", self.room.on_dispose)

    def can_migrate(self) -> bool:
        """Return whether the game allows the room to move now."""
        if self.recorder is not None:
            self.recorder.record_call("can_migrate")
        try:
            with self.hooks.contain("can_migrate"):
                return bool(self.room.can_migrate())
        except RoomCodeRaised:
            return False

    # -- recordings -----------------------------------------------------------------------------------------

    def attach_recorder(self, recorder: EntryRecorder | None) -> None:
        """Record what enters the room from now on; None ends that. Call it between two ticks."""
        self.recorder = recorder
        self._inputs.recorder = self._commands.recorder = self.tick_errors.recorder = self.room.tasks.recorder = (
            recorder
        )

    def prepare_replay(self, connected: Collection[Seat]) -> None:
        """Undo what `restore` has scheduled in a room that is replayed, and connect its players without a hook.

        The game has not called `restore` in the room that was recorded: its players were connected all the time.

        Args:
            connected: the seats of the players who were connected.
        """
        self._kicked.clear()
        self.room.tasks.stop("")
        self.moves.stop("")
        for seat in connected:
            seat.player.is_connected = True
            self._interest.subscribe(seat)

    def _stop_recording(self, reason: str) -> None:
        if self.recorder is not None:
            self.recorder.stop(reason)

    # -- checkpoints ----------------------------------------------------------------------------------------

    def raw_columns(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Return the columns of all tables as they are in memory, not quantised."""
        self._compact()
        return {name: getattr(self.room, name).raw_columns() for name in self.room.tables}

    def metadata(self) -> RoomMetadata:
        """Return the part of a checkpoint that is not in tables.

        Raises:
            RoomCodeRaised: the game's `save` raised an exception, or returned another type than it declares.
        """
        if self.recorder is not None:
            self.recorder.record_call("metadata")
        self._compact()
        with self.hooks.contain("save"):
            return create_metadata(self.room, self.seats, self.changed_tick)

    def checkpoint(self, metadata: RoomMetadata | None = None) -> RoomCheckpoint:
        """Return a checkpoint of the room, with quantised tables.

        Args:
            metadata: the current metadata, if the caller already has it.

        Raises:
            RoomCodeRaised: see `metadata`; or a column holds an invalid value.
        """
        self._compact()  # entities that a command has despawned since the last tick are not saved
        metadata = metadata or self.metadata()
        with self.hooks.contain("save"):
            return create_checkpoint(self.room, metadata, self.set_aside)
