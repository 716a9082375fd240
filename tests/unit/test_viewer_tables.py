"""The tables of a room as the viewer's page receives them."""

from __future__ import annotations

import msgspec
import numpy as np

from tests.harness.runtimes import create_runtime
from tickwire import Room, Table, angle, blob, enumeration, local, quaternion, real, text, uint, vec3
from tickwire.server.viewer.tables import describe_tables, read_state


class Pallets(Table):
    where = vec3(-8, 8, step=0.01)
    turned = quaternion()
    colour = enumeration("red", "green")
    label = text()
    content = blob(bytes_max=4)
    momentum = local(np.float32, size=2)


class Carts(Table):
    x = real(0, 10, step=0.5)
    y = real(0, 20, step=0.5)
    heading = angle(bits=8)
    load = uint(bits=8)
    wear = local(np.float32)


class Scraps(Table):
    text_size = uint(bits=8)


class Yard(Room):
    room_type = "yard"
    pallets: Pallets
    carts: Carts
    scraps: Scraps


def yard() -> Yard:
    room = create_runtime(Yard).room
    assert isinstance(room, Yard)
    return room


def test_layouts_name_the_position_the_heading_and_local_columns() -> None:
    pallets, carts, scraps = describe_tables(yard())
    assert [column.name for column in pallets.columns] == [
        *("where_x", "where_y", "where_z", "turned", "colour", "label", "content", "momentum")
    ]
    assert (pallets.position, pallets.heading) == (("where_x", "where_y", "where_z"), "")
    assert (carts.position, carts.heading) == (("x", "y"), "heading")
    assert (carts.columns[1].low, carts.columns[1].high) == (0, 20)
    assert carts.columns[4].kind == "local"
    assert (scraps.position, scraps.heading) == ((), "")
    assert pallets.columns[4].labels == ("red", "green")


def test_states_have_values_of_all_columns_as_json() -> None:
    room = yard()
    room.pallets.spawn(
        where=(1, 2, 3), turned=(0, 0, 0, 1), colour=1, label="tea", content=b"\x01\xff", momentum=(0.5, 0)
    )
    room.carts.spawn(x=1.5, y=2.5, load=7, wear=0.1)
    room.carts.spawn(x=0, y=0, load=8, wear=np.nan)
    state = msgspec.json.decode(msgspec.json.encode(read_state(room, 100)))
    pallets, carts, scraps = state["tables"]
    assert pallets["columns"] == {
        "where_x": [1],
        "where_y": [2],
        "where_z": [3],
        "turned": [[0, 0, 0, 1]],
        "colour": [1],
        "label": ["tea"],
        "content": ["01ff"],
        "momentum": [[0.5, 0]],
    }
    assert carts["ids"] == [2, 3]
    assert carts["columns"]["load"] == [7, 8]
    assert carts["columns"]["wear"] == [0.1, None], "JSON has no NaN"
    assert (scraps["entities"], scraps["ids"]) == (0, [])


def test_rows_are_limited_and_counted() -> None:
    room = yard()
    for load in range(5):
        room.carts.spawn(load=load)
    carts = read_state(room, 2).tables[1]
    assert (carts.entities, list(carts.ids), carts.columns["load"]) == (5, [1, 2], [0, 1])
