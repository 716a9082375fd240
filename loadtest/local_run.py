"""Runs a local fleet (Redis, MongoDB and shards) and a swarm against it: `python -m tickwire.loadtest.local_run`.

Arguments after `--` are the swarm's: `python -m tickwire.loadtest.local_run --shards 3 -- -u 300 --shape storm`.
With `--shape rolling` and without `--during` this process replaces the shards one after the other. With `--faults` it
stops and continues shards and restarts the stores while the swarm plays; the run fails if any session, seat or result
is lost or wrong.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from tickwire.loadtest.faults import Fault, FaultKind, schedule_faults
from tickwire.server.dev import local_stores

START_S_MAX = 30.0
STOP_S_MAX = 30.0
TOKEN_SECRET = secrets.token_urlsafe(32)
"""Signs the tokens of the swarm's players; the shards also accept guests."""
LONG_RUN_S = 120.0
"""The duration from which on a run has stalls that are longer than a lease."""
FAULTS_SWARM = [
    "--users", "60", "--spawn-rate", "20", "--room-players", "20",
    "--mix", "wanderer=8 reconnector=3 spender=3 churner=1",
    "--slo", "lost_sessions=0", "--slo", "gave_up=0", "--slo", "lost_seats=0",
]  # fmt: skip
ROOMS = "tickwire.examples.arena,tickwire.examples.plaza,tickwire.examples.cards,tickwire.examples.market"


class LocalShard:
    """One shard process.

    Args:
        environ: its settings.
        folder: the folder of its log.
        cpu: the CPU that it is pinned to; None: any.
    """

    def __init__(self, environ: dict[str, str], folder: Path, *, cpu: int | None = None) -> None:
        self.port, self.operations_port = local_stores.free_port(), local_stores.free_port()
        self.log = folder / f"{self.port}.log"
        self._environ = environ | {
            "TICKWIRE__LISTEN__PORT": str(self.port),
            "TICKWIRE__OPERATIONS__PORT": str(self.operations_port),
        }
        self._cpu = cpu
        self.process = self._start()

    @property
    def url(self) -> str:
        """The address that players connect to."""
        return f"ws://127.0.0.1:{self.port}"

    def _start(self) -> subprocess.Popen[bytes]:
        pinned = ["taskset", "-c", str(self._cpu)] if self._cpu is not None else []
        with self.log.open("ab") as output:
            return subprocess.Popen(
                [*pinned, sys.executable, "-m", "tickwire", "serve"],
                env=os.environ | self._environ,
                stdout=output,
                stderr=output,
                preexec_fn=local_stores.die_with_parent,  # noqa: PLW1509
            )

    def wait_ready(self) -> None:
        """Wait until the shard is ready.

        Raises:
            RuntimeError: it is not ready within START_S_MAX; the message contains its log.
        """
        deadline_s = time.monotonic() + START_S_MAX
        while time.monotonic() < deadline_s and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.operations_port}/readyz", timeout=1):
                    return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"the shard did not start:\n{self.log.read_text()[-2000:]}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop the process. Idempotent."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def another(self) -> LocalShard:
        """Start another shard of the same fleet."""
        return LocalShard(self._environ, self.log.parent, cpu=self._cpu)

    def replace(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop the process and start another in its place, as a deployment does."""
        self.stop(how)
        self.process = self._start()
        self.wait_ready()


@contextmanager
def fleet(
    count: int, *, rooms: str = ROOMS, environ: dict[str, str] | None = None, cpu: int | None = None
) -> Iterator[list[LocalShard]]:
    """Run shards with their own stores, and stop all of them at the end of the block."""
    with fleet_and_stores(count, rooms=rooms, environ=environ, cpu=cpu) as (shards, _):
        yield shards


@contextmanager
def fleet_and_stores(
    count: int, *, rooms: str = ROOMS, environ: dict[str, str] | None = None, cpu: int | None = None
) -> Iterator[tuple[list[LocalShard], local_stores.LocalStores]]:
    """Run a fleet as `fleet` does, and also return its stores."""
    with tempfile.TemporaryDirectory() as name, local_stores.running(Path(name) / "data") as stores:
        settings = {
            "TICKWIRE__ROOMS": rooms,
            "TICKWIRE__LISTEN__PLAINTEXT": "true",
            "TICKWIRE__REDIS__URL": stores.redis_url,
            "TICKWIRE__MONGO__URL": stores.mongo_url,
            "TICKWIRE__MONGO__MIGRATE": "true",
            "TICKWIRE__TICKETS__KEYS__TRIAL": secrets.token_urlsafe(32),
            "TICKWIRE__TICKETS__CURRENT": "trial",
            "TICKWIRE__LOGGING__LEVEL": "warning",
            "TICKWIRE__EDGE__CONNECTIONS_PER_ADDRESS_MAX": "10000",
            "TICKWIRE__EDGE__HANDSHAKES_PER_SECOND_MAX": "1000",  # one address may use half of them
            "TICKWIRE__EDGE__MESSAGES_PER_SECOND_PER_ADDRESS_MAX": "10000000",
            "TICKWIRE__EDGE__ROOMS_PER_MINUTE_PER_ADDRESS_MAX": "1000000",
            "TICKWIRE__EDGE__DUPLICATE_SESSIONS": "replace",  # a player's second session would end the first
            "TICKWIRE__AUTH__SECRET": TOKEN_SECRET,
        }
        shards: list[LocalShard] = []
        try:
            for _ in range(count):
                shards.append(LocalShard(settings | (environ or {}), Path(name), cpu=cpu))
                shards[-1].wait_ready()
            yield shards, stores
        finally:
            for shard in shards:
                shard.process.send_signal(signal.SIGCONT)
                shard.stop()


@contextmanager
def player_tokens() -> Iterator[list[str]]:
    """Return the arguments for a token per player. The key file is deleted after the block."""
    with tempfile.NamedTemporaryFile("w", suffix=".secret") as file:
        file.write(TOKEN_SECRET)
        file.flush()
        yield ["--token-secret-file", file.name]


def entries(shards: Sequence[LocalShard]) -> list[str]:
    """Return the arguments that connect a swarm's players to these shards in turn, as a load balancer does."""
    return [argument for shard in shards for argument in ("--entry", shard.url)]


def swarm(url: str, arguments: Sequence[str], *, cpu: int | None = None) -> subprocess.Popen[bytes]:
    """Start a headless swarm in a process of its own."""
    pinned = ["taskset", "-c", str(cpu)] if cpu is not None else []
    return subprocess.Popen(
        [
            *pinned,
            sys.executable,
            "-m",
            "tickwire.loadtest",
            "--headless",
            "--only-summary",
            "--host",
            url,
            *arguments,
        ],
        preexec_fn=local_stores.die_with_parent,  # noqa: PLW1509
    )


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
    faults: Annotated[
        bool, typer.Option("--faults", help="stop shards and restart the stores during the run")
    ] = False,
    seconds: Annotated[int, typer.Option(min=40, help="--faults: the duration of the run")] = 300,
    seed: Annotated[int, typer.Option(help="--faults: the seed of the schedule")] = 1,
) -> None:
    """Start a fleet, run a swarm against it, and exit with the swarm's exit code."""
    given = list(arguments or [])
    if faults:
        schedule = schedule_faults(
            seconds,
            max(2, shards),
            random.Random(seed),  # noqa: S311 - reproducible for the same seed
            has_long_stalls=seconds >= LONG_RUN_S,
        )
        raise typer.Exit(_run_with_faults([*given, "--run-time", f"{seconds}s"], max(2, shards), rooms, schedule))
    with fleet(shards, rooms=rooms) as running, tempfile.TemporaryDirectory() as folder, player_tokens() as tokens:
        asked, done = Path(folder) / "asked", Path(folder) / "done"
        if "rolling" in given and "--during" not in given:
            # This process replaces the shards for the swarm: a child process ends with the thread that started it.
            given += ["--during", request_and_wait(asked, done)]
        process = swarm(running[0].url, [*given, *tokens, *entries(running[1:])])
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


def _run_with_faults(given: list[str], count: int, rooms: str, faults: list[Fault]) -> int:
    """Run a swarm under faults; return its exit code."""
    with fleet_and_stores(count, rooms=rooms) as (shards, stores), player_tokens() as tokens:
        # The caller's arguments come later and override these defaults.
        process = swarm(shards[0].url, [*FAULTS_SWARM, *given, *tokens, *entries(shards[1:])])
        started_s = time.monotonic()
        try:
            for fault in faults:
                _wait_while_running(process, started_s + fault.at_s)
                if process.poll() is None:
                    _inject(fault, shards, stores)
            process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
    return process.returncode


def _wait_while_running(process: subprocess.Popen[bytes], until_s: float) -> None:
    while process.poll() is None and time.monotonic() < until_s:
        time.sleep(0.05)


def _inject(fault: Fault, shards: list[LocalShard], stores: local_stores.LocalStores) -> None:
    """Cause one fault, and return after its end."""
    started_s = time.monotonic()
    match fault.kind:
        case FaultKind.STALL | FaultKind.LONG_STALL:
            shard = shards[fault.shard].process
            shard.send_signal(signal.SIGSTOP)
            time.sleep(fault.seconds)
            shard.send_signal(signal.SIGCONT)
        case FaultKind.RESTART_REDIS:
            stores.restart("redis-server", is_sudden=fault.is_sudden)
        case FaultKind.RESTART_MONGO:
            stores.restart("mongod", is_sudden=fault.is_sudden)
    where = f" of shard {fault.shard}" if fault.seconds else " by SIGKILL" if fault.is_sudden else ""
    typer.echo(f"{fault.at_s:6.1f} s: {fault.kind}{where}, {time.monotonic() - started_s:.1f} s")


def _replace(running: list[LocalShard], how: str) -> None:
    """Replace all shards one after the other, the last one first, as a StatefulSet does."""
    for shard in reversed(running):
        started_s = time.monotonic()
        shard.replace(signal.Signals[f"SIG{how}"])
        typer.echo(f"replaced the shard on port {shard.port} in {time.monotonic() - started_s:.1f} s")


if __name__ == "__main__":
    typer.run(main)
