"""Waits for conditions with a deadline, instead of a fixed time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

from tickwire.client.client import Client, Refused
from tickwire.schemas.messages import Joined


async def eventually(
    condition: Callable[[], bool | Awaitable[bool]], timeout_s: float = 20.0, what: str = ""
) -> None:
    """Return once `condition()` is true; it may return an awaitable.

    The default deadline is long, because a loaded machine may be slow, and shorter than the resume window.

    Raises:
        AssertionError: the condition is still false at the deadline.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        holds = condition()
        if await holds if inspect.isawaitable(holds) else holds:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what or condition}")
        await asyncio.sleep(0.01)


async def eventually_joins(client: Client, room_type: str, name: str = "", timeout_s: float = 20.0) -> Joined:
    """Join a room, and retry while the server returns a retryable error.

    Raises:
        Refused: the error is not retryable.
        TimeoutError: no join succeeded within the deadline.
    """
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                return await client.join(room_type, name=name)
            except Refused as refused:
                if not refused.error.retryable:
                    raise
            await asyncio.sleep(0.1)


async def acknowledges(client: Client, timeout_s: float = 20.0) -> None:
    """Assert that the room takes an input of the client: the acknowledgement names this input and no other.

    One input is sent on each connection. When the room and the client count from different numbers, it is ignored,
    and no acknowledgement follows.
    """
    async with asyncio.timeout(timeout_s):
        while True:
            seq, resumes = await client.send_input({}), client.resumes
            if not seq:
                await asyncio.sleep(0.01)
                continue
            await client.wait_for(lambda: client.acknowledged_seq == seq or client.resumes > resumes)  # noqa: B023
            if client.resumes == resumes:
                return
