"""`python -m server` and the console script `tickwire`.

A SIGTERM that comes while the rest is imported ends the process. As process 1 of a container it would be ignored
without a handler, and the container would be killed after its grace.
"""

from __future__ import annotations

import signal
import sys

EXIT_SIGTERM = 128 + signal.SIGTERM


def main() -> None:
    """Run the command `tickwire`."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(EXIT_SIGTERM))
    from server.cli import app

    app()


if __name__ == "__main__":
    main()
