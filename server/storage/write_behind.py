"""Worlds on their way to MongoDB: coalesced by room, at most one of each waiting, written behind the ticks.

put      never waits; a newer state of a room replaces the one that waits for it
full     cannot be: there is one entry a room, and the last write is never dropped
trouble  MongoDB does not answer: what waits stays, and is tried again after a growing pause
bad      the state is nothing that MongoDB can hold: dropped, logged, counted; the other rooms go on
fenced   a newer owner has the room: its entry is dropped and `on_fenced` is told
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from server.errors import NotSavable, StaleEpoch, Unavailable
from server.storage.worlds import SavedWorld, Worlds

log = structlog.get_logger(__name__)

PAUSE_S_MAX = 5.0


class WriteBehind:
    """The queue before `Worlds`. One task runs `run`; whoever starts it cancels and awaits it.

    Args:
        worlds: where to.
        on_fenced: told (room type, name) when a room turned out to be another shard's.
        interval_s: between two rounds of writing.
        now_s: a monotonic clock, seconds.

    Attributes:
        saves, failures: counted since the start.
    """

    def __init__(
        self,
        worlds: Worlds,
        *,
        on_fenced: Callable[[str, str], None],
        now_s: Callable[[], float],
        interval_s: float = 0.25,
    ) -> None:
        self.saves = 0
        self.failures = 0
        self._worlds = worlds
        self._on_fenced = on_fenced
        self._now_s = now_s
        self._interval_s = interval_s
        self._waiting: dict[str, tuple[SavedWorld, int]] = {}
        self._since: dict[str, float] = {}
        self._writing = asyncio.Lock()
        self._progress = asyncio.Event()

    def put(self, world: SavedWorld, epoch: int) -> None:
        """Takes a world to be written soon; replaces one that waits under the same name."""
        self._waiting[world.key] = (world, epoch)
        self._since.setdefault(world.key, self._now_s())

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def lag_s(self) -> float:
        """How long the oldest unwritten change has been waiting; 0 when nothing waits."""
        return max((self._now_s() - since for since in self._since.values()), default=0.0)

    async def wait_written(self, key: str) -> None:
        """Returns once nothing waits under this key: it was written, or refused for good."""
        while key in self._waiting:
            await self._progress.wait()

    async def run(self) -> None:
        """Writes what waits, until cancelled."""
        pause = self._interval_s
        while True:
            await asyncio.sleep(pause)
            is_written = await self._write_all()
            pause = self._interval_s if is_written else min(PAUSE_S_MAX, pause * 2)

    async def flush(self, deadline_s: float) -> bool:
        """Writes all that waits now.

        Returns:
            Whether all was written within the deadline; what was not is still waiting.
        """
        try:
            async with asyncio.timeout(deadline_s):
                while not await self._write_all():
                    await asyncio.sleep(self._interval_s)
        except TimeoutError:
            log.error("flush_incomplete", worlds=sorted(self._waiting), deadline_s=deadline_s)
        return not self._waiting

    async def _write_all(self) -> bool:
        async with self._writing:
            for key in list(self._waiting):
                world, epoch = self._waiting[key]
                started = self._since[key]
                try:
                    await self._worlds.save(world, epoch)
                except StaleEpoch:
                    self._drop(key)
                    self._on_fenced(world.room_type, world.name)
                    continue
                except NotSavable as error:
                    self.failures += 1
                    log.error("world_not_savable", world=key, error=str(error))
                    self._drop(key)  # the other rooms are written; this one's next state may be better
                    continue
                except Unavailable as error:
                    self.failures += 1
                    log.warning("world_not_saved", world=key, error=str(error), lag_s=round(self.lag_s, 1))
                    return False
                self.saves += 1
                if self._waiting.get(key, (None,))[0] is world:
                    self._drop(key)
                else:  # a newer state came while this one was written
                    self._since[key] = max(started, self._since[key])
        return True

    def _drop(self, key: str) -> None:
        self._waiting.pop(key, None)
        self._progress.set()  # wakes whoever waits now; the next ones wait for the next
        self._progress = asyncio.Event()
        self._since.pop(key, None)
