"""Runs MongoDB transactions of several documents, each within the deadline of a call.

A transaction that takes longer continues in the background until its own deadline. Its caller receives Unavailable:
the outcome is unknown, so the steps must be safe to repeat. Transactions that killed processes have left open are
ended, because they hold locks for up to a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from motor.motor_asyncio import AsyncIOMotorClient

from tickwire.server.errors import Unavailable, VersionConflict
from tickwire.server.storage.mongo_calls import RETRY_AFTER_MS, MongoCalls
from tickwire.server.storage.stale_transactions import StaleTransactionKiller

T = TypeVar("T")
IN_FLIGHT_MAX = 16
"""The most transactions in flight; each holds a thread. A request that waits longer than a call's deadline fails with
Unavailable."""


class MongoTransactions:
    """Runs transactions, and owns those that are in flight.

    Args:
        client: a Motor client.
        calls: makes the calls, each with a deadline.
        stale_transactions: ends transactions of killed processes that hold locks.
    """

    def __init__(
        self,
        client: AsyncIOMotorClient[dict[str, Any]],
        calls: MongoCalls,
        stale_transactions: StaleTransactionKiller,
    ) -> None:
        self._client = client
        self._calls = calls
        self._stale_transactions = stale_transactions
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._in_flight: set[asyncio.Task[Any]] = set()
        self._may_be_blocked = False
        self._killing: asyncio.Task[Any] | None = None

    async def run(self, steps: Callable[[Any], Awaitable[T]]) -> T:
        """Run steps in one transaction, and return their result.

        Args:
            steps: receives the driver's session, which it passes to each of its calls. It runs again after a conflict
                with another transaction. An exception of it aborts the transaction.

        Raises:
            DuplicateKeyError: as the driver raises it; nothing was committed.
            NotSavable: MongoDB cannot hold a document; nothing was committed.
            Unavailable: MongoDB does not answer; the outcome is unknown.
        """
        if self._may_be_blocked:
            self._start_killing()  # concurrently, because the driver retries a blocked transaction meanwhile
        try:
            result: T = await self._in_time(self._transact(steps))
        except VersionConflict:  # raised by the steps
            raise
        except (Unavailable, asyncio.CancelledError):  # cancelled: the caller does not wait any longer
            self._may_be_blocked = True
            self._start_killing()  # a retry finds the locks released
            raise
        self._may_be_blocked = False
        return result

    async def close(self) -> None:
        """Wait for transactions in flight; each ends at its own deadline."""
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=self._calls.call_s_max)

    async def _in_time(self, work: Any) -> Any:
        return await self._calls.write(asyncio.shield(self._run(self._in_slot(work), "commit")))

    def _run(self, work: Any, name: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name=name)
        self._in_flight.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _start_killing(self) -> None:
        if self._killing is None or self._killing.done():
            self._killing = self._run(self._stale_transactions.kill(), "kill stale transactions")

    async def _in_slot(self, work: Any) -> Any:
        try:
            async with self._calls.timeout(self._calls.call_s_max):
                await self._slots.acquire()
        except TimeoutError:
            work.close()
            raise
        try:
            return await work
        finally:
            self._slots.release()

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._in_flight.discard(task)
        if not task.cancelled():
            task.exception()  # retrieve it: the caller has received it, or a timeout

    async def _transact(self, steps: Callable[[Any], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._calls.call_s_max

        async def in_time(session: Any) -> T:
            if loop.time() > deadline_s:  # the driver would retry for two minutes and keep the slot
                raise Unavailable(
                    "the player record is locked by another transaction, retry", retry_after_ms=RETRY_AFTER_MS
                )
            return await steps(session)

        async with await self._client.start_session() as session:
            found: T = await session.with_transaction(in_time)
            return found
