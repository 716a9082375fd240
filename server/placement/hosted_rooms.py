"""The rooms of this shard, as joins and migrations need them: created or restored with their players, and seated.

A durable room is claimed in the store before it is restored, under the epoch of its lease. Concurrent requests for
the same new room create it once: the others wait for the first one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from weakref import WeakValueDictionary

import msgspec
import structlog

from tickwire.matchmaking import Ticket
from tickwire.server.errors import StaleEpoch
from tickwire.server.placement.directory_publisher import DirectoryPublisher
from tickwire.server.placement.lease_keeper import LeaseKeeper
from tickwire.server.rooms.checkpoint import RoomCheckpoint, SeatCheckpoint, SessionCheckpoint
from tickwire.server.rooms.factory import RestoreRequest, RoomSpec
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.ports import RestoredSubscriber, SessionRestorer, SessionSource
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest
from tickwire.server.rooms.transactions import RecordVersion
from tickwire.server.storage import world_key

log = structlog.get_logger(__name__)

FREEZE_POLL_INTERVAL_S = 0.02
"""How often a join checks whether a room that is migrating has completed its migration."""


class WorldSource(Protocol):
    """The saved worlds of durable rooms; see `tickwire.server.persistence.saver.RoomSaver`."""

    async def claim(self, room_type: str, name: str, epoch: int) -> RoomCheckpoint | None:
        """Claim a durable room under an epoch, and return its saved state, or None for a new room."""

    async def quarantine(self, key: str, epoch: int, state: RoomCheckpoint) -> RoomCheckpoint:
        """Store the parts of a checkpoint that do not fit their declaration apart; return the rest."""
        ...


class RecordSource(Protocol):
    """The records of players; see `tickwire.server.persistence.transactions.TransactionService`."""

    async def load(self, player_ids: Sequence[str]) -> dict[str, RecordVersion]:
        """Return the records of players."""
        ...

    async def add_replies(self, seats: Sequence[SeatCheckpoint]) -> tuple[SeatCheckpoint, ...]:
        """Return the seats with the replies to the commands that the ledger has decided."""
        ...


class _RestoredSessions(list[RestoredSubscriber]):
    """Collects the sessions that are restored with a room, to register them afterwards."""

    def __init__(self, restorer: SessionRestorer) -> None:
        super().__init__()
        self._restorer = restorer

    def restore(self, checkpoint: SessionCheckpoint, /) -> RestoredSubscriber | None:
        """See `tickwire.server.rooms.ports.SessionSource.restore`."""
        session = self._restorer.restore(checkpoint)
        if session is not None:
            self.append(session)
        return session


class HostedRooms:
    """Creates, restores and seats the rooms of one shard.

    Args:
        host: the rooms of this shard.
        lease_keeper: has the leases of the rooms, and publishes their seats.
        saver: loads durable rooms.
        transactions: loads player records and stored command replies.
        session_restorer: restores the sessions of a saved room.

    Attributes:
        session_restorer: as passed.
        incoming_rooms: ids of rooms that are being received from other shards.
    """

    def __init__(
        self,
        host: RoomHost,
        lease_keeper: LeaseKeeper,
        saver: WorldSource,
        transactions: RecordSource,
        session_restorer: SessionRestorer,
    ) -> None:
        self.session_restorer = session_restorer
        self.incoming_rooms: set[str] = set()
        self._host = host
        self._lease_keeper = lease_keeper
        self._saver = saver
        self._transactions = transactions
        self._on_seat_ended = self._seat_ended  # one object for all seats
        # A lock exists while a join holds it or waits for it.
        self._creation_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def publisher(self) -> DirectoryPublisher:
        """Publishes the seats of the rooms to the directory."""
        return self._lease_keeper.publisher

    def has_room(self, room_id: str) -> bool:
        """Return whether the room runs on this shard."""
        return self._host.get(room_id) is not None

    def get_room_class(self, room_type: str) -> type[Room]:
        """Return the class of a room type.

        Raises:
            NoSuchRoomType: this build does not host it.
        """
        return self._host.get_room_class(room_type)

    def check_options(self, room_type: str, options: Mapping[str, Any], *, may_create: bool = False) -> None:
        """Check the options of a player before it is placed; see `tickwire.server.rooms.host.RoomHost`."""
        self._host.check_options(room_type, options, may_create=may_create)

    async def wait_until_unfrozen(self, room_id: str) -> None:
        """Wait while a room is migrating: it soon resumes here or runs elsewhere. The caller has a deadline."""
        while (runtime := self._host.get(room_id)) is not None and runtime.is_frozen:
            await asyncio.sleep(FREEZE_POLL_INTERVAL_S)

    async def seat(self, runtime: RoomRuntime, request: SeatRequest) -> Seat:
        """Seat a player in a room of this shard, with the player's record if the room uses the ledger.

        Raises:
            TickwireError: the room refuses the player, or MongoDB does not answer.
        """
        if runtime.room.uses_ledger:
            records = await self._transactions.load([request.player_id])
            request = msgspec.structs.replace(request, record=records[request.player_id])
        return self._host.seat(runtime.room.room_id, request, self._on_seat_ended)

    def _seat_ended(self, seat: Seat) -> None:
        self.publisher.seat_released(seat.room_id, seat.player_id, seat.runtime.epoch)

    async def get_or_create(self, ticket: Ticket, options: dict[str, Any]) -> RoomRuntime:
        """Return the ticket's room, creating it if it does not run here. Concurrent calls create it once.

        Raises:
            StaleLease: another shard owns the room.
            TickwireError: the room cannot be created, its world cannot be read, or MongoDB does not answer.
        """
        room_id = ticket.room_id
        runtime = self._host.get(room_id)
        if runtime is not None:
            return runtime
        async with self._creation_locks.setdefault(room_id, asyncio.Lock()):
            return self._host.get(room_id) or await self._create(ticket, options)

    async def _create(self, ticket: Ticket, options: dict[str, Any]) -> RoomRuntime:
        room_class = self._host.get_room_class(ticket.room_type)
        checkpoint: RoomCheckpoint | None = None
        epoch = ticket.epoch
        if room_class.durable and ticket.name:
            checkpoint, epoch = await self._claim(ticket)
        spec = RoomSpec(
            ticket.room_id, ticket.room_type, ticket.name, ticket.code, ticket.labels, ticket.mode, epoch=epoch
        )
        if checkpoint is None:
            return self._host.create(spec, options)
        sessions = _RestoredSessions(self.session_restorer)
        # After the claim: earlier owners of the room can commit no more transactions.
        request = await self._create_restore_request(spec, checkpoint, sessions)
        try:
            return self._host.restore(spec, request)
        finally:  # if the room's code raised, its players keep their sessions
            for session in sessions:
                self.session_restorer.settle(session)

    def settle_sessions(self, runtime: RoomRuntime) -> None:
        """Register the restored sessions of a room that this shard has claimed from another."""
        for seat in list(runtime.seats):
            self.session_restorer.settle(seat.subscriber)

    async def prepare(self, spec: RoomSpec, checkpoint: RoomCheckpoint) -> RoomRuntime:
        """Create a room that another shard transfers, with its players. It has no epoch and does not tick yet.

        Raises:
            TickwireError: this build does not host the room type, the room's code raised, or MongoDB does not answer.
        """
        request = await self._create_restore_request(spec, checkpoint, self.session_restorer)
        return self._host.prepare(spec, request)

    async def _create_restore_request(
        self, spec: RoomSpec, checkpoint: RoomCheckpoint, sessions: SessionSource
    ) -> RestoreRequest:
        """Prepare a checkpoint for the host, with the records and stored replies of its players.

        The parts of the checkpoint that do not fit their declaration go to the quarantine.

        Raises:
            TickwireError: the checkpoint cannot be read, or MongoDB does not answer.
        """
        room_class, records = self._host.get_room_class(spec.room_type), {}
        checkpoint = self._host.salvage(spec.room_type, spec.room_id, checkpoint)
        key = world_key(spec.room_type, spec.name or spec.room_id)
        checkpoint = await self._saver.quarantine(key, spec.epoch, checkpoint)
        if room_class.uses_ledger:
            records = await self._transactions.load([seat.player_id for seat in checkpoint.seats])
            seats = await self._transactions.add_replies(checkpoint.seats)
            checkpoint = msgspec.structs.replace(checkpoint, seats=seats)
        return RestoreRequest(checkpoint, sessions, self._on_seat_ended, records)

    async def _claim(self, ticket: Ticket) -> tuple[RoomCheckpoint | None, int]:
        """Claim a durable room in the store.

        Returns:
            The saved checkpoint, or None for a new room; and the epoch under which this shard owns the room.

        Raises:
            StaleLease: another shard owns the room.
            TickwireError: the world cannot be read, or MongoDB does not answer.
        """
        try:
            return await self._saver.claim(ticket.room_type, ticket.name, ticket.epoch), ticket.epoch
        except StaleEpoch as error:
            # The store has seen a greater epoch than Redis: Redis has lost its data and counts from the beginning. If
            # this shard still owns the room, it gets an epoch above the stored one; otherwise this raises.
            log.warning("epoch_behind_store", room_id=ticket.room_id, epoch=ticket.epoch, newest=error.newest)
            epoch = await self._lease_keeper.raise_epoch(ticket.room_id, ticket.epoch, above=error.newest)
            return await self._saver.claim(ticket.room_type, ticket.name, epoch), epoch
