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
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)

from server.errors import Locked, NotSavable, Unavailable

T = TypeVar("T")
Timeout = Callable[[float], AbstractAsyncContextManager[object]]
"""Such as `asyncio.timeout`: raises TimeoutError in its body after so many seconds."""

RETRY_AFTER_MS = 1000
CANNOT_HOLD = frozenset((2, 9, 14, 15, 34, 52, 56, 57, 121, 10334, 17419, 17420))
"""Errors of what is written: bad values, field names, validators, sizes. All others are of the server: a full disk
has many numbers."""


class Calls:
    """Makes calls, and remembers whether MongoDB takes writes.

    Args:
        call_s_max: the longest that one call may take, seconds.
        timeout: limits a call to so many seconds.

    Attributes:
        writes_fail: why the last write failed; empty when it succeeded.
        observe: told of each call, seconds.
    """

    def __init__(self, call_s_max: float, timeout: Timeout = asyncio.timeout) -> None:
        self.call_s_max = call_s_max
        self.timeout = timeout
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
            raise _unavailable(error) from error
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
            unavailable = _unavailable(error)
            self.writes_fail = str(unavailable)
            raise unavailable from error
        finally:
            self.observe(loop.time() - started)
        self.writes_fail = ""
        return result


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(f"MongoDB does not answer: {_word(error)}", retry_after_ms=RETRY_AFTER_MS)


def _word(error: Exception) -> str:
    """What happened, without addresses: these words reach players."""
    match error:
        case WTimeoutError():
            return "no majority of its members has acknowledged the write in time"
        case TimeoutError() | ExecutionTimeout():
            return "it takes too long"
        case ConnectionFailure():
            return "there is no primary that can be reached"
        case OperationFailure(code=code):
            return f"it failed with code {code}"
        case _:
            return type(error).__name__
