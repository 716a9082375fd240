"""Shards for tests: in this process, or in processes of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from tests.harness.polling import eventually
from tickwire.server.config import Capacity, Listen, MongoSettings, Operations, RedisSettings, Settings, Tickets
from tickwire.server.dev.local_stores import die_with_parent, free_port
from tickwire.server.shard import Shard

KEY = "a key that only tests know, long enough"
OPERATIONS_TOKEN = "what the admin API of tests wants to be shown"
LEASE_S = 10.0
"""The default of the product. All shards in a test process share one event loop: a pause of it that is as long as the
lease removes them from the directory, and until their next heartbeat they refuse joins."""
SHORT_LEASE_S = 5.0
"""For tests that wait until the lease of a shard expires. A loaded machine may pause a healthy shard for seconds."""


def settings_of(redis_url: str, namespace: str, mongo_url: str, database: str, **changes: Any) -> Settings:
    """Return settings for a shard with the sample rooms, free ports, and no limit on load.

    The load is measured in wall-clock time: on a busy machine a limit would refuse rooms that a test asks for.
    """
    settings = Settings(
        rooms=["tests.harness.sample_rooms"],
        capacity=Capacity(load_max=100.0),
        shutdown_timeout_s=6.0,
        listen=Listen(port=0, plaintext=True),
        operations=Operations(port=0, token=OPERATIONS_TOKEN),
        redis=RedisSettings(redis_url, namespace, deadline_s=2.0, lease_s=LEASE_S),
        mongo=MongoSettings(mongo_url, database, deadline_s=3.0, migrate=True),
        tickets=Tickets({"test": KEY}, "test"),
    )
    return msgspec.structs.replace(settings, **changes)


def with_short_lease(settings: Settings) -> Settings:
    """Return the settings with leases that expire soon after a shard is lost."""
    return msgspec.structs.replace(settings, redis=msgspec.structs.replace(settings.redis, lease_s=SHORT_LEASE_S))


@asynccontextmanager
async def running(settings: Settings, shard_id: str = "") -> AsyncIterator[Shard]:
    """Run a shard in this process, and wait until it is ready."""
    shard = Shard(settings, shard_id=shard_id)
    await shard.start()
    try:
        await eventually(lambda: shard.parts.health.is_ready, 20, "shard is ready")
        yield shard
    finally:
        await shard.stop()


class ShardProcess:
    """A shard in a process of its own, which ends with the test process.

    Args:
        settings: the settings as for `running`; the operations port is chosen here.
        folder: the folder of its configuration and log.
        port: the port for players; 0: a free one.
        environ: further settings.
    """

    def __init__(
        self, settings: Settings, folder: Path, port: int = 0, environ: Mapping[str, str] | None = None
    ) -> None:
        self.port, self.operations_port = port or free_port(), free_port()
        self.url = f"ws://127.0.0.1:{self.port}"
        config = folder / f"{self.port}.toml"
        config.write_text(
            f"rooms = {msgspec.json.encode(settings.rooms).decode()}\n"
            f"[listen]\nport = {self.port}\nplaintext = true\n[operations]\nport = {self.operations_port}\n"
            f'token = "{OPERATIONS_TOKEN}"\n'
            f'[redis]\nurl = "{settings.redis.url}"\nnamespace = "{settings.redis.namespace}"\n'
            f"lease_s = {settings.redis.lease_s}\n[capacity]\nload_max = {settings.capacity.load_max}\n"
            f'[mongo]\nurl = "{settings.mongo.url}"\ndatabase = "{settings.mongo.database}"\nmigrate = true\n'
            f'[tickets]\ncurrent = "test"\n[tickets.keys]\ntest = "{KEY}"\n'
        )
        self.log = folder / f"{self.port}.log"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tickwire", "serve", "--config", str(config)],
                stdout=output,
                stderr=output,
                cwd=Path(__file__).parents[2],
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})},
                preexec_fn=die_with_parent,  # noqa: PLW1509
            )

    async def ready(self) -> None:
        """Wait until /readyz reports that the shard is ready."""
        deadline = asyncio.get_running_loop().time() + 60
        while not await asyncio.to_thread(self._is_ready):
            assert self.process.poll() is None, self.log.read_text()
            assert asyncio.get_running_loop().time() < deadline, self.log.read_text()
            await asyncio.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.operations_port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        """Kill the process (SIGKILL), without saves and closes."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Stop the process (SIGTERM), and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(40)
        finally:
            self.process.kill()


async def admin(port: int, method: str, path: str, body: Any = None, *, token: str = OPERATIONS_TOKEN) -> Any:
    """Return the response of the admin API; for an error a tuple of status and message."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20), headers=headers) as session,
        session.request(method, f"http://127.0.0.1:{port}/v1{path}", json=body) as answer,
    ):
        found = await answer.json()
        return found if answer.status == 200 else (answer.status, found["detail"])


def scrape(port: int) -> dict[str, float]:
    """Return the metrics of an operations port, by name with labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def readiness(port: int) -> tuple[int, dict[str, Any]]:
    """Return status and body of /readyz."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=20) as answer:
            return answer.status, msgspec.json.decode(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, msgspec.json.decode(error.read())
