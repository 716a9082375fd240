"""Stored worlds under another build: undeclared data is set aside, unreadable fields are refused by name."""

from __future__ import annotations

import typing
from typing import Any

import bson
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.runtimes import create_runtime
from tickwire import Room, SaveData, SchemaChanges
from tickwire.schemas import fields
from tickwire.schemas.fields import Field
from tickwire.server.errors import NotSavable, RoomFailed, Unavailable
from tickwire.server.persistence.world_codec import decode_world, encode_world
from tickwire.server.replication.column_groups import quaternion, vec2
from tickwire.server.replication.columns import Column, blob, enumeration, local, real, text, uint
from tickwire.server.replication.conversion import ShapeChanged, convert_column
from tickwire.server.replication.table import Table
from tickwire.server.rooms.checkpoint import RoomCheckpoint
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.storage.world_document import create_world_write, insert_parts, world_from_document


def room_of(
    tables: dict[str, dict[str, Column]], changes: SchemaChanges | None = None, saves: type[SaveData] = SaveData
) -> type[Room]:
    """Return the room that one build declares, by tables and fields."""
    made = {name: type(name.title(), (Table,), columns) for name, columns in tables.items()}

    def save(self: Any) -> SaveData:
        return getattr(self, "kept", None) or saves()

    def restore(self: Any, saved: SaveData) -> None:
        self.kept = saved

    return typing.cast(
        "type[Room]",
        type(
            "Harbour",
            (Room,),
            {
                "__annotations__": made,
                "room_type": "harbour",
                "durable": True,
                "schema_changes": changes or SchemaChanges(),
                "save_type": saves,
                "save": save,
                "restore": restore,
            },
        ),
    )


def opened(room: type[Room], saved: RoomCheckpoint | None = None) -> RoomRuntime:
    return create_runtime(room, saved, name="n")  # fmt: skip


def stored(runtime: RoomRuntime) -> RoomCheckpoint:
    """Return a room's checkpoint after a round trip through BSON, with large parts in separate documents."""
    world = encode_world("harbour", "n", "r", runtime.checkpoint())
    save = create_world_write(world, 1, 1, None, None)  # type: ignore[arg-type]
    root = bson.decode(bson.encode(save.root))
    insert_parts(root, {part["_id"]: part["data"] for part in save.parts})
    found = world_from_document(root)
    assert found is not None
    return decode_world(found)


def rows(runtime: RoomRuntime, table: str) -> list[dict[str, Any]]:
    found = getattr(runtime.room, table)
    return [{name: getattr(row, name) for name in found.columns} for row in found]


SHIPS = {"x": uint(bits=8), "name": text(bytes_max=16)}


def two_ships(room: type[Room]) -> RoomRuntime:
    runtime = opened(room)
    runtime.room.ships.spawn(x=1, name="one")  # type: ignore[attr-defined]
    runtime.room.ships.spawn(x=2, name="two")  # type: ignore[attr-defined]
    runtime.step()
    return runtime


ONE_AND_TWO = [{"x": 1, "name": "one"}, {"x": 2, "name": "two"}]


def test_an_undeclared_table_is_set_aside_and_restored(capsys: pytest.CaptureFixture[str]) -> None:
    first = two_ships(room_of({"ships": SHIPS}))
    second = opened(room_of({"vessels": SHIPS}), stored(first))
    assert rows(second, "vessels") == []
    assert second.counters.rooms_with_set_aside_data["harbour"] == 1
    assert "ships (2 rows)" in capsys.readouterr().err
    second.step()
    third = opened(room_of({"vessels": SHIPS}), stored(second))
    rolled_back = opened(room_of({"ships": SHIPS}), stored(third))
    assert rows(rolled_back, "ships") == ONE_AND_TWO
    assert not rolled_back.set_aside


def test_a_table_and_a_field_that_are_renamed_keep_their_rows() -> None:
    changes = SchemaChanges(renamed={"ships": "vessels", "vessels.x": "vessels.position"})
    now = room_of({"vessels": {"position": uint(bits=8), "name": text(bytes_max=16)}}, changes)
    runtime = opened(now, stored(two_ships(room_of({"ships": SHIPS}))))
    assert rows(runtime, "vessels") == [{"position": 1, "name": "one"}, {"position": 2, "name": "two"}]
    assert not runtime.set_aside
    again = opened(now, stored(runtime))
    assert rows(again, "vessels") == rows(runtime, "vessels"), "the changes stay declared, and change nothing more"


def test_columns_that_become_a_vector_keep_their_values() -> None:
    first = opened(room_of({"ships": {"x": real(-8, 8, step=1 / 8), "y": real(-8, 8, step=1 / 8)}}))
    first.room.ships.spawn(x=1, y=2.5)  # type: ignore[attr-defined]
    changes = SchemaChanges(renamed={"ships.x": "ships.position_x", "ships.y": "ships.position_y"})
    now = opened(room_of({"ships": {"position": vec2(-16, 16, step=1 / 16)}}, changes), stored(first))
    assert now.room.ships.position.tolist() == [[1, 2.5]]  # type: ignore[attr-defined]
    assert not now.set_aside


def test_a_vector_or_a_quaternion_is_renamed_by_its_fields() -> None:
    first = opened(room_of({"ships": {"rotation": quaternion(), "aim": vec2(-1, 1, step=1 / 8)}}))
    first.room.ships.spawn(rotation=(0, 0.6, -0.8, 0), aim=(1, 0.5))  # type: ignore[attr-defined]
    later: dict[str, dict[str, Column]] = {"ships": {"turn": quaternion()}}
    with pytest.raises(
        TypeError, match=r"'ships\.turn', .*: ships\.turn_form, ships\.turn_a, ships\.turn_b, ships\.turn_c"
    ):
        room_of(later, SchemaChanges(renamed={"ships.rotation": "ships.turn"}))
    renamed = {f"ships.rotation_{part}": f"ships.turn_{part}" for part in ("form", "a", "b", "c")}
    removed = ("ships.aim_x", "ships.aim_y")
    now = opened(room_of(later, SchemaChanges(renamed=renamed, removed=removed)), stored(first))
    assert abs(now.room.ships.turn[0] @ (0, 0.6, -0.8, 0)) > 0.9999  # type: ignore[attr-defined]
    assert not now.set_aside


def test_a_late_rename_applies_to_set_aside_data() -> None:
    unsaid = opened(room_of({"vessels": {"name": text(bytes_max=16)}}), stored(two_ships(room_of({"ships": SHIPS}))))
    unsaid.step()
    changes = SchemaChanges(renamed={"ships": "boats"})
    runtime = opened(room_of({"vessels": {"name": text(bytes_max=16)}, "boats": SHIPS}, changes), stored(unsaid))
    assert rows(runtime, "boats") == ONE_AND_TWO


def test_set_aside_rows_are_not_mixed_with_newer_ones_of_the_new_name() -> None:
    unsaid = opened(room_of({"vessels": SHIPS}), stored(two_ships(room_of({"ships": SHIPS}))))
    unsaid.room.vessels.spawn(x=9, name="new")  # type: ignore[attr-defined]
    unsaid.step()
    late = room_of({"vessels": SHIPS}, SchemaChanges(renamed={"ships": "vessels"}))
    runtime = opened(late, stored(unsaid))
    assert rows(runtime, "vessels") == [{"x": 9, "name": "new"}]
    assert list(runtime.set_aside.tables) == ["ships"]


def test_an_undeclared_field_is_set_aside_for_the_remaining_rows() -> None:
    first = two_ships(room_of({"ships": SHIPS}))
    second = opened(room_of({"ships": {"name": text(bytes_max=16)}}), stored(first))
    assert rows(second, "ships") == [{"name": "one"}, {"name": "two"}]
    (one, _) = second.room.ships  # type: ignore[attr-defined]
    second.room.ships.despawn(one.id)  # type: ignore[attr-defined]
    second.room.ships.spawn(name="three")  # type: ignore[attr-defined]
    second.step()
    third = opened(room_of({"ships": {"name": text(bytes_max=16), "y": uint(bits=4)}}), stored(second))
    third.step()
    rolled_back = opened(room_of({"ships": SHIPS}), stored(third))
    assert rows(rolled_back, "ships") == [{"x": 2, "name": "two"}, {"x": 0, "name": "three"}]
    assert list(rolled_back.set_aside.columns["ships"]) == ["y"], "a field of the newer build is kept, too"


def test_removed_data_is_deleted_with_the_next_save() -> None:
    first = two_ships(room_of({"ships": SHIPS, "mines": {"x": uint(bits=8)}}))
    first.room.mines.spawn(x=5)  # type: ignore[attr-defined]
    first.step()
    changes = SchemaChanges(removed=("mines", "ships.x"))
    runtime = opened(room_of({"ships": {"name": text(bytes_max=16)}}, changes), stored(first))
    assert rows(runtime, "ships") == [{"name": "one"}, {"name": "two"}]
    assert not runtime.set_aside
    assert not stored(runtime).set_aside


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (text(bytes_max=8), uint(bits=8), "is stored as text and declared as uint"),
        (uint(bits=8), text(bytes_max=8), "is stored as uint and declared as text"),
        (uint(bits=8), enumeration("a", "b"), "is stored as uint and declared as enum"),
        (uint(bits=8), uint(bits=2), "holds values from 7 to 7; uint allows 0 to 3"),
        (uint(bits=8), real(0, 5, step=0.5), "holds values from 7 to 7; real allows 0 to 5"),
        (blob(bytes_max=8), text(bytes_max=8), "holds bytes that are not UTF-8"),
        (text(bytes_max=8), text(bytes_max=2), "holds 4 bytes; text allows 2"),
        (enumeration("a", "b"), enumeration("a", "c"), "holds 'b', which the declaration no longer has"),
    ],
)
def test_an_impossible_conversion_is_refused_and_names_the_field(before: Column, after: Column, words: str) -> None:
    first = opened(room_of({"ships": {"field": before}}))
    value = {"text": "four", "blob": b"\xff", "enum": 1}.get(before.field("f").kind.name.lower(), 7)
    first.room.ships.spawn(field=value)  # type: ignore[attr-defined]
    first.step()
    with pytest.raises(NotSavable) as refused:
        opened(room_of({"ships": {"field": after}}), stored(first))
    assert refused.value.detail == f"table 'ships': field 'field' {words}"
    assert not refused.value.retryable


def test_a_possible_conversion_keeps_every_value() -> None:
    before = {
        "x": real(-10, 10, step=0.5),
        "kind": enumeration("a", "b", "c"),
        "count": uint(bits=4),
        "n": uint(bits=1),
    }
    first = opened(room_of({"ships": before}))
    first.room.ships.spawn(x=-2.5, kind=2, count=9, n=1)  # type: ignore[attr-defined]
    first.step()
    after = {
        "x": real(-100, 100, step=0.25),
        "kind": enumeration("c", "b", "d"),
        "count": real(0, 20, step=1),
        "n": local(np.int64),
        "new": uint(bits=3),
    }
    assert rows(opened(room_of({"ships": after}), stored(first)), "ships") == [
        {"x": -2.5, "kind": 0, "count": 9.0, "n": 1, "new": 0}
    ]


NUMBERS: list[Field] = [
    fields.boolean("f"),
    fields.uint("f", 3),
    fields.uint("f", 53),
    fields.sint("f", 4),
    fields.real("f", -4, 4, 0.5),
    fields.real("f", 0, 1000, 1.0),
]


@given(st.sampled_from(NUMBERS), st.sampled_from(NUMBERS), st.data())
def test_a_number_keeps_its_value_or_is_refused(before: Field, after: Field, data: st.DataObject) -> None:
    stored_values = np.array([data.draw(st.integers(*before.range))], np.int64)
    value = float(before.dequantise(stored_values)[0])
    try:
        found = convert_column(before, after, stored_values)
    except ShapeChanged:
        low, high = after.dequantise(np.array(after.range, np.int64))
        assert not float(low) <= value <= float(high) or not value.is_integer()
        return
    assert found.dtype == after.dtype
    step = max(after.step, before.step) / 2
    assert abs(float(after.dequantise(after.quantise(found))[0]) - value) <= step


class Log(SaveData):
    entries: list[int] = []
    pages: int = 0


class ShortLog(SaveData):
    pages: int = 0


class NewerLog(SaveData):
    version = 2
    pages: int = 0

    @classmethod
    def upgrade(cls, version: int, saved: dict[str, Any]) -> dict[str, Any]:
        return {"pages": saved["pages"] + len(saved.get("entries", []))}


def logged(saves: type[SaveData], saved: RoomCheckpoint) -> RoomRuntime:
    return opened(room_of({}, saves=saves), saved)


def test_an_undeclared_field_of_the_save_is_set_aside_until_its_version_increases() -> None:
    first = opened(room_of({}, saves=Log))
    first.room.kept = Log([1, 2, 3], 5)  # type: ignore[attr-defined]
    first.step()
    second = logged(ShortLog, stored(first))
    assert second.set_aside.fields == {"entries": [1, 2, 3]}
    rolled_back = logged(Log, stored(second))
    assert rolled_back.room.kept == Log([1, 2, 3], 5)  # type: ignore[attr-defined]
    upgraded = logged(NewerLog, stored(second))
    assert upgraded.room.kept == NewerLog(8), "upgrade gets what was kept aside"  # type: ignore[attr-defined]
    assert not upgraded.set_aside
    with pytest.raises(Unavailable, match="a newer build"):
        logged(Log, stored(upgraded))


def test_schema_changes_of_undeclared_names_are_refused_at_class_definition() -> None:
    for changes in (
        SchemaChanges(renamed={"ships": "vessel"}),
        SchemaChanges(renamed={"vessels.x": "vessels.y"}),
        SchemaChanges(removed=("vessels",)),
        SchemaChanges(removed=("vessels.x",)),
        SchemaChanges(renamed={"vessels": "boats"}),
    ):
        with pytest.raises(TypeError, match="schema_changes"):
            room_of({"vessels": SHIPS, "boats": SHIPS}, changes)


def test_a_room_whose_code_raises_while_it_is_restored_is_a_lasting_failure() -> None:
    room = room_of({"ships": SHIPS})
    saved = stored(two_ships(room))

    def restore(self: Room, saved: SaveData) -> None:
        raise ZeroDivisionError("a mistake of the game")

    room.restore = restore  # type: ignore[method-assign]
    with pytest.raises(RoomFailed) as failed:
        opened(room, saved)
    assert not failed.value.retryable
