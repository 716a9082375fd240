"""Seats the players of a room, notifies the game of their connections, and unseats them.

    (new) --on_join--> connected <--on_disconnect / on_resume--> disconnected
    connected or disconnected --on_leave--> given up

A change about a player that happens while the room is sealed waits until it is unsealed (server/rooms/handover.py).
Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tickwire.schemas.messages import Joined
from tickwire.server.errors import JoinRefused, RoomFailed
from tickwire.server.rooms.checkpoint import SeatCheckpoint
from tickwire.server.rooms.checkpoint_writer import find_entity
from tickwire.server.rooms.containment import CommandRefused, RoomCodeRaised
from tickwire.server.rooms.handover import RoomHandover
from tickwire.server.rooms.hooks import HookRunner
from tickwire.server.rooms.input_delivery import InputDelivery
from tickwire.server.rooms.interest import InterestTracker
from tickwire.server.rooms.player import Player
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.seat import Seat


class SeatLifecycle:
    """The seats of one room.

    Args:
        room: the room.
        hooks: runs the room's hooks.
        handover: postpones changes while the room is sealed.
        interest: keeps the channels of the seats.
        inputs: holds inputs of the seats.

    Attributes:
        seats: all seats, in the order of the joins.
    """

    __slots__ = ("_description", "_handover", "_hooks", "_inputs", "_interest", "_room", "seats")

    def __init__(
        self, room: Room, hooks: HookRunner, handover: RoomHandover, interest: InterestTracker, inputs: InputDelivery
    ) -> None:
        self._room = room
        self._hooks = hooks
        self._handover = handover
        self._interest = interest
        self._inputs = inputs
        self._description = room.describe()
        self.seats: list[Seat] = []

    def join(self, seat: Seat, options: Any) -> None:
        """Run `on_join`, add the seat and send `Joined`; state follows with the next tick.

        Raises:
            JoinRefused: `on_join` refused the player.
            RoomFailed: `on_join` raised an exception.
        """
        joined = self._run_on_join(seat, options)
        seat.connection = seat.subscriber.connection
        self.seats.append(seat)
        self._interest.subscribe(seat)
        seat.subscriber.send_message(joined)

    def _run_on_join(self, seat: Seat, options: Any) -> Joined:
        """Run the hook. A failed join leaves nothing behind: no player, channel, entity or event."""
        room, outbox = self._room, seat.subscriber.outbox
        last_event = outbox.last_number
        row_counts = [len(table) for table in room.all_tables()]
        room.players[seat.player_id] = seat.player
        try:
            with self._hooks.contain("on_join", seat.player, options, answers=(CommandRefused,)):
                room.on_join(seat.player, options)
                return self._create_joined(seat)
        except (CommandRefused, RoomCodeRaised) as error:
            room.players.pop(seat.player_id, None)
            seat.is_open = False
            self._interest.discard(seat)
            self._close_private(seat)
            for table, count in zip(room.all_tables(), row_counts, strict=True):
                table.despawn_from(count)
            outbox.retract(last_event)
            seat.release()
            if isinstance(error, CommandRefused):
                raise JoinRefused(error.reason) from error
            raise RoomFailed("the room failed to run the join") from error

    def restore(self, seat: Seat, checkpoint: SeatCheckpoint) -> None:
        """Add a seat of a restored room; its player is disconnected."""
        self.seats.append(seat)
        self._room.players[checkpoint.player_id] = seat.player
        seat.player.entity = find_entity(self._room, checkpoint.entity)
        seat.player.focus = find_entity(self._room, checkpoint.focus)
        self._interest.restore(seat)

    def disconnected(self, seat: Seat) -> None:
        """Notify the game that a player has lost its connection; the seat stays."""
        if seat.player.is_connected:
            self._interest.unsubscribe(seat)
        seat.player.is_connected = False
        self._run_hook(seat, "on_disconnect", self._room.on_disconnect)

    def resumed(self, seat: Seat, *, keeps_world: bool) -> None:
        """Notify the game that a player has reconnected.

        Args:
            seat: the seat of the player.
            keeps_world: whether the client continues with the world that it holds; otherwise `Joined` is sent.
        """
        if not seat.player.is_connected:
            self._interest.subscribe(seat)
        seat.player.is_connected = True
        if not keeps_world:
            seat.subscriber.send_message(self._create_joined(seat))
        self._run_hook(seat, "on_resume", self._room.on_resume)

    def _run_hook(self, seat: Seat, name: str, hook: Callable[[Player], None]) -> None:
        """Run a hook about a player who has a seat; if the room is sealed, after `unseal`."""
        if seat.is_open and not self._handover.defer(partial(self._run_hook, seat, name, hook)):
            self._hooks.notify(name, hook, seat.player)

    def unseat(self, seat: Seat, reason: str) -> None:
        """Remove a player from the room and run `on_leave`."""
        if not seat.is_open:
            return
        if self._handover.defer(partial(self.unseat, seat, reason)):
            self._handover.leavers.add(seat.subscriber.session_id)
            return
        self.seats.remove(seat)
        self._inputs.discard(seat)
        self._interest.discard(seat)
        if seat.player.is_connected:
            self._interest.unsubscribe(seat)
        seat.end()
        try:
            with self._hooks.contain("on_leave", seat.player):
                self._room.on_leave(seat.player)
        except RoomCodeRaised:
            if (entity := seat.player.find_entity()) is not None:  # otherwise it would stay in the room for good
                entity.despawn()
        self._room.players.pop(seat.player_id, None)
        self._close_private(seat)
        seat.release()

    def _close_private(self, seat: Seat) -> None:
        if seat.player.opened is not None:
            self._room.close_channel(seat.player.opened)

    def _create_joined(self, seat: Seat) -> Joined:
        room = self._room
        entity = seat.player.find_entity()
        seat.known_entity = 0 if entity is None else entity.id
        return Joined(
            room_id=room.room_id,
            room_type=room.room_type,
            room_name=room.name,
            tick_rate_hz=room.tick_rate_hz,
            tick=room.tick,
            entity=seat.known_entity,
            description=self._description,
            room_code=room.code,
            team=seat.player.team,
        )
