"""One child process of the development server, with its output in a file."""

from __future__ import annotations

import subprocess
from pathlib import Path

STOP_S_MAX = 15.0
LOG_BYTES_MAX = 10 * 1024 * 1024
_PORT_TAKEN = ("address already in use", "addressnotavailable", "failed listening on port")


class EmbeddedError(Exception):
    """A store cannot be started, or has ended; the message is a sentence for the user."""


class PortTaken(EmbeddedError):
    """Another process has bound the port after it was chosen."""


class Child:
    """One running child process.

    Args:
        name: the name of the program.
        process: the process.
        command: the command line that it was started with.
        log: the file that receives its output.
        log_offset: the size of that file before the start, bytes.
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
        """The output of this run; only its end if it is longer than LOG_BYTES_MAX."""
        with self.log.open("rb") as file:
            file.seek(max(self._log_offset, self.log.stat().st_size - LOG_BYTES_MAX))
            return file.read().decode(errors="replace")

    def check(self) -> None:
        """Check that the process is running.

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


def end_error(child: Child) -> EmbeddedError:
    """Return an error with the reason why a child ended during its start."""
    text = child.output
    if "libcurl.so.4" in text:
        return EmbeddedError(
            f"{child.name} needs the system library libcurl4: install it (on Debian: apt-get install libcurl4)"
        )
    if "DBPathInUse" in text:
        return EmbeddedError(f"{child.name} ended: another process uses {child.log.parent}; see {child.log}")
    if "No space left on device" in text:
        return EmbeddedError(f"{child.name} ended: no space left on the disk of {child.log.parent}; see {child.log}")
    if any(words in text.lower() for words in _PORT_TAKEN):
        return PortTaken(f"{child.name} ended: its port is in use; see {child.log}")
    return EmbeddedError(f"{child.name} ended during its start; see {child.log}")
