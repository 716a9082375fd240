"""The stress run in short: two shards under a verifying swarm with tokens, while shards stall and stores restart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.harness.swarm_process import LATE_MS
from tickwire.loadtest.faults import FaultKind
from tickwire.loadtest.slo import CORRECT
from tickwire.loadtest.summary import Summary
from tickwire.server.dev.local_stores import die_with_parent

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(400)
def test_no_session_or_transaction_is_lost_while_shards_stall_and_stores_restart(tmp_path: Path) -> None:
    file = tmp_path / "summary.json"
    ended = subprocess.run(
        [sys.executable, "-m", "tickwire.loadtest.fault_run", "--seconds", "60", "--seed", "3", "--",
         "--users", "40", "--load-lateness", LATE_MS, "--summary", str(file)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT, text=True,
        timeout=360, check=False, preexec_fn=die_with_parent,
        env=os.environ | {"TICKWIRE__CAPACITY__LOAD_MAX": "100"},  # measured in wall-clock time
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout
    for kind in (FaultKind.STALL, FaultKind.RESTART_REDIS, FaultKind.RESTART_MONGO):
        assert f" s: {kind}" in ended.stdout, "each kind of fault occurred"
    found = msgspec.json.decode(file.read_bytes(), type=Summary)
    assert found.outcome == "held", ended.stdout
    assert found.seated == found.expected > 30, ended.stdout
    assert found.times["resume"].count > 0
    assert found.times["reply"].count > 0
    for row in (*CORRECT, "resume", "seat", "gave up"):
        assert row not in found.failures, ended.stdout
