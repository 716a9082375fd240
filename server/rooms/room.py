"""What a game developer subclasses.

    class Squares(Room):
        room_type = "squares"
        inputs = {"dx": real(-1, 1, step=1 / 64)}
        squares: SquareTable

        def on_join(self, player): player.entity = self.squares.spawn(x=0.0)
        def on_input(self, player, wish): player.entity.x += wish["dx"]

All hooks run on the loop's thread, in the order: on_create, restore (a saved room), then for each tick on_input
for every input that has arrived and on_tick; on_join, on_command, on_disconnect, on_resume and
on_leave between ticks; on_dispose last.
A hook must not block. An exception that leaves a hook is contained: see server/rooms/simulation.py.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec
import numpy as np

from schemas.codec import INPUT_PAYLOAD_BYTES_MAX
from schemas.fields import Field, input_bytes
from schemas.inputs import Wish
from schemas.messages import StateDescription
from server.replication.columns import Column
from server.replication.table import EntityIds, Row, Table


class CommandRefused(Exception):
    """Raise it in `on_command`: the player gets a Reply that says no, with these words."""


class Player:
    """Somebody who has a seat in the room.

    Attributes:
        id: who it is; a guest has one too, for as long as the session lives.
        is_connected: whether its connection stands; a lost one may come back.
        entity: the entity that is this player's, if the game gave it one; its id is told in Joined.
        data: whatever the game wants to keep with the player.
    """

    def __init__(self, id: str, send: Callable[[str, bytes], None]) -> None:
        self.id = id
        self.is_connected = True
        self.entity: Row | None = None
        self.data: dict[str, Any] = {}
        self._send = send

    def send(self, name: str, payload: Any = None) -> None:
        """Sends an event: reliable, in order, with this tick's state.

        Args:
            name: what happened.
            payload: anything msgpack can hold.
        """
        self._send(name, msgspec.msgpack.encode(payload))


class Room:
    """One authoritative simulation with a fixed tick rate.

    Attributes:
        room_type: its name in Join; unique on a shard.
        tick_rate_hz: ticks a second.
        seats: how many players it holds.
        durable: whether a room with a name is saved, and found again by it.
        inputs: what an input holds, by name.
        linger_s: how long it stays when nobody is in it.
        tick: the number of the running tick, from 1.
        random: the room's own random numbers.
        players: who is in it, by player id.
    """

    room_type: ClassVar[str] = ""
    tick_rate_hz: ClassVar[float] = 20.0
    seats: ClassVar[int] = 50
    durable: ClassVar[bool] = False
    inputs: ClassVar[Mapping[str, Column]] = {}
    linger_s: ClassVar[float] = 10.0
    checksum_ticks: ClassVar[int] = 100

    tables: ClassVar[Mapping[str, type[Table]]] = {}
    input_fields: ClassVar[tuple[Field, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        hints = typing.get_type_hints(cls)
        cls.tables = {n: t for n, t in hints.items() if isinstance(t, type) and issubclass(t, Table)}
        cls.input_fields = tuple(column.field(name) for name, column in cls.inputs.items())
        if input_bytes(cls.input_fields) > INPUT_PAYLOAD_BYTES_MAX:
            raise TypeError(f"{cls.__name__}.inputs take more than {INPUT_PAYLOAD_BYTES_MAX} bytes")

    def __init__(self, *, room_id: str, name: str, seed: int) -> None:
        self.room_id = room_id
        self.name = name
        self.tick = 0
        self.random = np.random.default_rng(seed)
        self.players: dict[str, Player] = {}
        self.entity_ids = EntityIds()
        for attribute, table in self.tables.items():
            setattr(self, attribute, table(self.entity_ids))

    # -- hooks, all optional --------------------------------------------------------------------------------

    def on_create(self, options: Mapping[str, Any]) -> None:
        """The room is new; `options` are those of the Join that made it. Not called for a saved room."""

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        """A player has taken a seat. Set `player.entity` here."""

    def on_input(self, player: Player, wish: Wish) -> None:
        """A player's input, in the game's units; clamped to what `inputs` declares."""

    def on_tick(self, dt: float) -> None:
        """Moves the world by `dt` seconds, always 1 / tick_rate_hz."""

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        """Answers a request; what it returns is the Reply's payload.

        Raises:
            CommandRefused: the player gets a Reply that says no.
        """
        raise CommandRefused(f"unknown command {name!r}")

    def on_disconnect(self, player: Player) -> None:
        """A player's connection is lost. The seat is kept for a while; on_resume or on_leave follows."""

    def on_resume(self, player: Player) -> None:
        """A player whose connection was lost is back. What was sent meanwhile reaches it, in order and once."""

    def on_leave(self, player: Player) -> None:
        """A player has given the seat up, or was away for too long."""

    def on_dispose(self) -> None:
        """The room ends; durable state is saved after this."""

    def save(self) -> dict[str, Any]:
        """Durable state beside the tables: anything MongoDB can hold."""
        return {}

    def restore(self, saved: dict[str, Any]) -> None:
        """The tables have been filled from a save; `saved` is what `save` gave. Nobody is in the room yet."""

    # -- for the game to call -------------------------------------------------------------------------------

    def broadcast(self, name: str, payload: Any = None) -> None:
        """Sends an event to everybody in the room; encoded once."""
        data = msgspec.msgpack.encode(payload)
        for player in self.players.values():
            player._send(name, data)

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
