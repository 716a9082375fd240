"""Runs the measured processes on one core each, and reads their cost from the operating system."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tickwire.server.dev.local_stores import die_with_parent

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
START_S_MAX = 30.0
CORES = sorted(os.sched_getaffinity(0))


def start(arguments: list[str], *, core: int, environ: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a Python process pinned to a core. On a machine with one core it shares that core."""
    pinned = CORES[core % len(CORES)]
    return subprocess.Popen(
        ["taskset", "-c", str(pinned), sys.executable, *arguments],
        env={**os.environ, **(environ or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent,  # noqa: PLW1509
    )


def pin_this(core: int) -> None:
    """Pin this process and its future children to one core."""
    os.sched_setaffinity(0, {CORES[core % len(CORES)]})


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a process that `start` returned."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process, in nanosecond resolution if the kernel provides it."""
    try:
        return sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
    except (OSError, IndexError):
        pass
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def wait_seconds(pid: int) -> float:
    """Return how long the main thread of a process was ready to run and waited for its core; 0 if it is not known."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def wait_http(url: str) -> None:
    """Wait until a URL answers with 200.

    Raises:
        TimeoutError: no such answer within START_S_MAX.
    """
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(url)


def scrape(port: int) -> dict[str, float]:
    """Return the metrics of an operations port."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}
