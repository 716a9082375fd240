"""The Python client's examples and its interpolation, run through a drain: the room moves while they play."""

from __future__ import annotations

import asyncio
import importlib
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.harness.polling import eventually
from tests.harness.shard_process import running
from tickwire.client.client import Client, connect
from tickwire.client.interpolation import Interpolation, TickClock
from tickwire.client.updates import StateApplied
from tickwire.server.config import Settings
from tickwire.server.dev.bots import run_bots
from tickwire.server.shard import Shard

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "clients.md").read_text()


def block(beginning: str) -> str:
    """The guide's Python code that begins so."""
    blocks = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    return next(code for code in blocks if code.startswith(beginning))


@pytest.fixture
async def fleet(
    shard_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Shard, Shard]]:
    """Two shards with the guide's room, the minimal example's and the arena."""
    (tmp_path / "moving_squares.py").write_text(block("from tickwire import ").replace('"field"', '"square-field"'))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    rooms = ["moving_squares", "tickwire.examples.minimal", "tickwire.examples.arena"]
    settings = msgspec.structs.replace(shard_settings, rooms=rooms, drain_timeout_s=30.0)
    async with running(settings) as one, running(settings) as other:
        yield one, other


@pytest.mark.parametrize("example", ["guide", "minimal"])
async def test_example_plays_on_when_its_room_moves(fleet: tuple[Shard, Shard], example: str) -> None:
    one, other = fleet
    if example == "guide":
        program = block("import asyncio").replace('"field"', '"square-field"').replace("range(40)", "range(100)")
        program = program.replace("ws://127.0.0.1:8080/", one.url)
        last = r"the square is at \{'x': 400.0, 'y': 200.0\}"
    else:
        program = (ROOT / "examples" / "minimal.py").read_text().replace("range(20)", "range(60)")
        program = program.replace("ws://127.0.0.1:8080", one.url)
        last = r"\{'x': (5\d|60)\.\d+\}\s*$"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        await eventually(lambda: any(simulation.seats for simulation in one.parts.host), 30, "the example has a seat")
        await asyncio.sleep(0.3)  # it has moved a little
        await one.drain()
        await eventually(lambda: any(simulation.seats for simulation in other.parts.host), 20, "the room has moved")
        said, _ = await asyncio.wait_for(process.communicate(), 120)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()
    assert re.search(last, said.decode()), said.decode()


async def test_bots_play_on_when_their_room_moves(fleet: tuple[Shard, Shard]) -> None:
    one, other = fleet
    playing = asyncio.create_task(run_bots(one.url, 3, seed=1))
    try:
        await eventually(lambda: sum(len(simulation.seats) for simulation in one.parts.host) == 3, 20)
        await one.drain()
        await eventually(lambda: sum(len(simulation.seats) for simulation in other.parts.host) == 3, 20)
        assert not playing.done()
    finally:
        playing.cancel()
        await asyncio.wait([playing])


class Picture:
    """The picture that a game draws: one entity, interpolated between the received states."""

    def __init__(self, client: Client, rate_hz: float, entity: int) -> None:
        self.clock = TickClock(rate_hz)
        self._squares = Interpolation("squares")
        self._entity = entity
        self._client = client
        client.on("state", self._state_applied)

    def _state_applied(self, state: StateApplied) -> None:
        self.clock.observe(state.tick, time.monotonic())
        self._squares.push(self._client.world)

    def x(self) -> float | None:
        ids, values = self._squares.sample(self.clock.render_tick(time.monotonic()), "x")
        here = values[ids == self._entity]
        return float(here[0]) if here.size else None


async def test_drawn_position_moves_on_and_inputs_are_acknowledged_after_the_room_has_moved(
    fleet: tuple[Shard, Shard],
) -> None:
    one, other = fleet
    async with connect(one.url) as client:
        room = await client.join("square-field")
        picture = Picture(client, room.tick_rate_hz, room.entity)

        async def walk(dx: float, until: float) -> None:
            async with asyncio.timeout(20):
                while (x := picture.x()) is None or (x - until) * dx < 0:
                    await client.send_input({"dx": dx})
                    await asyncio.sleep(1 / room.tick_rate_hz)

        await walk(1.0, 230.0)
        await one.drain()
        await client.wait_for(lambda: client.is_connected and client.url == other.url, 20)
        seq = await client.send_input({"dx": 0.0})
        assert seq > 5, "numbers go on"
        tick = client.world.tick
        await client.wait_for(lambda: client.acknowledged_seq >= seq)
        assert client.world.tick <= tick + 4 or not tick, "an acknowledgement follows at once"
        await walk(-1.0, 200.0)
        assert (client.resumes, client.sessions_lost, client.core.mismatches) == (1, 0, 0)
