"""Replaces every shard of a fleet, the last one first, while a swarm plays: processes, sockets, real stores.

The players have tokens, and connect to the shards in turn.
"""

from __future__ import annotations

import os
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
    """Replace three shards, one after another; return the output and the summary of the swarm."""
    summary = tmp_path / "summary.json"
    ended = subprocess.run(
        [sys.executable, "-m", "tickwire.loadtest.local_run", "--shards", "3",
         "--how", how, "--turns", str(turns), "--",
         "-u", str(PLAYERS), "-r", "30", "-t", "15s", "--shape", "rolling", "--warmup", "2", "--input-hz", "5",
         "--load-lateness", LATE_MS, "--summary", str(summary), *more],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT, text=True,
        timeout=360, check=False, preexec_fn=die_with_parent,
        env=os.environ | {"TICKWIRE__CAPACITY__LOAD_MAX": "100"},  # measured in wall-clock time
    )  # fmt: skip
    assert summary.exists(), ended.stdout
    return ended.stdout, msgspec.json.decode(summary.read_bytes(), type=Summary)


@pytest.mark.timeout(400)
def test_a_rolling_restart_loses_no_session_no_event_and_refuses_no_join(tmp_path: Path) -> None:
    said, found = rolled(tmp_path, "TERM", "--mix", "wanderer=4 reconnector=1")
    assert said.count("replaced the shard") == 3, said
    assert found.outcome == "held", said
    assert (found.seated, found.expected) == (found.expected, found.expected), said
    assert found.expected >= PLAYERS * 0.8
    assert found.times["blackout"].count >= 1, "a session has moved"
    for row in ("resume", "seat", "join", "events", "world", "gave up"):
        assert row not in found.failures, said


@pytest.mark.timeout(400)
def test_shards_that_are_killed_lose_no_session_of_a_durable_room(tmp_path: Path) -> None:
    """Named rooms are saved. Players wait for one lease, and then resume their sessions.

    A room may be recovered on the shard that is killed next, so the longest wait is three leases.
    """
    said, found = rolled(tmp_path, "KILL", "--room-players", "20", "-t", "60s")
    assert said.count("replaced the shard") == 3, said
    assert (found.seated, found.expected) == (PLAYERS, PLAYERS), said
    assert found.times["resume"].count >= PLAYERS * 0.8, "the players of killed shards"
    assert found.times["join"].count == PLAYERS, "each player has joined once"
    for row in ("resume", "seat", "join", "events", "world", "gave up", "reply"):
        assert row not in found.failures, said
