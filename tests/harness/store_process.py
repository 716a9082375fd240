"""A store as a child process that a test can pause, continue and kill, and a disk that a test can fill."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tickwire.server.dev.local_stores import die_with_parent


class StoreProcess:
    """One process of a store. It keeps its data when it is killed, and started again.

    Args:
        folder: the folder of its data and log.

    Attributes:
        process: None before the first start.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, command: Sequence[str]) -> None:
        """Start the process, which ends with the test process."""
        with (self.folder / "log").open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509
            )

    @property
    def is_alive(self) -> bool:
        """Whether it runs or is paused."""
        return self.process is not None and self.process.poll() is None

    def pause(self) -> None:
        """Stop its execution; its sockets stay open."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def wake(self) -> None:
        """Continue after a pause. Idempotent."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill it and wait for its end. Idempotent."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Mount a file system of this size at a folder.

    Raises:
        OSError: this user cannot mount a file system.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        raise OSError("cannot mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_disk(path: Path) -> None:
    """Write a file until the disk is full."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
