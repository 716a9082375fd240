"""Saving of durable rooms, and a round trip of texts, channels and numbers through BSON."""

from __future__ import annotations

import bson
import msgspec

from tests.harness.runtimes import create_runtime
from tickwire import Player, Room, SaveData
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.persistence.saver import RoomSaver
from tickwire.server.persistence.world_codec import decode_world, encode_world
from tickwire.server.replication.columns import blob, real, text, uint
from tickwire.server.replication.table import Table
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.storage import SavedWorld


class Notes(Table):
    x = real(-10, 10, step=0.5)
    words = text(bytes_max=32)
    seal = blob(bytes_max=8)
    number = uint(bits=53)


class NoteBoard(Room):
    room_type = "board"
    durable = True
    notes: Notes

    def on_join(self, player: Player, options: object) -> None:
        player.entity = self.notes.spawn()


def made(saved: SavedWorld | None = None) -> RoomRuntime:
    state = decode_world(saved) if saved is not None else None
    return create_runtime(NoteBoard, state, name="n")


def test_texts_and_their_channels_survive_a_save() -> None:
    first = made()
    board = first.room
    assert isinstance(board, NoteBoard)
    channel = board.open_channel()
    board.notes.spawn(x=1.5, words="bøard", seal=b"\0\xff", number=2**53 - 1, channel=channel)
    board.notes.spawn(x=-2.0)
    first.step()
    document = bson.encode(
        msgspec.to_builtins(encode_world("board", "n", "r", first.checkpoint()), builtin_types=(bytes,))
    )
    again = made(msgspec.convert(bson.decode(document), SavedWorld))
    found = again.room
    assert isinstance(found, NoteBoard)
    assert [(note.x, note.words, note.seal, note.number, note.channel) for note in found.notes] == [
        (1.5, "bøard", b"\0\xff", 2**53 - 1, channel),
        (-2.0, "", b"", 0, 0),
    ]
    assert found.open_channel() not in (channel, 0), "a channel with rows is not allocated again"


class FakeWriteBehind:
    """Records the keys of the worlds that are put."""

    def __init__(self) -> None:
        self.puts: list[str] = []

    def put(self, key: str, snapshot: object, epoch: int) -> None:
        self.puts.append(key)


def test_room_is_saved_after_changes_and_at_its_end() -> None:
    runtime, behind = made(), FakeWriteBehind()
    saver = RoomSaver(None, behind, None, FaultIsolation())  # type: ignore[arg-type]
    for _ in range(3):
        runtime.step()
        saver.save(runtime)
    assert behind.puts == ["board/n"]
    board = runtime.room
    assert isinstance(board, NoteBoard)
    board.notes.spawn(x=1.0)
    runtime.step()
    saver.save(runtime)
    runtime.step()
    saver.save(runtime)
    assert len(behind.puts) == 2
    saver.save(runtime, is_last=True)
    assert len(behind.puts) == 3
    saver.evict(runtime)
    saver.save(runtime)
    assert len(behind.puts) == 4, "a new instance of the room"


def test_idle_room_is_checked_once() -> None:
    runtime, behind = made(), FakeWriteBehind()
    saver = RoomSaver(None, behind, None, FaultIsolation())  # type: ignore[arg-type]
    checks: list[int] = []

    def save() -> SaveData:
        checks.append(runtime.tick)
        return SaveData()

    runtime.room.save = save  # type: ignore[method-assign]
    runtime.step()
    assert runtime.is_idle
    for _ in range(3):
        saver.save(runtime)
    assert (checks, behind.puts) == ([1], ["board/n"])
    runtime.notify_tuned()
    assert not runtime.is_idle
    saver.save(runtime)
    runtime.step()
    saver.save(runtime)
    assert checks == [1, 1, 2]
    saver.save(runtime, is_last=True)
    assert checks == [1, 1, 2, 2]
