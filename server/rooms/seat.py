"""A session's place in one room: its inbox, its events, its commands, and what its client has of the world.

    inbox     at most INBOX_MAX inputs a tick: the oldest is superseded and counted
    events    at most EVENTS_MAX unsent: then the session is closed as a slow consumer
    replies   the last REPLIES_MAX are kept: a repeated command gets the same answer again
    state     nothing is queued: a congested session is passed over and gets one cumulative delta later

Pure; what it writes goes out through the Subscriber.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Protocol

from schemas.codec import encode_server
from schemas.framing import binary_frame
from schemas.messages import Command, Event, Input, Reply, Resync
from server.errors import Malformed, OutOfOrder
from server.replication.channel import Channel, Standing
from server.rooms.ports import Subscriber
from server.rooms.room import Player

if TYPE_CHECKING:
    from server.rooms.simulation import Simulation

INBOX_MAX = 8
EVENTS_MAX = 256
REPLIES_MAX = 64


class SeatEnded(Protocol):
    """Told once when a seat is given up."""

    def __call__(self, seat: Seat) -> None: ...


class Seat:
    """Made by `Simulation.seat`. The session that has it calls the methods; the simulation reads the rest.

    Args:
        simulation: the room that it is in.
        subscriber: the session.
        player_id: who plays.
        on_ended: told once when the seat is given up, for whatever reason.
    """

    __slots__ = (
        "_on_ended",
        "_received_seq",
        "_replies",
        "_simulation",
        "acknowledged_seq",
        "applied_seq",
        "events",
        "inbox",
        "inputs_superseded",
        "is_open",
        "passes",
        "player",
        "player_id",
        "standings",
        "subscriber",
    )

    def __init__(self, simulation: Simulation, subscriber: Subscriber, player_id: str, on_ended: SeatEnded) -> None:
        self.subscriber = subscriber
        self.player_id = player_id
        self.player = Player(player_id, self._push_event)
        self.inbox: deque[Input] = deque(maxlen=INBOX_MAX)
        self.events: list[bytes] = []
        self.standings: dict[Channel, Standing | None] = {}
        self.applied_seq = 0
        self.acknowledged_seq = 0
        self.inputs_superseded = 0
        self.passes = 0
        self.is_open = True
        self._received_seq = 0
        self._replies: OrderedDict[int, Reply] = OrderedDict()
        self._on_ended = on_ended
        self._simulation = simulation

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
        """Keeps an input for the next tick. One that is not newer than the last is ignored.

        Raises:
            Malformed: the payload is not what the room declares.
        """
        if message.seq <= self._received_seq or not self.is_open:
            return
        if len(message.payload) != self._simulation.input_size:
            raise Malformed(f"an input of {len(message.payload)} bytes; wants {self._simulation.input_size}")
        self._received_seq = message.seq
        if len(self.inbox) == INBOX_MAX:
            self.inputs_superseded += 1
        self.inbox.append(message)

    def command(self, message: Command) -> Reply:
        """Answers a command: once run, a repeated id gets the answer it got before.

        Raises:
            OutOfOrder: the seat was given up.
        """
        if not self.is_open:
            raise OutOfOrder("the seat has been given up")
        if message.id not in self._replies:
            self._replies[message.id] = self._simulation.run_command(self, message)
            while len(self._replies) > REPLIES_MAX:
                self._replies.popitem(last=False)
        return self._replies[message.id]

    def resync(self, message: Resync) -> None:
        """The client's world is wrong: the next tick sends it a keyframe of that channel."""
        for channel in self.standings:
            if channel.number == message.channel:
                self.standings[channel] = None
                self._simulation.counters.resyncs += 1

    def leave(self, reason: str) -> None:
        """Gives the seat up. Idempotent."""
        if self.is_open:
            self._simulation.unseat(self, reason)

    def ended(self) -> None:
        """The simulation has let go of the seat."""
        self.is_open = False
        self._on_ended(self)

    def _push_event(self, name: str, payload: bytes) -> None:
        if not self.is_open:
            return
        if len(self.events) >= EVENTS_MAX:
            self.subscriber.slow_consumer(f"more than {EVENTS_MAX} events are waiting to be sent")
            return
        number = self.subscriber.next_event_number()
        self.events.append(binary_frame(encode_server(Event(number, name, payload))))
