"""The base class of a game's rooms.

    class SquareInput(Input):
        dx = real(-1, 1, step=1 / 64)

    class Squares(Room):
        room_type = "squares"
        input_type = SquareInput
        squares: SquareTable

        def on_join(self, player, options):
            player.entity = self.squares.spawn(x=0.0)

        def on_input(self, player, input):
            player.entity.x += input.dx

All hooks run on the event loop's thread. `on_create` runs first, or `restore` for a saved room. In each tick
`on_input` runs for every input that has arrived (or `on_inputs` once for all of them), then the calls of `clock` that
are due, then `on_tick`. `on_join`,
`on_command`, `on_disconnect`, `on_resume` and `on_leave` run between ticks. `on_dispose` runs last.

A hook must not block. An exception that leaves a hook is contained; see server/rooms/runtime.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from tickwire.limits import check_label_count, check_label_words
from tickwire.schemas.fields import Field
from tickwire.schemas.messages import StateDescription
from tickwire.server.replication.entity_ids import EntityIds
from tickwire.server.replication.grid import CELLS_MAX, Grid
from tickwire.server.replication.table import EVERYONE, NOBODY, Row, Table
from tickwire.server.rooms.checkpoint import SaveData
from tickwire.server.rooms.clock import RoomClock
from tickwire.server.rooms.command_declarations import CommandDeclaration, find_commands
from tickwire.server.rooms.containment import NoSuchCommand
from tickwire.server.rooms.declarations import check_room, find_hooks, find_input_fields, find_tables
from tickwire.server.rooms.error_policy import ErrorPolicy
from tickwire.server.rooms.event_types import Event, encode
from tickwire.server.rooms.grid_viewers import GridViewers
from tickwire.server.rooms.history_declarations import history_ticks
from tickwire.server.rooms.input_types import Input
from tickwire.server.rooms.inputs import InputBatch
from tickwire.server.rooms.lag_compensation import RoomHistory, RoomSnapshot
from tickwire.server.rooms.options_types import check_durable_options, find_options_type
from tickwire.server.rooms.player import Player
from tickwire.server.rooms.reasons import to_reason
from tickwire.server.rooms.room_tasks import RoomTasks, TaskResult
from tickwire.server.rooms.room_transactions import RoomTransactions, TransactionOutcome
from tickwire.server.rooms.schema_changes import SchemaChanges
from tickwire.server.rooms.transactions import Transaction
from tickwire.server.rooms.tuning import Tuning

Access = Literal["open", "locked", "private"]


class Room:
    """One authoritative simulation with a fixed tick rate.

    Attributes:
        room_type: the name of the class in Join; unique on a shard.
        room_id: unique among all rooms that were ever created, except that a restored durable room keeps its id. A
            world can be restored from before a crash: do not build an idempotency key from an id and a round number.
        tick_rate_hz: the number of ticks per second.
        max_players: the maximum number of players.
        durable: whether a named room is saved, and restored when a player joins it by name.
        save_type: the type that `save` returns and `restore` receives.
        uses_ledger: whether the room runs transactions. Players' records are then loaded before they join.
        tuning_type: the values that operators may change while the room runs; see server/rooms/tuning.py.
        input_type: the class with the fields of an input; see server/rooms/input_types.py.
        events: the classes of the events that the room sends; see server/rooms/event_types.py.
        grid: limits what each player receives to the surroundings of its focus. With None, every player receives all
            entities that are not in other channels.
        fan_out_max: the maximum number of events per second that one player's messages may cause, counted once for
            each receiver and each started KiB. Above it the player's commands are refused with RATE_LIMITED.
        error_policy: the reaction to an exception in a tick: "close", "restore" or "ignore"; see
            server/rooms/error_policy.py.
        empty_timeout_s: how long an empty room stays open, in seconds.
        ticks_when_empty: whether `on_tick` also runs while the room is empty. Otherwise an empty room keeps its tick
            number and its world unchanged.
        schema_changes: renamed and removed tables and fields of stored worlds; see server/rooms/schema_changes.py.
        checksum_ticks: the number of ticks between two checksums of a channel; at most CHECKSUM_TICKS_MAX.
        history_s: the length of the history for `rewind`, in seconds; 0 without one.
        history: the columns that the history keeps, by table.
        flight_recorder_s: the last seconds that the shard keeps in memory, and writes to a recording if the room
            fails; 0 for none. See docs/operations.md.
        view_delay_ticks: the ticks from the state that a client shows, when it sends an input, to the newest state
            that it has. The clients' `TickClock` shows 2 ticks ago; the newest state is half a tick old on average.
        tick: the number of the running tick, from 1.
        clock: the room's time, and calls that the room schedules; see server/rooms/clock.py.
        random: the room's random number generator.
        tasks: the coroutines that the room runs.
        transactions: the transactions that the room has started and that are not decided yet.
        players: the players in the room, by player id.
        access: "open"; "locked", which refuses new players; or "private", which requires the code.
        code: the code that opens a private room.
        labels: properties of the room that a Join can filter by.
        close_reason: the reason that the game has passed to `close`; None before that.
        tuning, tuning_version: the values of `tuning_type` that operators have set, and their version; 0 without one.
        mode: the mode of the match that the room was created for; empty for other rooms.
    """

    room_type: ClassVar[str] = ""
    tick_rate_hz: ClassVar[float] = 20.0
    max_players: ClassVar[int] = 50
    durable: ClassVar[bool] = False
    save_type: ClassVar[type[SaveData]] = SaveData
    uses_ledger: ClassVar[bool] = False
    tuning_type: ClassVar[type[Tuning]] = Tuning
    input_type: ClassVar[type[Input]] = Input
    events: ClassVar[tuple[type[Event], ...]] = ()
    grid: ClassVar[Grid | None] = None
    fan_out_max: ClassVar[float] = 2000.0
    error_policy: ClassVar[ErrorPolicy] = "close"
    empty_timeout_s: ClassVar[float] = 10.0
    ticks_when_empty: ClassVar[bool] = False
    checksum_ticks: ClassVar[int] = 100
    history_s: ClassVar[float] = 0.0
    history: ClassVar[Mapping[str, Sequence[str]]] = {}
    flight_recorder_s: ClassVar[float] = 10.0
    view_delay_ticks: ClassVar[float] = 1.5

    schema_changes: ClassVar[SchemaChanges] = SchemaChanges()

    tables: ClassVar[Mapping[str, type[Table]]] = {}
    input_fields: ClassVar[tuple[Field, ...]] = ()
    commands: ClassVar[Mapping[str, CommandDeclaration]] = {}
    options_type: ClassVar[Any] = Any
    create_options_type: ClassVar[Any] = Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.tables = find_tables(cls)
        cls.input_fields = find_input_fields(cls)
        check_room(cls, Room)
        cls.commands = find_commands(cls, find_hooks(Room))
        cls.options_type = find_options_type(cls, "on_join")
        cls.create_options_type = find_options_type(cls, "on_create")
        if cls.durable:
            check_durable_options(cls, cls.create_options_type)
        cls.schema_changes.check(cls.tables)

    def __init__(self, *, room_id: str, name: str, seed: int) -> None:
        self.room_id = room_id
        self.name = name
        self.tick = 0
        self.random = np.random.default_rng(seed)
        self.players: dict[str, Player] = {}
        self.access: Access = "open"
        self.close_reason: str | None = None
        self.code = ""
        self.labels: Mapping[str, str] = {}
        self.mode = ""
        self.tuning: Any = self.tuning_type()
        self.tuning_version = 0
        self.clock = RoomClock(self)
        self.transactions = RoomTransactions(self)
        self.tasks = RoomTasks(self)
        self.entity_ids = EntityIds()
        self.next_channel = NOBODY - 1
        self._closed_channels: list[int] = []
        for attribute, table in self.tables.items():
            setattr(self, attribute, table(self.entity_ids))
        kept = {name: getattr(self, name) for name in self.history}
        self._history = RoomHistory(kept, self.history, history_ticks(type(self))) if kept else None
        self.grid_viewers = GridViewers(self.grid, {attribute: getattr(self, attribute) for attribute in self.tables})

    # -- hooks, all optional --------------------------------------------------------------------------------

    def on_create(self, options: Any) -> None:
        """Called once for a new room, with the options of the Join that created it. Not called for a saved room.

        With a struct as annotation of `options`, the options are checked and converted first; see `on_join`.
        """

    def on_join(self, player: Player, options: Any) -> None:
        """Called when a player takes a seat. Set `player.entity` here.

        Annotate `options` with a msgspec.Struct: a Join whose options do not fit is refused with INVALID_ARGUMENT and
        never reaches the room. Otherwise they are a dictionary of any values.

        If the hook raises an exception, the entities that it spawned and the events that it sent to the player are
        removed. Other changes stay, so check the options first.

        Raises:
            CommandRefused: refuses the player with this reason; the seat is free again.
        """

    def on_input(self, player: Player, input: Any) -> None:
        """Called for each input of a player, an instance of `input_type`."""

    def on_inputs(self, inputs: InputBatch[Any]) -> None:
        """Called once a tick with the newest input of every player, as numpy columns. Replaces `on_input`.

        It takes a fraction of the time, and suits rooms in which only the newest input matters, which are most.
        """

    def on_tick(self, dt: float) -> None:
        """Advance the world by `dt` seconds, which is always 1 / tick_rate_hz."""

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        """Answer a command that no method with `@command` declares; its payload may be any value.

        A command that changes what players own returns a Transaction and changes nothing else. It runs again if,
        before the commit, a record that it read has changed or the room has applied another transaction. Apply the
        consequences in `on_transaction`.

        Returns:
            The payload of the Reply, or a Transaction.

        Raises:
            CommandRefused: the player receives a Reply with COMMAND_FAILED and this reason.
        """
        raise NoSuchCommand(name)

    def on_transaction(self, player: Player, name: str, transaction: Transaction) -> None:
        """Called when the transaction of a command is committed: show it in the world.

        The player who sent the command may have left since.
        """

    def on_disconnect(self, player: Player) -> None:
        """Called when a player loses its connection. The seat is kept for a while; on_resume or on_leave follows."""

    def on_resume(self, player: Player) -> None:
        """Called when a player reconnects. It receives the events sent since, in order and exactly once."""

    def on_leave(self, player: Player) -> None:
        """Called when a player has given up its seat, or was disconnected for too long."""

    def on_tuned(self) -> None:
        """Called between two ticks when `self.tuning` has changed."""

    def on_dispose(self) -> None:
        """Called when the room closes; durable state is saved afterwards."""

    def can_migrate(self) -> bool:
        """Return whether the room may move to another shard now.

        Return False to postpone the move, for example until a match ends; the room is asked again until the deadline
        of the drain. The game's attributes move as far as they can be copied (server/rooms/attributes.py); `restore`
        must rebuild the others.
        """
        return True

    def save(self) -> SaveData:
        """Return the durable state that is not in tables or in the players' data."""
        return self.save_type()

    def restore(self, saved: Any) -> None:
        """Called after the tables were restored, with the value that `save` returned.

        The players of the room are in `players`, disconnected: each either resumes (on_resume) or leaves (on_leave).
        Despawn entities that belong to none of them.
        """

    # -- for the game to call -------------------------------------------------------------------------------

    def lock(self) -> None:
        """Refuse new players. Players with a seat or a reservation may still enter. Idempotent."""
        self.access = "locked"

    def unlock(self) -> None:
        """Undo `lock`: the room is private if it has a code or is a match, otherwise open. Idempotent."""
        self.access = "private" if self.code or self.mode else "open"

    def close(self, reason: str) -> None:
        """Close the room at the end of this tick; between two ticks, at the end of the next one.

        All clients receive the events and the state of the tick and then the reason; their sessions stay and may join
        another room. `on_leave` runs for each player and then `on_dispose`; a durable room is saved. Only the first
        call has an effect.

        Args:
            reason: the reason, for the players and the log. It is truncated to 1,000 characters.

        Raises:
            TypeError, ValueError: the reason is not a string, or it is empty.
        """
        reason = to_reason(reason)
        if self.close_reason is None:
            self.close_reason = reason

    def transact(self, transaction: Transaction, then: Callable[[TransactionOutcome], object] | None = None) -> None:
        """Change what players own, from any hook or timer; the players may have left.

            self.transact(Transaction(grant(winner.id, "gold", 5), key=f"{self.room_id}/{self.round}"), self.paid)

        The transaction is committed soon afterwards, in the order of the calls, and once for its key. It is retried
        until its outcome is known. It moves with the room and is saved with a durable one. If the room closes before,
        it is committed nevertheless, and `then` does not run.

        Args:
            transaction: the transaction, with a key. The key must differ between rooms, and be the same if the room
                repeats the transaction after a crash; see `Transaction.key`. It cannot replace a profile.
            then: a method of this room that runs between two ticks with the TransactionOutcome. Its
                `transaction.reply` is a copy of the value that the game has set.

        Raises:
            ValueError: the transaction has no key, or replaces a profile.
            TypeError: the room does not set `uses_ledger`, or `then` is not a plain method of this room with one
                argument.
            TooManyTransactions: too many transactions of the room are not decided yet.
        """
        if not self.uses_ledger:
            name = type(self).__name__
            raise TypeError(f"{name} has called transact; set `uses_ledger = True` on {name}")
        self.transactions.add(transaction, then)

    def run(
        self,
        coroutine: Coroutine[Any, Any, Any],
        then: Callable[[TaskResult], object] | None = None,
        *,
        timeout_s: float = 10.0,
    ) -> None:
        """Run a coroutine outside of the tick, such as a request to the game's own service.

            self.run(fetch_quests(player.id), self.show_quests)

        It runs while the room ticks, so it must not use the room: it returns a value, and `then` uses that. It is
        cancelled when the room closes. A coroutine cannot move to another shard: before a move it is cancelled, and
        `then` receives TaskCancelled; start it again with a timer, which moves with the room.

        Args:
            coroutine: the coroutine. It must not block the event loop.
            then: a method of this room that runs between two ticks with the TaskResult: the value, or the error. An
                error is logged in any case.
            timeout_s: the time limit in seconds, at most 60.

        Raises:
            TypeError: `coroutine` is not one, or `then` is not a plain method of this room with one argument.
            ValueError: the time limit is not between 0 and 60 s.
            TaskRefused: the room runs too many tasks, moves to another shard, or has ended.
        """
        self.tasks.add(coroutine, then, timeout_s)

    def label(self, **labels: str | int) -> None:
        """Set labels of the room; an empty string removes a label.

        Raises:
            ValueError: there are too many labels, or one has characters other than A-Z a-z 0-9 _ . -
        """
        texts = {name: str(value) for name, value in labels.items()}  # also numbers of numpy
        check_label_words(text for text in (*texts, *texts.values()) if text)
        merged = {name: text for name, text in {**self.labels, **texts}.items() if text}
        check_label_count(len(merged))
        self.labels = merged

    def broadcast(
        self,
        event: Event | str,
        payload: Any = None,
        *,
        to: Iterable[Player] | Row | int | None = None,
        except_: Player | Iterable[Player] | None = None,
    ) -> None:
        """Send an event to all players of the room, or to some of them. It is encoded once.

        Args:
            event: the event, of a class in `events`; or a name, for a payload without a declared type.
            payload: with a name: any value that msgpack can hold.
            to: the receivers; an entity: the players that see it; a channel, or a cell of `cell_at`: the players that
                are subscribed to it. None for all players. Players look at the grid as of the last tick.
            except_: a player, or players, that do not receive it.

        Raises:
            TypeError: `events` does not contain the event's class.
            KeyError: `to` is an entity that no longer exists.
            ValueError: `to` is a number that is neither a channel nor a cell.
        """
        frame = encode(event, payload, self.events)
        for player in self._find_receivers(to, except_):
            player._send(frame)

    def _find_receivers(
        self, to: Iterable[Player] | Row | int | None, except_: Player | Iterable[Player] | None
    ) -> Iterable[Player]:
        if isinstance(to, Row):
            to = self.grid_viewers.find_channel(to)
        if to is None:
            receivers: Iterable[Player] = list(self.players.values())
        elif isinstance(to, int | np.integer):
            receivers = self._find_subscribers(int(to))
        else:
            receivers = to
        if except_ is None:
            return receivers
        excluded = {except_} if isinstance(except_, Player) else set(except_)
        return [player for player in receivers if player not in excluded]

    def rewind(self, player: Player, view_delay_ticks: float | None = None) -> RoomSnapshot:
        """Return the tables of `history` as the player saw them when it sent its newest input, for reading only.

        Without an input since the player joined, or since the room was restored, they are as they are now.

        Args:
            player: a player of the room.
            view_delay_ticks: the delay of this client, if it reports its own; None for that of the room.

        Raises:
            ValueError: the room declares no history, or the delay is not a finite number.
        """
        if self._history is None:
            raise ValueError(f"rewind: {type(self).__name__} declares no history_s and no history")
        delay = self.view_delay_ticks if view_delay_ticks is None else float(view_delay_ticks)
        if not math.isfinite(delay):
            raise ValueError(f"rewind: view_delay_ticks must be a finite number, not {delay}")
        return self._history.rewind(self.tick, player._lag_ticks, delay)

    def _find_subscribers(self, channel: int) -> list[Player]:
        if channel in (EVERYONE, NOBODY) or self.next_channel < channel < NOBODY:
            return [player for player in self.players.values() if channel in player.watched]
        players = self.grid_viewers.find_players(channel)
        if players is None:
            raise ValueError(
                f"broadcast: {channel} is neither a channel that this room has opened nor a cell of its grid"
            )
        return players

    def cell_at(self, x: float, y: float) -> int:
        """Return the cell of the room's grid at a position, for `broadcast(to=...)`.

        A position off the map belongs to the nearest cell.

        Raises:
            ValueError: the room has no grid.
        """
        if self.grid_viewers.index is None:
            raise ValueError(f"cell_at: {type(self).__name__} has no grid")
        return self.grid_viewers.index.cell_at(x, y)

    def open_channel(self) -> int:
        """Open a new channel and return its number.

        `table.spawn(channel=...)` and `row.channel = ...` put entities into it; `player.watch` subscribes a player.

        Raises:
            OverflowError: the room has used all channel numbers.
        """
        if self._closed_channels:
            return self._closed_channels.pop()
        if self.next_channel < CELLS_MAX:
            raise OverflowError("all channels of the room are in use; close channels after use")
        self.next_channel -= 1
        return self.next_channel + 1

    def close_channel(self, channel: int) -> None:
        """Close a channel. Entities that are still in it stay in the room, unseen by clients. Idempotent."""
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
        """Return the room's tables, in the order of their declaration."""
        return tuple(getattr(self, attribute) for attribute in self.tables)

    @classmethod
    def describe(cls) -> StateDescription:
        """Return the description that a client needs to decode the room's state and encode its inputs."""
        return StateDescription(
            tables=tuple(table.describe(name) for name, table in cls.tables.items()),
            inputs=tuple(field.describe() for field in cls.input_fields),
        )
