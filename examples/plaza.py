"""plaza: a large map with a thousand wanderers. Players receive only nearby walkers, and chat reaches nearby players.

`grid = Grid(...)` is all that the room declares for this. A client drops walkers that leave the view and adds walkers
that enter it. A walker that moves from one cell to the next stays the same entity.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from tickwire import (
    Event,
    Grid,
    Input,
    InputBatch,
    Player,
    Room,
    Table,
    angle,
    boolean,
    command,
    enumeration,
    local,
    real,
    text,
)

SIZE = 1000.0
VIEW = 150.0
EARSHOT = 60.0
WALK_SPEED = 6.0


class Walkers(Table):
    """All characters on the plaza: those of players, and the wanderers."""

    x = real(-SIZE, SIZE, step=1 / 16)
    y = real(-SIZE, SIZE, step=1 / 16)
    heading = angle(bits=7)
    mood = enumeration("calm", "merry", "curious")
    is_player = boolean()
    name = text(bytes_max=24)
    speed = local(np.float32)


class WalkInput(Input):
    """The input of a player."""

    speed = real(0, 1, step=1 / 16)
    heading = angle(bits=7)


class PlazaOptions(msgspec.Struct):
    """The options of the Join that creates a plaza."""

    wanderers: Annotated[int, Meta(ge=0, le=10_000)] = 1000


class VisitorOptions(msgspec.Struct):
    """The options of a Join."""

    name: str = "guest"


class ChatLine(Event):
    """A walker within earshot has sent a chat line."""

    event_name = "said"

    by: int
    words: str


class Plaza(Room):
    """A place to walk, meet and chat."""

    room_type = "plaza"
    max_players = 200
    tick_rate_hz = 10.0
    input_type = WalkInput
    events = (ChatLine,)
    grid = Grid("walkers", cell=100, view=VIEW)
    walkers: Walkers

    def on_create(self, options: PlazaOptions) -> None:
        for _ in range(options.wanderers):
            x, y = self.random.uniform(-SIZE, SIZE, 2)
            heading = self.random.uniform(0, 2 * np.pi)
            self.walkers.spawn(x=x, y=y, heading=heading, speed=WALK_SPEED / 3, mood=self.random.integers(3))

    def on_join(self, player: Player, options: VisitorOptions) -> None:
        x, y = self.random.uniform(-SIZE / 4, SIZE / 4, 2)
        player.entity = self.walkers.spawn(x=x, y=y, is_player=True, name=options.name)

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()

    def on_inputs(self, inputs: InputBatch[WalkInput]) -> None:
        rows, walks = inputs.of(self.walkers)
        self.walkers.speed[rows] = walks.speed * WALK_SPEED
        self.walkers.heading[rows] = walks.heading

    def on_tick(self, dt: float) -> None:
        walkers = self.walkers
        is_turning = ~walkers.is_player & (self.random.random(len(walkers)) < 0.02)
        walkers.heading[is_turning] += self.random.normal(0, 1, int(is_turning.sum())).astype(np.float32)
        step = walkers.speed * np.float32(dt)
        walkers.x += np.cos(walkers.heading) * step
        walkers.y += np.sin(walkers.heading) * step
        walkers.heading[~walkers.is_player & (np.hypot(walkers.x, walkers.y) > SIZE)] += np.float32(np.pi)
        np.clip(walkers.x, -SIZE, SIZE, out=walkers.x)
        np.clip(walkers.y, -SIZE, SIZE, out=walkers.y)

    @command
    def say(self, player: Player, words: Annotated[str, Meta(min_length=1, max_length=200)]) -> int:
        """Send a chat line to all players within earshot; return their number."""
        x, y = player.entity.x, player.entity.y
        near = [
            other for other in self.players.values() if np.hypot(other.entity.x - x, other.entity.y - y) <= EARSHOT
        ]
        self.broadcast(ChatLine(player.entity.id, words), to=near)
        return len(near)


ROOMS = {"plaza": Plaza}
