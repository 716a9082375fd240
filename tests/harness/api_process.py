"""Processes of the role `api` for tests, on real stores."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.harness.shard_process import readiness
from tickwire.server.config import Settings
from tickwire.server.dev.local_stores import die_with_parent, free_port


class ApiProcess:
    """`tickwire api` in a process of its own, which ends with the test process.

    Args:
        settings: the stores are those of these settings; the ports are chosen here.
        folder: the folder of its log.
        environ: further settings.
    """

    def __init__(self, settings: Settings, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self.port, self.operations_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"api-{self.port}.log"
        variables = {
            "API__PORT": str(self.port),
            "API__OPERATIONS_PORT": str(self.operations_port),
            "API__PLAINTEXT": "true",
            "API__ADDRESS_LIMIT": "",  # all clients of a test have one address
            "API__OPERATION_LIMITS__LOGIN_DEVICE": "",
            "API__OPERATION_LIMITS__LOGIN_EMAIL": "",
            "REDIS__URL": settings.redis.url,
            "REDIS__NAMESPACE": settings.redis.namespace,
            "MONGO__URL": settings.mongo.url,
            "MONGO__DATABASE": settings.mongo.database,
            "MONGO__MIGRATE": "true",
            "LOGGING__FORMAT": "json",
        }
        prefixed = {f"TICKWIRE__{name}": value for name, value in variables.items()}
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tickwire", "api"],
                stdout=output,
                stderr=output,
                cwd=Path(__file__).parents[2],
                env={**os.environ, "PYTHONUNBUFFERED": "1", **prefixed, **(environ or {})},
                preexec_fn=die_with_parent,  # noqa: PLW1509
            )

    async def ready(self) -> None:
        """Wait until /readyz reports that the process is ready."""
        deadline = asyncio.get_running_loop().time() + 60
        while not await asyncio.to_thread(self._is_ready):
            assert self.process.poll() is None, self.log.read_text()
            assert asyncio.get_running_loop().time() < deadline, self.log.read_text()
            await asyncio.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            return readiness(self.operations_port)[0] == 200
        except OSError:
            return False

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process (SIGKILL)."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Stop the process (SIGTERM), and return its exit code."""
        if self.process.poll() is None:
            self.terminate()
        try:
            return self.process.wait(40)
        finally:
            self.process.kill()
