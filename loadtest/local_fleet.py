"""A fleet on this machine for load tests: shard processes, Redis and MongoDB, and the process of a swarm."""

from __future__ import annotations

import os
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

from tickwire.server.dev import local_stores

START_S_MAX = 30.0
STOP_S_MAX = 30.0
TOKEN_SECRET = secrets.token_urlsafe(32)
"""Signs the tokens of the swarm's players; the shards also accept guests."""
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


def start_swarm(url: str, arguments: Sequence[str], *, cpu: int | None = None) -> subprocess.Popen[bytes]:
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
