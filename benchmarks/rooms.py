"""The rooms of the benchmarks: the same world in any size, moved by the same seeded rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tickwire import (
    Grid,
    Input,
    InputBatch,
    Player,
    Room,
    SaveData,
    Table,
    Transaction,
    angle,
    grant,
    local,
    real,
    uint,
)

SIZE = 500.0
MAP = 1000.0


class Movers(Table):
    """Entities that always move: a position in steps of 1/32 unit, an eight-bit heading, hit points."""

    x = real(-SIZE, SIZE, step=1 / 32)
    y = real(-SIZE, SIZE, step=1 / 32)
    heading = angle(bits=8)
    hp = uint(bits=7)
    speed = local(np.float32)


def move(movers: Movers, dt: float) -> None:
    """Move all entities by one tick. They turn around at walls."""
    dt32 = np.float32(dt)
    movers.x += np.cos(movers.heading) * movers.speed * dt32
    movers.y += np.sin(movers.heading) * movers.speed * dt32
    hits_wall = (np.abs(movers.x) > SIZE * 0.95) | (np.abs(movers.y) > SIZE * 0.95)
    if hits_wall.any():
        movers.heading[hits_wall] += np.float32(np.pi)
        np.clip(movers.x, -SIZE * 0.95, SIZE * 0.95, out=movers.x)
        np.clip(movers.y, -SIZE * 0.95, SIZE * 0.95, out=movers.y)


def spawn(movers: Movers, random: np.random.Generator) -> Any:
    """Spawn one moving entity."""
    x, y = random.uniform(-SIZE * 0.9, SIZE * 0.9, 2)
    return movers.spawn(x=x, y=y, heading=random.uniform(0, 6.28), hp=100, speed=random.uniform(4, 12))


class MoverInput(Input):
    """The input of a moving player."""

    thrust = real(-1, 1, step=1 / 64)
    turn = real(-1, 1, step=1 / 64)


class Fan(Room):
    """Fifty players, all of them moving. An input turns a player."""

    room_type = "fan"
    max_players = 50
    input_type = MoverInput
    movers: Movers

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        player.entity = spawn(self.movers, self.random)

    def on_inputs(self, inputs: InputBatch[MoverInput]) -> None:
        rows, wishes = inputs.of(self.movers)
        self.movers.heading[rows] += np.float32(0.3) * wishes.turn

    def on_tick(self, dt: float) -> None:
        move(self.movers, dt)

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()


class MapWalkers(Table):
    """The players of a big map."""

    x = real(-MAP, MAP, step=1 / 32)
    y = real(-MAP, MAP, step=1 / 32)
    heading = angle(bits=8)
    mood = uint(bits=3)
    speed = local(np.float32)


class Crowd(Room):
    """A thousand players on a map of 2,000 by 2,000 units. A player sees 150 units."""

    room_type = "crowd"
    max_players = 1000
    input_type = MoverInput
    grid = Grid("walkers", cell=150, view=150)
    walkers: MapWalkers

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        x, y = self.random.uniform(-MAP, MAP, 2)
        heading, speed = self.random.uniform(0, 6.28), self.random.uniform(4, 12)
        player.entity = self.walkers.spawn(x=x, y=y, heading=heading, speed=speed)

    def on_inputs(self, inputs: InputBatch[MoverInput]) -> None:
        rows, wishes = inputs.of(self.walkers)
        self.walkers.heading[rows] += np.float32(0.3) * wishes.turn

    def on_tick(self, dt: float) -> None:
        walkers, step = self.walkers, self.walkers.speed * np.float32(dt)
        walkers.x += np.cos(walkers.heading) * step
        walkers.y += np.sin(walkers.heading) * step
        walkers.heading[(np.abs(walkers.x) > MAP) | (np.abs(walkers.y) > MAP)] += np.float32(np.pi)
        np.clip(walkers.x, -MAP, MAP, out=walkers.x)
        np.clip(walkers.y, -MAP, MAP, out=walkers.y)

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()


class Soak(Fan):
    """A slower room that sends numbered notes to all players, and counts the commands of each player."""

    room_type = "soak"
    tick_rate_hz = 10.0
    max_players = 60

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        super().on_join(player, options)
        player.data["notes"] = player.data["runs"] = 0

    def on_tick(self, dt: float) -> None:
        super().on_tick(dt)
        if self.tick % 10 == 0:
            for player in self.players.values():
                player.data["notes"] += 1
                player.send("note", player.data["notes"])

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        player.data["runs"] += 1
        return [payload, player.data["runs"]]


class FieldSave(SaveData):
    """State outside the tables."""

    notes: list[str] = []


class MovingWorld(Room):
    """A durable world without players, of a given size, in which all entities move."""

    room_type = "field"
    durable = True
    save_type = FieldSave
    empty_timeout_s = 3600.0
    ticks_when_empty = True
    movers: Movers

    def on_create(self, options: Mapping[str, Any]) -> None:
        for _ in range(options["entities"]):
            spawn(self.movers, self.random)

    def save(self) -> FieldSave:
        return FieldSave([f"note {number}" for number in range(20)])

    def on_tick(self, dt: float) -> None:
        move(self.movers, dt)


class TickCounter(Table):
    """The number of ticks of this world."""

    ticks = uint(bits=32)


class BusyEstate(Room):
    """A durable room of twenty players that earn. Its tick count shows the age of a save."""

    room_type = "estate"
    tick_rate_hz = 5.0
    max_players = 20
    durable = True
    uses_ledger = True
    empty_timeout_s = 60.0
    movers: Movers
    clocks: TickCounter

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.clocks.spawn()

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        player.entity = spawn(self.movers, self.random)

    def on_tick(self, dt: float) -> None:
        self.clocks.ticks += 1
        move(self.movers, dt)

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        return Transaction(grant(player.id, "gold"), reply=True) if name == "work" else dict(player.holdings)

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()


ROOMS = {"estate": BusyEstate, "fan": Fan, "soak": Soak, "crowd": Crowd}
