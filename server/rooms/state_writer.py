"""Writes a room's state to its clients: one write a session and tick, with its acknowledgement, state and events.

A congested session is skipped: nothing is queued for it, and it receives one cumulative delta later. A session that
stays congested is slowed down (server/rooms/send_rate.py) and finally closed as a slow consumer. Pure.
"""

from __future__ import annotations

from typing import NamedTuple

import structlog

from tickwire.schemas import SERVER_MESSAGE_BYTES_MAX, kernel
from tickwire.schemas.framing import frame_sizes
from tickwire.schemas.messages import Rate
from tickwire.schemas.state_messages import frame_ack
from tickwire.schemas.table_frames import frame_table_ack
from tickwire.server.replication.replicator import Replicator
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.seat import Seat
from tickwire.server.rooms.send_rate import SLOW_S_MAX, AdaptiveSendRate, SendLevel
from tickwire.server.rooms.subscriber import SeatConnection
from tickwire.server.rooms.write_batch import write_batch

log = structlog.get_logger(__name__)

EVENTS_LOST = "more events are unsent than the server keeps"


class OversizedState(NamedTuple):
    """A seat whose state does not fit into a message, and the size of that state in bytes."""

    seat: Seat
    size: int


class StateWriter:
    """Writes the state of one room.

    Args:
        room: the room.
        replicator: encodes the room's state.
        counters: the counters of the shard; the writer adds to them.
    """

    def __init__(self, room: Room, replicator: Replicator, counters: RoomCounters) -> None:
        self._room = room
        self._replicator = replicator
        self._counters = counters

    def write(self, seats: list[Seat]) -> list[OversizedState]:
        """Write the state of this tick to all connected sessions.

        Returns:
            The seats that were sent nothing because their state exceeds SERVER_MESSAGE_BYTES_MAX.
        """
        writes: list[tuple[SeatConnection, bytes]] = []
        counters, replicator = self._counters, self._replicator
        try:
            others = self._send_common(seats, writes) if kernel.is_native else list(seats)
            oversized = self._compose(others, writes)
        finally:
            write_batch(writes)
        keyframes, deltas = replicator.reset_counts()
        counters.keyframes += keyframes
        counters.deltas += deltas
        counters.player_ticks += len(seats)
        return oversized

    def _send_common(self, seats: list[Seat], writes: list[tuple[SeatConnection, bytes]]) -> list[Seat]:
        """Send the common frame of this tick by the native kernel; return the seats that need `_compose`."""
        prepare, tick = self._replicator.prepare, self._room.tick
        sent, bytes_sent, others = kernel.send_state(seats, tick, SERVER_MESSAGE_BYTES_MAX, prepare, writes)
        self._counters.frames_sent += sent
        self._counters.bytes_sent += bytes_sent
        return others

    def _compose(self, seats: list[Seat], writes: list[tuple[SeatConnection, bytes]]) -> list[OversizedState]:
        """Append the state of all connected sessions to `writes`.

        Without the native kernel, this loop runs once per player and tick; whatever can be computed once per tick is
        computed outside of it.
        """
        write = writes.append
        replicator, tick, sent, bytes_sent = self._replicator, self._room.tick, 0, 0
        oversized: list[OversizedState] = []
        for seat in seats:
            connection = seat.connection
            if connection is None:
                continue
            if connection.is_congested:
                self._skip_congested(seat)
                continue
            if seat.send_rate is not None and not self._is_due(seat, seat.send_rate):
                continue
            interest = seat.interest
            if interest.tick != tick:
                replicator.prepare(interest)
            view = seat.view
            # Nearly all clients hold the common view of their interest set; their frame is encoded already.
            if view is interest.before and view is not None:
                data, seat.view = interest.data, interest.after
            else:
                data, view = replicator.update(view, interest)
                seat.record_sent(tick, view)
            if data and seat.reads_tables:
                data = replicator.to_table(data)
            if len(data) > SERVER_MESSAGE_BYTES_MAX and (size := max(frame_sizes(data))) > SERVER_MESSAGE_BYTES_MAX:
                oversized.append(OversizedState(seat, size))
                continue
            if seat.applied_seq != seat.acknowledged_seq:
                encode = frame_table_ack if seat.reads_tables else frame_ack
                data = encode(tick, seat.applied_seq) + data
                seat.acknowledged_seq = seat.applied_seq
            if seat.has_events:
                if seat.subscriber.outbox.has_lost_unsent:
                    seat.subscriber.slow_consumer(EVENTS_LOST)
                    continue
                data += seat.subscriber.outbox.dequeue()
                seat.has_events = False
            if data:
                write((connection, data))
                sent += 1
                bytes_sent += len(data)
        self._counters.frames_sent += sent
        self._counters.bytes_sent += bytes_sent
        return oversized

    def _skip_congested(self, seat: Seat) -> None:
        counters = self._counters
        counters.updates_skipped += 1
        if seat.send_rate is None:
            seat.send_rate = AdaptiveSendRate(self._room.tick_rate_hz)
            counters.slow_clients["coalesced"] += 1
        rate = seat.send_rate
        if rate.record_congested():
            counters.slow_clients["closed" if rate.is_closed else rate.level.name.lower()] += 1
        if rate.is_closed:
            seat.subscriber.slow_consumer(f"the client read nothing for {SLOW_S_MAX:g} s")
        elif seat.is_backlogged():
            counters.slow_clients["closed"] += 1
            seat.subscriber.slow_consumer(EVENTS_LOST)

    def _is_due(self, seat: Seat, rate: AdaptiveSendRate) -> bool:
        """Return whether a slow session receives this tick; send it its rate if that has changed."""
        seat.backlog = 0
        if rate.record_clear():
            self._counters.slow_clients["raised"] += 1
        if rate.announced is not rate.level:
            rate.announced = rate.level
            seat.subscriber.send_message(Rate(rate.ticks_per_update, rate.level is SendLevel.KEYFRAMES))
        if rate.is_recovered:
            seat.send_rate = None
        if rate.is_due(self._room.tick):
            if rate.level is SendLevel.KEYFRAMES:
                seat.view = None
            return True
        return False


def report_oversized_state(room: Room, oversized: OversizedState) -> str:
    """Log that a player's client cannot read the state of the room, and return the text for the player."""
    (seat, size), limit = oversized, SERVER_MESSAGE_BYTES_MAX
    log.error(
        "room_state_too_large",
        room_id=room.room_id,
        room_type=room.room_type,
        player_id=seat.player_id,
        bytes=size,
        bytes_max=limit,
        hint="show each player a part of the world: channels, or a grid",
    )
    return f"the state of the room takes {size} bytes for this player; a message has at most {limit}"
