"""`tickwire replay FILE --serve`: serves the page of one recording until Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from tickwire.server.recording.reader import Recording
from tickwire.server.rooms.room import Room
from tickwire.server.viewer.player import RecordingPlayer
from tickwire.server.viewer.server import HOST, ViewerServer


def run_viewer(path: Path, room_class: type[Room], port: int, report: Callable[[str], object]) -> None:
    """Serve a recording until the process receives SIGINT.

    Args:
        path: the file.
        room_class: the class of its room.
        port: the port on the loopback interface; 0 chooses a free one.
        report: receives the URL of the page.

    Raises:
        ConfigError: the port is in use, or this installation has no built page.
        TickwireError: the file is damaged, or its room cannot be restored.
    """
    player = RecordingPlayer(Recording.open(path), room_class, path.name)
    asyncio.run(_serve(player, port, report))


async def _serve(player: RecordingPlayer, port: int, report: Callable[[str], object]) -> None:
    server = ViewerServer(player)
    await server.start(port)
    player.start()
    report(f"http://{HOST}:{server.port}/")
    try:
        await asyncio.Event().wait()
    finally:
        await server.stop()
        await player.stop()
