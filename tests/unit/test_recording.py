"""The recorder and the replay: each kind of entry, on rooms in memory."""

from __future__ import annotations

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire import Input, Player, Room, Table, real
from tickwire.schemas.messages import Input as InputMessage
from tickwire.server.recording.reader import Recording
from tickwire.server.recording.recorder import RoomRecorder
from tickwire.server.recording.replay import Replay
from tickwire.server.recording.sinks import FileSink
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest


class Push(Input):
    dx = real(-1, 1, step=1 / 64)


class Boats(Table):
    x = real(-500, 500, step=1 / 32)


class Sea(Room):
    room_type = "sea"
    input_type = Push
    boats: Boats

    def on_join(self, player: Player, options: object) -> None:
        player.entity = self.boats.spawn(x=self.random.uniform(-10, 10))

    def on_input(self, player: Player, input: Push) -> None:
        player.entity.x += input.dx

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()


class Taped:
    """A room that is recorded in memory."""

    def __init__(self, runtime: RoomRuntime) -> None:
        self.runtime = runtime
        self.data = bytearray()
        self.recorder = RoomRecorder(runtime)
        self.recorder.add_sink(FileSink(self.data.extend, self.recorder.header))
        self.recorder.write_keyframe()

    def join(self, player_id: str, **options: object) -> Seat:
        return self.runtime.seat(SeatRequest(RecordingSubscriber(player_id), player_id, options))

    def replay(self, room_class: type[Room] | None = None) -> Replay:
        self.recorder.stop("the test ends")
        return Replay(Recording(bytes(self.data)), room_class or type(self.runtime.room))


def push(seat: Seat, seq: int, payload: bytes = b"\5\0\0\0") -> None:
    seat.push_input(InputMessage(seq, seat.tick, payload))


def test_replay_of_a_room_has_equal_checksums() -> None:
    runtime = create_runtime(Sea)
    seats = [runtime.seat(SeatRequest(RecordingSubscriber(name), name)) for name in ("ann", "bob")]
    runtime.step()
    taped = Taped(runtime)
    for tick in range(1, 101):
        for seat in seats:
            push(seat, tick)
        if tick == 10:
            seats.append(taped.join("cy"))
        if tick == 20:
            seats.pop(0).leave("bye")
        if tick == 40:
            taped.recorder.write_keyframe()
        runtime.step()
    runtime.close("over")
    replay = taped.replay()
    report = replay.verify()
    assert report.divergence is None
    assert (report.first_tick, report.last_tick, report.ticks, report.reason) == (1, 101, 100, "over")
    assert len(replay.recording.keyframes) == 2
