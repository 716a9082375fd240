"""Commits the transactions that rooms have started, one task for each room that has some.

    room.transact --> pending --> the task commits the oldest one, and repeats it until its outcome is known

A frozen room starts no commit: its pending transactions move with it, and the shard that receives it continues. The
transactions of a closed room are repeated for CLOSED_ROOM_S.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from tickwire.retry_delay import RetryDelay
from tickwire.server.errors import StaleEpoch
from tickwire.server.persistence.attempts import RoomAttempt
from tickwire.server.persistence.transactions import TransactionService
from tickwire.server.rooms.runtime import RoomRuntime

log = structlog.get_logger(__name__)

RETRY_S = 0.25
CLOSED_ROOM_S = 60.0
"""How long the transactions of a closed room are repeated while the store does not answer."""


class RoomTransactionService:
    """Commits the transactions of a shard's rooms that no command has caused.

    Args:
        transactions: commits one attempt.
        now_s: a monotonic clock in seconds.

    Attributes:
        abandoned: transactions of closed rooms that were given up with an unknown outcome.
    """

    def __init__(self, transactions: TransactionService, now_s: Callable[[], float]) -> None:
        self.abandoned = 0
        self._transactions = transactions
        self._now_s = now_s
        self._tasks: dict[RoomRuntime, asyncio.Task[None]] = {}

    @property
    def pending(self) -> int:
        """The number of transactions that are not decided yet."""
        return sum(len(runtime.room.transactions) for runtime in self._tasks)

    def commit(self, runtime: RoomRuntime) -> None:
        """Commit the pending transactions of a room in the background. Idempotent."""
        if runtime not in self._tasks:
            name = f"transactions of {runtime.room.room_id}"
            self._tasks[runtime] = asyncio.get_running_loop().create_task(self._run(runtime), name=name)

    async def _run(self, runtime: RoomRuntime) -> None:
        try:
            await self._commit_all(runtime)
        except Exception:  # a fault in the transactions of one room must not stay unseen
            log.exception("room_transactions_failed", room_id=runtime.room.room_id)
        finally:
            del self._tasks[runtime]

    async def _commit_all(self, runtime: RoomRuntime) -> None:
        transactions = runtime.room.transactions
        while not runtime.is_frozen and (pending := transactions.first) is not None:
            if not await self._commit(RoomAttempt(runtime, pending)):
                return

    async def _commit(self, attempt: RoomAttempt) -> bool:
        """Commit one transaction; return whether its outcome is known."""
        runtime, delay = attempt.runtime, RetryDelay(RETRY_S)
        closed_at_s: float | None = None
        while True:
            error = await self._transactions.settle(attempt)
            if attempt.is_decided:
                return True
            if isinstance(error, StaleEpoch) or runtime.is_frozen:
                return False
            if not runtime.is_open:
                closed_at_s = self._now_s() if closed_at_s is None else closed_at_s
                if self._now_s() - closed_at_s > CLOSED_ROOM_S:
                    self._abandon(runtime, str(error))
                    return False
            await asyncio.sleep(max(delay.seconds, getattr(error, "retry_after_ms", 0) / 1000))
            delay.failed()
            # Meanwhile a command may have completed the attempt, or the room may have moved.
            if attempt.is_decided or runtime.room.transactions.first is not attempt.pending:
                return True
            if runtime.is_frozen:
                return False

    def _abandon(self, runtime: RoomRuntime, error: str) -> None:
        """Give up the transactions of a closed room. A durable room has saved them and commits them once restored."""
        room = runtime.room
        self.abandoned += len(room.transactions)
        log.error(
            "room_transactions_abandoned",
            room_id=room.room_id,
            room_type=room.room_type,
            are_saved=runtime.is_durable,
            transactions=[(saved.key, saved.moves) for saved in room.transactions.checkpoint()],
            error=error,
        )

    def cancel(self) -> None:
        """Cancel all commits at once, because the rooms have lost their shard; their outcomes stay unknown."""
        for task in self._tasks.values():
            task.cancel()

    async def close(self, deadline_s: float) -> None:
        """Wait for the transactions of all rooms, which have closed, and cancel those that take longer."""
        tasks = dict(self._tasks)
        if not tasks:
            return
        await asyncio.wait(tasks.values(), timeout=deadline_s)
        for runtime, task in tasks.items():
            if not task.done():
                task.cancel()
                self._abandon(runtime, "the shard stops")
        await asyncio.gather(*tasks.values(), return_exceptions=True)
