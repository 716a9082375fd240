"""The room in which players of all client languages play: see tests/browser/test_all_clients.py."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from tickwire import Event, Input, Player, Room, Table, boolean, command, enumeration, local, real, text, uint, vec2

SIZE = 400.0
TICKS_PER_BEAT = 10
COLOURS = ("red", "green", "blue")


class PlayerSquares(Table):
    """The players."""

    name = text(bytes_max=32)
    colour = enumeration(*COLOURS)
    position = vec2(0, SIZE, step=1 / 8)
    turns = uint(bits=16)
    count = local(np.int64)


class Rounds(Table):
    """One entity, which changes in every tick until the round is over."""

    number = uint(bits=32)
    is_over = boolean()


class Beat(Event):
    """About twice a second, to every player."""

    number: int


class PlayerInput(Input):
    """The direction of a player."""

    dx = real(-1, 1, step=1 / 64)
    dy = real(-1, 1, step=1 / 64)


class PlayerOptions(msgspec.Struct):
    """The options of a Join."""

    name: Annotated[str, Meta(max_length=16)] = "player"


class Playground(Room):
    """PlayerSquares that move by inputs, until the test ends the round."""

    room_type = "playground"
    max_players = 16
    checksum_ticks = 1
    input_type = PlayerInput
    events = (Beat,)
    squares: PlayerSquares
    rounds: Rounds

    is_ending = False
    """Set by the test; the next tick is then the last one that changes the state."""

    def on_create(self, options: PlayerOptions) -> None:
        self.rounds.spawn(number=0)

    def on_join(self, player: Player, options: PlayerOptions) -> None:
        colour = len(self.squares) % len(COLOURS)
        player.entity = self.squares.spawn(name=options.name, colour=colour, position=(SIZE / 2, SIZE / 2))

    def on_leave(self, player: Player) -> None:
        if not self.rounds.is_over.any():
            player.entity.despawn()

    def on_input(self, player: Player, input: PlayerInput) -> None:
        if self.rounds.is_over.any():
            return
        player.entity.position_x += 4 * input.dx
        player.entity.position_y += 4 * input.dy
        player.entity.turns += 1

    def on_tick(self, dt: float) -> None:
        if self.rounds.is_over.any():
            return
        self.rounds.number += 1
        self.rounds.is_over[:] = self.is_ending
        number = int(self.rounds.number[0])
        if number % TICKS_PER_BEAT == 0:
            self.broadcast(Beat(number // TICKS_PER_BEAT))

    @command
    def count(self, player: Player) -> int:
        """Return how often the player has called this command."""
        player.entity.count += 1
        return int(player.entity.count)


ROOMS = {"playground": Playground}
