"""Runs one room: seats, inputs, commands, the game's tick, snapshots and checkpoints.

Pure: no clock, no socket, no task. `server/rooms/tick_loop.py` calls the parts of a step when a tick is due.

An exception of any type that leaves a hook of the game is contained (server/rooms/containment.py):
    __init__, on_create, restore  the join is refused, and the room that was being created is dropped
    on_join                       the join is refused, and the changes that the hook made to the player are undone
    on_command                    the player receives a Reply with COMMAND_FAILED
    on_input, on_inputs, on_tick  the host closes this room, and no other
    save                          the last saved state stays
    can_migrate                   the room stays on this shard
    on_leave, on_dispose, on_dealt
    on_disconnect, on_resume, on_tuned      logged and counted; the room continues
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import structlog
from numpy.typing import NDArray

from tickwire.schemas import SCHEMA_VERSION, SERVER_MESSAGE_BYTES_MAX
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.inputs import InputReader
from tickwire.schemas.messages import Command, Error, ErrorCode, Input, Joined, Redirect, Reply
from tickwire.schemas.payloads import decode_payload, encode_payload
from tickwire.server.errors import JoinRefused, RoomClosed, RoomFailed, RoomFull, Unavailable, UpgradeRequired
from tickwire.server.replication.bandwidth import SAMPLE_TICKS, BandwidthProfile
from tickwire.server.replication.replicator import Replicator
from tickwire.server.replication.table import Row, create_dead_row
from tickwire.server.rooms.attributes import AttributeReport, encode_attributes, find_lost_attributes
from tickwire.server.rooms.checkpoint import (
    GONE,
    RoomCheckpoint,
    RoomMetadata,
    SeatCheckpoint,
    SetAsideData,
    to_plain_dict,
)
from tickwire.server.rooms.containment import CommandRefused, RoomCodeRaised, contain
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.declarations import own_attributes
from tickwire.server.rooms.fan_out import FanOutBudget
from tickwire.server.rooms.inputs import InputBatch
from tickwire.server.rooms.interest import InterestTracker
from tickwire.server.rooms.player import Player
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.seat import Seat, SeatEnded, SeatRequest, Subscriber
from tickwire.server.rooms.slow_log import SlowLog
from tickwire.server.rooms.state_writer import OversizedState, StateWriter
from tickwire.server.rooms.transactions import Decision, RecordReads, RecordVersion, Transaction

ROOM_ATTRIBUTES = own_attributes(Room)
log = structlog.get_logger(__name__)

MOVES_MS = 300
"""A room that moves to another shard is frozen for less than this in most cases."""


class RoomRuntime:
    """A running room.

    Args:
        room: the game's room, created or restored.
        epoch: the fencing number under which this shard owns the room.
        counters: the counters of the shard; the room adds to them.
        now_s: a monotonic clock in seconds, for the duration of hooks.

    Attributes:
        leavers: the sessions that have left since the room was sealed.
        has_rolled_back: whether the room was restored from a save, so that clients may have seen later ticks.
        closes_at_s: when the host closes the room because it is empty; infinite while it has players.
        newest_inputs: the newest input of each seat, if the game receives all inputs of a tick at once; else None.
        fan_out_cost: the cost of all events so far; see server/rooms/fan_out.py.
        set_aside: stored data of the room that this build does not declare.
        record_reads: collects the records that the decision on a command is based on.
        transactions_applied: the number of `on_dealt` calls, each of which may have changed the room's own data.
    """

    def __init__(
        self, room: Room, *, epoch: int, counters: RoomCounters, now_s: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.room = room
        self.epoch = epoch
        self.counters = counters
        self.dt = 1.0 / room.tick_rate_hz
        self.slow_log = SlowLog(room, self.dt, counters)
        self.closes_at_s = math.inf
        self.is_open = True
        self.is_frozen = self.has_rolled_back = False
        self.leavers: set[str] = set()
        self._deferred: list[Callable[[], None]] | None = None  # changes that wait for `unseal`; None: not sealed
        self.seats: list[Seat] = []
        self.fan_out_cost = 0
        self._now_s = now_s
        self._is_settled = False
        self.set_aside = SetAsideData()
        self.record_reads = RecordReads()
        self.transactions_applied = 0
        self._initial_attributes = frozenset(vars(room))
        self.replicator = Replicator(room.all_tables(), checksum_ticks=room.checksum_ticks)
        self.bandwidth = BandwidthProfile({name: table.fields for name, table in room.tables.items()})
        self._clamped_counted: Counter[tuple[str, str]] = Counter()
        self._inputs = InputReader(room.input_fields)
        self.newest_inputs: dict[Seat, Input] | None = {} if type(room).on_inputs is not Room.on_inputs else None
        self._description = room.describe()
        self._has_texts = any(table.textual for table in room.all_tables())
        self._interest = InterestTracker(room, self.replicator)
        self._writer = StateWriter(room, self.replicator, counters)

    @property
    def tick(self) -> int:
        """The number of the last tick."""
        return self.room.tick

    @property
    def input_size(self) -> int:
        """The size of an input's payload in bytes."""
        return self._inputs.size

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
        return not self.seats and self._is_settled and not self.room.ticks_when_empty

    # -- seats ----------------------------------------------------------------------------------------------

    def seat(self, request: SeatRequest, on_ended: SeatEnded = lambda seat: None) -> Seat:
        """Seat a player and send `Joined` to the session; state follows with the next tick.

        Args:
            request: the session, the player and its options.
            on_ended: called once when the seat is given up.

        Raises:
            RoomFull: all seats are taken, or the player already has a seat in the room.
            JoinRefused: `on_join` refused the player.
            RoomClosed: the room has ended, or its `on_join` raised an exception.
            Unavailable: the room is moving to another shard.
            UpgradeRequired: the client cannot read the room's state.
        """
        if self._has_texts and request.session.schema_version < SCHEMA_VERSION:
            raise UpgradeRequired(f"a room with text fields requires schema version {SCHEMA_VERSION}")
        if not self.is_open:
            raise RoomClosed("the room has ended")
        if self.is_frozen:
            raise Unavailable("the room is moving to another shard", retry_after_ms=MOVES_MS)
        if len(self.seats) >= self.room.seats:
            raise RoomFull(f"all {self.room.seats} seats are taken")
        if request.player_id in self.room.players:
            raise RoomFull("the player already has a seat in this room")
        seat = Seat(self, request, on_ended)
        joined = self._run_on_join(seat, request.options)
        seat.connection = seat.subscriber.connection
        self.seats.append(seat)
        self._interest.subscribe(seat)
        seat.subscriber.send_message(joined)
        return seat

    def _run_on_join(self, seat: Seat, options: Mapping[str, Any]) -> Joined:
        """Run the hook. A failed join leaves nothing behind: no player, channel, entity or event."""
        room, outbox = self.room, seat.subscriber.outbox
        self._is_settled = False
        self.closes_at_s = math.inf
        last_event = outbox.last_number
        row_counts = [len(table) for table in room.all_tables()]
        room.players[seat.player_id] = seat.player
        try:
            with self.contained("on_join", may_refuse=True):
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

    def restore_seat(
        self,
        checkpoint: SeatCheckpoint,
        subscriber: Subscriber,
        on_ended: SeatEnded,
        record: RecordVersion | None = None,
    ) -> None:
        """Restore the seat of a player from a checkpoint; the player is disconnected."""
        request = SeatRequest(subscriber, checkpoint.player_id, record=record)
        seat = Seat(self, request, on_ended, checkpoint)
        self.seats.append(seat)
        self.room.players[checkpoint.player_id] = seat.player
        seat.player.entity = self._find_entity(checkpoint.entity)
        seat.player.focus = self._find_entity(checkpoint.focus)
        subscriber.seat_restored(seat)

    def _find_entity(self, reference: tuple[str, int] | None) -> Row | None:
        """Return the row of a saved entity; a dead row if it was despawned, or if this build lacks its table."""
        if reference is None:
            return None
        name, id = reference
        table = getattr(self.room, name) if name in self.room.tables else None
        return table[id] if table is not None and id in table else create_dead_row()

    def _entity_reference(self, entity: Row | None) -> tuple[str, int] | None:
        if entity is None:
            return None
        for name in self.room.tables:
            if entity.row_in(getattr(self.room, name)) is not None:
                return name, entity.id
        return GONE

    def _create_joined(self, seat: Seat) -> Joined:
        room = self.room
        entity = seat.player.entity
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

    def unseat(self, seat: Seat, reason: str) -> None:
        """Remove a player from the room and run `on_leave`."""
        if not seat.is_open:
            return
        if self.defer(partial(self.unseat, seat, reason)):
            self.leavers.add(seat.subscriber.session_id)
            return
        self.seats.remove(seat)
        if self.newest_inputs is not None:
            self.newest_inputs.pop(seat, None)
        self._interest.discard(seat)
        if seat.player.is_connected:
            self._interest.unsubscribe(seat)
        self.counters.inputs_superseded += seat.inputs_superseded
        seat.end()
        try:
            with self.contained("on_leave"):
                self.room.on_leave(seat.player)
        except RoomCodeRaised:
            if seat.player.entity is not None:  # otherwise the entity would stay in the room for good
                seat.player.entity.despawn()
        self.room.players.pop(seat.player_id, None)
        self._close_private(seat)
        seat.release()

    def _close_private(self, seat: Seat) -> None:
        if seat.player.opened is not None:
            self.room.close_channel(seat.player.opened)

    def player_disconnected(self, seat: Seat) -> None:
        """Notify the game that a player has lost its connection; the seat stays."""
        if seat.player.is_connected:
            self._interest.unsubscribe(seat)
        seat.player.is_connected = False
        self._run_hook(seat, "on_disconnect", self.room.on_disconnect)

    def player_resumed(self, seat: Seat, *, keeps_world: bool) -> None:
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
        self._run_hook(seat, "on_resume", self.room.on_resume)

    def _run_hook(self, seat: Seat, name: str, hook: Callable[[Player], None]) -> None:
        """Run a hook about a player who has a seat; if the room is sealed, after `unseal`."""
        if seat.is_open and not self.defer(partial(self._run_hook, seat, name, hook)):
            with suppress(RoomCodeRaised), self.contained(name):
                hook(seat.player)

    def defer(self, change: Callable[[], None]) -> bool:
        """Postpone a change while the room is sealed; return whether it was postponed."""
        if self._deferred is None:
            return False
        self._deferred.append(change)
        return True

    def can_resume(self, seat: Seat) -> bool:
        """Return whether a client of this seat can continue with its world; otherwise it needs `Joined` again."""
        is_simple = seat.interest is self.replicator.everyone and self._interest.is_settled
        return seat.subscriber.schema_version >= SCHEMA_VERSION or is_simple

    def notify_tuned(self) -> None:
        """Notify the game that its tuning values have changed."""
        self._is_settled = False
        with suppress(RoomCodeRaised), self.contained("on_tuned"):
            self.room.on_tuned()

    def interest_changed(self, seat: Seat) -> None:
        """Update the player's channels before the next write."""
        self._interest.mark_changed(seat)

    # -- commands -------------------------------------------------------------------------------------------

    def run_command(self, seat: Seat, message: Command) -> Reply | Decision:
        """Run one command of a player.

        Returns:
            The reply, also for a command that failed; or a decision that must be committed before the reply is sent.
        """
        if self.is_frozen:
            text = "the room is moving to another shard"
            return _refusal(message.id, ErrorCode.UNAVAILABLE, text, retry_after_ms=MOVES_MS)
        if wait_ms := self._fan_out_wait_ms(seat):
            self.counters.fan_out_refusals += 1
            text = "the player's messages cause too many events for others"
            return _refusal(message.id, ErrorCode.RATE_LIMITED, text, retry_after_ms=wait_ms)
        try:
            payload = decode_payload(message.payload) if message.payload else None
        except MalformedMessage as error:
            return _refusal(message.id, ErrorCode.MALFORMED, f"the payload is not msgpack: {error}")
        try:
            with self._charged(seat), self.contained("on_command", may_refuse=True):
                with self.record_reads.collect() as versions:
                    answer = self.room.on_command(seat.player, message.name, payload)
                    if isinstance(answer, Transaction):
                        return self._create_decision(seat, answer, versions)
                answer = encode_payload(answer)
        except CommandRefused as refused:
            return _refusal(message.id, ErrorCode.COMMAND_FAILED, refused.reason)
        except RoomCodeRaised:
            return _refusal(message.id, ErrorCode.COMMAND_FAILED, "the room failed to run the command")
        return Reply(message.id, ok=True, payload=answer)

    @contextmanager
    def _charged(self, seat: Seat) -> Iterator[None]:
        """Charge a player for the events that the code inside causes."""
        before = self.fan_out_cost
        try:
            yield
        finally:
            self._charge(seat, self.fan_out_cost - before)

    def _charge(self, seat: Seat, cost: int) -> None:
        if cost:
            if seat.fan_out is None:
                seat.fan_out = FanOutBudget(self.room.fan_out_max, self._now_s())
            seat.fan_out.spend(cost)

    def _fan_out_wait_ms(self, seat: Seat) -> int:
        return 0 if seat.fan_out is None else seat.fan_out.wait_ms(self._now_s())

    def _create_decision(self, seat: Seat, transaction: Transaction, versions: dict[str, int]) -> Decision:
        if not self.room.uses_ledger:
            name = type(self.room).__name__
            raise TypeError(f"{name}.on_command returned a Transaction; set `uses_ledger = True` on {name}")
        profile = None
        if transaction.profile is not None:
            profile = to_plain_dict(transaction.profile)
            # The new profile replaces the old one, so it depends on it even if the game did not read it.
            versions[seat.player_id] = seat.player.record.version
        return Decision(transaction, encode_payload(transaction.reply), profile, versions, self.transactions_applied)

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
        self.update_records(seat, records)
        self._is_settled = False
        self.transactions_applied += 1
        if self.is_open:
            with suppress(RoomCodeRaised), self._charged(seat), self.contained("on_dealt"):
                self.room.on_dealt(seat.player, name, transaction)

    def update_records(self, seat: Seat, records: Mapping[str, RecordVersion]) -> None:
        """Replace the records of this seat's player, and of other players in the room, with newer versions."""
        seat.player.record = records.get(seat.player_id, seat.player.record)
        for player_id, record in records.items():
            if player_id in self.room.players:
                self.room.players[player_id].record = record

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
        """Run the first part of a step: inputs, the game's tick, the snapshot.

        Raises:
            RoomCodeRaised: the game's code raised an exception, or left a NaN in a column.
        """
        room = self.room
        room.tick += 1
        room.entity_ids.tick = room.tick
        with contain("tick", room, self.counters):
            self._apply_inputs()
            room.on_tick(self.dt)
            self._compact()
            self._interest.refresh(self.seats)
            self.replicator.capture(room.tick)
        self.counters.ticks += 1
        self._is_settled = not self.seats

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
            if self.room.tick % SAMPLE_TICKS == SAMPLE_TICKS - 1:
                self._sample()

    def _sample(self) -> None:
        """Profile the bytes of this tick by field, and count them for all ticks until the next sample."""
        profile, room_type = self.bandwidth, self.room.room_type
        before = Counter(profile.bits)
        self.replicator.profile(profile)
        for (table, field), bits in profile.bits.items():
            self.counters.field_bits[room_type, table, field] += (bits - before[table, field]) * SAMPLE_TICKS
        for table, clamped in self.clamped_counts().items():
            for field, count in clamped.items():
                self.counters.clamped[room_type, table, field] += count - self._clamped_counted[table, field]
                self._clamped_counted[table, field] = count

    def clamped_counts(self) -> dict[str, dict[str, int]]:
        """Return the number of values that were out of their field's range so far, by table and field."""
        return {name: getattr(self.room, name).clamped for name in self.room.tables}

    def _apply_inputs(self) -> None:
        if self.newest_inputs is not None:
            self._apply_all_inputs(self.newest_inputs)
            return
        on_input, read = self.room.on_input, self._inputs.read
        for seat in self.seats:
            if seat.inbox and not self._fan_out_wait_ms(seat):
                before = self.fan_out_cost
                for message in seat.inbox:
                    on_input(seat.player, read(message.payload))
                self._charge(seat, self.fan_out_cost - before)
                self.counters.inputs_applied += len(seat.inbox)
                seat.applied_seq = seat.inbox[-1].seq
                seat.inbox.clear()

    def _apply_all_inputs(self, newest: dict[Seat, Input]) -> None:
        if newest:
            players, payloads = [], []
            for seat, message in newest.items():
                seat.applied_seq = message.seq
                players.append(seat.player)
                payloads.append(message.payload)
            newest.clear()
            self.counters.inputs_applied += len(players)
            self.room.on_inputs(InputBatch(players, self._inputs.read_many(payloads)))

    def write(self) -> None:
        """Run the third part of a step: one write a session; see server/rooms/state_writer.py."""
        for oversized in self._writer.write(self.seats):
            self._refuse_state(oversized)

    def _refuse_state(self, oversized: OversizedState) -> None:
        """Unseat a player whose client cannot read the room's state: it would reconnect endlessly."""
        room, limit, (seat, size) = self.room, SERVER_MESSAGE_BYTES_MAX, oversized
        self.counters.states_refused += 1
        log.error(
            "room_state_too_large",
            room_id=room.room_id,
            room_type=room.room_type,
            player_id=seat.player_id,
            bytes=size,
            bytes_max=limit,
            hint="show each player a part of the world: channels, or a grid",
        )
        text = f"the state of the room takes {size} bytes for this player; a message has at most {limit}"
        seat.subscriber.send_message(Error(ErrorCode.STATE_TOO_LARGE, text))
        self.unseat(seat, "the state of the room is too large")
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
        self.unseal()
        self.is_open = False
        for seat in list(self.seats):
            self.unseat(seat, reason)
            if has_moved:
                seat.subscriber.seat_moved(reason)
            else:
                seat.subscriber.seat_lost(reason)
        with suppress(RoomCodeRaised), self.contained("on_dispose"):
            self.room.on_dispose()
        self._compact()

    @property
    def game_attributes(self) -> frozenset[str]:
        """The names of the attributes that the game has set on the room, without its tables."""
        return frozenset(vars(self.room)).difference(ROOM_ATTRIBUTES, self.room.tables)

    def find_lost_attributes(self) -> AttributeReport:
        """Find the attributes that a move would lose; see server/rooms/attributes.py."""
        return find_lost_attributes(self.room, self.game_attributes, self._initial_attributes)

    def encode_attributes(self) -> dict[str, bytes]:
        """Copy the game's attributes for a move, as far as they can be copied."""
        return encode_attributes(self.room, self.game_attributes)

    def freeze(self) -> None:
        """Stop the room until `unfreeze`: commands and new players are refused."""
        self.is_frozen = True

    def seal(self) -> None:
        """Stop all changes of a frozen room before its state is sent. Changes about players wait for `unseal`.

        If another shard takes the room over, the waiting changes are dropped: the players are restored there as
        disconnected, and either resume or are among the `leavers`.
        """
        self._deferred = []

    @property
    def is_sealed(self) -> bool:
        """Whether the state of the room is in transfer, and it is not known yet which shard owns the room."""
        return self._deferred is not None

    def unseal(self) -> None:
        """Run the changes that were postponed since `seal`. Idempotent."""
        changes, self._deferred = self._deferred or [], None
        self.leavers.clear()
        for change in changes:
            change()

    def unfreeze(self) -> None:
        """Resume a frozen room, and run the changes that were postponed."""
        self.is_frozen = False
        self.unseal()

    def release(self, redirect: Redirect) -> None:
        """Close a room that another shard has taken over: send its players there, and run `on_dispose`."""
        self.is_open = False
        for seat in list(self.seats):
            self.seats.remove(seat)
            seat.end()
            seat.release()
            if seat.subscriber.session_id not in self.leavers:
                seat.subscriber.seat_moved("the room has moved to another shard", redirect)
        with suppress(RoomCodeRaised), self.contained("on_dispose"):
            self.room.on_dispose()

    def can_migrate(self) -> bool:
        """Return whether the game allows the room to move now."""
        try:
            with self.contained("can_migrate"):
                return bool(self.room.can_migrate())
        except RoomCodeRaised:
            return False

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
        room = self.room
        self._compact()
        with self.contained("save"):
            saved = room.save()
            if not isinstance(saved, room.saves):
                raise TypeError(
                    f"{type(room).__name__}.save must return a {room.saves.__name__}, not a {type(saved).__name__}"
                )
            seats = tuple(self._seat_checkpoint(seat) for seat in self.seats)
            return RoomMetadata(self.changed_tick, saved.to_plain_dict(), dict(room.labels), seats)

    def checkpoint(self, metadata: RoomMetadata | None = None) -> RoomCheckpoint:
        """Return a checkpoint of the room, with quantised tables.

        Args:
            metadata: the current metadata, if the caller already has it.

        Raises:
            RoomCodeRaised: see `metadata`; or a column holds an invalid value.
        """
        self._compact()  # entities that a command has despawned since the last tick are not saved
        room, metadata = self.room, metadata or self.metadata()
        with self.contained("save"):
            return RoomCheckpoint(
                tick=room.tick,
                next_entity_id=room.entity_ids.next_id,
                tables={name: getattr(room, name).state() for name in room.tables},
                state=metadata.state,
                state_version=room.saves.version,
                next_channel=room.next_channel,
                labels=metadata.labels,
                seats=metadata.seats,
                set_aside=self._current_set_aside(),
            )

    def _current_set_aside(self) -> SetAsideData:
        """Return the data that is set aside, without the fields of rows that were despawned."""
        columns = {
            name: {field: one.select_rows(getattr(self.room, name).ids.tolist()) for field, one in fields.items()}
            for name, fields in self.set_aside.columns.items()
            if name in self.room.tables
        }
        if not columns:
            return self.set_aside
        return SetAsideData(self.set_aside.tables, self.set_aside.columns | columns, self.set_aside.fields)

    def _seat_checkpoint(self, seat: Seat) -> SeatCheckpoint:
        player = seat.player
        entity, focus = player.assigned
        return SeatCheckpoint(
            player_id=seat.player_id,
            session=seat.subscriber.to_checkpoint(),
            entity=self._entity_reference(entity),
            focus=self._entity_reference(focus),
            cell=seat.cell,
            watched=tuple(sorted(player.watched)),
            private=player.opened,
            team=player.team,
            skill=player.skill,
            data=to_plain_dict(player.data) if player.data else {},
        )

    @contextmanager
    def contained(self, hook: str, *, may_refuse: bool = False) -> Iterator[None]:
        """Run the game's code outside of a tick; see `tickwire.server.rooms.containment.contain`."""
        started_s = self._now_s()
        try:
            with contain(hook, self.room, self.counters, may_refuse=may_refuse):
                yield
        finally:
            now_s = self._now_s()
            self.slow_log.record(hook, now_s - started_s, now_s)


def _refusal(id: int, code: ErrorCode, message: str, *, retry_after_ms: int = 0) -> Reply:
    return Reply(id, ok=False, error=code, message=message, retry_after_ms=retry_after_ms)
