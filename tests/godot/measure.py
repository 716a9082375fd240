"""How long does the GDScript client take to decode a tick? `python -m tests.godot.measure`; requires `make godot`.

The server's replication encodes the frames: 50 and 1,000 entities, all of which move. The program is an editor's
build of Godot, whose scripts run with the checks of a debugger: a game that was exported for release is faster.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.bandwidth import TICK_S
from benchmarks.rooms import Movers, move, spawn
from tests.harness.godot import find_godot
from tests.harness.godot_cases import create_project, run_script
from tickwire.schemas.framing import header_bytes
from tickwire.server.replication.replicator import Replicator

_ENTITIES = (50, 1000)
_TICKS = 400


def create_work(entities: int, ticks: int = _TICKS) -> dict[str, Any]:
    """Return a moving world as frames in hex; the first one is a keyframe."""
    random = np.random.default_rng(7)
    movers = Movers()
    for _ in range(entities):
        spawn(movers, random)
    replication = Replicator((movers,))
    everyone = replication.everyone
    frames: list[str] = []
    for tick in range(1, ticks + 2):
        if tick > 1:
            turning = random.random(entities) < 0.1
            movers.heading[turning] += random.normal(0, 0.5, int(turning.sum())).astype(np.float32)
            move(movers, TICK_S)
        replication.capture(tick)
        if tick == 1:
            data = replication.update(None, everyone)[0]
        else:
            replication.prepare(everyone)
            data = bytes(everyone.data)
        frames.append(data[header_bytes(data) :].hex())
    description = {"tables": [msgspec.to_builtins(Movers.describe("movers"))]}
    return {"entities": entities, "description": description, "frames": frames}


def measure() -> list[dict[str, Any]]:
    """Return the median times for each number of entities, in microseconds."""
    with tempfile.TemporaryDirectory() as name:
        project = Path(name) / "project"
        create_project(project)
        work = project / "work.json"
        work.write_text(json.dumps([create_work(entities) for entities in _ENTITIES]))
        output = run_script(find_godot(), project, "res://cases/measure.gd", str(work))
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


if __name__ == "__main__":
    for found in measure():
        print(found)
