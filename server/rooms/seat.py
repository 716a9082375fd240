"""A session's place in one room: its inbox, its commands, and what its client has of the world.

    inbox     at most INBOX_MAX inputs a tick: the oldest is superseded and counted. In a room that takes all inputs
              of a tick at once, the room has it: the newest of each seat
    events    the session's outbox, written with the next tick, or before when many wait. A congested session that
              leaves too many for two ticks is closed as a slow consumer
    state     nothing is queued: a congested session is passed over and gets one cumulative delta later

A seat outlives its session's connections: `disconnected` and `resumed` say when one is lost, and when the next is
there. Pure; what it writes goes out through the Subscriber.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from tickwire.schemas.event_frames import EventFrame
from tickwire.schemas.messages import Command, Input, Reply, Resync
from tickwire.server.errors import Malformed, OutOfOrder
from tickwire.server.replication.client_view import ClientView, InterestSet, TickBaselines
from tickwire.server.replication.table import EVERYONE
from tickwire.server.rooms.checkpoint import SeatCheckpoint
from tickwire.server.rooms.fan_out import FanOutBudget, event_cost
from tickwire.server.rooms.outbox import UNSENT_MAX
from tickwire.server.rooms.ports import SeatConnection, Subscriber
from tickwire.server.rooms.room import Player
from tickwire.server.rooms.send_rate import AdaptiveSendRate
from tickwire.server.rooms.transactions import Decision, RecordVersion

if TYPE_CHECKING:
    from tickwire.server.rooms.runtime import RoomRuntime

INBOX_MAX = 8
FIRST_SEQ = 1
TOLD_MAX = 16
"""How many changes of its interest are remembered, for a client that comes back with less than it was sent."""


class SeatEnded(Protocol):
    """Told once when a seat is given up."""

    def __call__(self, seat: Seat) -> None: ...


class Seat:
    """Made by `RoomRuntime.seat`. The session that has it calls the methods; the simulation reads the rest.

    Args:
        simulation: the room that it is in.
        subscriber: the session.
        player_id: who plays.
        on_ended: told once when the seat is given up, for whatever reason.
        team, skill: in a match.
        kept: it was one before, in the room as it was saved; its player is away.
        record: what the player owns.

    Attributes:
        backlog: how many events were left unsent in the last tick in which the session was congested.
        fan_out: what its messages may cost the others; None while they have cost nothing.
        cell: the grid's cell that the player looks at, as a channel; None for none.
        known_entity: the id that the client was last told in Joined, and takes for its own entity; 0: none.
    """

    __slots__ = (
        "_input_size",
        "_may_restart",
        "_newest",
        "_on_ended",
        "_received_seq",
        "_recent",
        "_simulation",
        "_told",
        "acknowledged_seq",
        "applied_seq",
        "backlog",
        "cell",
        "fan_out",
        "has_events",
        "holding",
        "inbox",
        "inputs_superseded",
        "interest",
        "is_open",
        "is_restored",
        "known_entity",
        "pace",
        "player",
        "player_id",
        "subscriber",
        "wire",
    )

    def __init__(
        self,
        simulation: RoomRuntime,
        subscriber: Subscriber,
        player_id: str,
        on_ended: SeatEnded,
        *,
        team: int = 0,
        skill: float = 0.0,
        kept: SeatCheckpoint | None = None,
        record: RecordVersion | None = None,
    ) -> None:
        self.subscriber = subscriber
        # Read once a player and tick: what the subscriber has at hand, without asking it. Set when the player is
        # seated: until then nothing may be written.
        self.wire: SeatConnection | None = None
        self.has_events = subscriber.outbox.unsent > 0
        self.player_id = player_id
        self.player = Player(
            player_id,
            self._push_event,
            interest_changed=self._interest_changed,
            open_channel=simulation.room.open_channel,
            team=kept.team if kept else team,
            skill=kept.skill if kept else skill,
            watched=kept.watched if kept else (EVERYONE,),
            private=kept.private if kept else None,
            data=kept.data if kept else None,
            record=record,
            record_reads=simulation.record_reads,
        )
        self.player.is_connected = kept is None
        self.inbox: deque[Input] = deque(maxlen=INBOX_MAX)
        self.interest: InterestSet = simulation.replication.everyone
        self.holding: ClientView | None = None
        self.applied_seq = 0
        self.acknowledged_seq = 0
        self.inputs_superseded = 0
        self.pace: AdaptiveSendRate | None = None
        self.cell = kept.cell if kept else None
        self.known_entity = 0
        self.backlog = 0
        self.fan_out: FanOutBudget | None = None
        self.is_open = True
        self.is_restored = kept is not None
        self._received_seq = 0
        self._may_restart = False
        self._recent: tuple[TickBaselines, ...] = ()
        self._told: deque[tuple[int, InterestSet]] = deque(maxlen=TOLD_MAX)
        self._on_ended = on_ended
        self._input_size = simulation.input_size
        self._newest = simulation.newest
        self._simulation = simulation

    @property
    def simulation(self) -> RoomRuntime:
        """The room that it is in."""
        return self._simulation

    @property
    def room_id(self) -> str:
        """The room's id."""
        return self._simulation.room.room_id

    @property
    def room_type(self) -> str:
        """The room's type."""
        return self._simulation.room.room_type

    @property
    def tick(self) -> int:
        """The room's tick."""
        return self._simulation.tick

    def push_input(self, message: Input) -> None:
        """Keep an input for the next tick; ignore it if its number is not above the last one.

        The first number 1 after a second `Joined` begins a new count: the client may count from 1 in a room that it
        was told of again, while an input that it had sent before it read `Joined` carries its old number.

        Raises:
            Malformed: the payload is not what the room declares.
        """
        is_old = message.seq <= self._received_seq and not (self._may_restart and message.seq == FIRST_SEQ)
        if is_old or not self.is_open:
            return
        if message.seq == FIRST_SEQ:
            self._may_restart = False
        if len(message.payload) != self._input_size:
            raise Malformed(f"an input of {len(message.payload)} bytes; wants {self._input_size}")
        self._received_seq = message.seq
        newest = self._newest
        if newest is not None:
            if self in newest:
                self.inputs_superseded += 1
            newest[self] = message
            return
        if len(self.inbox) == INBOX_MAX:
            self.inputs_superseded += 1
        self.inbox.append(message)

    def command(self, message: Command) -> Reply | Decision:
        """Runs a command and gives its one answer, or what must be written first; the session sees to it that none
        is run twice.

        Raises:
            OutOfOrder: the seat was given up.
        """
        if not self.is_open:
            raise OutOfOrder("the seat has been given up")
        return self._simulation.run_command(self, message)

    def resync(self, message: Resync) -> None:
        """The client's world is wrong: the next tick sends it a keyframe of that channel."""
        if self.holding is not None and message.channel in self.holding.interest.numbers:
            self.holding = self.holding.without_channel(message.channel)
            self._simulation.counters.resyncs += 1

    def told(self, tick: int, holding: ClientView) -> None:
        """The client was sent a frame that makes it hold this."""
        if self.holding is None or self.holding.interest is not holding.interest or not self._told:
            self._told.append((tick, holding.interest))
        self.holding = holding

    def disconnected(self) -> None:
        """The session has lost its connection and may come back: the game is told.

        What was sent last may never have arrived, so the newest moments are kept until the client says which of
        them it has.
        """
        self.pace = self.wire = None
        self.backlog = 0
        self._recent = self._simulation.replication.recent_baselines
        self._simulation.player_disconnected(self)

    def resumed(self, room_id: str, last_tick: int) -> None:
        """The session has a connection again; state goes on with the next tick.

        Args:
            room_id: the room that the client believes to be in; if it is not this one, it is told `Joined`.
            last_tick: the last tick that it has applied; 0 for none. From there it gets a delta, if that tick was
                among the last before the connection was lost, else a keyframe.
        """
        self.wire = self.subscriber.wire
        self.has_events = self.subscriber.outbox.unsent > 0
        # A restored room may be older than the client's world, and the client is sent `Joined`. Whether that has
        # arrived is never certain, and the same tick of both worlds looks alike: so after a save it is sent with
        # every resume.
        is_told = room_id == self.room_id and not self.is_restored and self._simulation.can_resume(self)
        self.is_restored = self.is_restored and self._simulation.has_gone_back
        self.holding = self._held(last_tick) if is_told and last_tick else None
        self._recent = ()
        self._told.clear()
        if self.holding is not None:
            self._told.append((last_tick, self.holding.interest))
        self.acknowledged_seq = 0  # the last acknowledgement may have been lost, too
        if not is_told:
            self._received_seq = self.applied_seq = 0
            self._may_restart = True
        self._simulation.player_resumed(self, is_told=is_told)

    def _held(self, last_tick: int) -> ClientView | None:
        """What the client holds if `last_tick` is the last tick it has; None when nobody knows."""
        if self.holding is not None and self.holding.last_sent_tick == last_tick:
            return self.holding.without_history
        interest = next((interest for tick, interest in reversed(self._told) if tick <= last_tick), None)
        if interest is None:
            return None
        return self._simulation.replication.view_at(self._recent, interest, last_tick)

    def _interest_changed(self) -> None:
        self._simulation.interest_changed(self)

    def puts_off(self, change: Callable[[], None]) -> bool:
        """Return whether the room is moving; if so, `change` is called when the room turns out to stay."""
        return self._simulation.puts_off(change)

    def leave(self, reason: str) -> None:
        """Gives the seat up. Idempotent."""
        if self.is_open:
            self._simulation.unseat(self, reason)

    def ended(self) -> None:
        """The simulation has let go of the seat."""
        self.is_open = False
        self._on_ended(self)

    def let_go(self) -> None:
        """Nothing is asked of it any more but what its player owns: what it remembers goes, and what refers to it.

        Players come and go by the thousand, and the collector looks for cycles seldom: a world that each of them
        still holds would be a leak.
        """
        self.player.let_go()
        self.holding = self.wire = None
        self._recent = ()
        self._told.clear()
        self.inbox.clear()

    def _push_event(self, frame: EventFrame) -> None:
        if not self.is_open:
            return
        outbox, wire = self.subscriber.outbox, self.wire
        if wire is not None and not wire.is_congested and not outbox.has_room_for(frame):
            wire.write(outbox.take())
        outbox.push(frame)
        self.has_events = True
        self._simulation.fan_out_cost += event_cost(frame.size)

    def is_backlogged(self) -> bool:
        """Whether a congested session has left more events for two ticks than a client that listens would.

        Called once in a tick in which it cannot be written to. Events of the last tick alone are no backlog.
        """
        outbox = self.subscriber.outbox
        backlog, self.backlog = self.backlog, outbox.unsent
        return outbox.has_lost_unsent or min(backlog, self.backlog) > UNSENT_MAX
