"""Which field costs what: the bits that are counted are those that were written, and the advice fits them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any, cast

import numpy as np
import pytest

from tests.harness.runtimes import create_runtime
from tests.harness.sample_rooms import Garden
from tests.unit.test_runtime import garden, seated, step_input
from tickwire import Grid, Player, Room, quaternion, vec3
from tickwire.schemas.columns import CHECKSUM_BYTES, Columns
from tickwire.schemas.delta import decode_channel
from tickwire.schemas.size_profile import profile_bits
from tickwire.server.admin.api import AdminApi
from tickwire.server.admin.http_server import OperationsServer
from tickwire.server.admin.operators import Operators
from tickwire.server.admin.views import AdminOperations
from tickwire.server.cli.bandwidth import fetch_report, format_report
from tickwire.server.errors import NotFound
from tickwire.server.observability.health import Health
from tickwire.server.replication.bandwidth import SAMPLE_TICKS, BandwidthProfile
from tickwire.server.replication.columns import angle, boolean, real, text, uint
from tickwire.server.replication.replicator import Replicator
from tickwire.server.replication.table import Table

pytestmark = pytest.mark.usefixtures("each_kernel")


class ProfiledShips(Table):
    x = real(-1000, 1000, step=1 / 64)
    heading = angle(bits=10)
    hp = uint(bits=12)
    is_armed = boolean()
    words = text(bytes_max=20)


class Rocks(Table):
    x = real(-10, 10, step=0.5)


def test_profile_counts_every_bit_of_every_part() -> None:
    chance = np.random.default_rng(3)
    ships, rocks = ProfiledShips(), Rocks()
    replication = Replicator((ships, rocks), checksum_ticks=3)
    holding = None
    for tick in range(1, 60):
        for _ in range(int(chance.integers(0, 3))):
            ships.spawn(x=chance.uniform(-9, 9), words="a" * int(chance.integers(0, 9)))
            rocks.spawn(x=chance.uniform(-9, 9))
        if len(ships) > 20:
            ships.despawn(int(ships.ids[chance.integers(len(ships))]))
        ships.x += chance.normal(0, 1, len(ships)).astype(np.float32)
        ships.heading[chance.random(len(ships)) < 0.2] += 1.0
        ships.hp[chance.random(len(ships)) < 0.1] += 1
        for table in (ships, rocks):
            table.compact()
        replication.capture(tick)
        _, holding = replication.update(holding, replication.everyone)
        channel = replication._channels[0]
        for update in replication._current_updates.values():
            packed = update.packed[: -CHECKSUM_BYTES if update.has_checksum else None]
            base = channel.empty if update.is_keyframe else channel.previous
            decode_channel(replication._codecs, base, packed, has_checksum=False)
            bits = sum(profile_bits(replication._codecs, base, packed).values())
            padding = 8 * (len(packed) - 1) - bits
            assert 0 <= padding < 8 * 2, "all but what fills up each table's last byte, and the end"


def test_report_lists_the_largest_field_first_with_advice() -> None:
    ships = ProfiledShips()
    replication = Replicator((ships,))
    replication.subscribe(replication.everyone)
    weights = BandwidthProfile({"ships": ProfiledShips.fields})
    for number in range(10):
        ships.spawn(x=number)
    replication.capture(1)
    _, holding = replication.update(None, replication.everyone)
    chance = np.random.default_rng(1)
    for tick in range(2, 10):
        ships.x += chance.normal(0, 3, 10).astype(np.float32)
        ships.hp[0] += 1
        ships.is_armed[tick % 10] = True
        replication.capture(tick)
        _, holding = replication.update(holding, replication.everyone)
        replication.profile(weights)
    first, *others = weights.report({"ships": {"hp": 3}})
    assert (first["table"], first["field"]) == ("ships", "x")
    assert first["share"] > 0.5
    said = " ".join(first["advice"])
    assert "range: -1000 to 1000 is declared" in said
    assert "step: 0.03125 instead of 0.015625" in said
    assert "rate:" in said
    (hp,) = [row for row in others if row["field"] == "hp"]
    assert "range: 3 values were out of range" in hp["advice"][0]
    assert "bits=4 is enough" in hp["advice"][1]
    assert weights.client_ticks == 8


class Rigid(Table):
    position = vec3(-64, 64, step=0.01)
    rotation = quaternion(bits=10)


def test_report_has_one_row_for_a_vector_and_one_for_a_quaternion() -> None:
    bodies = Rigid()
    replication = Replicator((bodies,))
    replication.subscribe(replication.everyone)
    groups = {"bodies": tuple(group.group for group in Rigid.groups.values())}
    profile = BandwidthProfile({"bodies": Rigid.fields}, groups)
    for number in range(10):
        bodies.spawn(position=(number, 0, 0))
    chance, view = np.random.default_rng(1), None
    for tick in range(1, 10):
        replication.capture(tick)
        _, view = replication.update(view, replication.everyone)
        replication.profile(profile)
        bodies.position += chance.normal(0, 0.5, (10, 3)).astype(np.float32)
        bodies.rotation = chance.normal(0, 1, (10, 4))
    rows = {row["field"]: row for row in profile.report({"bodies": {"position_y": 3, "rotation": 2}})}
    assert set(rows) == {"position", "rotation", "(entered and left)"}
    assert list(rows["position"]["parts"]) == ["position_x", "position_y", "position_z"]
    assert rows["position"]["bytes_per_client_tick"] == pytest.approx(
        sum(rows["position"]["parts"].values()), abs=0.03
    )
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1, abs=0.001)
    assert "position_y: range: 3 values were out of range and were clamped" in rows["position"]["advice"]
    assert "position_z: step: 0.02 instead of 0.01 saves about a bit an entity and tick" in rows["position"]["advice"]
    assert rows["rotation"]["advice"][0].startswith("range: 2 values could not be normalised")
    assert "rotation_a: step: 9 bits instead of 10 save about a bit an entity and tick" in rows["rotation"]["advice"]
    text = format_report(
        {
            "room_id": "r",
            "room_type": "t",
            "sampled_ticks": 1,
            "sampled_client_ticks": 1,
            "fields": list(rows.values()),
        }
    )
    assert "position_x " in text


class AddedChannels(BandwidthProfile):
    """A profile that lists the entities of the channels that were added to it, one entity a channel."""

    def add(self, bits: Mapping[tuple[int, str], int], tables: tuple[Columns, ...], receivers: int) -> None:
        super().add(bits, tables, receivers)
        self.entities.extend(tables[0].ids.tolist())

    def __init__(self) -> None:
        super().__init__({"rocks": Rocks.fields})
        self.entities: list[int] = []


def test_each_tick_of_an_interval_reads_its_share_of_the_channels() -> None:
    rocks, interval, channels = Rocks(), 4, range(1, 9)
    replication = Replicator((rocks,))
    interest = replication.subscribe(replication.get_interest(frozenset(channels)))
    for channel in channels:
        rocks.spawn(channel=channel)
    view, added = None, []
    for tick in range(1, 2 + interval):
        rocks.x += np.float32(1)
        replication.capture(tick)
        _, view = replication.update(view, interest)
        profile = AddedChannels()
        assert replication.profile(profile, interval=interval) == bool(profile.entities)
        added.append(profile.entities)
        assert profile.client_ticks == profile.samples == (tick % interval == interval - 1)
    assert [len(entities) for entities in added] == [2] * (1 + interval)
    assert sorted(chain.from_iterable(added[1:])) == rocks.ids.tolist(), "each channel once in an interval"
    assert added[0] == added[-1]


def test_running_room_is_sampled_and_clamped_values_are_counted() -> None:
    runtime = garden()
    seat, _ = seated(runtime)
    for seq in range(1, 3 * SAMPLE_TICKS):
        seat.push_input(step_input(seq, dx=(seq % 5) / 8))
        runtime.step()
    assert runtime.bandwidth.profile.samples == 3
    assert runtime.counters.field_bits["garden", "walkers", "x"] > 0
    seat.player.entity.x = 5000.0
    for _ in range(SAMPLE_TICKS):
        runtime.step()
    assert runtime.counters.clamped["garden", "walkers", "x"] >= SAMPLE_TICKS
    assert Garden.room_type == "garden"


class Tile(Table):
    x = real(0, 100, step=1)
    y = real(0, 100, step=1)
    hp = uint(bits=12)


class TiledRoom(Room):
    """A map of a hundred cells with an entity in each; a player sees all of them."""

    room_type = "tiled"
    grid = Grid("tiles", cell=10, view=200)
    tiles: Tile

    def on_create(self, options: Mapping[str, Any]) -> None:
        for number in range(CELLS):
            self.tiles.spawn(x=number % 10 * 10 + 5, y=number // 10 * 10 + 5)

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        player.focus = self.tiles[1]

    def on_tick(self, dt: float) -> None:
        self.tiles.hp += 1


CELLS = 100


def test_one_channel_at_most_is_sampled_in_a_tick_and_all_of_them_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = create_runtime(TiledRoom)
    seated(runtime)
    runtime.step()
    profile, added = runtime.bandwidth.profile, list[tuple[int, int]]()

    def add(bits: Mapping[tuple[int, str], int], tables: tuple[Columns, ...], receivers: int) -> None:
        added.append((runtime.tick, int(tables[0].ids[0])))
        BandwidthProfile.add(profile, bits, tables, receivers)

    monkeypatch.setattr(profile, "add", add)
    interval = 2 * SAMPLE_TICKS
    for _ in range(interval):
        runtime.step()
    assert len({tick for tick, _ in added}) == len(added) == CELLS
    assert sorted(id for _, id in added) == list(range(1, 1 + CELLS))
    assert (profile.samples, profile.client_ticks) == (1, 1)
    assert runtime.counters.field_bits["tiled", "tiles", "hp"] == interval * profile.bits["tiles", "hp"] > 0


async def test_bandwidth_command_fetches_and_prints_the_report() -> None:
    row = {"table": "ships", "field": "x", "bytes_per_client_tick": 1.5, "share": 1.0, "bits_per_entity": 2.0}
    report = {"room_id": "b", "room_type": "arena", "sampled_ticks": 2, "sampled_client_ticks": 4}
    report["fields"] = [{**row, "advice": ["step: coarser"]}]  # type: ignore[assignment]

    class Two:
        def list_rooms(self) -> list[dict[str, Any]]:
            return [{"room_id": "a", "players": 1}, {"room_id": "b", "players": 2}]

        def get_room_bandwidth(self, room_id: str) -> dict[str, Any]:
            if room_id != "b":
                raise NotFound("the room does not exist on this shard")
            return report

    server = OperationsServer(lambda: b"", Health(), AdminApi(cast(AdminOperations, Two()), Operators("t" * 32)))
    await server.start("127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.port}"
    try:
        assert await fetch_report(url, "t" * 32, "") == report, "without a room, the fullest"
        shown = format_report(await fetch_report(url, "t" * 32, "b"))
        assert "ships" in shown
        assert "step: coarser" in shown
        with pytest.raises(LookupError, match="does not exist"):
            await fetch_report(url, "t" * 32, "x")
        with pytest.raises(LookupError, match="bearer token"):
            await fetch_report(url, "wrong", "")
    finally:
        await server.stop()
    with pytest.raises(LookupError, match="did not answer"):
        await fetch_report(url, "t" * 32, "")
