"""The thread of the viewer: results and exceptions reach the caller, the queue is bounded, and a stop cancels."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tickwire.server.errors import Unavailable
from tickwire.server.viewer.worker import CALLS_MAX, ReplayWorker


async def test_calls_run_in_one_other_thread_in_their_order() -> None:
    worker, ran = ReplayWorker(), []
    names = await asyncio.gather(
        *(worker.run(lambda n=n: ran.append(n) or threading.current_thread().name) for n in range(10))
    )
    assert ran == list(range(10))
    assert set(names) == {"tickwire-replay"}
    worker.stop()


async def test_an_exception_of_a_call_reaches_its_caller_and_the_thread_continues() -> None:
    worker = ReplayWorker()
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0)
    assert await worker.run(lambda: 5) == 5
    worker.stop()


async def test_the_event_loop_runs_while_a_call_runs_and_the_queue_is_bounded() -> None:
    worker, started, release = ReplayWorker(), threading.Event(), threading.Event()

    def block() -> bool:
        started.set()
        return release.wait(60)

    blocked = asyncio.create_task(worker.run(block))
    assert await asyncio.to_thread(started.wait, 60)
    waiting = [asyncio.create_task(worker.run(lambda: 1)) for _ in range(CALLS_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="too many requests"):
        await worker.run(lambda: 1)
    release.set()
    assert await blocked is True
    assert await asyncio.gather(*waiting) == [1] * CALLS_MAX
    worker.stop()


async def test_a_stop_cancels_waiting_calls() -> None:
    worker, started, release = ReplayWorker(), threading.Event(), threading.Event()
    blocked = asyncio.create_task(worker.run(lambda: started.set() or release.wait(60)))
    assert await asyncio.to_thread(started.wait, 60)
    waiting = asyncio.create_task(worker.run(lambda: 1))
    await asyncio.sleep(0)
    worker.stop()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    release.set()
    assert await blocked is True


async def test_a_call_after_the_stop_is_refused() -> None:
    worker = ReplayWorker()
    worker.stop()
    with pytest.raises(Unavailable, match="has stopped"):
        await asyncio.wait_for(worker.run(lambda: 1), 60)
