"""What do players see when their rooms move to another shard?

20 rooms of 50 on one shard, everybody moving at 20 Hz, inputs at 10 Hz. A second shard comes up, the first is told to
stop (SIGTERM), and gives its rooms away. Every player is one of the swarm's, verifies its world, and measures its own
blackout: from the last state that the old shard sent to the first of the new one. Nothing may be lost: no session, no
event, no seat. Both shards share a core, as they would not; the swarm has the other.
"""

from __future__ import annotations

import signal
import statistics
import threading
import time

from benchmarks import processes, swarming
from benchmarks.report import Report, goal, report, row
from benchmarks.rooms import Fan
from loadtest.summary import Summary
from loadtest.trial import Shard, fleet

ROOMS, QUICK_ROOMS = 20, 6
SEATED_S_MAX = 60.0


def run(*, quick: bool) -> Report:
    """Three turns of 20 rooms; quick: one of 6."""
    rooms = QUICK_ROOMS if quick else ROOMS
    found = [_turn(rooms * Fan.seats, quick=quick) for _ in range(1 if quick else 3)]
    p99 = [one.times["blackout"].p99_ms for one, _ in found]
    lost = [sum(sum(reasons.values()) for reasons in one.failures.values()) for one, _ in found]
    rows = [
        row("players", "blackout_p50", "ms", [one.times["blackout"].p50_ms for one, _ in found]),
        row("players", "blackout_p99", "ms", p99),
        row("players", "blackout_max", "ms", [one.times["blackout"].max_ms for one, _ in found]),
        row("players", "moved", "1", [float(one.times["blackout"].count) for one, _ in found]),
        row("players", "seated_at_the_end", "1", [float(one.seated) for one, _ in found]),
        row("players", "failures", "1", [float(one) for one in lost]),
        row("shard", "drain", "s", [drain_s for _, drain_s in found]),
    ]
    # A swarm that is late sees what it sees later: then the figure can only be too high.
    limited_by = None if not any(lost) else f"failures: {[one.failures for one, _ in found]}"
    goals = [goal("blackout_p99_ms", statistics.median(p99), 500, limited_by=limited_by)]
    return report("migrate", quick=quick, rows=rows, goals=goals, limited_by=limited_by)


def _turn(players: int, *, quick: bool) -> tuple[Summary, float]:
    """One swarm, one drain."""
    environ = {"TICKWIRE__EDGE__HANDSHAKES_PER_SECOND_MAX": "100000", "TICKWIRE__CAPACITY__LOAD_MAX": "0.99"}
    core = processes.CORES[swarming.SERVER_CORE]
    with fleet(1, rooms="benchmarks.rooms", environ=environ, cpu=core) as shards:
        seconds = players / 100 + (15 if quick else 25)
        found: list[Summary] = []
        arguments = ("-u", str(players), "-r", "100", "-t", f"{seconds:.0f}s", "--room", Fan.room_type)
        playing = threading.Thread(
            target=lambda: found.append(swarming.swarm(shards[0].url, *arguments)), name="swarm"
        )
        playing.start()
        took_s = _drain(shards, players)  # here: a shard dies with the thread that has started it
        playing.join()
        return found[0], took_s


def _drain(shards: list[Shard], players: int) -> float:
    """Waits until all are seated, starts another shard, and stops the first; gives how long that took."""
    first = shards[0]
    until_s = time.monotonic() + SEATED_S_MAX
    while processes.scrape(first.operations_port).get('tickwire_joins_total{result="seated"}', 0) < players:
        if time.monotonic() > until_s:
            raise TimeoutError("not all were seated")
        time.sleep(0.2)
    other = first.another()
    shards.append(other)
    other.wait_ready()
    time.sleep(3.0)
    started_s = time.monotonic()
    first.stop(signal.SIGTERM)
    return time.monotonic() - started_s
