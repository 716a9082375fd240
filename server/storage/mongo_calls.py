"""Makes all calls to MongoDB: each call has a deadline, and the driver's errors become errors of `server.errors`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from bson.errors import BSONError
from motor.motor_asyncio import AsyncIOMotorCursor
from pymongo.errors import (
    BulkWriteError,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
)

from tickwire.server.errors import Locked, NotSavable, Unavailable
from tickwire.server.storage.mongo_errors import to_operator_detail, to_player_message

T = TypeVar("T")
Timeout = Callable[[float], AbstractAsyncContextManager[object]]
"""Raises TimeoutError in its body after a number of seconds, as `asyncio.timeout` does."""

RETRY_AFTER_MS = 1000
CANNOT_HOLD = frozenset((2, 9, 14, 15, 34, 52, 56, 57, 121, 10334, 17419, 17420))
"""Error codes that the written document causes: invalid values, field names, validators, sizes. All other codes count
as errors of the server, because a full disk alone has many."""


class MongoCalls:
    """Makes calls with a deadline, and records whether the last write succeeded.

    Args:
        call_s_max: the deadline of each call, seconds.
        timeout: enforces the deadline.
        address: the hosts of MongoDB, for the error details that operators read.
        observe: receives the duration of each call, seconds; None to measure none.

    Attributes:
        write_error: why the last write failed, for operators; empty if it succeeded.
    """

    def __init__(
        self,
        call_s_max: float,
        timeout: Timeout = asyncio.timeout,
        address: str = "",
        observe: Callable[[float], object] | None = None,
    ) -> None:
        self.call_s_max = call_s_max
        self.timeout = timeout
        self.address = address
        self.write_error = ""
        self._observe = observe

    async def read(self, call: Awaitable[T]) -> T:
        """Await a call that changes nothing, and return its result.

        Raises:
            Unavailable: MongoDB does not answer in time, or has no primary.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with self.timeout(self.call_s_max):
                return await call
        except (PyMongoError, TimeoutError) as error:
            raise self._unavailable(error) from error
        finally:
            if self._observe is not None:
                self._observe(loop.time() - started)

    async def iterate(self, cursor: AsyncIOMotorCursor[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
        """Yield the documents of a cursor, with a deadline for each.

        Raises:
            Unavailable: MongoDB does not answer in time, or has no primary.
        """
        while True:
            try:
                yield await self.read(cursor.next())
            except StopAsyncIteration:
                return

    async def write(self, call: Awaitable[T]) -> T:
        """Await a call that writes, acknowledged by a majority, and return its result.

        Raises:
            DuplicateKeyError: as the driver raises it.
            BulkWriteError: as the driver raises it.
            Locked: another transaction holds a lock on the document.
            NotSavable: MongoDB cannot hold the document.
            Unavailable: the outcome is unknown: the write may or may not have happened.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with self.timeout(self.call_s_max):
                result = await call
        except (DuplicateKeyError, BulkWriteError):
            raise
        except (BSONError, OverflowError, UnicodeEncodeError) as error:
            raise NotSavable(f"MongoDB cannot hold this: {error}") from error
        except (PyMongoError, TimeoutError) as error:
            if isinstance(error, OperationFailure) and error.code in CANNOT_HOLD:
                raise NotSavable(f"MongoDB cannot hold this: {error}") from error
            if isinstance(error, ExecutionTimeout):
                message = "the document is locked by another transaction, retry"
                raise Locked(message, retry_after_ms=RETRY_AFTER_MS) from error
            unavailable = self._unavailable(error)
            self.write_error = unavailable.detail
            raise unavailable from error
        finally:
            if self._observe is not None:
                self._observe(loop.time() - started)
        self.write_error = ""
        return result

    def _unavailable(self, error: Exception) -> Unavailable:
        detail = f"MongoDB at {self.address} cannot be used: {to_operator_detail(error, self.call_s_max)}"
        message = f"MongoDB does not answer: {to_player_message(error)}"
        return Unavailable(message, retry_after_ms=RETRY_AFTER_MS, detail=detail)
