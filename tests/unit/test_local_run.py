"""A rolling local run: the swarm's command asks the process to replace the shards, the last one first."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import typer

from tests.harness.polling import eventually
from tickwire.loadtest import local_run
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


class RecordingShard:
    """Records that it is replaced.

    Args:
        port: its port.
        replaced: the list of the ports of replaced shards.
    """

    def __init__(self, port: int, replaced: list[int]) -> None:
        self.port = port
        self.url = f"ws://127.0.0.1:{port}"
        self._replaced = replaced

    def replace(self, how: signal.Signals) -> None:
        assert how is signal.SIGTERM
        self._replaced.append(self.port)


def test_rolling_run_replaces_the_last_shard_first_under_players_with_tokens_on_all_shards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replaced: list[int] = []
    given: list[str] = []

    def start_swarm(url: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        given.extend(["--entry", url, *arguments])
        command = arguments[arguments.index("--during") + 1]
        return subprocess.Popen(shlex.split(command), preexec_fn=die_with_parent)  # noqa: PLW1509

    shards = [RecordingShard(port, replaced) for port in (1, 2, 3)]
    monkeypatch.setattr(local_run, "fleet", lambda *_, **__: nullcontext(shards))
    monkeypatch.setattr(local_run, "start_swarm", start_swarm)
    with pytest.raises(typer.Exit) as ended:
        local_run.main(["--shape", "rolling"], shards=3, how="TERM", turns=3)
    assert ended.value.exit_code == 0
    assert replaced == [3, 2, 1] * 3
    assert "--token-secret-file" in given
    entries = [given[index + 1] for index, option in enumerate(given) if option == "--entry"]
    assert entries == [shard.url for shard in shards]
