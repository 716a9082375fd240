"""The directory with the recordings of one or several shards, bounded in bytes.

    write    removes the oldest files until the new one fits, writes a temporary file, and renames it
    reports  use at most REPORT_SHARE of the bytes: players must not be able to remove the recordings of failures

Files have the mode 0600. Another process may add and remove files at the same time. Blocks: call it in a thread.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tickwire.server.recording.recording_names import is_name, trigger_of

REPORT_SHARE = 0.5
TEMPORARY_ENDING = ".part"
TEMPORARY_S_MAX = 600.0
"""A temporary file that is older belongs to a process that has ended during the write."""


class RecordingFile(NamedTuple):
    """A stored recording: its name, its size, and the time of its write (UTC, seconds since 1970)."""

    name: str
    size: int
    written_s: float


class RecordingDirectory:
    """Stores recordings in a directory.

    Args:
        path: the directory; it is created by the first write.
        bytes_max: the most bytes of all files.
    """

    def __init__(self, path: Path, bytes_max: int) -> None:
        self.path = path
        self._bytes_max = bytes_max

    def list_files(self) -> list[RecordingFile]:
        """Return the recordings, the newest first; without those that another process removes meanwhile."""
        found = []
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if is_name(entry.name) and (status := _status_of(entry)) is not None:
                        found.append(RecordingFile(entry.name, status.st_size, status.st_mtime))
        except FileNotFoundError:
            return []
        return sorted(found, key=lambda file: file.name, reverse=True)

    def read(self, name: str) -> bytes:
        """Return the contents of a recording.

        Raises:
            LookupError: no recording has this name.
            OSError: the file cannot be read.
        """
        missing = LookupError(f"recording {name[:200]!r} does not exist on this shard")
        if not is_name(name):
            raise missing
        try:
            # A link of this name would lead out of the directory.
            file = os.open(self.path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise missing from None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise missing from None
            raise
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise missing
            with open(file, "rb", closefd=False) as opened:
                return opened.read(self._bytes_max)
        finally:
            os.close(file)  # `open` would raise an error for a directory, and leave it open

    def write(self, name: str, parts: Sequence[bytes]) -> int:
        """Write a recording, and return its size in bytes.

        Raises:
            OSError: the disk is full, the directory cannot be written, or the recording is larger than all files may
                be; no part of it remains.
        """
        size = sum(map(len, parts))
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._remove_oldest(size, is_report=trigger_of(name) == "report")
        temporary = self.path / f".{name}.{os.getpid()}{TEMPORARY_ENDING}"
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.writelines(parts)
            temporary.replace(self.path / name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return size

    def _remove_oldest(self, size: int, *, is_report: bool) -> None:
        """Remove the oldest files until a new one fits; those of reports first if there are too many of them.

        Raises:
            OSError: the new file is larger than all files may be.
        """
        if size > self._bytes_max:
            raise OSError(errno.EFBIG, f"a recording of {size} bytes exceeds the bound of {self._bytes_max} bytes")
        self._remove_temporary()
        files = self.list_files()[::-1]
        if is_report:
            reports = [file for file in files if trigger_of(file.name) == "report"]
            removed = self._remove(reports, int(self._bytes_max * REPORT_SHARE) - size)
            files = [file for file in files if file not in removed]
        self._remove(files, self._bytes_max - size)

    def _remove(self, files: Iterable[RecordingFile], bytes_left: int) -> set[RecordingFile]:
        """Remove the first files until the others have at most `bytes_left` bytes; return the removed ones."""
        files, removed = list(files), set[RecordingFile]()
        used = sum(file.size for file in files)
        for file in files:
            if used <= bytes_left:
                break
            (self.path / file.name).unlink(missing_ok=True)
            removed.add(file)
            used -= file.size
        return removed

    def _remove_temporary(self) -> None:
        """Remove the temporary files of processes that have ended during a write."""
        before_s = time.time() - TEMPORARY_S_MAX
        for path in self.path.glob(f".*{TEMPORARY_ENDING}"):
            try:
                if path.stat().st_mtime < before_s:
                    path.unlink(missing_ok=True)
            except FileNotFoundError:
                continue  # another process has removed it


def _status_of(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Return the status of a regular file; None for another kind of entry, and if it was just removed."""
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None
