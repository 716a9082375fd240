"""Runs one target under atheris: `python -m tests.fuzz TARGET [libFuzzer's arguments]`; needs the extra `fuzz`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports():
    from tests.fuzz.targets import SAMPLES, TARGETS
    from tickwire.server.observability import logs


def main() -> None:
    """Runs until it is ended, the arguments say so, or something is found."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz {{{','.join(TARGETS)}}} [-max_total_time=60 ...]")
    logs.configure(format="console", level="error")
    with tempfile.TemporaryDirectory() as corpus:
        for number, sample in enumerate(SAMPLES[name]):
            Path(corpus, str(number)).write_bytes(sample)
        atheris.Setup([sys.argv[0], *sys.argv[2:], corpus], TARGETS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
