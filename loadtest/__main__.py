"""`python -m tickwire.loadtest`: locust with this package's locustfile."""

from __future__ import annotations

import sys
from pathlib import Path

from locust.main import main

if __name__ == "__main__":
    if not {"-f", "--locustfile"} & set(sys.argv):
        sys.argv[1:1] = ["-f", str(Path(__file__).with_name("locustfile.py"))]
    main()
