"""Grid interest: the cells of entities, the visible cells, and entities on a border."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire import Room
from tickwire.server.replication.columns import real, uint
from tickwire.server.replication.grid import CELLS_MAX, FIRST_CELL, Grid, GridIndex
from tickwire.server.replication.table import NOBODY, Table

pytestmark = pytest.mark.usefixtures("each_kernel")


class GridWalkers(Table):
    x = real(-100, 100, step=1 / 16)
    y = real(-50, 150, step=1 / 16)


class Stones(Table):
    x = uint(bits=4)
    y = real(0, 1, step=0.5)


PLACES = st.tuples(st.floats(-100, 100, width=32), st.floats(-50, 150, width=32))


def cells(cell: float = 20, view: float = 45, slack: float | None = None) -> GridIndex:
    return GridIndex(Grid("walkers", cell=cell, view=view, slack=slack), [GridWalkers])


@given(st.lists(PLACES, min_size=2, max_size=20), st.sampled_from([5.0, 20.0, 33.0, 400.0]), st.floats(1, 80))
def test_every_entity_within_view_is_in_a_visible_cell(
    places: list[tuple[float, float]], cell: float, view: float
) -> None:
    grid, walkers = cells(cell, view), GridWalkers()
    for x, y in places:
        walkers.spawn(x=x, y=y)
    grid.assign(walkers)
    chance = np.random.default_rng(len(places))
    for _ in range(5):
        for column in (walkers.x, walkers.y):  # within the slack, each in another direction
            column += chance.choice([-cell / 9, 0, cell / 9], len(walkers)).astype(np.float32)
        grid.assign(walkers)
        for row, (x, y) in enumerate(zip(walkers.x.tolist(), walkers.y.tolist(), strict=True)):
            seen = grid.visible_cells(int(walkers.channels[row]))
            near = np.hypot(walkers.x - x, walkers.y - y) <= view
            assert {int(channel) for channel in walkers.channels[near]} <= seen


def test_a_view_far_beyond_the_map_covers_all_cells() -> None:
    grid = cells(cell=10, view=1e12)
    every = frozenset(range(FIRST_CELL, FIRST_CELL + grid.across * grid.down))
    assert all(grid.visible_cells(cell) == every for cell in every)


def test_entity_on_a_border_does_not_change_cells_each_tick() -> None:
    grid, walkers = cells(cell=20, slack=2), GridWalkers()
    walker = walkers.spawn(x=-0.5, y=0.0)
    assert grid.assign(walkers).tolist() == [walker.id]
    home = walker.channel
    for x in (0.5, -0.5, 1.9, -1.0):
        walker.x = x
        assert grid.assign(walkers).size == 0
        assert walker.channel == home
    walker.x = 2.5
    assert grid.assign(walkers).tolist() == [walker.id]
    assert walker.channel == home + 1
    walker.x = -1.9
    assert grid.assign(walkers).size == 0, "and not back at once"


def test_positions_off_the_map_belong_to_the_nearest_cell() -> None:
    grid = cells(cell=20)
    assert (grid.across, grid.down) == (10, 10)
    found = grid.cells_at(np.array([-1e9, 1e9, np.nan]), np.array([-1e9, 1e9, 0.0]))
    assert found.tolist()[:2] == [FIRST_CELL, FIRST_CELL + 99]
    assert FIRST_CELL <= found[2] < FIRST_CELL + 100


def test_rows_in_channels_of_the_game_are_not_assigned_to_cells() -> None:
    grid, walkers = cells(), GridWalkers()
    hidden, private = walkers.spawn(channel=NOBODY), walkers.spawn(channel=60_000)
    grid.assign(walkers)
    assert (hidden.channel, private.channel) == (NOBODY, 60_000)
    assert grid.visible_cells(60_000) == frozenset()


def test_entities_beyond_their_cells_borders_see_each_other() -> None:
    grid, walkers = cells(cell=20, view=39, slack=2), GridWalkers()
    left, right = walkers.spawn(x=-21.0, y=0.0), walkers.spawn(x=21.0, y=0.0)
    grid.assign(walkers)
    homes = (left.channel, right.channel)
    left.x, right.x = -18.1, 18.1
    grid.assign(walkers)
    assert (left.channel, right.channel) == homes
    assert right.channel in grid.visible_cells(left.channel), "they are 36 apart, their cells 40"


def test_visible_cells_of_a_corner_end_at_the_map() -> None:
    grid = cells(cell=20, view=20, slack=0)
    corner = grid.visible_cells(FIRST_CELL)
    assert corner == {FIRST_CELL + row * 10 + column for row in range(3) for column in range(3)} - {FIRST_CELL + 22}


def test_invalid_grid_is_reported_when_the_room_is_declared() -> None:
    for sizes in (
        {"cell": math.inf, "view": 5},
        {"cell": 5, "view": math.nan},
        {"cell": 5, "view": 5, "slack": math.inf},
    ):
        with pytest.raises(ValueError, match=r"must be finite and (above|at least) 0"):
            Grid("walkers", **sizes)
    with pytest.raises(TypeError, match="view must be a number, not '5'"):
        Grid("walkers", cell=5, view="5")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"name a table by the attribute of the room, as a string, not <class"):
        Grid(GridWalkers, cell=5, view=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the table 'walkers' is named twice"):
        Grid("walkers", "walkers", cell=5, view=5)
    with pytest.raises(ValueError, match="cell must be finite and above 0"):
        Grid("walkers", cell=0, view=1)
    with pytest.raises(ValueError, match=f"at most {CELLS_MAX}"):
        cells(cell=0.5)
    with pytest.raises(ValueError, match="must have a column 'x' of kind real"):
        GridIndex(Grid("stones", cell=1, view=1), [Stones])
    with pytest.raises(TypeError, match="contains walkrs, which is not a table"):

        class MisspeltPlaza(Room):
            grid = Grid("walkrs", cell=20, view=40)
            walkers: GridWalkers
