"""An arena and a room that plays recordings of it; the recordings are in the folder of WATCHED_MATCHES."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import NamedTuple

from tickwire import replay_room
from tickwire.client.core import ClientCore
from tickwire.examples.arena import Arena
from tickwire.testing import RoomHarness, random_input


class PlayedMatch(NamedTuple):
    """The recording `final` in a folder: the last tick, and where the ships then were."""

    folder: Path
    tick: int
    ships: list[tuple[float, float]]


def places_of(core: ClientCore) -> list[tuple[float, float]]:
    """Return where the ships are that a client sees, sorted."""
    assert core.world is not None
    ships = core.world.table("ships")
    return sorted(zip(ships.column("x").tolist(), ships.column("y").tolist(), strict=True))


def record_match(folder: Path) -> PlayedMatch:
    """Play an arena at random and record it. Call it outside of an event loop."""
    with RoomHarness(Arena, seed=5) as room:
        room.record(folder / "final.tickrec")
        for name in ("ann", "bob"):
            room.join(name)
        room.random_play({random_input: 1}, steps=100)
        return PlayedMatch(folder, room.tick, places_of(room.clients["ann"].core))


async def load_match(name: str) -> bytes:
    """Load a recording."""
    if not name.isalnum():
        raise LookupError(name)
    path = Path(os.environ["WATCHED_MATCHES"], f"{name}.tickrec")
    try:
        return await asyncio.to_thread(path.read_bytes)
    except FileNotFoundError as error:
        raise LookupError(name) from error


ROOMS = [Arena, replay_room(Arena, load_match)]
