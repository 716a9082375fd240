"""One door to MongoDB for everything in here: each call has a deadline, and fails with errors that have names."""

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
from tickwire.server.storage.mongo_errors import for_operators, for_players

T = TypeVar("T")
Timeout = Callable[[float], AbstractAsyncContextManager[object]]
"""Such as `asyncio.timeout`: raises TimeoutError in its body after so many seconds."""

RETRY_AFTER_MS = 1000
CANNOT_HOLD = frozenset((2, 9, 14, 15, 34, 52, 56, 57, 121, 10334, 17419, 17420))
"""Errors of what is written: bad values, field names, validators, sizes. All others are of the server: a full disk
has many numbers."""


class MongoCalls:
    """Makes calls, and remembers whether MongoDB takes writes.

    Args:
        call_s_max: the longest that one call may take, seconds.
        timeout: limits a call to so many seconds.
        address: the hosts, for operators.

    Attributes:
        writes_fail: for operators, why the last write failed; empty when it succeeded.
        observe: told of each call, seconds.
    """

    def __init__(self, call_s_max: float, timeout: Timeout = asyncio.timeout, address: str = "") -> None:
        self.call_s_max = call_s_max
        self.timeout = timeout
        self.address = address
        self.writes_fail = ""
        self.observe: Callable[[float], object] = lambda seconds: None

    async def read(self, call: Awaitable[T]) -> T:
        """The answer of a call that changes nothing.

        Raises:
            Unavailable: MongoDB does not answer in time, or is no primary.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with self.timeout(self.call_s_max):
                return await call
        except (PyMongoError, TimeoutError) as error:
            raise self._unavailable(error) from error
        finally:
            self.observe(loop.time() - started)

    async def each(self, cursor: AsyncIOMotorCursor[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
        """Yield a cursor's documents, each with a deadline.

        Raises:
            Unavailable: MongoDB does not answer in time, or is no primary.
        """
        while True:
            try:
                yield await self.read(cursor.next())
            except StopAsyncIteration:
                return

    async def write(self, call: Awaitable[T]) -> T:
        """The answer of a call that changes something, acknowledged by a majority.

        Raises:
            DuplicateKeyError, BulkWriteError: for the caller to read.
            Locked: somebody else changes it.
            NotSavable: what is to be written is nothing that MongoDB can hold.
            Unavailable: it may or may not have been written.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with self.timeout(self.call_s_max):
                result = await call
        except (DuplicateKeyError, BulkWriteError):
            raise
        except (BSONError, OverflowError) as error:
            raise NotSavable(f"MongoDB cannot hold this: {error}") from error
        except (PyMongoError, TimeoutError) as error:
            if isinstance(error, OperationFailure) and error.code in CANNOT_HOLD:
                raise NotSavable(f"MongoDB cannot hold this: {error}") from error
            if isinstance(error, ExecutionTimeout):
                raise Locked("what is to be changed is locked", retry_after_ms=RETRY_AFTER_MS) from error
            unavailable = self._unavailable(error)
            self.writes_fail = unavailable.detail
            raise unavailable from error
        finally:
            self.observe(loop.time() - started)
        self.writes_fail = ""
        return result

    def _unavailable(self, error: Exception) -> Unavailable:
        detail = f"MongoDB at {self.address} cannot be used: {for_operators(error, self.call_s_max)}"
        message = f"MongoDB does not answer: {for_players(error)}"
        return Unavailable(message, retry_after_ms=RETRY_AFTER_MS, detail=detail)
