"""The command with which a swarm asks the process of a local run to replace the shards."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.polling import eventually
from tickwire.loadtest.local_run import request_and_wait
from tickwire.server.dev.local_stores import die_with_parent

PARENT = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:], check=False).returncode)"


@contextmanager
def command_in_a_parent(asked: Path, done: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command as the child of a Python process, as a swarm does; its output ends with the last of them."""
    arguments = shlex.split(request_and_wait(asked, done))
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, *arguments],
        stdout=subprocess.PIPE,
        preexec_fn=die_with_parent,  # noqa: PLW1509
    ) as parent:
        try:
            yield parent
        finally:
            parent.kill()
            done.touch()


async def test_command_waits_until_the_shards_are_replaced(tmp_path: Path) -> None:
    asked, done = tmp_path / "asked", tmp_path / "done"
    with command_in_a_parent(asked, done) as parent:
        await eventually(asked.exists)
        assert parent.poll() is None
        done.touch()
        assert parent.wait(20) == 0


async def test_command_ends_with_a_killed_swarm(tmp_path: Path) -> None:
    asked, done = tmp_path / "asked", tmp_path / "done"
    with command_in_a_parent(asked, done) as parent:
        await eventually(asked.exists)
        parent.kill()
        parent.wait()
        parent.communicate(timeout=20)  # returns once the command has closed the pipe, too
