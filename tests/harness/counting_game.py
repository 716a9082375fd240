"""A game in a file of its own, whose players count; tests of `tickwire dev` change its step."""

from __future__ import annotations

from contextlib import suppress

from tickwire.client.client import Client

_ROOMS = """
from tickwire import Input, Room, Table, command, real


class Counters(Table):
    x = real(0, 100000, step=1)


class CountInput(Input):
    sign = real(-1, 1, step=1)


class Tally(Room):
    room_type = "tally"
    input_type = CountInput
    counters: Counters

    def on_join(self, player, options):
        player.entity = self.counters.spawn(x=1000.0)
        self.joins = 1

    def on_input(self, player, input):
        player.entity.x += input.sign * STEP

    @command
    def count(self, player) -> dict:
        return {"step": STEP, "joins": self.joins}


ROOMS = [Tally]
"""


def counting_game(step: str) -> str:
    """Return the module of the game; `step` is the code that defines STEP."""
    return f"{step}\n{_ROOMS}"


def x_of(client: Client, entity: int) -> float | None:
    """Return the count of an entity, as a client sees it; None before the first state."""
    with suppress(KeyError):
        return float(client.world.table("counters").entity(entity)["x"])
    return None
