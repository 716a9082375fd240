"""Runs the server of the replay page until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress

from tickwire.server.viewer.player import RecordingPlayer
from tickwire.server.viewer.server import HOST, ViewerServer


def run_viewer(player: RecordingPlayer, port: int, report: Callable[[str], object]) -> None:
    """Serve the page of a recording until the process receives SIGINT or SIGTERM.

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
    server, has_signal = ViewerServer(player), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT is ignored in a process that a shell starts with `&`
        loop.add_signal_handler(number, has_signal.set)
    await server.start(port)
    player.start()
    try:
        report(f"http://{HOST}:{server.port}/")
        await has_signal.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # a second one ends the process at once
            loop.remove_signal_handler(number)
        await server.stop()
        await player.stop()
