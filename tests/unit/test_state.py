"""What is kept of a durable room: versions of its own state, and who was playing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.test_simulation import Listening
from tickwire.schemas.messages import Joined, Message, Reply
from tickwire.server.errors import RoomFailed, Unavailable
from tickwire.server.persistence.world_codec import decode_world, encode_world
from tickwire.server.rooms import EVERYONE, Player, Room, SaveData, Table, real
from tickwire.server.rooms.checkpoint import RoomCheckpoint, SessionCheckpoint, TooNew, plain
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.factory import create
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat
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
    saves = Bed
    uses_ledger = True
    pots: Pots

    def on_create(self, options: Any) -> None:
        self.bed = Bed([("rose", 1)], {7: "old"})
        self.told: list[str] = []

    def on_join(self, player: Player, options: Any) -> None:
        player.entity = self.pots.spawn(x=2.5, channel=player.private)
        player.data["pockets"] = {"left": (1, 2)}

    def save(self) -> Bed:
        return self.bed

    def restore(self, saved: Bed) -> None:
        self.bed = saved
        self.told = [f"restored with {', '.join(sorted(self.players))}"]

    def on_resume(self, player: Player) -> None:
        self.told.append(f"{player.id} is back")

    def on_leave(self, player: Player) -> None:
        self.told.append(f"{player.id} has left")


class Revived(dict[str, Listening]):
    """Gives sessions again; nobody who is called `gone`."""

    def revive(self, kept: SessionCheckpoint) -> Listening | None:
        if kept.player_id == "gone":
            return None
        self[kept.player_id] = made = Listening(kept.player_id)
        made.wire = None
        return made

    def settle(self, subscriber: object) -> None:
        pass


def house(saved: RoomCheckpoint | None = None, reviver: Revived | None = None, **more: Any) -> RoomRuntime:
    return create(
        House, room_id="r", name="n", epoch=1, seed=1, counters=RoomCounters(), options={}, saved=saved,
        reviver=reviver, **more,
    )  # fmt: skip


def stored(simulation: RoomRuntime) -> RoomCheckpoint:
    """As it comes back from a store."""
    return decode_world(encode_world("house", "n", "r", simulation.state()))


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
def test_what_any_version_has_saved_is_read(version: int, saved: dict[str, Any], flowers: list[Any]) -> None:
    assert Bed.read(version, saved).flowers == flowers


def test_what_cannot_be_read_is_an_error() -> None:
    with pytest.raises(TooNew, match="saved as version 4; this build reads up to 3"):
        Bed.read(4, {})
    with pytest.raises(KeyError):
        Bed.read(1, {})
    with pytest.raises(msgspec.ValidationError):
        Bed.read(3, {"flowers": "none"})
    with pytest.raises(NotImplementedError, match="no step from version 0"):
        SaveData.read(0, {})


def test_a_copy_of_what_is_saved_does_not_change_with_it() -> None:
    bed = Bed([("rose", 1)], {7: "old"})
    copy = bed.plain()
    bed.flowers.append(("lily", 2))
    assert copy == {"flowers": [("rose", 1)], "by_age": {"7": "old"}}
    assert Bed.read(3, copy).by_age == {7: "old"}
    with pytest.raises(TypeError):
        plain({"a": object()})


def test_a_room_that_a_newer_build_has_saved_is_not_made() -> None:
    newer = msgspec.structs.replace(house().state(), state_version=9)
    with pytest.raises(Unavailable, match="a newer build") as refused:
        house(newer)
    assert refused.value.retryable, "soon a shard of the newer build has the room"


def test_a_save_of_another_kind_than_is_declared_is_an_error_of_the_room() -> None:
    simulation = house()
    simulation.room.save = SaveData  # type: ignore[method-assign]
    with pytest.raises(RoomCodeRaised):
        simulation.state()


def seated(simulation: RoomRuntime, *players: str) -> list[Seat]:
    return [simulation.seat(Listening(player), player, {}, lambda seat: None) for player in players]


def test_those_who_were_playing_come_back_to_their_seats() -> None:
    simulation = house()
    ann, _, _ = seated(simulation, "ann", "bob", "gone")
    ann.player.watch(simulation.room.open_channel())
    simulation.room.label(map="ice")
    simulation.step()
    revived = Revived()
    ended: list[str] = []
    again = house(
        stored(simulation),
        revived,
        records={"ann": RecordVersion(3, {"gold": 7}, {})},
        on_ended=lambda seat: ended.append(seat.player_id),
    )
    room = again.room
    assert isinstance(room, House)
    assert room.told == ["restored with ann, bob, gone", "gone has left"], "all are there before the room is restored"
    assert ended == ["gone"], "the directory is to know that the seat is free"
    assert room.labels == {"map": "ice"}
    player = room.players["ann"]
    assert not player.is_connected
    assert (player.entity.x if player.entity else None) == 2.5
    assert player.data == {"pockets": {"left": (1, 2)}}
    assert player.holdings == {"gold": 7}
    assert player.private == ann.player.private
    assert player.watched == ann.player.watched > {EVERYONE, player.private}
    again.step()  # nobody listens, and nothing breaks

    listening = revived["ann"]
    seat = listening.restored
    assert seat is not None
    listening.wire = listening
    seat.resumed("r", 17)
    assert listening.core.joined is not None, "its world begins anew: what it has seen last may never have been"
    again.step()
    assert listening.core.world is not None
    assert listening.core.world.table("pots").column("x").tolist() == [2.5]
    assert room.told[-1] == "ann is back"
    restored = revived["bob"].restored
    assert restored is not None
    restored.leave("away for too long")
    assert (room.told[-1], ended) == ("bob has left", ["gone", "bob"])
    assert set(room.players) == {"ann"}


@pytest.mark.parametrize("has_gone_back", [True, False], ids=["restored from a save", "moved"])
def test_a_client_whose_joined_was_lost_gets_no_delta_from_a_tick_of_the_older_world(has_gone_back: bool) -> None:
    simulation = house()
    seated(simulation, "ann")
    for _ in range(8):
        simulation.step()
    state = stored(simulation)
    revived = Revived()
    again = house(state, revived)
    again.has_gone_back = has_gone_back
    listening = revived["ann"]
    seat = listening.restored
    assert seat is not None
    sent: list[Message] = []
    listening.send_message = sent.append  # type: ignore[method-assign]
    listening.wire = listening
    listening.write = lambda frames: None  # type: ignore[method-assign]
    seat.resumed("r", 10)  # the client has seen two ticks that were not saved
    for _ in range(2):
        again.step()
    listening.wire = None
    seat.disconnected()
    listening.wire = listening
    seat.resumed("r", 10)
    assert [type(message) for message in sent] == [Joined] * (2 if has_gone_back else 1)
    assert (seat.holding is None) == has_gone_back


def test_a_guest_who_plays_under_a_tickets_name_keeps_it() -> None:
    simulation = house()
    simulation.seat(Listening("guest-2"), "guest-1", {}, lambda seat: None)
    revived = Revived()
    again = house(stored(simulation), revived)
    assert set(again.room.players) == {"guest-1"}
    assert set(revived) == {"guest-2"}


def test_when_a_room_cannot_be_made_again_nobody_sits_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = house()
    seated(simulation, "ann")
    saved, revived = stored(simulation), Revived()

    def fail(self: House, saved: Bed) -> None:
        raise RuntimeError("told to fail")

    monkeypatch.setattr(House, "restore", fail)
    with pytest.raises(RoomFailed):
        house(saved, revived)
    assert revived["ann"].told == ["the room could not be made"]


def test_who_sits_in_a_room_that_has_moved_is_sent_after_it() -> None:
    simulation = house()
    (seat,) = seated(simulation, "ann")
    simulation.close("another has it", has_moved=True)
    assert isinstance(seat.subscriber, Listening)
    assert seat.subscriber.told == ["moved: another has it"]


def test_what_is_beside_the_tables_is_equal_until_something_changes() -> None:
    simulation = house()
    (seat,) = seated(simulation, "ann")
    simulation.step()
    before = simulation.beside()
    assert simulation.beside() == before
    assert isinstance(simulation.room, House)
    simulation.room.bed.flowers.append(("lily", 2))
    assert simulation.beside() != before
    simulation.room.bed.flowers.pop()
    assert simulation.beside() == before
    seat.player.data["pockets"] = {}
    assert simulation.beside() != before


def test_a_sessions_memory_comes_back_as_it_was() -> None:
    replies = (Reply(1, ok=True, payload=b"\1"), Reply(2, ok=False, message="no"))
    kept = SessionCheckpoint("s", "p", False, 3, 4, 2, 9, 17, (b"frame",), replies)
    assert msgspec.convert(msgspec.to_builtins(kept, builtin_types=(bytes,)), SessionCheckpoint) == kept
