"""Saves a session outside of the process, in the application's storage, so that it can be resumed after a restart."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Protocol

StorageError = Callable[[BaseException, str], None]


class SessionStorage(Protocol):
    """The application's storage of one text. Each method may also be a coroutine function.

    The text resumes the player's session: keep it as secret as a token.
    """

    def load(self) -> str | Awaitable[str | None] | None:
        """Return the saved text; None without one."""

    def save(self, text: str, /) -> object:
        """Save a text, in place of the one before."""

    def clear(self) -> object:
        """Delete the saved text. Idempotent."""


class StoredText:
    """Writes to a storage in order. While it is slow, only the newest text waits.

    Args:
        storage: the application's storage; None: nothing is saved.
        on_error: called with an exception of the storage and the name of the method.
    """

    def __init__(self, storage: SessionStorage | None, on_error: StorageError) -> None:
        self._storage = storage
        self._on_error = on_error
        self._next: str | None = None
        self._task: asyncio.Task[None] | None = None

    async def load(self) -> str:
        """Return the saved text; empty without one, and after an exception."""
        if self._storage is None:
            return ""
        try:
            text = self._storage.load()
            return (await text if inspect.isawaitable(text) else text) or ""
        except Exception as error:  # noqa: BLE001 it is reported
            self._on_error(error, "load")
            return ""

    def save(self, text: str) -> None:
        """Save a text; an empty one deletes what was saved."""
        self._next = text
        if self._storage is not None and self._task is None:
            self._write(self._storage)

    async def close(self) -> None:
        """Wait until the last text is saved."""
        while self._task is not None:
            await asyncio.wait([self._task])

    def _write(self, storage: SessionStorage) -> None:
        """Write without a task while the storage is synchronous."""
        while (text := self._next) is not None:
            self._next = None
            method = "save" if text else "clear"
            try:
                result = storage.save(text) if text else storage.clear()
            except Exception as error:  # noqa: BLE001 it is reported
                self._on_error(error, method)
                continue
            if inspect.isawaitable(result):
                self._task = asyncio.create_task(self._write_later(storage, result, method), name="client storage")
                return

    async def _write_later(self, storage: SessionStorage, pending: Awaitable[object], method: str) -> None:
        try:
            await pending
        except Exception as error:  # noqa: BLE001 it is reported
            self._on_error(error, method)
        finally:
            self._task = None
            self._write(storage)
