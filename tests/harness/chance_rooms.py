"""Rooms that use a source of chance other than their own random numbers, one for each source, and their scenarios."""

from __future__ import annotations

import datetime
import os
import random
import secrets
import time
import uuid
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.random import normal

from tickwire import Player, Room, Table, real
from tickwire.testing import RoomHarness

CHANCE_TICK = 5
NAMES = ("ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal")


class Token:
    """An object that has an address, and a number."""

    def __init__(self, number: int) -> None:
        self.number = number
        TOKENS.append(self)


TOKENS: list[Token] = []
"""All tokens, so that no address is used twice."""


def order_of_strings() -> float:
    total = 0  # of the whole order, so that two orders have the same number by no realistic chance
    for index, name in enumerate(set(NAMES)):
        total = (total * 31 + index * NAMES.index(name)) % 999_983
    return total / 1e4


def order_of_objects() -> float:
    tokens = [Token(number) for number in range(12)]
    total = 0
    for index, token in enumerate(set(tokens)):
        total = (total * 31 + index * token.number) % 999_983
    return total / 1e4


SOURCES: dict[str, Callable[[], float]] = {
    "random.random": lambda: random.random() * 10,
    "random.randint": lambda: random.randint(0, 10**6) / 1e4,
    "random.choice": lambda: random.choice(range(10**6)) / 1e4,
    "random.Random() without a seed": lambda: random.Random().random(),
    "numpy.random.random": lambda: np.random.random() * 10,
    "numpy.random.normal": lambda: abs(normal()),
    "numpy.random.default_rng() without a seed": lambda: np.random.default_rng().random(),
    "secrets.randbelow": lambda: secrets.randbelow(10**6) / 1e4,
    "os.urandom": lambda: int.from_bytes(os.urandom(4), "big") % 10**6 / 1e4,
    "uuid.uuid4": lambda: uuid.uuid4().int % 10**6 / 1e4,
    "time.time": lambda: time.time() % 10,
    "time.monotonic": lambda: time.monotonic() % 10,
    "time.perf_counter": lambda: time.perf_counter() % 10,
    "datetime.now": lambda: datetime.datetime.now(datetime.UTC).microsecond / 1e4,
    "id": lambda: id(Token(0)) // 16 % 10**6 / 1e4,
    "hash": lambda: hash(Token(0)) % 10**6 / 1e4,
}


class ChanceMarks(Table):
    x = real(0, 1000, step=0.0001)


class ChanceRoom(Room):
    """Draws from `chance` in one tick, and from its own random numbers in each."""

    room_type = "chance"
    marks: ChanceMarks
    chance: ClassVar[Any] = None

    def on_create(self, options: Any) -> None:
        self.marks.spawn(x=1.0)

    def on_join(self, player: Player, options: Any) -> None:
        player.entity = self.marks.spawn(x=2.0)

    def on_tick(self, dt: float) -> None:
        if self.tick == CHANCE_TICK:
            self.draw()
        self.marks.x[:] = np.minimum(self.marks.x + self.random.random(), 1000)

    def draw(self) -> None:
        if self.chance is not None:
            value = type(self).chance()
            self.marks.x[:] = value


class StringOrder(ChanceRoom):
    room_type = "string_order"
    chance = staticmethod(order_of_strings)


class ObjectOrder(ChanceRoom):
    room_type = "object_order"
    chance = staticmethod(order_of_objects)


class TimerRoom(ChanceRoom):
    """Uses the time in a timer."""

    room_type = "timer"
    chance = None

    def on_create(self, options: Any) -> None:
        super().on_create(options)
        self.clock.after(0.5, self.strike)

    def strike(self) -> None:
        self.marks.x[:] = time.monotonic() % 10


class SetKeeper(ChanceRoom):
    """Keeps a set of strings, and reads it in a defined order only."""

    room_type = "set_keeper"

    def on_create(self, options: Any) -> None:
        super().on_create(options)
        self.names = set(NAMES)
        self.started_s = 0.0

    def on_tick(self, dt: float) -> None:
        time.monotonic()  # measures, but changes nothing
        self.names ^= {sorted(self.names)[0]} if len(self.names) > 2 else set(NAMES)
        self.marks.x[:] = len(self.names)


def room_with(source: Callable[[], float]) -> type[ChanceRoom]:
    """Return a room class that draws from a source."""
    return type("SourceRoom", (ChanceRoom,), {"chance": staticmethod(source), "__module__": __name__})


def play(room_class: type[ChanceRoom], seed: int) -> None:
    with RoomHarness(room_class, seed=seed) as room:
        room.join("ann")
        room.run(ticks=15)


def play_string_order(seed: int) -> None:
    play(StringOrder, seed)


def play_object_order(seed: int) -> None:
    play(ObjectOrder, seed)


def play_set_keeper(seed: int) -> None:
    play(SetKeeper, seed)
