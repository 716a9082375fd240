"""What a game developer subclasses.

    class Squares(Room):
        room_type = "squares"
        inputs = {"dx": real(-1, 1, step=1 / 64)}
        squares: SquareTable

        def on_join(self, player, options): player.entity = self.squares.spawn(x=0.0)
        def on_input(self, player, wish): player.entity.x += wish["dx"]

All hooks run on the loop's thread, in the order: on_create or restore (a saved room), then for each tick on_input
for every input that has arrived (or on_inputs, once for all) and on_tick; on_join, on_command, on_disconnect,
on_resume and on_leave between ticks; on_dispose last.
A hook must not block. An exception that leaves a hook is contained: see server/rooms/runtime.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from tickwire.limits import check_label_count, check_label_words
from tickwire.schemas.event_frames import EventFrame, encode_event
from tickwire.schemas.fields import Field
from tickwire.schemas.inputs import InputValues
from tickwire.schemas.messages import StateDescription
from tickwire.schemas.payloads import encode_payload
from tickwire.server.replication.columns import Column
from tickwire.server.replication.entity_ids import EntityIds
from tickwire.server.replication.grid import CELLS_MAX, Grid
from tickwire.server.replication.table import EVERYONE, NOBODY, Row, Table
from tickwire.server.rooms.checkpoint import SaveData
from tickwire.server.rooms.containment import CommandRefused
from tickwire.server.rooms.declarations import check_room, find_input_fields, find_tables
from tickwire.server.rooms.inputs import InputBatch
from tickwire.server.rooms.schema_changes import SchemaChanges
from tickwire.server.rooms.transactions import RecordReads, RecordVersion, Transaction
from tickwire.server.rooms.tuning import Tuning

Access = Literal["open", "locked", "private"]


def _to_nobody(frame: EventFrame) -> None:
    pass


def _for_nobody() -> None:
    pass


def _no_channel() -> int:
    return NOBODY


def _row(name: str, value: Any) -> Row | None:
    if value is None or isinstance(value, Row):
        return value
    raise TypeError(f"player.{name}: a Row or None, not {type(value).__name__}")


def _existing(row: Row | None) -> Row | None:
    return row if row is not None and row.exists else None


class Player:
    """Somebody who has a seat in the room.

    Attributes:
        id: who it is; a guest has one too, for as long as the session lives.
        is_connected: whether its connection stands; a lost one may come back.
        data: whatever the game wants to keep with the player; plain values, which are saved and moved with the room.
            A player has no other attributes that a game may set: they would be lost with the first save or move.
        watched: the channels that it is told of, beside those of the room's grid.
        team, skill: in a match, from 1, and as it was matched; 0 where there are no teams.
    """

    __slots__ = (
        "__weakref__",
        "_entity",
        "_focus",
        "_interest_changed",
        "_open_channel",
        "_private",
        "_record",
        "_record_reads",
        "_send",
        "data",
        "id",
        "is_connected",
        "skill",
        "team",
        "watched",
    )

    def __init__(
        self,
        id: str,
        send: Callable[[EventFrame], None],
        *,
        interest_changed: Callable[[], None] = _for_nobody,
        open_channel: Callable[[], int] = _no_channel,
        team: int = 0,
        skill: float = 0.0,
        watched: Iterable[int] = (EVERYONE,),
        private: int | None = None,
        data: dict[str, Any] | None = None,
        record: RecordVersion | None = None,
        record_reads: RecordReads | None = None,
    ) -> None:
        self.id = id
        self.team = team
        self.skill = skill
        self.is_connected = True
        self.data: dict[str, Any] = {} if data is None else data
        self._record = record or RecordVersion()
        self._record_reads = record_reads or RecordReads()
        self.watched: frozenset[int] = frozenset(watched)
        self._entity: Row | None = None
        self._focus: Row | None = None
        self._private = private
        self._send = send
        self._interest_changed = interest_changed
        self._open_channel = open_channel

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            object.__setattr__(self, name, value)
        except AttributeError:
            raise AttributeError(f"player.{name}: a player has no such attribute; keep it in player.data") from None

    def let_go(self) -> None:
        """The player has left: it reaches nobody any more. What refers to itself would wait for the collector."""
        self._send = _to_nobody
        self._interest_changed = _for_nobody
        self._open_channel = _no_channel

    @property
    def record(self) -> RecordVersion:
        """What the player owns and what the game keeps of it, as last read or written here.

        A decision of `on_command` that reads it is written only if it is still the newest.
        """
        self._record_reads.note(self.id, self._record.version)
        return self._record

    @record.setter
    def record(self, record: RecordVersion) -> None:
        self._record = record

    @property
    def holdings(self) -> Mapping[str, int]:
        """How many of each item the player owns, as far as this room knows. Only a Deal changes it."""
        return self.record.holdings

    @property
    def profile(self) -> Mapping[str, Any]:
        """What the game keeps of the player. Only a Deal changes it."""
        return self.record.profile

    @property
    def entity(self) -> Row | None:
        """The entity that is this player's, if the game gave it one; its id is told in Joined. None once it is gone:
        the tick in which it was despawned is over."""
        return _existing(self._entity)

    @entity.setter
    def entity(self, entity: Row | None) -> None:
        self._entity = _row("entity", entity)
        self._interest_changed()

    @property
    def focus(self) -> Row | None:
        """Where the player looks, on the room's grid: its entity, unless the game says otherwise. None without one,
        and once it is gone; a player whose focus is gone keeps looking at the place where it was last."""
        return _existing(self.own_focus)

    @focus.setter
    def focus(self, focus: Row | None) -> None:
        self._focus = _row("focus", focus)
        self._interest_changed()

    @property
    def assigned(self) -> tuple[Row | None, Row | None]:
        """What the game has set as the player's entity and as its focus; either may be gone by now."""
        return self._entity, self._focus

    @property
    def own_focus(self) -> Row | None:
        """What the game has set as the player's focus, or else as its entity; it may be gone by now."""
        return self._entity if self._focus is None else self._focus

    @property
    def private(self) -> int:
        """A channel that only this player watches; opened when first asked for, closed when the player leaves."""
        if self._private is None:
            self._private = self._open_channel()
            self.watch(self._private)
        return self._private

    @property
    def opened(self) -> int | None:
        """Its private channel, if it was ever asked for."""
        return self._private

    def watch(self, channel: int) -> None:
        """From the next tick on the player is told of what is in this channel. Idempotent."""
        self.watched |= {channel}
        self._interest_changed()

    def unwatch(self, channel: int) -> None:
        """From the next tick on it is not, and forgets what is in there. Idempotent."""
        self.watched -= {channel}
        self._interest_changed()

    def send(self, name: str, payload: Any = None) -> None:
        """Sends an event: reliable, in order, with this tick's state.

        Args:
            name: what happened.
            payload: anything msgpack can hold.
        """
        self._send(encode_event(name, encode_payload(payload)))


class Room:
    """One authoritative simulation with a fixed tick rate.

    Attributes:
        room_type: its name in Join; unique on a shard.
        room_id: unique among all rooms that ever were, with one exception: a durable room that is restored keeps its
            id. A world can be restored from before a crash, so an id and a round number make no idempotency key.
        tick_rate_hz: ticks a second.
        seats: how many players it holds.
        durable: whether a room with a name is saved, and found again by it.
        saves: what `save` gives and `restore` gets.
        uses_ledger: whether commands may come to a Deal; players' records are read before they join.
        tunes: what operators may change while it is played; see server/rooms/tuning.py.
        inputs: what an input holds, by name.
        grid: who is told of what on a map; None: all is told to everybody, but for what is in other channels.
        fan_out_max: how many events a player's messages may cause in a second, one for each receiver and begun KiB.
            Above that the player's commands are refused with RATE_LIMITED.
        linger_s: how long it stays when nobody is in it, seconds of time.
        ticks_when_empty: whether `on_tick` runs while nobody is in it. A room that is empty stands still unless this
            is set: its tick number stays, and so does its world.
        schema_changes: what has become of stored tables and fields that are not declared any more; see
            server/rooms/schema_changes.py.
        checksum_ticks: every so many ticks each channel is told with a checksum; at most CHECKSUM_TICKS_MAX.
        tick: the number of the running tick, from 1.
        random: the room's own random numbers.
        players: who is in it, by player id.
        access: "open"; "locked": nobody new comes in; "private": only by its code.
        code: opens a private room.
        labels: what it is like; a Join may ask for rooms with some of them.
        tuning, tuning_version: what operators have set of `tunes`; version 0: nothing.
        mode: of the match that it was made for; empty for other rooms.
    """

    room_type: ClassVar[str] = ""
    tick_rate_hz: ClassVar[float] = 20.0
    seats: ClassVar[int] = 50
    durable: ClassVar[bool] = False
    saves: ClassVar[type[SaveData]] = SaveData
    uses_ledger: ClassVar[bool] = False
    tunes: ClassVar[type[Tuning]] = Tuning
    inputs: ClassVar[Mapping[str, Column]] = {}
    grid: ClassVar[Grid | None] = None
    fan_out_max: ClassVar[float] = 2000.0
    linger_s: ClassVar[float] = 10.0
    ticks_when_empty: ClassVar[bool] = False
    checksum_ticks: ClassVar[int] = 100

    schema_changes: ClassVar[SchemaChanges] = SchemaChanges()

    tables: ClassVar[Mapping[str, type[Table]]] = {}
    input_fields: ClassVar[tuple[Field, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.tables = find_tables(cls)
        cls.input_fields = find_input_fields(cls)
        check_room(cls, Room)
        cls.schema_changes.check(cls.tables)

    def __init__(self, *, room_id: str, name: str, seed: int) -> None:
        self.room_id = room_id
        self.name = name
        self.tick = 0
        self.random = np.random.default_rng(seed)
        self.players: dict[str, Player] = {}
        self.access: Access = "open"
        self.code = ""
        self.labels: Mapping[str, str] = {}
        self.mode = ""
        self.tuning: Any = self.tunes()
        self.tuning_version = 0
        self.entity_ids = EntityIds()
        self.next_channel = NOBODY - 1
        self._closed_channels: list[int] = []
        for attribute, table in self.tables.items():
            setattr(self, attribute, table(self.entity_ids))

    # -- hooks, all optional --------------------------------------------------------------------------------

    def on_create(self, options: Mapping[str, Any]) -> None:
        """The room is new; `options` are those of the Join that made it. Not called for a saved room."""

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        """A player has taken a seat. Set `player.entity` here.

        A join that fails leaves nothing behind: entities that this spawned, and events that it sent to the player,
        are taken back. What else it has changed by then stays: check first.

        Raises:
            CommandRefused: the player is refused, with these words, and the seat is free.
        """

    def on_input(self, player: Player, wish: InputValues) -> None:
        """A player's input, in the game's units; clamped to what `inputs` declares."""

    def on_inputs(self, inputs: InputBatch) -> None:
        """All players' newest inputs of this tick at once, in numpy columns. A room that has this has no on_input:
        for rooms whose inputs say what is wanted now, which is most, it costs a fraction."""

    def on_tick(self, dt: float) -> None:
        """Moves the world by `dt` seconds, always 1 / tick_rate_hz."""

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        """Answers a request; what it returns is the Reply's payload. What changes players' holdings returns a Deal,
        and changes nothing else: it runs again if a record that it read has changed, or the room has applied another
        deal, before the Deal is written. What follows belongs into `on_dealt`.

        Raises:
            CommandRefused: the player gets a Reply that says no.
        """
        raise CommandRefused(f"unknown command {name!r}")

    def on_dealt(self, player: Player, name: str, deal: Transaction) -> None:
        """A command's Deal is written, and the Reply on its way: show it. Who asked may have left meanwhile."""

    def on_disconnect(self, player: Player) -> None:
        """A player's connection is lost. The seat is kept for a while; on_resume or on_leave follows."""

    def on_resume(self, player: Player) -> None:
        """A player whose connection was lost is back. What was sent meanwhile reaches it, in order and once."""

    def on_leave(self, player: Player) -> None:
        """A player has given the seat up, or was away for too long."""

    def on_tuned(self) -> None:
        """`self.tuning` is another one now, between two ticks."""

    def on_dispose(self) -> None:
        """The room ends; durable state is saved after this."""

    def can_migrate(self) -> bool:
        """Whether the room may move to another shard now. One that says no is asked again until the drain's deadline:
        a match near its end ends first. Its attributes move as far as they can be copied, see
        server/rooms/attributes.py; the others must be rebuilt by `restore`."""
        return True

    def save(self) -> SaveData:
        """Durable state beside the tables and the players' data."""
        return self.saves()

    def restore(self, saved: Any) -> None:
        """The tables have been filled from a save; `saved` is what `save` gave. Those who were playing are in
        `players`, away: each comes back (on_resume) or not (on_leave). Take out what belongs to nobody of them."""

    # -- for the game to call -------------------------------------------------------------------------------

    def lock(self) -> None:
        """Nobody new comes in from now on; whoever has a seat, or holds one, stays welcome. Idempotent."""
        self.access = "locked"

    def unlock(self) -> None:
        """Takes `lock` back: the room is private if it has a code or is a match, else open. Idempotent."""
        self.access = "private" if self.code or self.mode else "open"

    def label(self, **labels: str | int) -> None:
        """Says what the room is like, beside what was said before; an empty text takes a label away.

        Raises:
            ValueError: there are too many, or one holds other signs than A-Z a-z 0-9 _ . -
        """
        words = {name: str(word) for name, word in labels.items()}  # a number of numpy, too
        check_label_words(word for word in (*words, *words.values()) if word)
        merged = {name: word for name, word in {**self.labels, **words}.items() if word}
        check_label_count(len(merged))
        self.labels = merged

    def broadcast(self, name: str, payload: Any = None, *, to: Iterable[Player] | None = None) -> None:
        """Sends an event to everybody in the room, or to some players; encoded once for all of them.

        Args:
            name: what happened.
            payload: anything msgpack can hold.
            to: who gets it; None: everybody.
        """
        frame = encode_event(name, encode_payload(payload))
        for player in list(self.players.values()) if to is None else to:
            player._send(frame)

    def open_channel(self) -> int:
        """A new channel: `table.spawn(channel=...)` and `row.channel = ...` put entities into it, `player.watch` lets
        a player see them.

        Raises:
            OverflowError: there are too many.
        """
        if self._closed_channels:
            return self._closed_channels.pop()
        if self.next_channel < CELLS_MAX:
            raise OverflowError("the room has used up all channels")
        self.next_channel -= 1
        return self.next_channel + 1

    def close_channel(self, channel: int) -> None:
        """Gives a channel back. What is still in it is told to nobody from now on. Idempotent."""
        if channel in self._closed_channels:
            return
        for table in self.all_tables():
            if table.has_channels:
                table.channel[table.channel == channel] = NOBODY
        for player in self.players.values():
            if channel in player.watched:
                player.unwatch(channel)
        self._closed_channels.append(channel)

    def all_tables(self) -> tuple[Table, ...]:
        """The room's tables, in the order of their declaration."""
        return tuple(getattr(self, attribute) for attribute in self.tables)

    @classmethod
    def describe(cls) -> StateDescription:
        """What a client must know to read the room's state and write its inputs."""
        return StateDescription(
            tables=tuple(table.describe(name) for name, table in cls.tables.items()),
            inputs=tuple(field.describe() for field in cls.input_fields),
        )
