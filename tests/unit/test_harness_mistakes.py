"""First mistakes in a test of a room are refused with a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tickwire.examples.arena import Arena
from tickwire.testing import HarnessClient, Network, RoomHarness, random_input

MISTAKES: dict[str, Callable[[Any, HarnessClient], object]] = {
    "pass the class of a room, as in RoomHarness": lambda room, ann: RoomHarness("arena"),  # type: ignore[type-var, arg-type]
    "ticks and seconds must be at least 0; got -1 and 0": lambda room, ann: room.run(ticks=-1),
    "it sees none; a world arrives with the next tick": lambda room, ann: ann.world.ships[ann.entity],
    r"or \(least, most\); got '20'": lambda room, ann: Network(latency_ms="20"),  # type: ignore[arg-type]
    "pass a list of functions, or a mapping": lambda room, ann: room.random_play(random_input),
    r"a mapping with their weights; got \['jump'\]": lambda room, ann: room.random_play(["jump"]),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_mistake_is_refused_with_a_sentence(message: str) -> None:
    with RoomHarness(Arena) as room:
        ann = room.join("ann")
        with pytest.raises((TypeError, ValueError, KeyError), match=message):
            MISTAKES[message](room, ann)
