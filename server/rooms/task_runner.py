"""Runs the coroutines of rooms as tasks of the event loop, and owns them until they have ended.

Every exception of a coroutine is contained, also SystemExit: it is logged, counted and becomes the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from tickwire.server.rooms.containment import RoomIdentity
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.room_tasks import RoomTask, TaskResult

log = structlog.get_logger(__name__)


class TaskRunner:
    """Runs the coroutines of a shard's rooms. Implements `TaskStarter`.

    Args:
        counters: the counters of the shard.
    """

    def __init__(self, counters: RoomCounters) -> None:
        self._counters = counters
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(
        self, room: RoomIdentity, task: RoomTask, on_ended: Callable[[RoomTask, TaskResult], bool], /
    ) -> Callable[[], object]:
        """See `TaskStarter.start`."""
        name = f"{task.name} of room {room.room_id}"
        running = asyncio.get_running_loop().create_task(self._run(room, task, on_ended), name=name)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        # The coroutine of a task that is cancelled before its first step has not begun.
        running.add_done_callback(lambda done: task.coroutine.close())
        return running.cancel

    def record_cancelled(self, count: int, /) -> None:
        """See `TaskStarter.record_cancelled`."""
        self._counters.room_tasks["cancelled"] += count

    async def _run(
        self, room: RoomIdentity, task: RoomTask, on_ended: Callable[[RoomTask, TaskResult], bool]
    ) -> None:
        limit = asyncio.timeout(task.timeout_s)
        try:
            async with limit:
                result, kind = TaskResult(await task.coroutine), "completed"
        except BaseException as error:  # the boundary to the game's code
            current = asyncio.current_task()
            is_cancelled = isinstance(error, asyncio.CancelledError) and current is not None and current.cancelling()
            if is_cancelled or isinstance(error, GeneratorExit):
                raise
            result, kind = TaskResult(error=error), "failed"
            if isinstance(error, TimeoutError) and limit.expired():  # otherwise a time limit of the game's own
                kind = "timed_out"
                log.error("room_task_timed_out", timeout_s=task.timeout_s, **_describe(room, task))
            else:
                log.exception("room_task_failed", **_describe(room, task))
        if on_ended(task, result):
            self._counters.room_tasks[kind] += 1

    async def wait_ended(self, deadline_s: float) -> None:
        """Wait for the tasks of closed rooms, which are cancelled; a task that catches the cancellation is logged."""
        if not self._running:
            return
        _, running = await asyncio.wait(set(self._running), timeout=deadline_s)
        if running:
            log.error("room_tasks_not_ended", tasks=sorted(task.get_name() for task in running))


def _describe(room: RoomIdentity, task: RoomTask) -> dict[str, str]:
    return {"room_id": room.room_id, "room_type": room.room_type, "coroutine": task.name}
