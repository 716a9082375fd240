"""How long does a browser take to decode a tick of 1,000 moving entities? Requires Node, Chromium and `make web`.

The server's replication encodes the frames. The TypeScript client decodes them in Node and in Chromium. In the same
run @colyseus/schema decodes the same world from its own patches. Allocations, including collected ones, are counted
in Node by V8's sampling profiler.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.bandwidth import TICK_S
from benchmarks.report import Goal, Report, report, row
from benchmarks.rooms import Movers, move, spawn
from tickwire.schemas.framing import header_bytes
from tickwire.server.replication.replicator import Replicator

WEB = Path(__file__).parents[1] / "web"
ENTITIES = 1000
GOAL_US = 1000.0


def run(*, quick: bool) -> Report:
    """Run the benchmark."""
    rounds = 3 if quick else 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work = folder / "work.json"
        work.write_text(json.dumps(frames(100 if quick else 400)))
        bundle = folder / "decode.mjs"
        esbuild = WEB / "node_modules" / ".bin" / "esbuild"
        entry = WEB / "sdk" / "scripts" / "decode.ts"
        how = ["--bundle", "--format=esm", "--platform=node", "--log-level=error", f"--outfile={bundle}"]
        subprocess.run([str(esbuild), str(entry), *how], check=True, cwd=WEB)
        node = [in_node(bundle, work) for _ in range(rounds)]
        chromium = asyncio.run(in_chromium(bundle.read_text(), json.loads(work.read_text()), rounds))
    rows = []
    for place, found in (("node", node), ("chromium", chromium)):
        for subject in ("tickwire", "colyseus"):
            times = [one[subject] for one in found]
            rows.append(row(f"{subject} in {place}", f"decode_{ENTITIES}", "us", times))
    rows.append(row("tickwire", "frame_bytes", "B", [one["tickwireBytes"] for one in node]))
    rows.append(row("colyseus", "frame_bytes", "B", [one["colyseusBytes"] for one in node]))
    rows.append(row("tickwire in node", "allocated", "B", [one["allocated"] for one in node]))
    median = next(one.median for one in rows if one.subject == "tickwire in chromium")
    goal = Goal(f"decode_{ENTITIES} in Chromium, us", median, GOAL_US, "lower", median <= GOAL_US)
    return report("decode", quick=quick, rows=rows, goals=[goal])


def frames(ticks: int, entities: int = ENTITIES) -> dict[str, Any]:
    """Return a moving world as frames and as numbers."""
    random = np.random.default_rng(7)
    movers = Movers()
    for _ in range(entities):
        spawn(movers, random)
    replication = Replicator((movers,))
    everyone = replication.everyone
    found: list[str] = []
    numbers: list[list[list[float]]] = []
    for tick in range(1, ticks + 2):
        if tick > 1:
            turning = random.random(entities) < 0.1
            movers.heading[turning] += random.normal(0, 0.5, int(turning.sum())).astype(np.float32)
            move(movers, TICK_S)
        replication.capture(tick)
        data = replication.update(None, everyone)[0] if tick == 1 else _frame_of(replication)
        found.append(data[header_bytes(data) :].hex())
        numbers.append([column.astype(float).tolist() for column in (movers.x, movers.y, movers.heading)])
    description = {"tables": [msgspec.to_builtins(Movers.describe("movers"))], "inputs": []}
    return {"description": description, "frames": found, "ticks": numbers}


def _frame_of(replication: Replicator) -> bytes:
    replication.prepare(replication.everyone)
    return bytes(replication.everyone.data)


def in_node(bundle: Path, work: Path) -> dict[str, Any]:
    """Measure one turn in Node."""
    command = ["node", str(bundle), str(work)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def in_chromium(bundle: str, work: dict[str, Any], rounds: int) -> list[dict[str, Any]]:
    """Measure turns in a browser, each in its own page."""
    from playwright.async_api import async_playwright

    found = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(rounds):
            page = await browser.new_page()
            await page.add_script_tag(content=bundle, type="module")
            await page.wait_for_function("() => typeof measure === 'function'")
            found.append(await page.evaluate("work => measure(work)", work))
            await page.close()
        await browser.close()
    return found
