"""plaza: a large map with a thousand wanderers. Players receive only nearby walkers, and chat reaches nearby players.

`grid = Grid(...)` is all that the room declares for this. A client drops walkers that leave the view and adds walkers
that enter it. A walker that moves from one cell to the next stays the same entity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tickwire import (
    CommandRefused,
    Grid,
    Input,
    InputBatch,
    Player,
    Room,
    Table,
    angle,
    boolean,
    enumeration,
    local,
    real,
    text,
)

SIZE = 1000.0
WANDERERS = 1000
VIEW = 150.0
EARSHOT = 60.0
WORDS_MAX = 200
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


class Plaza(Room):
    """A place to walk, meet and chat."""

    room_type = "plaza"
    max_players = 200
    tick_rate_hz = 10.0
    input_type = WalkInput
    grid = Grid("walkers", cell=100, view=VIEW)
    walkers: Walkers

    def on_create(self, options: Mapping[str, Any]) -> None:
        for _ in range(int(options.get("wanderers", WANDERERS))):
            x, y = self.random.uniform(-SIZE, SIZE, 2)
            heading = self.random.uniform(0, 2 * np.pi)
            self.walkers.spawn(x=x, y=y, heading=heading, speed=WALK_SPEED / 3, mood=self.random.integers(3))

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        x, y = self.random.uniform(-SIZE / 4, SIZE / 4, 2)
        name = str(options.get("name", "guest"))
        player.entity = self.walkers.spawn(x=x, y=y, is_player=True, name=name)

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

    def on_command(self, player: Player, name: str, payload: Any) -> Any:
        if name != "say":
            raise CommandRefused(f"unknown command {name!r}")
        if not isinstance(payload, str) or not payload or len(payload) > WORDS_MAX:
            raise CommandRefused(f"say requires a text of 1 to {WORDS_MAX} characters")
        return self._say(player, payload)

    def _say(self, speaker: Player, words: str) -> int:
        """Send a chat line to all players within earshot; return their number."""
        x, y = speaker.entity.x, speaker.entity.y
        near = [
            player
            for player in self.players.values()
            if np.hypot(player.entity.x - x, player.entity.y - y) <= EARSHOT
        ]
        self.broadcast("said", {"by": speaker.entity.id, "words": words}, to=near)
        return len(near)


ROOMS = {"plaza": Plaza}
