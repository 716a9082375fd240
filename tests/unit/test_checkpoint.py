"""The checkpoint of a durable room: versions of its own state, and its players."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire import EVERYONE, Player, Room, SaveData, Table, real
from tickwire.schemas.messages import Joined, Message, Reply
from tickwire.server.errors import RoomFailed, Unavailable
from tickwire.server.persistence.world_codec import decode_world, encode_world
from tickwire.server.rooms.checkpoint import RoomCheckpoint, SessionCheckpoint, TooNew, to_plain_dict
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest
from tickwire.server.rooms.transactions import RecordVersion


class Bed(SaveData):
    """As of version 3: 1 had a count, 2 a list, 3 has a list with names."""

    version = 3
    flowers: list[tuple[str, int]] = []
    by_age: dict[int, str] = {}

    @classmethod
    def upgrade(cls, version: int, saved: dict[str, Any]) -> dict[str, Any]:
        if version == 1:
            return {"flowers": [1] * saved["count"]}
        return {"flowers": [["rose", number] for number in saved["flowers"]]}


class Pots(Table):
    x = real(-10, 10, step=0.5)


class House(Room):
    room_type = "house"
    durable = True
    save_type = Bed
    uses_ledger = True
    pots: Pots

    def on_create(self, options: Any) -> None:
        self.bed = Bed([("rose", 1)], {7: "old"})
        self.notices: list[str] = []

    def on_join(self, player: Player, options: Any) -> None:
        player.entity = self.pots.spawn(x=2.5, channel=player.private)
        player.data["pockets"] = {"left": (1, 2)}

    def save(self) -> Bed:
        return self.bed

    def restore(self, saved: Bed) -> None:
        self.bed = saved
        self.notices = [f"restored with {', '.join(sorted(self.players))}"]

    def on_resume(self, player: Player) -> None:
        self.notices.append(f"{player.id} is back")

    def on_leave(self, player: Player) -> None:
        self.notices.append(f"{player.id} has left")


class Revived(dict[str, RecordingSubscriber]):
    """Restores sessions, except that of the player `gone`."""

    def restore(self, kept: SessionCheckpoint) -> RecordingSubscriber | None:
        if kept.player_id == "gone":
            return None
        self[kept.player_id] = made = RecordingSubscriber(kept.player_id)
        made.connection = None
        return made

    def settle(self, subscriber: object) -> None:
        pass


def house(saved: RoomCheckpoint | None = None, reviver: Revived | None = None, **more: Any) -> RoomRuntime:
    return create_runtime(House, saved, name="n", sessions=reviver, **more)  # fmt: skip


def stored(runtime: RoomRuntime) -> RoomCheckpoint:
    """Return a checkpoint that was stored and read again."""
    return decode_world(encode_world("house", "n", "r", runtime.checkpoint()))


@pytest.mark.parametrize(
    ("version", "saved", "flowers"),
    [
        (1, {"count": 2}, [("rose", 1), ("rose", 1)]),
        (2, {"flowers": [4, 5]}, [("rose", 4), ("rose", 5)]),
        (3, {"flowers": [["lily", 4]]}, [("lily", 4)]),
        (3, {}, []),
        (3, {"flowers": [], "of a build that we do not know": 1}, []),
    ],
)
def test_saves_of_every_version_are_read(version: int, saved: dict[str, Any], flowers: list[Any]) -> None:
    assert Bed.read(version, saved).flowers == flowers


def test_an_unreadable_save_is_an_error() -> None:
    with pytest.raises(TooNew, match="saved as version 4; this build reads up to 3"):
        Bed.read(4, {})
    with pytest.raises(KeyError):
        Bed.read(1, {})
    with pytest.raises(msgspec.ValidationError):
        Bed.read(3, {"flowers": "none"})
    with pytest.raises(NotImplementedError, match="no step from version 0"):
        SaveData.read(0, {})


def test_a_copy_of_the_save_is_independent_of_the_game() -> None:
    bed = Bed([("rose", 1)], {7: "old"})
    copy = bed.to_plain_dict()
    bed.flowers.append(("lily", 2))
    assert copy == {"flowers": [("rose", 1)], "by_age": {"7": "old"}}
    assert Bed.read(3, copy).by_age == {7: "old"}
    with pytest.raises(TypeError):
        to_plain_dict({"a": object()})


def test_a_room_that_a_newer_build_has_saved_is_not_restored() -> None:
    newer = msgspec.structs.replace(house().checkpoint(), state_version=9)
    with pytest.raises(Unavailable, match="a newer build") as refused:
        house(newer)
    assert refused.value.retryable, "soon a shard of the newer build has the room"


def test_a_save_of_an_undeclared_type_is_an_error_of_the_room() -> None:
    runtime = house()
    runtime.room.save = SaveData  # type: ignore[method-assign]
    with pytest.raises(RoomCodeRaised):
        runtime.checkpoint()


def seated(runtime: RoomRuntime, *players: str) -> list[Seat]:
    return [runtime.seat(SeatRequest(RecordingSubscriber(player), player)) for player in players]


def test_players_resume_in_their_restored_seats() -> None:
    runtime = house()
    ann, _, _ = seated(runtime, "ann", "bob", "gone")
    ann.player.watch(runtime.room.open_channel())
    runtime.room.label(map="ice")
    runtime.step()
    revived = Revived()
    ended: list[str] = []
    again = house(
        stored(runtime),
        revived,
        records={"ann": RecordVersion(3, {"gold": 7}, {})},
        on_ended=lambda seat: ended.append(seat.player_id),
    )
    room = again.room
    assert isinstance(room, House)
    assert room.notices == ["restored with ann, bob, gone", "gone has left"], (
        "all are there before the room is restored"
    )
    assert ended == ["gone"], "the directory is to know that the seat is free"
    assert room.labels == {"map": "ice"}
    player = room.players["ann"]
    assert not player.is_connected
    assert player.entity.x == 2.5
    assert player.data == {"pockets": {"left": (1, 2)}}
    assert player.holdings == {"gold": 7}
    assert player.private == ann.player.private
    assert player.watched == ann.player.watched > {EVERYONE, player.private}
    again.step()  # the session is disconnected; the event is kept

    listening = revived["ann"]
    seat = listening.restored
    assert seat is not None
    listening.connection = listening
    seat.resumed("r", 17)
    assert listening.core.joined is not None, "its world starts again: the ticks that it saw last may be lost"
    again.step()
    assert listening.core.world is not None
    assert listening.core.world.table("pots").column("x").tolist() == [2.5]
    assert room.notices[-1] == "ann is back"
    restored = revived["bob"].restored
    assert restored is not None
    restored.leave("away for too long")
    assert (room.notices[-1], ended) == ("bob has left", ["gone", "bob"])
    assert set(room.players) == {"ann"}


@pytest.mark.parametrize("has_rolled_back", [True, False], ids=["restored from a save", "moved"])
def test_a_client_whose_joined_was_lost_gets_no_delta_from_a_tick_of_the_older_world(has_rolled_back: bool) -> None:
    runtime = house()
    seated(runtime, "ann")
    for _ in range(8):
        runtime.step()
    state = stored(runtime)
    revived = Revived()
    again = house(state, revived)
    again.has_rolled_back = has_rolled_back
    listening = revived["ann"]
    seat = listening.restored
    assert seat is not None
    sent: list[Message] = []
    listening.send_message = sent.append  # type: ignore[method-assign]
    listening.connection = listening
    listening.write = lambda frames: None  # type: ignore[method-assign]
    seat.resumed("r", 10)  # the client has seen two ticks that were not saved
    for _ in range(2):
        again.step()
    listening.connection = None
    seat.disconnected()
    listening.connection = listening
    seat.resumed("r", 10)
    assert [type(message) for message in sent] == [Joined] * (2 if has_rolled_back else 1)
    assert (seat.view is None) == has_rolled_back


def test_a_guest_keeps_the_player_id_of_its_ticket() -> None:
    runtime = house()
    runtime.seat(SeatRequest(RecordingSubscriber("guest-2"), "guest-1"))
    revived = Revived()
    again = house(stored(runtime), revived)
    assert set(again.room.players) == {"guest-1"}
    assert set(revived) == {"guest-2"}


def test_sessions_lose_their_seats_when_a_room_cannot_be_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = house()
    seated(runtime, "ann")
    saved, revived = stored(runtime), Revived()

    def fail(self: House, saved: Bed) -> None:
        raise RuntimeError("told to fail")

    monkeypatch.setattr(House, "restore", fail)
    with pytest.raises(RoomFailed):
        house(saved, revived)
    assert revived["ann"].notices == ["the room could not be restored"]


def test_sessions_follow_a_room_that_has_moved() -> None:
    runtime = house()
    (seat,) = seated(runtime, "ann")
    runtime.close("another has it", has_moved=True)
    assert isinstance(seat.subscriber, RecordingSubscriber)
    assert seat.subscriber.notices == ["moved: another has it"]


def test_metadata_is_equal_until_it_changes() -> None:
    runtime = house()
    (seat,) = seated(runtime, "ann")
    runtime.step()
    before = runtime.metadata()
    assert runtime.metadata() == before
    assert isinstance(runtime.room, House)
    runtime.room.bed.flowers.append(("lily", 2))
    assert runtime.metadata() != before
    runtime.room.bed.flowers.pop()
    assert runtime.metadata() == before
    seat.player.data["pockets"] = {}
    assert runtime.metadata() != before


def test_a_session_checkpoint_survives_storage() -> None:
    replies = (Reply(1, ok=True, payload=b"\1"), Reply(2, ok=False, message="no"))
    kept = SessionCheckpoint("s", "p", False, 3, 4, 2, 9, 17, (b"frame",), replies)
    assert msgspec.convert(msgspec.to_builtins(kept, builtin_types=(bytes,)), SessionCheckpoint) == kept
