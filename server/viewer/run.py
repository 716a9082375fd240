"""Runs the server of the replay page until Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from tickwire.server.viewer.player import RecordingPlayer
from tickwire.server.viewer.server import HOST, ViewerServer


def run_viewer(player: RecordingPlayer, port: int, report: Callable[[str], object]) -> None:
    """Serve the page of a recording until the process receives SIGINT.

    Args:
        player: plays the recording.
        port: the port on the loopback interface; 0 chooses a free one.
        report: receives the URL of the page.

    Raises:
        ConfigError: the port is in use, or this installation has no built page.
    """
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(player, port, report))


async def _serve(player: RecordingPlayer, port: int, report: Callable[[str], object]) -> None:
    server = ViewerServer(player)
    await server.start(port)
    player.start()
    try:
        report(f"http://{HOST}:{server.port}/")
        await asyncio.Event().wait()
    finally:
        await server.stop()
        await player.stop()
