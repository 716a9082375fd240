"""An arena and a room that plays recordings of it; the recordings are in the folder of WATCHED_MATCHES."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tickwire import replay_room
from tickwire.examples.arena import Arena


async def load_match(name: str) -> bytes:
    """Load a recording."""
    if not name.isalnum():
        raise LookupError(name)
    path = Path(os.environ["WATCHED_MATCHES"], f"{name}.tickrec")
    try:
        return await asyncio.to_thread(path.read_bytes)
    except FileNotFoundError as error:
        raise LookupError(name) from error


ROOMS = [Arena, replay_room(Arena, load_match)]
