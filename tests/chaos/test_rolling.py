"""Every shard of a fleet is replaced, the last one first, while a swarm plays: processes, sockets, real stores.

Players have tokens, and connect to the shards in turn.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.harness.swarm_process import LATE_MS
from tickwire.loadtest.summary import Summary
from tickwire.server.dev.local_stores import die_with_parent

ROOT = Path(__file__).parents[2]
PLAYERS = 60


def rolled(tmp_path: Path, how: str, *more: str, turns: int = 1) -> tuple[str, Summary]:
    """Replace three shards, one after another; return the output, and what the swarm has found."""
    summary = tmp_path / "summary.json"
    ended = subprocess.run(
        [sys.executable, "-m", "tickwire.loadtest.local_run", "--shards", "3",
         "--how", how, "--turns", str(turns), "--",
         "-u", str(PLAYERS), "-r", "30", "-t", "15s", "--shape", "rolling", "--warmup", "2", "--input-hz", "5",
         "--load-lateness", LATE_MS, "--summary", str(summary), *more],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT, text=True,
        timeout=150, check=False, preexec_fn=die_with_parent,
    )  # fmt: skip
    assert summary.exists(), ended.stdout
    return ended.stdout, msgspec.json.decode(summary.read_bytes(), type=Summary)


@pytest.mark.timeout(170)
def test_a_rolling_restart_loses_no_session_no_event_and_refuses_no_join(tmp_path: Path) -> None:
    said, found = rolled(tmp_path, "TERM", "--mix", "wanderer=4 reconnector=1")
    assert said.count("replaced the shard") == 3, said
    assert found.outcome == "held", said
    assert (found.seated, found.expected) == (found.expected, found.expected), said
    assert found.expected >= PLAYERS * 0.8
    assert found.times["blackout"].count >= 1, "somebody has moved"
    for row in ("resume", "seat", "join", "events", "world", "gave up"):
        assert row not in found.failures, said


@pytest.mark.timeout(170)
def test_shards_that_are_killed_lose_no_session_of_a_durable_room(tmp_path: Path) -> None:
    """Of rooms that have names, and so are saved: the hitch is a lease long, and all are back in their sessions.

    A room may be recovered on a shard that is killed next. So the longest hitch is three leases long.
    """
    said, found = rolled(tmp_path, "KILL", "--room-players", "20", "-t", "60s")
    assert said.count("replaced the shard") == 3, said
    assert (found.seated, found.expected) == (PLAYERS, PLAYERS), said
    assert found.times["resume"].count >= PLAYERS * 0.8, "all but those whom nobody killed"
    assert found.times["join"].count == PLAYERS, "nobody has joined twice"
    for row in ("resume", "seat", "join", "events", "world", "gave up", "reply"):
        assert row not in found.failures, said
