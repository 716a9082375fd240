"""`tickwire dev --reload`: restarts the rooms with the new code of the game after each change, keeping the sessions.

files unchanged --a file changes--> files change --no change for an interval--> imported --> rooms restarted
└--error--> the old code continues
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from tickwire.schemas.terminal_text import escape_controls
from tickwire.server.dev.code_watch import GameCode
from tickwire.server.errors import ConfigError
from tickwire.server.shard import Shard

log = structlog.get_logger(__name__)

POLL_INTERVAL_S = 0.4
SHOWN_MAX = 3


async def watch(code: GameCode, reload: Callable[[], Awaitable[str]]) -> None:
    """Call `reload` after each change of the game's files, until cancelled.

    Args:
        code: the files.
        reload: reloads the game, and returns a sentence about the result; raises ConfigError if the code is invalid.
    """
    changed: set[Path] = set()
    while True:
        await asyncio.sleep(POLL_INTERVAL_S)
        now = await asyncio.to_thread(code.find_changes)
        changed.update(now)
        if now or not changed:
            continue  # an editor may still be writing
        names = ", ".join(path.name for path in sorted(changed)[:SHOWN_MAX])
        more = f" and {len(changed) - SHOWN_MAX} more" if len(changed) > SHOWN_MAX else ""
        changed.clear()
        print(f"\n{escape_controls(names)}{more} changed: reloading ...", flush=True)
        try:
            result = await reload()
        except ConfigError as error:
            result = f"the old code continues: {error}"
        except Exception as error:  # whatever a module does at its import; the server must continue
            log.exception("game_reload_failed")
            result = f"the reload failed: {error!r}"
        print(f"{escape_controls(result, is_block=True)}\n", flush=True)


async def reload_shard(shard: Shard, code: GameCode) -> str:
    """Import the game again and restart the rooms of a shard with it; return a sentence about the result.

    Raises:
        ConfigError: the code is invalid; nothing was changed.
    """
    started_s = time.monotonic()
    room_types = code.import_rooms()
    shard.parts.lease_keeper.set_room_types(tuple(room_types))
    restarted, closed = shard.parts.host.reload(room_types)
    duration_s = time.monotonic() - started_s
    return f"reloaded in {duration_s:.2f} s; rooms restarted: {restarted}, rooms closed: {closed}"
