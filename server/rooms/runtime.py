"""One room and its seats, stepped: inputs, the game's tick, the snapshot, one write a session.

Pure: no clock, no socket, no task. `server/rooms/host.py` calls `step` when a tick is due.

What happens to an exception that leaves a hook of the game, whatever its type (server/rooms/containment.py):
    __init__, on_create, restore  the join is refused; the room that was being made is dropped
    on_join                       the join is refused, and everything that the hook gave the player is taken back
    on_command                    the player gets a Reply that says COMMAND_FAILED
    on_input, on_inputs, on_tick  the host closes this room, and no other
    save                          the state that was saved before stays
    can_migrate                   the room stays where it is
    on_leave, on_dispose, on_dealt
    on_disconnect, on_resume, on_tuned      logged and counted; the room goes on
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
from tickwire.schemas.codec import frame_ack
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.framing import frame_sizes
from tickwire.schemas.inputs import InputReader
from tickwire.schemas.messages import Command, Error, ErrorCode, Input, Joined, Rate, Redirect, Reply
from tickwire.schemas.payloads import decode_payload, encode_payload
from tickwire.server.errors import JoinRefused, RoomClosed, RoomFailed, RoomFull, Unavailable, UpgradeRequired
from tickwire.server.replication.bandwidth import SAMPLE_TICKS, BandwidthProfile
from tickwire.server.replication.replicator import Replicator
from tickwire.server.replication.table import Row, create_dead_row
from tickwire.server.rooms.attributes import AttributeReport, encode_attributes, find_lost_attributes
from tickwire.server.rooms.checkpoint import GONE, RoomCheckpoint, RoomMetadata, SeatCheckpoint, SetAsideData, plain
from tickwire.server.rooms.containment import CommandRefused, RoomCodeRaised, contain
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.declarations import own_attributes
from tickwire.server.rooms.fan_out import FanOutBudget
from tickwire.server.rooms.inputs import InputBatch
from tickwire.server.rooms.interest import InterestTracker
from tickwire.server.rooms.ports import Subscriber
from tickwire.server.rooms.room import Player, Room
from tickwire.server.rooms.seat import Seat, SeatEnded
from tickwire.server.rooms.send_rate import SLOW_S_MAX, AdaptiveSendRate, SendLevel
from tickwire.server.rooms.slow_log import SlowLog
from tickwire.server.rooms.transactions import Decision, RecordReads, RecordVersion, Transaction

ROOM_ATTRIBUTES = own_attributes(Room)
EVENTS_LOST = "more events are waiting to be sent than are kept"
log = structlog.get_logger(__name__)

MOVES_MS = 300
"""A room that moves stands still for less than this, mostly."""


class RoomRuntime:
    """A room being played.

    Args:
        room: the game's room, created or restored.
        epoch: the fencing number under which it is owned.
        counters: the shard's numbers, added to.
        now_s: a monotonic clock, for hooks that take too long.

    Attributes:
        leavers: sessions that have ended since the room was sealed.
        has_gone_back: whether it was restored from a save: clients may have seen later ticks than it knows.
        closes_at_s: when the host ends it because nobody is in it; infinite while somebody is.
        aside: what was stored of the room and is not declared.
        record_reads: notes the records that a command's decision is based on.
        deals_applied: how often `on_dealt` was called: what the room remembers may have changed each time.
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
        self.is_frozen = self.has_gone_back = False
        self.leavers: set[str] = set()
        self._sealed: list[Callable[[], None]] | None = None  # what waits for the room to be opened again
        self.seats: list[Seat] = []
        self.fan_out_cost = 0  # of all events so far
        self._now_s = now_s
        self._is_settled = False
        self.aside = SetAsideData()
        self.record_reads = RecordReads()
        self.deals_applied = 0
        self._initial_attributes = frozenset(vars(room))
        self.replication = Replicator(room.all_tables(), checksum_ticks=room.checksum_ticks)
        self.weights = BandwidthProfile({name: table.fields for name, table in room.tables.items()})
        self._clamped_counted: Counter[tuple[str, str]] = Counter()
        self._inputs = InputReader(room.input_fields)
        # A room that takes a tick's inputs together has one inbox, with the newest of each player.
        self.newest: dict[Seat, Input] | None = {} if type(room).on_inputs is not Room.on_inputs else None
        self._description = room.describe()
        self._has_texts = any(table.textual for table in room.all_tables())
        self._watching = InterestTracker(room, self.replication)

    @property
    def tick(self) -> int:
        """The number of the last tick."""
        return self.room.tick

    @property
    def is_durable(self) -> bool:
        """Whether the room is saved: its class is durable, and it has a name to be found by."""
        return self.room.durable and bool(self.room.name)

    @property
    def input_size(self) -> int:
        """The size of an input's payload, bytes."""
        return self._inputs.size

    @property
    def changed_tick(self) -> int:
        """The last tick in which a client would have seen something change."""
        return self.replication.changed_tick

    @property
    def is_idle(self) -> bool:
        """Whether a tick is left out: nobody is in the room, and the game does not ask for ticks without players.

        One tick follows whatever was changed last, so that it is replicated and saved.
        """
        return not self.seats and self._is_settled and not self.room.ticks_when_empty

    # -- seats ----------------------------------------------------------------------------------------------

    def seat(
        self,
        subscriber: Subscriber,
        player_id: str,
        options: Mapping[str, Any],
        on_ended: SeatEnded,
        *,
        team: int = 0,
        skill: float = 0.0,
        record: RecordVersion | None = None,
    ) -> Seat:
        """Seats a player and tells the session `Joined`; state follows with the next tick.

        Raises:
            RoomFull: no seat is left, or the player has one already.
            JoinRefused: on_join refused the player.
            RoomClosed: the room has ended, or its on_join raised.
            UpgradeRequired: the client could not read the room's state.
        """
        if self._has_texts and subscriber.schema_version < SCHEMA_VERSION:
            raise UpgradeRequired(f"a room with texts wants schema version {SCHEMA_VERSION}")
        if not self.is_open:
            raise RoomClosed("the room has ended")
        if self.is_frozen:
            raise Unavailable("the room is moving to another shard", retry_after_ms=MOVES_MS)
        if len(self.seats) >= self.room.seats:
            raise RoomFull(f"all {self.room.seats} seats are taken")
        if player_id in self.room.players:
            raise RoomFull("the player has a seat in this room already")
        seat = Seat(self, subscriber, player_id, on_ended, team=team, skill=skill, record=record)
        joined = self._run_on_join(seat, options)
        seat.wire = subscriber.wire
        self.seats.append(seat)
        self._watching.came(seat)
        subscriber.send_message(joined)
        return seat

    def _run_on_join(self, seat: Seat, options: Mapping[str, Any]) -> Joined:
        """Run the hook. A join that fails leaves nothing behind: no player, channel, entity or event."""
        room, outbox = self.room, seat.subscriber.outbox
        self._is_settled = False
        self.closes_at_s = math.inf
        last_event = outbox.last_number
        row_counts = [len(table) for table in room.all_tables()]
        room.players[seat.player_id] = seat.player
        try:
            with self.contained("on_join", may_refuse=True):
                room.on_join(seat.player, options)
                return self._joined(seat)
        except (CommandRefused, RoomCodeRaised) as error:
            room.players.pop(seat.player_id, None)
            seat.is_open = False
            self._watching.forget(seat)
            self._close_private(seat)
            for table, count in zip(room.all_tables(), row_counts, strict=True):
                table.despawn_from(count)
            outbox.retract(last_event)
            seat.let_go()
            if isinstance(error, CommandRefused):
                raise JoinRefused(error.reason) from error
            raise RoomFailed("the room could not take the player in") from error

    def restore_seat(
        self, kept: SeatCheckpoint, subscriber: Subscriber, on_ended: SeatEnded, record: RecordVersion | None = None
    ) -> None:
        """Gives a player of a saved room the seat again; it is away."""
        seat = Seat(self, subscriber, kept.player_id, on_ended, kept=kept, record=record)
        self.seats.append(seat)
        self.room.players[kept.player_id] = seat.player
        seat.player.entity = self._entity_at(kept.entity)
        seat.player.focus = self._entity_at(kept.focus)
        subscriber.seat_restored(seat)

    def _entity_at(self, place: tuple[str, int] | None) -> Row | None:
        """The row of a saved entity; a dead row for one that was gone already, or that this build does not have."""
        if place is None:
            return None
        table = getattr(self.room, place[0]) if place[0] in self.room.tables else None
        return table[place[1]] if table is not None and place[1] in table else create_dead_row()

    def _place_of(self, entity: Row | None) -> tuple[str, int] | None:
        if entity is None:
            return None
        for name in self.room.tables:
            if entity.row_in(getattr(self.room, name)) is not None:
                return name, entity.id
        return GONE

    def _joined(self, seat: Seat) -> Joined:
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
        """Takes a player's seat back and tells the game."""
        if not seat.is_open:
            return
        if self.puts_off(partial(self.unseat, seat, reason)):
            self.leavers.add(seat.subscriber.session_id)
            return
        self.seats.remove(seat)
        if self.newest is not None:
            self.newest.pop(seat, None)
        self._watching.forget(seat)
        if seat.player.is_connected:
            self._watching.went(seat)
        self.counters.inputs_superseded += seat.inputs_superseded
        seat.ended()
        try:
            with self.contained("on_leave"):
                self.room.on_leave(seat.player)
        except RoomCodeRaised:
            if seat.player.entity is not None:  # nobody would take it out any more
                seat.player.entity.despawn()
        self.room.players.pop(seat.player_id, None)
        self._close_private(seat)
        seat.let_go()

    def _close_private(self, seat: Seat) -> None:
        if seat.player.opened is not None:
            self.room.close_channel(seat.player.opened)

    def player_disconnected(self, seat: Seat) -> None:
        """Tells the game that a player's connection is lost; the seat stays."""
        if seat.player.is_connected:
            self._watching.went(seat)
        seat.player.is_connected = False
        self._run_hook(seat, "on_disconnect", self.room.on_disconnect)

    def player_resumed(self, seat: Seat, *, is_told: bool) -> None:
        """Tells the game that a player is back, and the player of the room if it does not know."""
        if not seat.player.is_connected:
            self._watching.came(seat)
        seat.player.is_connected = True
        if not is_told:
            seat.subscriber.send_message(self._joined(seat))
        self._run_hook(seat, "on_resume", self.room.on_resume)

    def _run_hook(self, seat: Seat, name: str, hook: Callable[[Player], None]) -> None:
        """Run a hook about a player who has a seat; after the move, if the room is moving."""
        if seat.is_open and not self.puts_off(partial(self._run_hook, seat, name, hook)):
            with suppress(RoomCodeRaised), self.contained(name):
                hook(seat.player)

    def puts_off(self, change: Callable[[], None]) -> bool:
        """Put a change off while the room is sealed; return whether it is."""
        if self._sealed is None:
            return False
        self._sealed.append(change)
        return True

    def can_resume(self, seat: Seat) -> bool:
        """Whether a client's world can go on where it was; else it is told `Joined` again."""
        is_simple = seat.interest is self.replication.everyone and self._watching.is_settled
        return seat.subscriber.schema_version >= SCHEMA_VERSION or is_simple

    def tuned(self) -> None:
        """Tells the game that its tuning is another one."""
        self._is_settled = False
        with suppress(RoomCodeRaised), self.contained("on_tuned"):
            self.room.on_tuned()

    def interest_changed(self, seat: Seat) -> None:
        """What a player watches is to be looked at anew before the next write."""
        self._watching.changed(seat)

    def run_command(self, seat: Seat, message: Command) -> Reply | Decision:
        """Run one command of a player; whatever happens, there is a Reply, or a Decision to be written."""
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
                        return self._decision(seat, answer, versions)
                answer = encode_payload(answer)
        except CommandRefused as refused:
            return _refusal(message.id, ErrorCode.COMMAND_FAILED, refused.reason)
        except RoomCodeRaised:
            return _refusal(message.id, ErrorCode.COMMAND_FAILED, "the room failed to run the command")
        return Reply(message.id, ok=True, payload=answer)

    @contextmanager
    def _charged(self, seat: Seat) -> Iterator[None]:
        """Count the events that the code inside causes against a player."""
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

    def _decision(self, seat: Seat, deal: Transaction, versions: dict[str, int]) -> Decision:
        if not self.room.uses_ledger:
            raise TypeError(f"{type(self.room).__name__} makes a Deal, but does not say uses_ledger")
        profile = None
        if deal.profile is not None:
            profile = plain(deal.profile)
            versions[seat.player_id] = seat.player.record.version  # also where the game did not read the profile
        return Decision(deal, encode_payload(deal.reply), profile, versions, self.deals_applied)

    def dealt(self, seat: Seat, name: str, deal: Transaction, records: Mapping[str, RecordVersion]) -> None:
        """A command's deal is written: the room is told, also when who asked has left."""
        self.learn(seat, records)
        self._is_settled = False
        self.deals_applied += 1
        if self.is_open:
            with suppress(RoomCodeRaised), self._charged(seat), self.contained("on_dealt"):
                self.room.on_dealt(seat.player, name, deal)

    def learn(self, seat: Seat, records: Mapping[str, RecordVersion]) -> None:
        """What some players own by now."""
        seat.player.record = records.get(seat.player_id, seat.player.record)
        for player_id, record in records.items():
            if player_id in self.room.players:
                self.room.players[player_id].record = record

    # -- one tick -------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Moves the room by one tick and writes to every session what it must know.

        Raises:
            RoomCodeRaised: the game's code did, or left a NaN in a column.
        """
        self.move()
        self.encode()
        self.write()

    def move(self) -> None:
        """The first part of a step: inputs, the game's tick, the snapshot.

        Raises:
            RoomCodeRaised: the game's code did, or left a NaN in a column.
        """
        room = self.room
        room.tick += 1
        room.entity_ids.tick = room.tick
        with contain("tick", room, self.counters):
            self._apply_inputs()
            room.on_tick(self.dt)
            self._compact()
            self._watching.refresh(self.seats)
            self.replication.capture(room.tick)
        self.counters.ticks += 1
        self._is_settled = not self.seats

    def _compact(self) -> None:
        """Take despawned entities out, and make ids that have rested free for others."""
        tables, ids = self.room.all_tables(), self.room.entity_ids
        for table in tables:
            table.compact()
        if ids.has_reusable:
            ids.recycle(tables, in_use={seat.known_entity for seat in self.seats})

    def encode(self) -> None:
        """The second part: what follows from the snapshot for nearly everybody."""
        if any(seat.wire is not None for seat in self.seats):
            self.replication.encode()
            if self.room.tick % SAMPLE_TICKS == SAMPLE_TICKS - 1:
                self._sample()

    def _sample(self) -> None:
        """Looks at what this tick's bytes were spent on, and counts it for all ticks until the next look."""
        weights, room_type = self.weights, self.room.room_type
        before = Counter(weights.bits)
        self.replication.profile(weights)
        for (table, field), bits in weights.bits.items():
            self.counters.field_bits[room_type, table, field] += (bits - before[table, field]) * SAMPLE_TICKS
        for table, clamped in self.clamped().items():
            for field, count in clamped.items():
                self.counters.clamped[room_type, table, field] += count - self._clamped_counted[table, field]
                self._clamped_counted[table, field] = count

    def clamped(self) -> dict[str, dict[str, int]]:
        """How many values were out of their field's range so far, by table and field."""
        return {name: getattr(self.room, name).clamped for name in self.room.tables}

    def _apply_inputs(self) -> None:
        if self.newest is not None:
            self._apply_all_inputs(self.newest)
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
        """The second half: one write a session, with its acknowledgement, its channels' frame, its events.

        This loop runs once a player and tick; whatever can be found once a tick is found outside of it.
        """
        replication, tick, sent, bytes_sent = self.replication, self.room.tick, 0, 0
        too_large: list[tuple[Seat, int]] = []
        for seat in list(self.seats):
            wire = seat.wire
            if wire is None:
                continue
            if wire.is_congested:
                self._pass_over(seat)
                continue
            if seat.pace is not None and not self._is_due(seat, seat.pace):
                continue
            interest = seat.interest
            if interest.tick != tick:
                replication.prepare(interest)
            holding = seat.holding
            # Nearly everybody holds what everybody of the interest holds; then the frame is at hand.
            if holding is interest.before and holding is not None:
                data, seat.holding = interest.data, interest.after
            else:
                data = self._catch_up(seat)
            if len(data) > SERVER_MESSAGE_BYTES_MAX and (size := max(frame_sizes(data))) > SERVER_MESSAGE_BYTES_MAX:
                too_large.append((seat, size))
                continue
            if seat.applied_seq != seat.acknowledged_seq:
                data = frame_ack(tick, seat.applied_seq) + data
                seat.acknowledged_seq = seat.applied_seq
            if seat.has_events:
                if seat.subscriber.outbox.has_lost_unsent:
                    seat.subscriber.slow_consumer(EVENTS_LOST)
                    continue
                data += seat.subscriber.outbox.take()
                seat.has_events = False
            if data:
                wire.write(data)
                sent += 1
                bytes_sent += len(data)
        keyframes, deltas = replication.reset_counts()
        self.counters.keyframes += keyframes
        self.counters.deltas += deltas
        self.counters.frames_sent += sent
        self.counters.bytes_sent += bytes_sent
        self.counters.player_ticks += len(self.seats)
        for seat, size in too_large:
            self._refuse_state(seat, size)

    def _refuse_state(self, seat: Seat, size: int) -> None:
        """Take the seat of a player whose client could not read the room's state: it would reconnect for ever."""
        room, limit = self.room, SERVER_MESSAGE_BYTES_MAX
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

    def _catch_up(self, seat: Seat) -> bytes:
        """What a client must be told that is not like the others of its interest."""
        if seat.subscriber.schema_version < SCHEMA_VERSION:
            data, holding = self.replication.update_v2(seat.holding, seat.interest)
        else:
            data, holding = self.replication.update(seat.holding, seat.interest)
        seat.told(self.room.tick, holding)
        return data

    def _pass_over(self, seat: Seat) -> None:
        self.counters.congested_passes += 1
        if seat.pace is None:
            seat.pace = AdaptiveSendRate(self.room.tick_rate_hz)
            self.counters.slow_clients["coalesced"] += 1
        pace = seat.pace
        if pace.was_congested():
            self.counters.slow_clients["closed" if pace.is_closed else pace.rung.name.lower()] += 1
        if pace.is_closed:
            seat.subscriber.slow_consumer(f"took nothing for {SLOW_S_MAX:g} s")
        elif seat.is_backlogged():
            self.counters.slow_clients["closed"] += 1
            seat.subscriber.slow_consumer(EVENTS_LOST)

    def _is_due(self, seat: Seat, pace: AdaptiveSendRate) -> bool:
        """Whether a session that has been slow gets this tick; tells it when its rate has changed."""
        seat.backlog = 0
        if pace.was_clear():
            self.counters.slow_clients["raised"] += 1
        if pace.told is not pace.rung:
            pace.told = pace.rung
            seat.subscriber.send_message(Rate(pace.ticks_per_update, pace.rung is SendLevel.KEYFRAMES))
        if pace.is_over:
            seat.pace = None
        if pace.is_due(self.room.tick):
            if pace.rung is SendLevel.KEYFRAMES:
                seat.holding = None
            return True
        return False

    # -- life -----------------------------------------------------------------------------------------------

    def close(self, reason: str, *, has_moved: bool = False) -> None:
        """Ends the room: everybody loses the seat and is told, then the game disposes.

        Args:
            has_moved: it goes on at another shard, and with it the sessions of who is in it.
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
        """The names of the attributes that the game keeps on the room, beside tables."""
        return frozenset(vars(self.room)).difference(ROOM_ATTRIBUTES, self.room.tables)

    def find_lost_attributes(self) -> AttributeReport:
        """Find the attributes that a move would lose; see server/rooms/attributes.py."""
        return find_lost_attributes(self.room, self.game_attributes, self._initial_attributes)

    def encode_attributes(self) -> dict[str, bytes]:
        """Copy the game's attributes for a move, as far as they can be copied."""
        return encode_attributes(self.room, self.game_attributes)

    def freeze(self) -> None:
        """The room stands still from now on, and takes no command and nobody new, until `thaw`."""
        self.is_frozen = True

    def seal(self) -> None:
        """Change nothing any more in a frozen room: its state is sent. What happens to players waits for `unseal`.

        If another shard takes the room, the changes are dropped: the players are there, disconnected, and come back,
        or are among the `leavers`.
        """
        self._sealed = []

    @property
    def is_sealed(self) -> bool:
        """Whether the state of the room is sent, and it is not known yet which shard has it."""
        return self._sealed is not None

    def unseal(self) -> None:
        """Make the changes that were put off. Idempotent."""
        changes, self._sealed = self._sealed or [], None
        self.leavers.clear()
        for change in changes:
            change()

    def thaw(self) -> None:
        """Goes on."""
        self.is_frozen = False
        self.unseal()

    def exact(self) -> dict[str, dict[str, NDArray[Any]]]:
        """All tables' numbers as they are in memory."""
        self._compact()
        return {name: getattr(self.room, name).raw_columns() for name in self.room.tables}

    def let_go(self, redirect: Redirect) -> None:
        """The room goes on elsewhere: its players are sent there. The game is told only that this one ends."""
        self.is_open = False
        for seat in list(self.seats):
            self.seats.remove(seat)
            seat.ended()
            seat.let_go()
            if seat.subscriber.session_id not in self.leavers:
                seat.subscriber.seat_moved("the room has moved to another shard", redirect)
        with suppress(RoomCodeRaised), self.contained("on_dispose"):
            self.room.on_dispose()

    def beside(self) -> RoomMetadata:
        """What is saved beside the tables.

        Raises:
            RoomCodeRaised: the game's `save` did, or gave something else than it declares.
        """
        room = self.room
        self._compact()
        with self.contained("save"):
            saved = room.save()
            if not isinstance(saved, room.saves):
                raise TypeError(
                    f"{type(room).__name__}.save gives a {type(saved).__name__}, not {room.saves.__name__}"
                )
            seats = tuple(self._kept(seat) for seat in self.seats)
            return RoomMetadata(self.changed_tick, saved.plain(), dict(room.labels), seats)

    def state(self, beside: RoomMetadata | None = None) -> RoomCheckpoint:
        """What is saved of the room: quantised tables, and what is beside them.

        Args:
            beside: as of now, if it is at hand.

        Raises:
            RoomCodeRaised: as `beside`; or a column holds what it must not.
        """
        self._compact()  # what a command has despawned since the last tick is not in the save
        room, beside = self.room, beside or self.beside()
        with self.contained("save"):
            return RoomCheckpoint(
                tick=room.tick,
                next_entity_id=room.entity_ids.next_id,
                tables={name: getattr(room, name).state() for name in room.tables},
                state=beside.state,
                state_version=room.saves.version,
                next_channel=room.next_channel,
                labels=beside.labels,
                seats=beside.seats,
                aside=self._aside_now(),
            )

    def _aside_now(self) -> SetAsideData:
        """What is kept aside, without the fields of rows that are gone."""
        columns = {
            name: {field: one.select_rows(getattr(self.room, name).ids.tolist()) for field, one in fields.items()}
            for name, fields in self.aside.columns.items()
            if name in self.room.tables
        }
        return (
            SetAsideData(self.aside.tables, self.aside.columns | columns, self.aside.fields)
            if columns
            else self.aside
        )

    def _kept(self, seat: Seat) -> SeatCheckpoint:
        player = seat.player
        entity, focus = player.assigned
        return SeatCheckpoint(
            player_id=seat.player_id,
            session=seat.subscriber.keep(),
            entity=self._place_of(entity),
            focus=self._place_of(focus),
            cell=seat.cell,
            watched=tuple(sorted(player.watched)),
            private=player.opened,
            team=player.team,
            skill=player.skill,
            data=plain(player.data) if player.data else {},
        )

    def can_migrate(self) -> bool:
        """Whether the game lets the room move now."""
        try:
            with self.contained("can_migrate"):
                return bool(self.room.can_migrate())
        except RoomCodeRaised:
            return False

    @contextmanager
    def contained(self, hook: str, *, may_refuse: bool = False) -> Iterator[None]:
        """Run the game's code between two ticks; see `tickwire.server.rooms.containment.contain`."""
        started_s = self._now_s()
        try:
            with contain(hook, self.room, self.counters, may_refuse=may_refuse):
                yield
        finally:
            now_s = self._now_s()
            self.slow_log.note(hook, now_s - started_s, now_s)


def _refusal(id: int, code: ErrorCode, message: str, *, retry_after_ms: int = 0) -> Reply:
    return Reply(id, ok=False, error=code, message=message, retry_after_ms=retry_after_ms)
