"""The C# player of the test with all clients (tests/browser/test_all_clients.py)."""

from __future__ import annotations

from pathlib import Path

from tests.csharp.conftest import COMPILER, ROOT, RUNTIME, build
from tests.harness.players import ClientUnavailable


def player_command(folder: Path) -> list[str]:
    """Build the player, and return its command line without its arguments.

    Raises:
        ClientUnavailable: mono is not installed.
    """
    if COMPILER is None or RUNTIME is None:
        raise ClientUnavailable("mono is not installed: apt-get install mono-mcs mono-runtime libmono-cil-dev")
    return [RUNTIME, str(build(folder)), str(ROOT), "play"]
