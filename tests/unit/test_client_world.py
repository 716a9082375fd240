"""The mirrored world as a game reads it: by table, column and entity, over all channels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.harness.frames import apply
from tickwire.client.world import World, WrongBaseline
from tickwire.schemas import fields
from tickwire.schemas.columns import Columns, empty_columns
from tickwire.schemas.delta import create_codecs, encode_channel
from tickwire.schemas.messages import StateDescription, StateFrame, TableDescription

pytestmark = pytest.mark.usefixtures("each_kernel")

SHIP = (fields.real("x", -10, 10, 0.5), fields.angle("heading", 8), fields.boolean("is_armed"))
MINE = (fields.sint("depth", 9),)
CODECS = create_codecs((SHIP, MINE))
NOTHING = (empty_columns(len(SHIP)), empty_columns(len(MINE)))
DESCRIPTION = StateDescription(
    (
        TableDescription("ships", tuple(field.describe() for field in SHIP)),
        TableDescription("mines", tuple(field.describe() for field in MINE)),
    )
)


def columns(ids: list[int], *rows: list[int]) -> Columns:
    values = np.array(rows, np.int64).reshape(len(rows), len(ids))
    return Columns(np.array(ids, np.uint32), values, values)


def shown(world: World, channel: int, tick: int, ships: Columns, mines: Columns = NOTHING[1]) -> None:
    assert apply(world, StateFrame(tick, channel, 0, 0, encode_channel(CODECS, NOTHING, (ships, mines))))


def test_world_without_frames_is_empty() -> None:
    world = World(DESCRIPTION)
    assert (world.tick, len(world.table("ships")), world.table("ships").column("x").tolist()) == (0, 0, [])


def test_columns_and_entities_are_in_the_games_units() -> None:
    world = World(DESCRIPTION)
    shown(world, 0, 3, columns([4, 9], [0, 40], [64, 0], [1, 0]), columns([5], [-3]))
    ships = world.table("ships")
    assert ships.ids.tolist() == [4, 9]
    assert ships.column("x").tolist() == [-10.0, 10.0]
    assert ships.column("x").dtype == np.float32
    assert ships.quantised("x").tolist() == [0, 40]
    entity = ships.entity(4)
    assert entity == {"x": -10.0, "heading": pytest.approx(math.pi / 2), "is_armed": True}
    assert world.table("mines").entity(5) == {"depth": -3}


def test_missing_table_field_or_entity_is_a_key_error() -> None:
    world = World(DESCRIPTION)
    shown(world, 0, 1, columns([4], [0], [0], [0]))
    for id in (0, 3, 5, 1 << 40):
        assert id not in world.table("ships")
        with pytest.raises(KeyError):
            world.table("ships").entity(id)
    assert 4 in world.table("ships")
    with pytest.raises(KeyError):
        world.table("asteroids")
    with pytest.raises(KeyError):
        world.table("ships").column("y")


def test_channels_are_merged_at_the_tick_of_the_last_frame() -> None:
    world = World(DESCRIPTION)
    shown(world, 0, 3, columns([1, 9], [1, 9], [0, 0], [0, 0]))
    shown(world, 7, 5, columns([4], [4], [0], [0]))
    assert world.table("ships").ids.tolist() == [1, 4, 9]
    assert world.table("ships").quantised("x").tolist() == [1, 4, 9]
    assert world.tick == 5
    with pytest.raises(WrongBaseline):
        apply(world, StateFrame(6, 0, 3, 0, b"\0"))
    assert apply(world, StateFrame(6, 7, 1, 0, b"\0"))
    assert apply(world, StateFrame(8, 0, 2, 0, b"\0"))
    assert world.tick == 8


def test_changing_a_returned_column_does_not_change_the_world() -> None:
    world = World(DESCRIPTION)
    shown(world, 0, 1, columns([4], [6], [0], [1]), columns([5], [-3]))
    before = world.checksum()
    world.table("ships").column("x")[:] = 0
    world.table("ships").column("is_armed")[:] = False
    world.table("mines").column("depth")[:] = 0
    assert world.checksum() == before


def test_equal_worlds_have_equal_checksums_in_any_channels() -> None:
    whole, cut = World(DESCRIPTION), World(DESCRIPTION)
    shown(whole, 0, 1, columns([1, 2], [1, 2], [0, 0], [0, 0]))
    shown(cut, 0, 1, columns([2], [2], [0], [0]))
    shown(cut, 1, 1, columns([1], [1], [0], [0]))
    assert whole.checksum() == cut.checksum() != World(DESCRIPTION).checksum()


def test_state_does_not_change_with_the_world_and_can_be_restored() -> None:
    world = World(DESCRIPTION)
    shown(world, 0, 1, columns([4], [0], [0], [0]))
    before = world.state
    shown(world, 0, 2, columns([4], [40], [0], [0]))
    shown(world, 7, 2, columns([9], [20], [0], [0]))
    after = world.state
    assert (world.tick, world.channels, after is not before) == (2, {0, 7}, True)
    world.restore(before)
    assert (world.tick, world.channels, world.table("ships").column("x").tolist()) == (1, {0}, [-10.0])
    world.finish(3, keep=set())
    assert (world.tick, len(world.table("ships"))) == (3, 0)
    world.restore(after)
    world.clear_history()
    world.clear()
    other = World(DESCRIPTION)
    other.restore(before)
    assert other.table("ships").entity(4)["x"] == -10.0
    other.restore(after)
    assert (other.tick, other.table("ships").ids.tolist()) == (2, [4, 9])
