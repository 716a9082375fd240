"""Hashes and verifies passwords with argon2id, in threads, with a bounded queue.

A hash takes tens of milliseconds and tens of megabytes by design. The number of threads bounds both; requests above
the length of the queue are refused at once with a time to retry, instead of making all others late.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from tickwire.server.errors import Unavailable
from tickwire.services.accounts.settings import PasswordSettings

T = TypeVar("T")
RETRY_AFTER_MS = 2000


class PasswordHasher:
    """Hashes passwords. Close it with `close`.

    Args:
        settings: the parameters of argon2id, the threads and the length of the queue.

    Attributes:
        refused: how many calls were refused because the queue was full.
    """

    def __init__(self, settings: PasswordSettings) -> None:
        self._hasher = argon2.PasswordHasher(settings.time_cost, settings.memory_kib, settings.parallelism)
        self._pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="password")
        self._pending_max = settings.threads + settings.waiting_max
        self._pending = 0
        # Verified in place of the hash of an account that does not exist, so that both take the same time.
        self._absent = self._hasher.hash(secrets.token_bytes(32))
        self.refused = 0

    @property
    def pending(self) -> int:
        """The number of calls that run or wait."""
        return self._pending

    async def hash(self, password: bytes) -> str:
        """Return the hash of a password, with its parameters and a random salt.

        Raises:
            Unavailable: too many calls wait.
        """
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, stored: str, password: bytes) -> bool:
        """Return whether a password has a hash.

        Args:
            stored: the hash; if it is empty, the call takes the time of a verification and returns False.
            password: the bytes of the password.

        Raises:
            Unavailable: too many calls wait.
        """
        return await self._run(lambda: self._verify(stored or self._absent, password)) and bool(stored)

    def needs_rehash(self, stored: str) -> bool:
        """Return whether a hash has other parameters than the settings."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """End the threads after the calls that run."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _verify(self, stored: str, password: bytes) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._pending >= self._pending_max:
            self.refused += 1
            raise Unavailable("too many logins with a password at the same time", retry_after_ms=RETRY_AFTER_MS)
        self._pending += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(self._on_done)
        return await asyncio.shield(future)  # a thread runs on when its caller is cancelled, and still counts

    def _on_done(self, future: asyncio.Future[T]) -> None:
        self._pending -= 1
        if not future.cancelled():
            future.exception()  # retrieve it: the caller may have been cancelled
