"""The C# client follows a moving world as Python does, and allocates nothing for it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from benchmarks.decode import frames
from tests.csharp.measure import SIZES, decode
from tests.harness.frames import apply
from tickwire.client.world import World
from tickwire.schemas.codec import decode_server
from tickwire.schemas.messages import StateDescription, StateFrame


@pytest.mark.parametrize("entities", SIZES)
def test_moving_entities_are_decoded_as_in_python_without_allocation(
    program: Path, tmp_path: Path, entities: int
) -> None:
    work = frames(60, entities)
    world = World(msgspec.convert(work["description"], StateDescription))
    for frame in work["frames"]:
        message = decode_server(bytes.fromhex(frame), last_tick=world.tick)
        assert isinstance(message, StateFrame)
        apply(world, message)
    found = decode(program, tmp_path, work)
    assert found["checksum"] == int.from_bytes(world.checksum(), "little")
    assert found["allocated"] == 0
