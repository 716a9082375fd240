"""How many worlds can be written per second, and how much do saves delay the ticks?

Rooms tick on one core, MongoDB is on the other. In turn, in one process:

    still     the rooms are not saved
    saved     all rooms are saved as by a shard: a state every half second, packed on a thread, written in bulk. All
              entities move, so that nearly the whole world is written each time

There are ROOMS rooms of ENTITIES, and one of ENTITIES_LARGE, whose columns are stored in parts. `tick_delay_ms` is
the increase of the 99.9th percentile of tick lateness when all rooms are saved.

    flood     worlds written per second without other work: FLOOD_WORLDS wait, repeatedly
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import uvloop

from benchmarks import processes
from benchmarks.report import Report, goal, report, row
from benchmarks.rooms import MovingWorld
from benchmarks.server_under_load import LOAD_CORE, SERVER_CORE
from tickwire.server.dev import local_stores
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.observability import logs
from tickwire.server.persistence.saver import SAVE_INTERVAL_S, RoomSaver
from tickwire.server.persistence.world_codec import encode_world
from tickwire.server.process import GC_THRESHOLD, SWITCH_INTERVAL_S
from tickwire.server.rooms.factory import RoomSpec
from tickwire.server.rooms.host import HostCallbacks, RoomHost
from tickwire.server.rooms.tick_loop import TickObserver
from tickwire.server.storage import MongoStore, WriteBehind, migrate

ROOMS, ENTITIES, ENTITIES_LARGE = 40, 200, 60_000
FLOOD_WORLDS = 500
TICK_DELAY_MS_MAX = 5.0


class FlushTurn:
    """Records the ticks of one turn."""

    def __init__(self) -> None:
        self.lateness_ms: list[float] = []
        self.saves_per_second = 0.0
        self.bytes_per_second = 0.0
        self.lag_s_max = 0.0
        self.busy_share = 0.0

    def observe(self, duration_s: float, lateness_s: float) -> None:
        """A tick is done."""
        self.lateness_ms.append(lateness_s * 1000)

    def late_ms(self, share: float) -> float:
        """A percentile of the lateness."""
        return statistics.quantiles(self.lateness_ms, n=10_000, method="inclusive")[round(share * 10_000) - 1]


def run(*, quick: bool) -> Report:
    """Runs the benchmark."""
    seconds, turns = (4.0, 2) if quick else (20.0, 3)
    logs.configure(format="console", level="warning")
    sys.setswitchinterval(SWITCH_INTERVAL_S)  # as a shard does, and the collector too
    gc.set_threshold(*GC_THRESHOLD)
    processes.pin_this(LOAD_CORE)  # and with it MongoDB, which is its child
    with tempfile.TemporaryDirectory() as folder, local_stores.running(Path(folder), with_redis=False) as stores:
        processes.pin_this(SERVER_CORE)
        still, saved, flood = uvloop.run(_all(stores, seconds, turns))
    rows = []
    for name, found in (("still", still), ("saved", saved)):
        for share, what in ((0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")):
            rows.append(row(name, f"tick_lateness_{what}", "ms", [turn.late_ms(share) for turn in found]))
        rows.append(row(name, "tick_lateness_max", "ms", [max(turn.lateness_ms) for turn in found]))
        rows.append(row(name, "share_of_core", "1", [turn.busy_share for turn in found]))
    rows += [
        row("saved", "worlds_per_second", "1/s", [turn.saves_per_second for turn in saved]),
        row("saved", "bytes_per_second", "B/s", [turn.bytes_per_second for turn in saved]),
        row("saved", "storage_lag_max", "s", [turn.lag_s_max for turn in saved]),
        row("flood", "worlds_per_second", "1/s", flood),
    ]
    delays = [one.late_ms(0.999) - other.late_ms(0.999) for one, other in zip(saved, still, strict=True)]
    goals = [goal("tick_delay_ms", statistics.median(delays), TICK_DELAY_MS_MAX)]
    return report("flush", quick=quick, rows=rows, goals=goals)


async def _all(
    stores: local_stores.LocalStores, seconds: float, turns: int
) -> tuple[list[FlushTurn], list[FlushTurn], list[float]]:
    still, saved, flood = [], [], []
    for number in range(turns):
        print(f"flush: turn {number + 1} of {turns}", file=sys.stderr)
        store = MongoStore(stores.mongo_url, f"flush_{number}")
        await migrate(store.database, store.calls)
        still.append(await _tick(store, seconds, is_saved=False))
        saved.append(await _tick(store, seconds, is_saved=True))
        flood.append(await _flood(store, seconds / 4))
        store.close()
    return still, saved, flood


def create_host(observe_tick: TickObserver) -> RoomHost:
    """Return a host of fields."""
    return RoomHost(
        {"field": MovingWorld},
        HostCallbacks(
            on_closed=lambda runtime, reason: None,
            tune=lambda room: None,
            observe_tick=observe_tick,
            commit=lambda runtime: None,
        ),
    )


async def _tick(store: MongoStore, seconds: float, *, is_saved: bool) -> FlushTurn:
    turn, now = FlushTurn(), time.monotonic
    behind = WriteBehind(store.worlds, on_fenced=lambda key: None, now_s=now)
    host = create_host(turn.observe)
    saver = RoomSaver(store.worlds, behind, store.quarantine, FaultIsolation())
    for number in range(ROOMS + 1):
        options = {"entities": ENTITIES if number else ENTITIES_LARGE}
        name = f"field {number}"
        await saver.claim("field", name, 1)
        host.create(RoomSpec(name, "field", name, epoch=1), options)
    tasks = [asyncio.create_task(work) for work in ([saver.run(host), behind.run()] if is_saved else [])]
    gc.collect()
    gc.freeze()
    await asyncio.sleep(1.0)
    turn.lateness_ms.clear()
    saves, written, cpu, started = behind.saves, behind.bytes_written, time.process_time(), now()
    while now() - started < seconds:
        await asyncio.sleep(SAVE_INTERVAL_S / 5)
        turn.lag_s_max = max(turn.lag_s_max, behind.lag_s)
    elapsed = now() - started
    turn.saves_per_second = (behind.saves - saves) / elapsed
    turn.bytes_per_second = (behind.bytes_written - written) / elapsed
    turn.busy_share = (time.process_time() - cpu) / elapsed
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await behind.flush(10)
    host.close_all("over")
    behind.close()
    return turn


async def _flood(store: MongoStore, seconds: float) -> float:
    """Worlds a second, of which all has changed."""
    behind = WriteBehind(store.worlds, on_fenced=lambda key: None, now_s=time.monotonic)
    host = create_host(lambda duration_s, lateness_s: None)
    room = host.create(RoomSpec("f", "field", "f", epoch=1), {"entities": ENTITIES})
    count, started = 0, time.monotonic()
    while time.monotonic() - started < seconds:
        for number in range(FLOOD_WORLDS):
            if number % 50 == 0:
                room.simulate()
                room.encode()
            name = f"flood {number}"
            behind.put(f"field/{name}", partial(encode_world, "field", name, name, room.checkpoint()), 1)
        assert await behind.flush(60)
        count += FLOOD_WORLDS
    elapsed = time.monotonic() - started
    host.close_all("over")
    behind.close()
    return count / elapsed
