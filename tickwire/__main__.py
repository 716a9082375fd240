"""`python -m tickwire` and the console script `tickwire`.

A SIGTERM that comes while the rest is imported ends the process. As process 1 of a container it would be ignored
without a handler, and the container would be killed after its grace.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

EXIT_SIGTERM = 128 + signal.SIGTERM


def main() -> None:
    """Run the command `tickwire`."""
    # Not by an exception: extension modules that are interrupted while they are imported have been seen to crash.
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(EXIT_SIGTERM))
    from tickwire.server.cli.app import app

    try:
        app()
    finally:
        _flush()


def _flush() -> None:
    """Flush what was printed; Python would turn an error into the exit code 120."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except OSError:  # no space, or nothing reads it any more
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - open until the process ends


if __name__ == "__main__":
    main()
