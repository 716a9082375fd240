"""A room runs coroutines outside of the tick: bounded, with a deadline, owned, and cancelled with the room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.harness.polling import eventually
from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_host, create_runtime
from tickwire import Player, Room, TaskCancelled, TaskRefused, TaskResult
from tickwire.server.errors import RoomFailed
from tickwire.server.rooms.factory import RoomSpec
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.room_tasks import TASKS_MAX
from tickwire.server.rooms.seat import SeatRequest


class Library(Room):
    """Asks for values outside of the tick, and notes the results."""

    room_type = "library"
    may_answer: asyncio.Event

    def __init__(self, **known: Any) -> None:
        super().__init__(**known)
        self.results: list[TaskResult] = []
        self.failed: list[str] = []

    def on_create(self, options: Mapping[str, Any]) -> None:
        if options.get("asks"):
            self.run(self.answer("early"), self.note)
        if options.get("fails"):
            raise RuntimeError("requested failure in on_create")

    async def answer(self, value: Any) -> Any:
        await self.may_answer.wait()
        if isinstance(value, BaseException):
            raise value
        return value

    async def insist(self) -> None:
        while not self.may_answer.is_set():
            try:
                await self.may_answer.wait()
            except asyncio.CancelledError:
                self.may_answer.clear()

    def note(self, result: TaskResult) -> None:
        self.results.append(result)

    def count(self, result: TaskResult) -> None:
        self.failed.append(type(result.error).__name__)

    def again(self, result: TaskResult) -> None:
        self.note(result)
        self.run(self.answer("again"), self.note)

    def fail(self, result: TaskResult) -> None:
        raise RuntimeError("requested failure in a callback")

    def on_leave(self, player: Player) -> None:
        self.run(self.answer(player.id), self.note)

    def on_dispose(self) -> None:
        with pytest.raises(TaskRefused, match="ended"):
            self.run(self.answer("late"))


@pytest.fixture
async def host() -> AsyncIterator[RoomHost]:
    Library.may_answer = asyncio.Event()
    host = create_host(Library)
    yield host
    Library.may_answer.set()
    host.close_all("the test is over")
    await host.tasks.wait_ended(20.0)
    assert not host.tasks


def library(host: RoomHost, room_id: str = "r", **options: Any) -> Library:
    room = host.create(RoomSpec(room_id, "library", epoch=1), options).room
    assert isinstance(room, Library)
    return room


async def test_a_result_is_delivered_between_ticks(host: RoomHost) -> None:
    room = library(host, asks=True)
    assert len(room.tasks) == 1
    room.run(room.answer(7), room.again)
    room.run(room.answer("unseen"))
    assert room.results == []
    room.may_answer.set()
    await eventually(lambda: len(room.results) == 3)
    assert [result.value for result in room.results] == ["early", 7, "again"]
    assert [result.error for result in room.results] == [None] * 3
    assert len(room.tasks) == 0
    assert host.counters.room_tasks == {"completed": 4}


@pytest.mark.parametrize(
    "error", [ValueError("no answer"), TimeoutError(), SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError()]
)
async def test_an_error_is_logged_and_delivered(host: RoomHost, error: BaseException) -> None:
    room = library(host)
    room.may_answer.set()
    with capture_logs() as logs:
        room.run(room.answer(error), room.note)
        room.run(room.answer(error))
        await eventually(lambda: host.counters.room_tasks["failed"] == 2)
    assert [result.error for result in room.results] == [error]
    failures = [line for line in logs if line["event"] == "room_task_failed"]
    assert [(line["room_id"], line["coroutine"]) for line in failures] == [("r", "Library.answer")] * 2
    room.run(room.answer(1), room.note)
    await eventually(lambda: len(room.results) == 2)


async def test_a_coroutine_that_takes_too_long_is_cancelled(host: RoomHost) -> None:
    room = library(host)
    room.run(room.answer(1), room.note, timeout_s=0.01)
    with capture_logs() as logs:
        await eventually(lambda: len(room.results) == 1)
    assert isinstance(room.results[0].error, TimeoutError)
    assert [line["event"] for line in logs] == ["room_task_timed_out"]
    assert host.counters.room_tasks == {"timed_out": 1}


async def test_an_exception_of_the_callback_is_contained(host: RoomHost) -> None:
    room = library(host)
    room.may_answer.set()
    room.run(room.answer(1), room.fail)
    room.run(room.answer(2), room.note)
    await eventually(lambda: len(room.results) == 1)
    assert host.counters.room_errors == {"library": 1}


async def test_tasks_of_a_closed_room_are_cancelled_and_not_reported(host: RoomHost) -> None:
    room = library(host)
    room.run(room.answer(1), room.note)
    await asyncio.sleep(0)  # it has begun
    room.run(room.answer(2), room.note)
    host.close("r", "over")
    assert host.tasks
    await host.tasks.wait_ended(20.0)
    assert not host.tasks
    assert room.results == []
    assert host.counters.room_tasks == {"cancelled": 2}


async def test_a_task_that_catches_its_cancellation_is_logged_and_not_delivered(host: RoomHost) -> None:
    room = library(host)
    room.run(room.insist(), room.note)
    await asyncio.sleep(0)
    host.close("r", "over")
    with capture_logs() as logs:
        await host.tasks.wait_ended(0.01)
    assert [line["tasks"] for line in logs] == [["Library.insist of room r"]]
    room.may_answer.set()
    await eventually(lambda: not host.tasks)
    assert room.results == []


async def test_before_a_move_tasks_are_cancelled_and_reported(host: RoomHost) -> None:
    room = library(host)
    runtime = host.get("r")
    assert runtime is not None
    room.run(room.answer(1), room.note)
    await asyncio.sleep(0)
    host.freeze(runtime)
    assert [type(result.error) for result in room.results] == [TaskCancelled]
    with pytest.raises(TaskRefused, match="moves"):
        room.run(room.answer(2), room.note)
    host.unfreeze(runtime)
    room.may_answer.set()
    room.run(room.answer(3), room.note)
    await eventually(lambda: len(room.results) == 2)
    assert room.results[1].value == 3


async def test_before_a_reload_tasks_are_cancelled_and_reported(host: RoomHost) -> None:
    room = library(host)
    room.run(room.answer(1), room.count)
    assert host.reload({"library": Library}) == (1, 0)
    runtime = host.get("r")
    assert runtime is not None
    again = runtime.room
    assert isinstance(again, Library)
    assert again is not room
    assert again.failed == ["TaskCancelled"], "the new room would wait for a result for ever"
    again.may_answer.set()
    again.run(again.answer(2), again.note)
    await eventually(lambda: len(again.results) == 1)


async def test_a_hook_that_waited_for_the_end_of_a_move_runs_tasks(host: RoomHost) -> None:
    room = library(host)
    runtime = host.get("r")
    assert runtime is not None
    seat = runtime.seat(SeatRequest(RecordingSubscriber("ann"), "ann"))
    host.freeze(runtime)
    runtime.seal()
    seat.leave("left")
    room.may_answer.set()
    host.unfreeze(runtime)
    await eventually(lambda: [result.value for result in room.results] == ["ann"])


async def test_a_room_that_was_not_created_runs_no_task(host: RoomHost, recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(RoomFailed):
        library(host, asks=True, fails=True)
    assert not host.tasks
    assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]


async def test_invalid_calls_are_refused(host: RoomHost, recwarn: pytest.WarningsRecorder) -> None:
    room, other = library(host), library(host, "other")
    wrong: Any = room.answer
    with pytest.raises(TypeError, match="needs a coroutine"):
        room.run(wrong)
    for method in (other.note, print, lambda result: None, room.answer, room.on_dispose):
        with pytest.raises(TypeError, match="run: "):
            room.run(room.answer(1), method)
    for timeout_s in (0, -1, 61, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            room.run(room.answer(1), timeout_s=timeout_s)
    for _ in range(TASKS_MAX):
        room.run(room.answer(1))
    with pytest.raises(TaskRefused, match="already"):
        room.run(room.answer(1))
    assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]


def test_a_room_without_a_loop_keeps_its_tasks_for_later() -> None:
    runtime = create_runtime(Library)
    Library.may_answer = asyncio.Event()
    assert isinstance(runtime.room, Library)
    runtime.room.run(runtime.room.answer(1))
    assert len(runtime.room.tasks) == 1
    runtime.close("over")
