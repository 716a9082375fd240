"""A client watches a recording through the protocol of any room: `replay_room`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tickwire import EVERYONE, Player, Room, Table, command, entity, replay_room, uint
from tickwire.examples.arena import Arena, Said
from tickwire.examples.cards import CardTable
from tickwire.server.recording.replay_room import ReplayRoom, ReplayStatus
from tickwire.server.recording.room_builder import build_room
from tickwire.testing import HarnessClient, Network, RoomHarness, random_input

TICKS = 200


def rows(client: HarnessClient, table: str, *columns: str) -> list[tuple[Any, ...]]:
    """Return the values of a table of a client's world, sorted."""
    return sorted(tuple(getattr(row, column) for column in columns) for row in getattr(client.world, table))


@pytest.fixture(scope="module")
def match(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[int, list[tuple[Any, ...]]]]:
    """A recording of an arena, and the ships that a client saw after some ticks."""
    path = tmp_path_factory.mktemp("match") / "match.tickrec"
    seen: dict[int, list[tuple[Any, ...]]] = {}
    words: list[str] = []
    with RoomHarness(Arena, seed=3) as room:
        room.record(path)
        ann, bob = room.join("ann", options={"name": "ann"}), room.join("bob", options={"name": "bob"})
        while room.tick < TICKS:
            room.random_play({random_input: 1}, steps=1)
            if room.tick > 50 * len(words):
                words.append(f"tick {room.tick}")
                bob.command("say", words=words[-1])
            seen[room.tick] = rows(ann, "ships", "x", "y", "hp", "score")
    return path.read_bytes(), seen


def watch(match: bytes, **arguments: Any) -> RoomHarness[ReplayRoom]:
    async def load(name: str) -> bytes:
        return {"match": match}[name]

    return RoomHarness(
        replay_room(arguments.pop("room_class", Arena), load, **arguments), options={"recording": "match"}
    )


def place_of(room: RoomHarness[ReplayRoom]) -> int:
    return room.room.place


def test_a_client_sees_the_match_as_its_players_did(match: tuple[bytes, dict[int, list[tuple[Any, ...]]]]) -> None:
    data, seen = match
    with watch(data) as room:
        viewer = room.join("viewer", network=Network())
        compared = 0
        while place_of(room) < TICKS - 5:
            room.run(ticks=1)
            expected = seen.get(place_of(room))
            if expected is not None:
                assert rows(viewer, "ships", "x", "y", "hp", "score") == expected
                compared += 1
        assert compared > TICKS / 4
        room.check_convergence()
        assert [int(said.words.removeprefix("tick ")) // 50 for said in viewer.received(Said)] == [0, 1, 2, 3]


def test_a_client_pauses_seeks_and_changes_the_speed(match: tuple[bytes, dict[int, list[tuple[Any, ...]]]]) -> None:
    data, seen = match
    with watch(data) as room:
        viewer = room.join("viewer")
        viewer.command("pause")
        room.run(ticks=3)
        place = place_of(room)
        room.run(ticks=10)
        assert place_of(room) == place
        for tick in (max(seen), min(tick for tick in seen if tick > 20), max(seen)):
            viewer.command("seek", tick=tick)
            room.run(ticks=TICKS)
            assert rows(viewer, "ships", "x", "y", "hp", "score") == seen[tick]
        viewer.command("seek", tick=10)
        viewer.command("play", speed=4)
        room.run(ticks=11)
        assert 40 <= place_of(room) <= 60
        room.run(ticks=TICKS)
        assert room.room.speed == 0, "it stops at the end"
        assert viewer.received(ReplayStatus)[-1].tick == place_of(room)
        room.check_convergence()


def test_a_replay_continues_on_another_shard(match: tuple[bytes, dict[int, list[tuple[Any, ...]]]]) -> None:
    data, seen = match
    with watch(data) as room:
        viewer = room.join("viewer")
        tick = max(seen) // 2
        tick = min(seen, key=lambda each: abs(each - tick))
        viewer.command("pause")
        viewer.command("seek", tick=tick)
        room.run(ticks=20)
        room.migrate()
        room.run(ticks=40)
        assert rows(viewer, "ships", "x", "y", "hp", "score") == seen[tick]
        room.check_convergence()


@pytest.mark.parametrize(("data", "reason"), [(None, "no such"), (b"no recording", "cannot be loaded")])
def test_a_recording_that_cannot_be_read_closes_the_room(data: bytes | None, reason: str) -> None:
    async def load(name: str) -> bytes:
        if data is None:
            raise LookupError(name)
        return data

    with RoomHarness(replay_room(Arena, load), options={"recording": "match"}, raise_errors=False) as room:
        viewer = room.connect("viewer")
        room.run(ticks=5)
        assert not room.is_open
        assert reason in viewer.left_reason or not viewer.is_seated


def test_hands_of_cards_stay_hidden(tmp_path: Path) -> None:
    with RoomHarness(CardTable, seed=1) as room:
        room.record(tmp_path / "cards.tickrec")
        ann = room.join("ann")
        room.join("bob")
        room.run(ticks=30)
        hand = [card.id for card in ann.world.cards if card.holder == ann.entity]
        assert hand
    data = (tmp_path / "cards.tickrec").read_bytes()
    for shows_private, holders in ((False, 0), (True, 2)):
        with watch(data, room_class=CardTable, shows_private=shows_private) as room:
            viewer = room.join("viewer")
            room.run(ticks=40)
            assert len({card.holder for card in viewer.world.cards} - {0}) == holders
            hands = {hand.id for hand in viewer.world.hands}
            assert {card.holder for card in viewer.world.cards} <= {0, *hands}, "references lead to shown entities"


class WorkshopParts(Table):
    owner = entity()
    size = uint(bits=8)


class Workshop(Room):
    room_type = "workshop"
    parts: WorkshopParts

    def on_create(self, options: Any) -> None:
        first = self.parts.spawn(size=1)
        for size in range(2, 5):
            self.parts.spawn(size=size, owner=first.id)

    def on_tick(self, dt: float) -> None:
        if self.tick == 10:
            next(iter(self.parts)).despawn()
            self.parts.spawn(size=9, channel=EVERYONE)


def test_entities_that_leave_and_come_are_followed(tmp_path: Path) -> None:
    with RoomHarness(Workshop) as room:
        room.record(tmp_path / "x.tickrec")
        room.join("ann")
        room.run(ticks=20)
    with watch((tmp_path / "x.tickrec").read_bytes(), room_class=Workshop) as room:
        viewer = room.join("viewer")
        viewer.command("pause")
        for tick, sizes in ((5, [1, 2, 3, 4]), (15, [2, 3, 4, 9]), (5, [1, 2, 3, 4])):
            viewer.command("seek", tick=tick)
            room.run(ticks=20)
            assert [size for (size,) in rows(viewer, "parts", "size")] == sizes
            (owner,) = {part.owner for part in viewer.world.parts if part.size in (2, 3, 4)}
            assert owner == next((part.id for part in viewer.world.parts if part.size == 1), 0)


class Whispering(Room):
    room_type = "whispering"

    def on_join(self, player: Player, options: Any) -> None:
        if options.get("leaves"):
            player.kick("a reason for one player")

    @command
    def whisper(self, player: Player, words: str) -> None:
        player.send("note", words)
        player.send("note", words)

    @command
    def shout(self, player: Player, words: str) -> None:
        self.broadcast("note", words)
        self.broadcast("note", words)


@pytest.mark.parametrize("players", [1, 2])
def test_events_to_a_single_player_stay_hidden(players: int, tmp_path: Path) -> None:
    with RoomHarness(Whispering) as room:
        room.record(tmp_path / "x.tickrec")
        ann, *_ = [room.join(name) for name in ("ann", "bob")[:players]]
        ann.command("whisper", words="the code of my safe")
        room.run(ticks=5)
        room.connect("cy", options={"leaves": True})
        room.run(ticks=5)
        ann.command("shout", words="hello")
        room.run(ticks=5)
    with watch((tmp_path / "x.tickrec").read_bytes(), room_class=Whispering) as room:
        viewer = room.join("viewer")
        room.run(ticks=60)
        assert room.room.speed == 0, "it is at the end"
        assert viewer.received("note") == (["hello"] * 2 if players == 2 else [])
        assert viewer.received("seat lost") == []


class SlowArchive:
    """Loads a recording when the test allows it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.waits = True
        self.calls = 0

    async def load(self, name: str) -> bytes:
        self.calls += 1
        while self.waits:
            await asyncio.sleep(0.05)
        return self._data


def test_a_room_that_loads_its_recording_can_move(match: tuple[bytes, dict[int, list[tuple[Any, ...]]]]) -> None:
    archive = SlowArchive(match[0])
    with RoomHarness(replay_room(Arena, archive.load), options={"recording": "match"}) as room:
        viewer = room.join("viewer")
        viewer.command("seek", tick=2**63)
        room.migrate()
        archive.waits = False
        room.run(ticks=100)
        assert rows(viewer, "ships", "x", "y", "hp", "score") == match[1][TICKS]
        assert archive.calls == 2, "once on each shard"


def test_a_move_that_is_given_up_loads_the_recording_again(
    match: tuple[bytes, dict[int, list[tuple[Any, ...]]]],
) -> None:
    archive = SlowArchive(match[0])
    with RoomHarness(replay_room(Arena, archive.load), options={"recording": "match"}) as room:
        room.join("viewer")
        host = room._owner.shard.host

        async def give_up() -> None:
            host.freeze(room.runtime)
            host.unfreeze(room.runtime)

        room._time.call(give_up)
        archive.waits = False
        room.run(ticks=60)
        assert place_of(room) > 0


def test_a_recording_of_another_type_of_room_closes_the_room(
    match: tuple[bytes, dict[int, list[tuple[Any, ...]]]],
) -> None:
    async def load(name: str) -> bytes:
        return match[0]

    with RoomHarness(replay_room(CardTable, load), options={"recording": "match"}) as room:
        viewer = room.connect("viewer")
        room.run(ticks=5)
        assert not room.is_open
        assert "another type" in viewer.left_reason or not viewer.is_seated


def test_seeks_of_many_viewers_build_the_room_a_few_times_only(
    match: tuple[bytes, dict[int, list[tuple[Any, ...]]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    builds: list[int] = []

    def build(*arguments: Any) -> Any:
        builds.append(1)
        return build_room(*arguments)

    data, seen = match
    with watch(data) as room:
        viewers = [room.join(f"viewer {number}") for number in range(8)]
        viewers[0].command("pause")
        viewers[0].command("seek", tick=TICKS)
        room.run(ticks=20)
        monkeypatch.setattr("tickwire.server.recording.replay.build_room", build)
        for number in range(20):  # each seek leads back, so it builds the room again
            viewers[number % 8].command("seek", tick=20 - number)
            room.run(ticks=2)
        wanted = min(tick for tick in seen if tick > 20)
        viewers[0].command("seek", tick=wanted)
        room.run(ticks=20)
        assert len(builds) <= 10
        assert place_of(room) == wanted
        assert all(rows(viewer, "ships", "x", "y", "hp", "score") == seen[wanted] for viewer in viewers)
