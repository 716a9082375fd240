"""Writes worlds to MongoDB behind the ticks: a queue with at most one entry per room.

put          never waits; a newer snapshot of a room replaces its queued one
batch        queued worlds are packed on a thread and written with one call, of each world the changed sections
full         impossible: there is one entry per room, and the last write is never dropped
unavailable  MongoDB does not answer: the entries stay queued and are retried after a growing pause
invalid      MongoDB cannot hold the world: the entry is dropped, logged and counted. A batch that fails because
             of one world is written in halves until that world is alone
fenced       a newer owner has the room: the entry is dropped and `on_fenced` is called
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

from tickwire.retry_delay import RetryDelay
from tickwire.server.errors import NotSavable, Unavailable
from tickwire.server.observability.traces import span
from tickwire.server.storage.world_document import SavedWorld, StoredSection, WorldWrite, create_world_write
from tickwire.server.storage.world_store import DecidedOutcome, WorldStore

log = structlog.get_logger(__name__)

BATCH_WORLDS_MAX = 50
"""The most worlds in one batch, so that a batch is short and its call well within the deadline."""


class Snapshot(Protocol):
    """An immutable snapshot of a world; a call encodes it, later and on another thread."""

    def __call__(self) -> SavedWorld:
        """Encode the world."""


class _Entry(msgspec.Struct):
    """A queued world."""

    snapshot: Snapshot
    epoch: int
    since_s: float
    put_s: float


class _StoredWorld(msgspec.Struct):
    """The known content of the store for a world that this shard owns; `sections` is None if it is unknown."""

    epoch: int
    sections: dict[str, StoredSection] | None = None


class WriteBehind:
    """The write queue in front of `WorldStore`.

    One task runs `run`. The caller cancels and awaits the task, and then calls `close`.

    Args:
        worlds: the store to write to.
        on_fenced: called with a world's key if another shard owns the room.
        interval_s: the pause between two batches.
        now_s: a monotonic clock, seconds.

    Attributes:
        saves: the number of worlds written.
        failures: the number of writes that failed.
        bytes_written: the number of bytes written.
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
        self._queued: dict[str, _Entry] = {}
        self._stored: dict[str, _StoredWorld] = {}
        self._numbers = count(1)
        self._writing = asyncio.Lock()
        self._progress = asyncio.Event()
        self._packer = ThreadPoolExecutor(1, "pack worlds")

    def put(self, key: str, snapshot: Snapshot, epoch: int) -> None:
        """Enqueue a world; it replaces a queued one with the same key."""
        entry, now_s = self._queued.get(key), self._now_s()
        self._queued[key] = _Entry(snapshot, epoch, entry.since_s if entry is not None else now_s, now_s)

    def discard(self, key: str) -> None:
        """Discard the known content of a world whose room has ended, because other shards may now change it."""
        self._stored.pop(key, None)

    def __len__(self) -> int:
        return len(self._queued)

    @property
    def lag_s(self) -> float:
        """The age of the oldest unwritten change, seconds; 0 if none is queued."""
        return max((self._now_s() - entry.since_s for entry in self._queued.values()), default=0.0)

    async def wait_written(self, key: str) -> None:
        """Wait until no entry with this key is queued: it was written or rejected."""
        while key in self._queued:
            await self._progress.wait()

    async def run(self) -> None:
        """Write queued worlds until cancelled."""
        delay = RetryDelay(self._interval_s, growth=2)
        while True:
            await asyncio.sleep(delay.seconds)
            if await self._write_all():
                delay.succeeded()
            else:
                delay.failed()

    async def flush(self, deadline_s: float) -> bool:
        """Write all queued worlds.

        Returns:
            Whether all were written within the deadline; the others stay queued.
        """
        try:
            async with asyncio.timeout(deadline_s):
                while not await self._write_all() or self._queued:
                    await asyncio.sleep(self._interval_s)
        except TimeoutError:
            log.error("flush_incomplete", worlds=sorted(self._queued), deadline_s=deadline_s)
        return not self._queued

    def close(self) -> None:
        """Stop the thread; entries still queued are lost. Idempotent."""
        self._packer.shutdown(wait=True, cancel_futures=True)

    # -- a batch --------------------------------------------------------------------------------------------

    async def _write_all(self) -> bool:
        """Write all worlds that are queued now; return False if MongoDB does not answer."""
        async with self._writing:
            keys = list(self._queued)
            for first in range(0, len(keys), BATCH_WORLDS_MAX):
                entries = {key: self._queued[key] for key in keys[first : first + BATCH_WORLDS_MAX]}
                try:
                    failed = await self._write(entries)
                except Unavailable as error:
                    failed = dict.fromkeys(entries, error)
                if failed:
                    self._on_unavailable(entries, failed)
                    return False
        return True

    def _on_unavailable(self, entries: dict[str, _Entry], failed: dict[str, Unavailable]) -> None:
        self.failures += len(failed)
        for key in failed:  # the outcome is unknown, so the next write is a full one
            self._known(key, entries[key].epoch).sections = None
        reason = next(iter(failed.values())).detail
        log.warning("world_save_failed", worlds=len(self._queued), error=reason, lag_s=round(self.lag_s, 1))

    async def _write(self, entries: dict[str, _Entry]) -> dict[str, Unavailable]:
        """Write a batch; return the entries that must be retried because MongoDB does not accept them now.

        MongoDB rejects a whole call because of one invalid world, such as one that is nested too deeply. The call is
        therefore repeated with fewer worlds, so that the others are written.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        try:
            return await self._write_batch(entries)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one world's error must not stop the others; it is logged
            if len(entries) == 1:
                self._reject_failed(entries, error)
                return {}
        keys = list(entries)
        failed: dict[str, Unavailable] = {}
        for half in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
            failed |= await self._write({key: entries[key] for key in half if self._queued.get(key) is entries[key]})
        return failed

    def _reject_failed(self, entries: dict[str, _Entry], error: Exception) -> None:
        ((key, entry),) = entries.items()
        if isinstance(error, NotSavable):
            self._reject(key, entry, error)
        else:
            log.exception("world_write_failed", world=key)
            self._reject(key, entry, NotSavable(f"{type(error).__name__}: {error}"))

    async def _write_batch(self, entries: dict[str, _Entry]) -> dict[str, Unavailable]:
        if not entries:
            return {}
        packed = await asyncio.get_running_loop().run_in_executor(self._packer, self._pack, entries)
        writes: dict[str, WorldWrite] = {}
        for key, result in packed.items():
            if isinstance(result, WorldWrite):
                writes[key] = result
            else:
                self._reject(key, entries[key], result)
        with span("save", worlds=len(writes)):
            outcomes = await self._worlds.write(list(writes.values())) if writes else {}
        for key, outcome in outcomes.items():
            if not isinstance(outcome, Unavailable):
                self._handle_outcome(entries[key], writes[key], outcome)
        return {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, Unavailable)}

    def _pack(self, entries: dict[str, _Entry]) -> dict[str, WorldWrite | NotSavable]:
        """Encode worlds on the packer's thread. The lock `_writing` protects `_stored` meanwhile."""
        now = datetime.datetime.now(datetime.UTC)
        packed: dict[str, WorldWrite | NotSavable] = {}
        for key, entry in entries.items():
            known = self._known(key, entry.epoch)
            try:
                packed[key] = create_world_write(
                    entry.snapshot(), entry.epoch, next(self._numbers), known.sections, now
                )
            except Exception as error:  # noqa: BLE001 - caused by a game's values; logged and counted for that world
                packed[key] = NotSavable(f"MongoDB cannot hold this: {error}")
        return packed

    def _known(self, key: str, epoch: int) -> _StoredWorld:
        known = self._stored.get(key)
        if known is None or known.epoch != epoch:
            known = self._stored[key] = _StoredWorld(epoch)
        return known

    def _handle_outcome(self, entry: _Entry, write: WorldWrite, outcome: DecidedOutcome) -> None:
        known = self._known(write.key, write.epoch)
        if outcome == "written":
            self.saves += 1
            self.bytes_written += write.size
            known.sections = write.stored_sections
            self._done(write.key, entry)
        elif outcome == "stale":
            self._done(write.key, entry)
            self.discard(write.key)
            self._on_fenced(write.key)
        elif outcome == "mismatch":
            log.warning("world_write_mismatched", world=write.key, epoch=write.epoch, save=write.number)
            known.sections = None  # the entry stays queued and is written in full
        else:
            self._reject(write.key, entry, outcome)

    def _reject(self, key: str, entry: _Entry, error: NotSavable) -> None:
        self.failures += 1
        log.error("world_rejected", world=key, error=str(error))
        self._known(key, entry.epoch).sections = None
        self._done(key, entry)  # the room's next snapshot may be valid

    def _done(self, key: str, entry: _Entry) -> None:
        queued = self._queued.get(key)
        if queued is None:
            return
        if queued is not entry:  # a newer snapshot was queued during the write
            queued.since_s = queued.put_s
            return
        del self._queued[key]
        self._progress.set()  # wakes the current waiters; later ones wait for the next event
        self._progress = asyncio.Event()
