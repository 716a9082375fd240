"""Locks a directory, so that no two processes write the same files."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from tickwire.server.dev.child_process import STOP_S_MAX, EmbeddedError


def lock_folder(folder: Path) -> int:
    """Lock a directory; return the descriptor that holds the lock.

    The children inherit the descriptor, so that the lock lasts until they have ended. If the owner was killed, wait
    for its children.

    Raises:
        EmbeddedError: another process uses the directory, or it cannot be written.
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
        pass  # the process of another user
    return True
