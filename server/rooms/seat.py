"""The seat of one session in one room: its input inbox, its commands, and the state that its client holds.

    inbox     at most INBOX_MAX inputs a tick; further inputs supersede the oldest and are counted. In a room that
              receives all inputs of a tick at once, the room keeps the inbox: the newest input of each seat
    events    the session's outbox; written with the next tick, or earlier when many are waiting. A congested session
              with too many unsent events for two ticks is closed as a slow consumer
    state     nothing is queued: a congested session is skipped and receives one cumulative delta later

A seat outlives the connections of its session: `disconnected` reports that one is lost, `resumed` that there is a new
one. The port `SeatRoom` names what a seat needs of its room. Pure; output goes through the `Subscriber`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from tickwire.schemas import STRUCTS_VERSION_MIN
from tickwire.schemas.event_frames import EventFrame
from tickwire.schemas.messages import Command, Input, Reply, Resync
from tickwire.server.errors import Malformed, OutOfOrder
from tickwire.server.replication.client_view import ClientView, InterestSet, TickBaselines
from tickwire.server.replication.replicator import Replicator
from tickwire.server.rooms.checkpoint import SeatCheckpoint
from tickwire.server.rooms.command_limits import CommandLimits
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.event_types import Event
from tickwire.server.rooms.fan_out import FanOutBudget, FanOutMeter, event_cost
from tickwire.server.rooms.handover import RoomHandover
from tickwire.server.rooms.move_request import MoveRequest
from tickwire.server.rooms.outbox import UNSENT_MAX
from tickwire.server.rooms.player import Player, PlayerCallbacks, PlayerState
from tickwire.server.rooms.player_moves import PlayerMoves
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.seat_fields import SeatFields
from tickwire.server.rooms.subscriber import Subscriber
from tickwire.server.rooms.transactions import Decision, RecordReads, RecordVersion, Transaction

INBOX_MAX = 8
FIRST_SEQ = 1
SENT_INTERESTS_MAX = 16
"""The number of interest changes that are remembered, for a client that resumes from an older tick."""


class SeatRoom(Protocol):
    """The running room of a seat. Implemented by `tickwire.server.rooms.runtime.RoomRuntime`."""

    room: Room
    epoch: int
    replicator: Replicator
    counters: RoomCounters
    record_reads: RecordReads
    newest_inputs: dict[Seat, Input] | None
    fan_out: FanOutMeter
    handover: RoomHandover
    has_rolled_back: bool
    is_open: bool

    @property
    def tick(self) -> int:
        """The number of the last tick."""
        ...

    @property
    def input_size(self) -> int:
        """The size of an input's payload in bytes."""
        ...

    @property
    def transactions_applied(self) -> int:
        """The number of calls of the game about committed transactions."""
        ...

    @property
    def is_durable(self) -> bool:
        """Whether the room is saved."""
        ...

    def interest_changed(self, seat: Seat) -> None:
        """Update the player's channels before the next write."""
        ...

    def player_disconnected(self, seat: Seat) -> None:
        """Notify the game that a player has lost its connection."""
        ...

    def player_resumed(self, seat: Seat, *, keeps_world: bool) -> None:
        """Notify the game that a player has reconnected."""
        ...

    def run_command(self, seat: Seat, message: Command, *, is_again: bool = False) -> Reply | Decision:
        """Run one command of a player."""
        ...

    def apply_transaction(
        self, seat: Seat, name: str, transaction: Transaction, records: Mapping[str, RecordVersion]
    ) -> None:
        """Notify the game of a committed transaction."""
        ...

    def update_records(self, seat: Seat, records: Mapping[str, RecordVersion]) -> None:
        """Replace the records of some players with newer versions."""
        ...

    def leave(self, seat: Seat, reason: str) -> None:
        """Remove a player who leaves."""
        ...

    def move_refused(self, seat: Seat, reason: str) -> None:
        """Notify the game that a player keeps its seat, because it cannot be moved."""
        ...

    def complete_move(self, seat: Seat) -> None:
        """Remove a player who has a seat in another room, and notify the game."""
        ...

    @property
    def moves(self) -> PlayerMoves:
        """The moves of players to other rooms."""
        ...

    def kick(self, seat: Seat, reason: str) -> None:
        """Remove a player from the room at the end of the tick, and send its client the reason."""
        ...


class SeatEnded(Protocol):
    """Callback that runs once when a seat is given up."""

    def __call__(self, seat: Seat) -> None:
        """Handle the end of a seat."""


class SeatRequest(msgspec.Struct, frozen=True):
    """A request for a seat in a room.

    Args:
        session: the session that receives the seat.
        player_id: the player; a guest with a ticket has another id here than its session.
        options: the options of the Join, as the game receives them in `on_join`.
        team: the team in a match, from 1; 0 without teams.
        skill: the skill that the player was matched with; 0 outside of matches.
        record: the player's record; None in rooms that do not use the ledger.
    """

    session: Subscriber
    player_id: str
    options: Mapping[str, Any] = {}
    team: int = 0
    skill: float = 0.0
    record: RecordVersion | None = None


class Seat(SeatFields):
    """The seat of one session, created by `RoomRuntime.seat` and `RoomRuntime.restore_seat`.

    The session calls the methods; the tick reads the attributes.

    Args:
        runtime: the room of the seat.
        request: the session and the player.
        on_ended: called once when the seat is given up, for any reason.
        checkpoint: the seat in the checkpoint that the room was restored from; its player is then disconnected.

    Attributes:
        backlog: the number of events that were unsent after the last tick in which the session was congested.
        fan_out: the budget for events that the player's messages cause; None while they have caused none.
        cell: the grid cell that the player looks at, as a channel; None without one.
        limits: the limits of the player's commands; None while it has called none that is limited.
        known_entity: the entity id in the last Joined, which the client takes for its own; 0 without one.
    """

    __slots__ = (
        "_fan_out_meter",
        "_on_ended",
        "_recent",
        "_runtime",
        "_sent_interests",
        "backlog",
        "cell",
        "fan_out",
        "inputs_superseded",
        "is_restored",
        "known_entity",
        "limits",
        "player",
        "player_id",
        "subscriber",
    )

    def __init__(
        self,
        runtime: SeatRoom,
        request: SeatRequest,
        on_ended: SeatEnded,
        checkpoint: SeatCheckpoint | None = None,
    ) -> None:
        self.subscriber = request.session
        # Copied from the subscriber because the tick reads it once per player. None until `on_join` has returned:
        # nothing may be written before `Joined`.
        self.connection = None
        self.reads_tables = request.session.schema_version < STRUCTS_VERSION_MIN
        self.has_events = request.session.outbox.unsent > 0
        self.player_id = request.player_id
        self.player = Player(
            request.player_id,
            PlayerCallbacks(
                self._push_event, self._interest_changed, runtime.room.open_channel, self._kick, self._move
            ),
            _player_state(request, checkpoint, runtime.room.events),
            runtime.record_reads,
        )
        self.player.is_connected = checkpoint is None
        # Lists: a deque allocates space for 64 items at once, and these hold at most 16.
        self.inbox = []
        self.interest = runtime.replicator.everyone
        self.view = None
        self.applied_seq = 0
        self.acknowledged_seq = 0
        self.inputs_superseded = 0
        self.send_rate = None
        self.cell = checkpoint.cell if checkpoint else None
        self.known_entity = 0
        self.backlog = 0
        self.fan_out: FanOutBudget | None = None
        self.limits = CommandLimits(checkpoint.limits) if checkpoint and checkpoint.limits else None
        self.is_open = True
        self.is_restored = checkpoint is not None
        self._received_seq = 0
        self._may_restart = False
        self._may_misfit = False  # inputs for another room, sent before the client read Joined, may still arrive
        self._recent: tuple[TickBaselines, ...] = ()
        self._sent_interests: list[tuple[int, InterestSet]] = []
        self._on_ended = on_ended
        self._input_size = runtime.input_size
        self._newest_inputs = runtime.newest_inputs
        self._fan_out_meter = runtime.fan_out
        self._runtime = runtime

    @property
    def runtime(self) -> SeatRoom:
        """The running room of the seat."""
        return self._runtime

    @property
    def on_ended(self) -> SeatEnded:
        """The callback that runs when the seat is given up."""
        return self._on_ended

    @property
    def room_id(self) -> str:
        """The id of the room."""
        return self._runtime.room.room_id

    @property
    def room_type(self) -> str:
        """The type of the room."""
        return self._runtime.room.room_type

    @property
    def tick(self) -> int:
        """The number of the room's last tick."""
        return self._runtime.tick

    def push_input(self, message: Input) -> None:
        """Queue an input for the next tick. An input whose number is not above the last one is ignored.

        After a second `Joined` the first input with number 1 starts a new sequence: the client may count from 1
        again, while an input that it sent before it read `Joined` still carries an old number. It may also have the
        size of another room's inputs, and is ignored then: the first input that fits ends that.

        Raises:
            Malformed: the payload does not have the size of the declared inputs.
        """
        is_old = message.seq <= self._received_seq and not (self._may_restart and message.seq == FIRST_SEQ)
        if is_old or not self.is_open:
            return
        if len(message.payload) != self._input_size:
            if self._may_misfit:
                return
            raise Malformed(f"an input must have {self._input_size} bytes, not {len(message.payload)}")
        self._may_misfit = False
        if message.seq == FIRST_SEQ:
            self._may_restart = False
        self._received_seq = message.seq
        newest = self._newest_inputs
        if newest is not None:
            if self in newest:
                self.inputs_superseded += 1
            newest[self] = message
            return
        if len(self.inbox) == INBOX_MAX:
            self.inputs_superseded += 1
            del self.inbox[0]
        self.inbox.append(message)

    def run_command(self, message: Command, *, is_again: bool = False) -> Reply | Decision:
        """Run a command. The caller ensures that no command runs twice.

        Args:
            message: the command.
            is_again: whether the room decides again on a command whose transaction was not written. It then does not
                count against the rate limit of the command.

        Returns:
            The reply to the command, or the decision that must be committed before the reply is sent.

        Raises:
            OutOfOrder: the seat was given up.
        """
        if not self.is_open:
            raise OutOfOrder("the seat has been given up")
        return self._runtime.run_command(self, message, is_again=is_again)

    def resync(self, message: Resync) -> None:
        """Send a keyframe of one channel with the next tick, because the client's copy of it is wrong."""
        if self.view is not None and message.channel in self.view.interest.numbers:
            self.view = self.view.without_channel(message.channel)
            self._runtime.counters.resyncs += 1

    def record_sent(self, tick: int, view: ClientView) -> None:
        """Record that the client was sent a frame after which it holds this view."""
        if self.view is None or self.view.interest is not view.interest or not self._sent_interests:
            self._sent_interests.append((tick, view.interest))
            del self._sent_interests[:-SENT_INTERESTS_MAX]
        self.view = view

    def disconnected(self) -> None:
        """Report that the session has lost its connection and may resume; the game is notified.

        The last frames may never have arrived. The baselines of the last ticks are therefore kept until the client
        says which tick it has applied.
        """
        self.send_rate = self.connection = None
        self.backlog = 0
        self._recent = self._runtime.replicator.recent_baselines
        self._runtime.player_disconnected(self)

    def resumed(self, room_id: str, last_tick: int) -> None:
        """Report that the session has a connection again; state is sent from the next tick on.

        Args:
            room_id: the room that the client believes to be in; if it is another one, `Joined` is sent again.
            last_tick: the last tick that the client has applied; 0 for none. The client receives a delta from that
                tick if it is among the last ones before the connection was lost, otherwise a keyframe.
        """
        self.connection = self.subscriber.connection
        self.reads_tables = self.subscriber.schema_version < STRUCTS_VERSION_MIN
        self.has_events = self.subscriber.outbox.unsent > 0
        # A restored room may be older than the client's world, so the client is sent `Joined`. The shard cannot know
        # whether that arrived, and the same tick looks alike in both worlds: after a restore from a save `Joined` is
        # therefore sent with every resume.
        keeps_world = room_id == self.room_id and not self.is_restored
        self.is_restored = self.is_restored and self._runtime.has_rolled_back
        self.view = self._find_view(last_tick) if keeps_world and last_tick else None
        self._recent = ()
        self._sent_interests.clear()
        if self.view is not None:
            self._sent_interests.append((last_tick, self.view.interest))
        self.acknowledged_seq = 0  # the last acknowledgement may also have been lost
        if not keeps_world:
            self._received_seq = self.applied_seq = 0
            self._may_restart = self._may_misfit = True
        self._runtime.player_resumed(self, keeps_world=keeps_world)

    def _find_view(self, last_tick: int) -> ClientView | None:
        """Return the view of the client if `last_tick` is the last tick that it has applied; None if unknown."""
        if self.view is not None and self.view.last_sent_tick == last_tick:
            return self.view.without_history
        interest = next((interest for tick, interest in reversed(self._sent_interests) if tick <= last_tick), None)
        if interest is None:
            return None
        return self._runtime.replicator.view_at(self._recent, interest, last_tick)

    def _interest_changed(self) -> None:
        self._runtime.interest_changed(self)

    def _kick(self, reason: str) -> None:
        self._runtime.kick(self, reason)

    def _move(self, request: MoveRequest) -> None:
        self._runtime.moves.add(self, request)

    # -- moves of the player to another room ----------------------------------------------------------------

    def start_move(self, request: MoveRequest) -> Callable[[], object] | None:
        """See `tickwire.server.rooms.player_moves.MovingSeat.start_move`."""
        return self.subscriber.start_move(request) if self.player.is_connected else None

    def move_refused(self, reason: str) -> None:
        """Report that the player keeps this seat, because it cannot be moved."""
        self._runtime.move_refused(self, reason)

    def give_up_for_move(self) -> None:
        """Give the seat up, because the player has one in another room or a reservation; the game is notified."""
        self._runtime.complete_move(self)

    def attach(self, subscriber: Subscriber) -> None:
        """Attach the seat to its session, for which a substitute has requested it."""
        self.subscriber = subscriber
        self.connection = subscriber.connection
        self.has_events = subscriber.outbox.unsent > 0
        self._may_restart = self._may_misfit = True

    def defer(self, change: Callable[[], None]) -> bool:
        """Postpone a change while the room is in transfer to another shard.

        Returns:
            Whether the change was postponed. It runs if the room stays on this shard.
        """
        return self._runtime.handover.defer(change)

    def leave(self, reason: str) -> None:
        """Give the seat up. Idempotent."""
        if self.is_open:
            self._runtime.leave(self, reason)

    def end(self) -> None:
        """Close the seat and run its callback. Called by the room."""
        self.is_open = False
        self._on_ended(self)

    def release(self) -> None:
        """Drop all references of an ended seat except the player's record.

        Thousands of players join and leave, and the garbage collector rarely looks for cycles: a world that every
        former seat refers to would be a leak.
        """
        self.player.release()
        self.view = self.connection = None
        self._recent = ()
        self._sent_interests.clear()
        self.inbox.clear()

    def _push_event(self, frame: EventFrame) -> None:
        if not self.is_open:
            return
        outbox, connection = self.subscriber.outbox, self.connection
        if connection is not None and not connection.is_congested and not outbox.can_hold(frame):
            connection.write(outbox.dequeue())
        outbox.push(frame)
        self.has_events = True
        self._fan_out_meter.cost += event_cost(frame.size)

    def is_backlogged(self) -> bool:
        """Return whether a congested session has had too many unsent events for two ticks.

        Call it once in each tick in which the session is congested. Events of the last tick alone are not a backlog.
        """
        outbox = self.subscriber.outbox
        backlog, self.backlog = self.backlog, outbox.unsent
        return outbox.has_lost_unsent or min(backlog, self.backlog) > UNSENT_MAX


def _player_state(
    request: SeatRequest, checkpoint: SeatCheckpoint | None, events: tuple[type[Event], ...]
) -> PlayerState:
    if checkpoint is None:
        return PlayerState(team=request.team, skill=request.skill, record=request.record, events=events)
    return PlayerState(
        team=checkpoint.team,
        skill=checkpoint.skill,
        record=request.record,
        watched=frozenset(checkpoint.watched),
        private=checkpoint.private,
        data=checkpoint.data,
        events=events,
    )
