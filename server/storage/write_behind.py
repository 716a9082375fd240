"""Worlds on their way to MongoDB: coalesced by room, at most one of each waiting, written behind the ticks.

put      never waits; a newer state of a room replaces the one that waits for it
a round  what waits is packed on a thread of its own, and written with one call: of each world, what has changed
full     cannot be: there is one entry a room, and the last write is never dropped
trouble  MongoDB does not answer: what waits stays, and is tried again after a growing pause
bad      the state is nothing that MongoDB can hold: dropped, logged, counted. A round that fails for one of its
         worlds is written in halves, until that one is alone
fenced   a newer owner has the room: its entry is dropped and `on_fenced` is told
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Protocol

import msgspec
import structlog

from tickwire.server.errors import NotSavable, Unavailable
from tickwire.server.observability.traces import span
from tickwire.server.storage.world_document import SavedWorld, Section, WorldWrite, save_of
from tickwire.server.storage.world_store import WorldStore, Written

log = structlog.get_logger(__name__)

PAUSE_S_MAX = 5.0
ROUND_WORLDS_MAX = 50
"""So many worlds are packed and written at once: a round is short, and a call well within its deadline."""


class Snapshot(Protocol):
    """A world as it was, to be packed later on another thread: nothing of it changes any more."""

    def __call__(self) -> SavedWorld: ...


class _Entry(msgspec.Struct):
    """What waits under a key."""

    snapshot: Snapshot
    epoch: int
    since_s: float
    put_s: float


class _Stored(msgspec.Struct):
    """What the store is known to hold of a world that is ours."""

    epoch: int
    holds: dict[str, Section] | None = None


class WriteBehind:
    """The queue before `WorldStore`. One task runs `run`; whoever starts it cancels and awaits it, and closes this.

    Args:
        worlds: where to.
        on_fenced: told a world's key when the room turned out to be another shard's.
        interval_s: between two rounds of writing.
        now_s: a monotonic clock, seconds.

    Attributes:
        saves, failures, bytes_written: counted since the start.
    """

    def __init__(
        self,
        worlds: WorldStore,
        *,
        on_fenced: Callable[[str], None],
        now_s: Callable[[], float],
        interval_s: float = 0.1,
    ) -> None:
        self.saves = 0
        self.failures = 0
        self.bytes_written = 0
        self._worlds = worlds
        self._on_fenced = on_fenced
        self._now_s = now_s
        self._interval_s = interval_s
        self._waiting: dict[str, _Entry] = {}
        self._stored: dict[str, _Stored] = {}
        self._numbers = count(1)
        self._writing = asyncio.Lock()
        self._progress = asyncio.Event()
        self._packer = ThreadPoolExecutor(1, "pack worlds")

    def put(self, key: str, snapshot: Snapshot, epoch: int) -> None:
        """Takes a world to be written soon; replaces one that waits under the same key."""
        entry, now_s = self._waiting.get(key), self._now_s()
        self._waiting[key] = _Entry(snapshot, epoch, entry.since_s if entry is not None else now_s, now_s)

    def forget(self, key: str) -> None:
        """The room has ended, and is written: what the store holds of it may be changed by others from now on."""
        self._stored.pop(key, None)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def lag_s(self) -> float:
        """How long the oldest unwritten change has been waiting; 0 when nothing waits."""
        return max((self._now_s() - entry.since_s for entry in self._waiting.values()), default=0.0)

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
                while not await self._write_all() or self._waiting:
                    await asyncio.sleep(self._interval_s)
        except TimeoutError:
            log.error("flush_incomplete", worlds=sorted(self._waiting), deadline_s=deadline_s)
        return not self._waiting

    def close(self) -> None:
        """Ends the thread. What still waits is lost. Idempotent."""
        self._packer.shutdown(wait=True, cancel_futures=True)

    # -- a round --------------------------------------------------------------------------------------------

    async def _write_all(self) -> bool:
        """Writes all that waited at the beginning; False when MongoDB does not answer."""
        async with self._writing:
            keys = list(self._waiting)
            for first in range(0, len(keys), ROUND_WORLDS_MAX):
                entries = {key: self._waiting[key] for key in keys[first : first + ROUND_WORLDS_MAX]}
                try:
                    failed = await self._write(entries)
                except Unavailable as error:
                    failed = dict.fromkeys(entries, error)
                if failed:
                    self._not_saved(entries, failed)
                    return False
        return True

    def _not_saved(self, entries: dict[str, _Entry], failed: dict[str, Unavailable]) -> None:
        self.failures += len(failed)
        for key in failed:  # who knows what was written: the next time it is all of it
            self._known(key, entries[key].epoch).holds = None
        why = next(iter(failed.values())).detail
        log.warning("worlds_not_saved", worlds=len(self._waiting), error=why, lag_s=round(self.lag_s, 1))

    async def _write(self, entries: dict[str, _Entry]) -> dict[str, Unavailable]:
        """Gives those that must be tried again, since MongoDB does not take them now.

        MongoDB refuses a whole call for one world that it cannot read, such as one that is nested too deep. No world
        may keep the others from being written, so the call is made again with fewer of them.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        try:
            return await self._write_together(entries)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever one world causes, the others are written; it is logged
            if len(entries) == 1:
                self._failed(entries, error)
                return {}
        keys = list(entries)
        failed: dict[str, Unavailable] = {}
        for half in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
            failed |= await self._write({key: entries[key] for key in half if self._waiting.get(key) is entries[key]})
        return failed

    def _failed(self, entries: dict[str, _Entry], error: Exception) -> None:
        ((key, entry),) = entries.items()
        if isinstance(error, NotSavable):
            self._refused(key, entry, error)
        else:
            log.exception("world_write_failed", world=key)
            self._refused(key, entry, NotSavable(f"{type(error).__name__}: {error}"))

    async def _write_together(self, entries: dict[str, _Entry]) -> dict[str, Unavailable]:
        if not entries:
            return {}
        packed = await asyncio.get_running_loop().run_in_executor(self._packer, self._pack, entries)
        saves: dict[str, WorldWrite] = {}
        for key, save in packed.items():
            if isinstance(save, WorldWrite):
                saves[key] = save
            else:
                self._refused(key, entries[key], save)
        with span("save", worlds=len(saves)):
            fates = await self._worlds.write(list(saves.values())) if saves else {}
        for key, fate in fates.items():
            if not isinstance(fate, Unavailable):
                self._settle(entries[key], saves[key], fate)
        return {key: fate for key, fate in fates.items() if isinstance(fate, Unavailable)}

    def _pack(self, entries: dict[str, _Entry]) -> dict[str, WorldWrite | NotSavable]:
        """On the packer's thread; `_writing` keeps others from what it reads."""
        now = datetime.datetime.now(datetime.UTC)
        packed: dict[str, WorldWrite | NotSavable] = {}
        for key, entry in entries.items():
            known = self._known(key, entry.epoch)
            try:
                packed[key] = save_of(entry.snapshot(), entry.epoch, next(self._numbers), known.holds, now)
            except Exception as error:  # noqa: BLE001 - a game's values; it is logged and counted as that world's
                packed[key] = NotSavable(f"MongoDB cannot hold this: {error}")
        return packed

    def _known(self, key: str, epoch: int) -> _Stored:
        known = self._stored.get(key)
        if known is None or known.epoch != epoch:
            known = self._stored[key] = _Stored(epoch)
        return known

    def _settle(self, entry: _Entry, save: WorldWrite, fate: Written) -> None:
        known = self._known(save.key, save.epoch)
        if fate == "written":
            self.saves += 1
            self.bytes_written += save.size
            known.holds = save.holds
            self._done(save.key, entry)
        elif fate == "stale":
            self._done(save.key, entry)
            self.forget(save.key)
            self._on_fenced(save.key)
        elif fate == "unknown":
            log.warning("world_written_as_a_whole", world=save.key, epoch=save.epoch, save=save.number)
            known.holds = None  # it waits on
        else:
            self._refused(save.key, entry, fate)

    def _refused(self, key: str, entry: _Entry, error: NotSavable) -> None:
        self.failures += 1
        log.error("world_not_savable", world=key, error=str(error))
        self._known(key, entry.epoch).holds = None
        self._done(key, entry)  # the other rooms are written; this one's next state may be better

    def _done(self, key: str, entry: _Entry) -> None:
        waiting = self._waiting.get(key)
        if waiting is None:
            return
        if waiting is not entry:  # a newer state came while this one was written
            waiting.since_s = waiting.put_s
            return
        del self._waiting[key]
        self._progress.set()  # wakes whoever waits now; the next ones wait for the next
        self._progress = asyncio.Event()
