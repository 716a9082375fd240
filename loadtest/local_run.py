"""Runs a local fleet (Redis, MongoDB and shards) and a swarm against it: `python -m tickwire.loadtest.local_run`.

Arguments after `--` are the swarm's: `python -m tickwire.loadtest.local_run --shards 3 -- -u 300 --shape storm`.
With `--shape rolling` and without `--during` this process replaces the shards one after the other.
"""

from __future__ import annotations

import signal
import tempfile
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from tickwire.loadtest.local_fleet import ROOMS, LocalShard, entries, fleet, player_tokens, start_swarm


def request_and_wait(asked: Path, done: Path) -> str:
    """Return a command that creates the first file and waits for the second one, or for the end of its parent."""
    return f"sh -c 'touch {asked}; until [ -e {done} ] || ! kill -0 $PPID 2>/dev/null; do sleep 0.1; done'"


def main(
    arguments: Annotated[list[str] | None, typer.Argument(help="arguments of the swarm, after --")] = None,
    shards: Annotated[int, typer.Option(min=1, max=16)] = 1,
    rooms: Annotated[str, typer.Option(help="modules that offer ROOMS")] = ROOMS,
    how: Annotated[
        Literal["TERM", "KILL"], typer.Option(help="the signal that ends a shard in --shape rolling")
    ] = "TERM",
    turns: Annotated[int, typer.Option(min=1, max=100, help="how often --shape rolling replaces every shard")] = 1,
) -> None:
    """Start a fleet, run a swarm against it, and exit with the swarm's exit code."""
    given = list(arguments or [])
    with fleet(shards, rooms=rooms) as running, tempfile.TemporaryDirectory() as folder, player_tokens() as tokens:
        asked, done = Path(folder) / "asked", Path(folder) / "done"
        if "rolling" in given and "--during" not in given:
            # This process replaces the shards for the swarm: a child process ends with the thread that started it.
            given += ["--during", request_and_wait(asked, done)]
        process = start_swarm(running[0].url, [*given, *tokens, *entries(running[1:])])
        try:
            while process.poll() is None:
                if asked.exists() and not done.exists():
                    for _ in range(turns):
                        _replace(running, how)
                    done.touch()
                time.sleep(0.1)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
    raise typer.Exit(process.returncode)


def _replace(running: list[LocalShard], how: str) -> None:
    """Replace all shards one after the other, the last one first, as a StatefulSet does."""
    for shard in reversed(running):
        started_s = time.monotonic()
        shard.replace(signal.Signals[f"SIG{how}"])
        typer.echo(f"replaced the shard on port {shard.port} in {time.monotonic() - started_s:.1f} s")


if __name__ == "__main__":
    typer.run(main)
