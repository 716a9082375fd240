"""A room in which every kind of entry leaves a trace in a table, and its recording in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire import (
    Input,
    MoveOutcome,
    Player,
    Room,
    SaveData,
    Table,
    TaskResult,
    Transaction,
    TransactionOutcome,
    Tuning,
    command,
    grant,
    real,
    text,
    uint,
)
from tickwire.schemas.messages import Command
from tickwire.schemas.messages import Input as InputMessage
from tickwire.schemas.payloads import encode_payload
from tickwire.server.recording.reader import Recording
from tickwire.server.recording.recorder import RoomRecorder
from tickwire.server.recording.replay import Replay
from tickwire.server.recording.sinks import FileSink
from tickwire.server.rooms.room_tasks import RoomTask
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest
from tickwire.server.rooms.transactions import RecordVersion


class BoatInput(Input):
    dx = real(-1, 1, step=1 / 64)
    wish = uint(bits=8)


class BayBoats(Table):
    x = real(-5000, 5000, step=1 / 32)
    gold = uint(bits=16)
    name = text(bytes_max=40)
    seen = real(-5000, 5000, step=1 / 32)


class BayMarks(Table):
    code = uint(bits=16)


class BayTuning(Tuning):
    speed: float = 1.0


class BaySave(SaveData):
    saves: int = 0


class Bay(Room):
    """Each hook changes a table; chance, timers, channels and despawned entities are in the game, too."""

    room_type = "bay"
    input_type = BoatInput
    save_type = BaySave
    tuning_type = BayTuning
    uses_ledger = True
    ticks_when_empty = True
    error_policy = "ignore"
    history_s = 0.5
    history = {"boats": ("x",)}
    boats: BayBoats
    marks: BayMarks

    def on_create(self, options: Any) -> None:
        self.saves = self.waves = 0
        self.clock.every(0.35, self.spawn_mark, 7)

    def mark(self, code: int) -> None:
        self.marks.spawn(code=code)
        if len(self.marks) > 20:
            self.marks.despawn(int(self.marks.ids[0]))

    def spawn_mark(self, code: int) -> None:
        self.waves += 1
        self.mark(code + self.waves + int(self.random.integers(100)))

    def on_join(self, player: Player, options: Any) -> None:
        player.entity = self.boats.spawn(x=self.random.uniform(-10, 10), name=str(options.get("name", player.id)))
        player.entity.channel = player.private

    def on_input(self, player: Player, input: BoatInput) -> None:
        entity = player.entity
        entity.x += input.dx * self.tuning.speed
        past = self.rewind(player)
        if entity in past.boats:
            entity.seen = float(past.boats.x[past.boats.row_of(entity)])
        if input.wish == 255:
            raise ValueError("no such wish")

    def on_tick(self, dt: float) -> None:
        self.boats.x += np.float32(0.01)

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()
        self.mark(1)

    def on_disconnect(self, player: Player) -> None:
        self.mark(2)

    def on_resume(self, player: Player) -> None:
        self.mark(3)

    def on_tuned(self) -> None:
        self.mark(4)

    def can_migrate(self) -> bool:
        self.mark(5)
        return True

    def save(self) -> BaySave:
        self.saves += 1
        self.random.integers(10)
        return BaySave(self.saves)

    def restore(self, saved: BaySave) -> None:
        self.saves = saved.saves
        self.mark(999)  # a replay must not keep it
        self.random.integers(1000)

    @command
    def say(self, player: Player, text: str) -> str:
        player.entity.name = text
        return text

    @command
    def buy(self, player: Player) -> Transaction:
        return Transaction(grant(player.id, "gold", 3))

    @command
    def work(self, player: Player) -> None:
        self.run(self.wait(), self.worked)

    @command
    def pay(self, player: Player) -> None:
        self.transact(Transaction(grant(player.id, "gold", 2), key=f"{self.tick}/{player.id}"), self.paid)

    @command
    def go(self, player: Player) -> None:
        player.move_to("elsewhere", then=self.moved)

    @command
    def kick(self, player: Player) -> None:
        player.kick("enough")

    async def wait(self) -> int:
        return 1

    def worked(self, result: TaskResult) -> None:
        self.mark(20 if result.error is None and result.value == {"pay": (1, 2)} else 21)

    def paid(self, outcome: TransactionOutcome) -> None:
        self.mark(30 if outcome.is_committed else 31)

    def moved(self, outcome: MoveOutcome) -> None:
        self.mark(40 if outcome.has_moved else 41)

    def on_transaction(self, player: Player, name: str, transaction: Transaction) -> None:
        if player.id in self.players:
            player.entity.gold = player.holdings.get("gold", 0)
        self.mark(50)


class HeldTasks:
    """Runs no task until the test ends one. Implements `TaskStarter`."""

    def __init__(self) -> None:
        self.tasks: list[tuple[RoomTask, Callable[..., bool]]] = []

    def start(self, room: Any, task: RoomTask, on_ended: Callable[..., bool], /) -> Callable[[], object]:
        task.coroutine.close()
        self.tasks.append((task, on_ended))
        return lambda: None

    def record_cancelled(self, count: int, /) -> None:
        pass

    def end(self, result: TaskResult) -> None:
        task, on_ended = self.tasks.pop(0)
        on_ended(task, result)


class RecordedRoom:
    """A room that is recorded in memory, with its players."""

    def __init__(self, room_class: type[Room] = Bay, *, recorder_class: type[RoomRecorder] = RoomRecorder) -> None:
        self.runtime: RoomRuntime = create_runtime(room_class, seed=5)
        self.tasks = HeldTasks()
        self.runtime.start(lambda runtime: None, self.tasks)
        self.data = bytearray()
        self.seats: dict[str, Seat] = {}
        self._recorder_class = recorder_class
        self._seq = 0

    def start(self) -> RoomRecorder:
        """Start to record."""
        self.recorder = self._recorder_class(self.runtime)
        self.recorder.add_sink(FileSink(self.data.extend, self.recorder.header))
        self.recorder.write_keyframe()
        return self.recorder

    def join(self, player_id: str, **options: Any) -> Seat:
        """Seat a player."""
        record = RecordVersion(1, {"gold": 1}) if self.runtime.room.uses_ledger else None
        request = SeatRequest(RecordingSubscriber(player_id), player_id, options, record=record)
        seat = self.seats[player_id] = self.runtime.seat(request)
        return seat

    def push(self, player_id: str, payload: bytes) -> None:
        """Send an input."""
        self._seq += 1
        seat = self.seats[player_id]
        lag = 3 if self._seq % 2 else 5
        seat.push_input(InputMessage(self._seq, max(1, self.runtime.tick - lag), payload))

    def call(self, player_id: str, name: str, **arguments: Any) -> Any:
        """Call a command."""
        self._seq += 1
        return self.seats[player_id].run_command(Command(self._seq, name, encode_payload(arguments)))

    def tune(self, **values: Any) -> None:
        """Change the tuning values, as the tuning service does."""
        room = self.runtime.room
        room.tuning, room.tuning_version = msgspec.convert(values, room.tuning_type), room.tuning_version + 1
        self.runtime.notify_tuned()

    def step(self, ticks: int = 1) -> None:
        """Run some ticks."""
        for _ in range(ticks):
            self.runtime.step()

    def recording(self) -> Recording:
        """Return the recording, which ends."""
        self.recorder.stop("the test ends")
        return Recording(bytes(self.data))

    def replay(self, room_class: type[Room] | None = None) -> Replay:
        """Return a replay of the recording, which ends."""
        return Replay(self.recording(), room_class or type(self.runtime.room))


ROOMS = [Bay]
