"""Work of a room that waits outside of the tick, such as a call to a game's own service.

    waiting --the room runs--> running --returns, raises, or takes too long--> `then` runs with the result
                                  ├--the room moves to another shard, or restarts with new code--> cancelled; `then`
                                  │  runs with the reason
                                  └--the room closes, or restarts after an exception--> cancelled

The coroutine runs on the event loop between ticks, and its result is delivered between two ticks. A coroutine cannot
move to another shard, and is not saved. server/rooms/task_runner.py runs the coroutines. Pure.
"""

from __future__ import annotations

import inspect
import math
import weakref
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

import msgspec

from tickwire.server.rooms.containment import RoomIdentity
from tickwire.server.rooms.room_methods import check_method

TASKS_MAX = 32
"""The number of running tasks of a room."""
TASK_TIMEOUT_S_MAX = 60.0


class TaskRefused(RuntimeError):
    """The room runs TASKS_MAX tasks already, moves to another shard, or has ended."""


class TaskCancelled(Exception):
    """The error of a task that was cancelled because its room moves to another shard, or restarts with new code."""


class TaskResult(msgspec.Struct, frozen=True):
    """The result of a coroutine that the room has run.

    Args:
        value: the value that the coroutine has returned; None if it has failed.
        error: the exception that has left it; TimeoutError if it has taken too long, TaskCancelled if the room moves
            or restarts with new code.
    """

    value: Any = None
    error: BaseException | None = None


class RoomTask:
    """A coroutine of a room, with the method that receives its result and its time limit.

    Args:
        coroutine: the coroutine.
        then: the name of the method that receives the result; empty for none.
        timeout_s: the time limit in seconds.

    Attributes:
        name: the name of the coroutine, for logs.
        cancel: cancels the running coroutine; None while it waits.
    """

    __slots__ = ("cancel", "coroutine", "name", "then", "timeout_s")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], then: str, timeout_s: float) -> None:
        self.coroutine = coroutine
        self.name = getattr(coroutine, "__qualname__", "coroutine")
        self.then = then
        self.timeout_s = timeout_s
        self.cancel: Callable[[], object] | None = None


class TaskStarter(Protocol):
    """Runs coroutines. `tickwire.server.rooms.task_runner.TaskRunner` is one."""

    def start(
        self, room: RoomIdentity, task: RoomTask, on_ended: Callable[[RoomTask, TaskResult], bool], /
    ) -> Callable[[], object]:
        """Run a task of a room.

        Args:
            room: the room, for logs.
            task: the task.
            on_ended: receives the result; returns False if the task was cancelled before.

        Returns:
            A function that cancels the task; `on_ended` is then not called, or has no effect.
        """
        ...

    def record_cancelled(self, count: int, /) -> None:
        """Count tasks that were cancelled."""
        ...


class TaskRecorder(Protocol):
    """Records the ends of tasks; a part of `tickwire.server.rooms.ports.EntryRecorder`."""

    def record_task(self, index: int, result: TaskResult, /) -> None:
        """Record the end of a task: its place among the running tasks, and its result."""
        ...


class RoomTasks:
    """The tasks of one room.

    Args:
        room: the room; referred to weakly.

    Attributes:
        recorder: records the results; None while the room is not recorded.
    """

    __slots__ = ("_deliver", "_refusal", "_room_reference", "_starter", "_tasks", "recorder")

    def __init__(self, room: RoomIdentity) -> None:
        self._room_reference = weakref.ref(room)
        self._tasks: list[RoomTask] = []
        self._refusal = ""
        self._starter: TaskStarter | None = None
        self._deliver: Callable[[str, TaskResult], None] | None = None
        self.recorder: TaskRecorder | None = None

    def __len__(self) -> int:
        return len(self._tasks)

    def add(
        self, coroutine: Coroutine[Any, Any, Any], then: Callable[[TaskResult], object] | None, timeout_s: float
    ) -> None:
        """Run a coroutine; see `Room.run`."""
        if not inspect.iscoroutine(coroutine):
            raise TypeError(f"run: needs a coroutine, such as self.fetch(), not a {type(coroutine).__name__}")
        try:
            if not (math.isfinite(timeout_s) and 0 < timeout_s <= TASK_TIMEOUT_S_MAX):
                raise ValueError(f"run: the timeout must be up to {TASK_TIMEOUT_S_MAX:g} s, not {timeout_s}")
            name = "" if then is None else check_method("run", self._room_reference(), then, (TaskResult(),))
            if self._refusal:
                raise TaskRefused(f"run: {self._refusal}")
            if len(self._tasks) >= TASKS_MAX:
                raise TaskRefused(f"run: the room runs {TASKS_MAX} tasks already")
        except (TypeError, ValueError, TaskRefused):
            coroutine.close()
            raise
        task = RoomTask(coroutine, name, timeout_s)
        self._tasks.append(task)
        if self._starter is not None:
            self._start(task, self._starter)

    def pending(self) -> tuple[str, ...]:
        """Return the methods that receive the results of the tasks, in order; empty names for none."""
        return tuple(task.then for task in self._tasks)

    # -- called by the server -------------------------------------------------------------------------------

    def restore(self, methods: Iterable[str]) -> None:
        """Add the tasks of a replayed room that were running: their results are recorded.

        Args:
            methods: the methods that receive the results, in order.
        """
        for method in methods:
            self._tasks.append(RoomTask(_do_nothing(), method, TASK_TIMEOUT_S_MAX))

    def end(self, index: int, result: TaskResult) -> None:
        """End a task of a replayed room with its recorded result. An unknown task is ignored."""
        if index < len(self._tasks):
            self._task_ended(self._tasks[index], result)

    def start(self, deliver: Callable[[str, TaskResult], None], starter: TaskStarter) -> None:
        """Run tasks from now on: those that wait, and each new one.

        Args:
            deliver: called with the name of the method and the result of each task.
            starter: runs the tasks.
        """
        self._deliver, self._starter, self._refusal = deliver, starter, ""
        for task in self._tasks:
            if task.cancel is None:
                self._start(task, starter)

    def stop(self, refusal: str, *, reports: bool = False) -> None:
        """Cancel all tasks, and refuse new ones with this reason.

        Args:
            refusal: the reason.
            reports: whether the room receives TaskCancelled for each of them.
        """
        cancelled, self._tasks, self._refusal = self._tasks, [], refusal
        deliver, self._deliver = self._deliver, None
        starter, self._starter = self._starter, None
        for task in cancelled:
            if task.cancel is None:
                task.coroutine.close()
            else:
                task.cancel()
        if starter is not None:
            starter.record_cancelled(len(cancelled))
        for task in cancelled:
            if reports and deliver is not None and task.then:
                deliver(task.then, TaskResult(error=TaskCancelled(refusal)))

    def _start(self, task: RoomTask, starter: TaskStarter) -> None:
        room = self._room_reference()
        if room is not None:
            task.cancel = starter.start(room, task, self._task_ended)

    def _task_ended(self, task: RoomTask, result: TaskResult) -> bool:
        if task not in self._tasks:
            return False  # it was cancelled, and has caught the cancellation
        if self.recorder is not None:
            self.recorder.record_task(self._tasks.index(task), result)
        self._tasks.remove(task)
        if self._deliver is not None and task.then:
            self._deliver(task.then, result)
        return True


async def _do_nothing() -> None:
    pass
