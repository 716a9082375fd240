"""Invalid declarations of a game are refused when its class is defined, in a sentence that names them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import pytest
from msgspec import Meta

from tickwire import Grid, Input, InputBatch, Player, Room, SaveData, Table, Tuning, local, real, text, uint
from tickwire.server.replication.table import Row
from tickwire.server.rooms.declarations import own_attributes

HOOKS = {name for name in vars(Room) if name.startswith("on_")} | {"can_migrate", "save", "restore"}
COMPUTED = {"tables", "input_fields", "commands", "options_type", "create_options_type"}
DECLARATIONS = {name for name, hint in Room.__annotations__.items() if "ClassVar" in hint} - COMPUTED
ROOM_NAMES = {name for name in dir(Room) if not name.startswith("__")} | own_attributes(Room)
TABLE_NAMES = {name for name in (*dir(Table), *vars(Table()), *dir(Row)) if not name.startswith("__")}


class FlatStones(Table):
    x = real(-100, 100, step=1 / 16)
    y = real(-100, 100, step=1 / 16)


def define(annotations: Mapping[str, Any] | None = None, base: type[Room] = Room, **attributes: Any) -> type[Room]:
    """Define a room class."""
    return type(base)("Quarry", (base,), {"__annotations__": dict(annotations or {}), **attributes})


@pytest.mark.parametrize("name", sorted(ROOM_NAMES))
def test_a_table_cannot_have_a_reserved_name(name: str) -> None:
    with pytest.raises(TypeError, match=rf"Quarry\.{name}: a table cannot have this name, because Room uses it"):
        define({name: FlatStones})


@pytest.mark.parametrize("name", sorted(ROOM_NAMES - HOOKS - DECLARATIONS - COMPUTED))
def test_a_room_and_its_bases_cannot_set_a_reserved_name(name: str) -> None:
    for value in (5, lambda self: None, property(lambda self: None)):
        with pytest.raises(TypeError, match=rf"Quarry\.{name}: Room uses this name itself"):
            define(**{name: value})
    mixin = type("Mixin", (), {name: lambda self: None})
    with pytest.raises(TypeError, match=rf"Quarry\.{name}: Room uses this name itself"):
        type("Quarry", (mixin, Room), {})


def test_an_annotation_for_type_checkers_is_not_a_table() -> None:
    define({"tuning": Tuning, "players": dict[str, Player]})


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_a_hook_must_be_a_plain_method_with_the_expected_parameters(name: str) -> None:
    async def asynchronous(*arguments: Any) -> None: ...

    def generator(*arguments: Any) -> Any:
        yield

    def too_many(self: Any, a: Any, b: Any, c: Any, d: Any) -> None: ...

    for hook in (asynchronous, generator):
        with pytest.raises(TypeError, match=rf"Quarry\.{name}: a hook must be a plain method"):
            define(**{name: hook})
    with pytest.raises(TypeError, match=rf"Quarry\.{name} is called with \(self"):
        define(**{name: too_many})
    with pytest.raises(TypeError, match=rf"Quarry\.{name}: a hook must be a method"):
        define(**{name: 5})
    define(**{name: lambda *arguments: None})
    define(**{name: getattr(Room, name)})


def input_of(**fields: Any) -> type[Input]:
    return type("SlabInput", (Input,), fields)


def on_join_of_old(self: Any, player: Player) -> None: ...


class Fast(Tuning, frozen=True):
    speed: float = 1.0


class Shadowing(SaveData):
    apply_upgrades: int = 0  # type: ignore[assignment]


class Versioned(SaveData):
    version: int = 2  # type: ignore[misc]


class Plain(SaveData):
    count: int = 0
    when: datetime.timedelta | None = None


class Heights(NamedTuple):
    heights: dict[str, list[np.ndarray[Any, Any]]] = {}


class WithArray(SaveData):
    deep: list[Heights | None] = []


class WithPlayers(SaveData):
    owners: dict[str, Player] = {}


class Ambiguous(SaveData):
    value: list[int] | set[int] = []


class WithoutDefault(Tuning, frozen=True):
    speed: float


class OutOfLimits(Tuning, frozen=True):
    speed: Annotated[float, Meta(le=5)] = 6.0


class WithRow(Tuning, frozen=True):
    goal: Row | None = None


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"on_join": on_join_of_old}, r"on_join is called with \(self, player, options\)"),
        ({"on_input": lambda s, p, w: None, "on_inputs": lambda s, i: None}, "on_input would never be called"),
        ({"stones": FlatStones}, r"a table is declared by an annotation: `stones: TheTable`"),
        ({"stones": FlatStones()}, r"a table is declared by an annotation"),
        ({"tick_rate_hz": 0}, r"tick_rate_hz is 0; must be a number, 0\.01 to 1000"),
        ({"tick_rate_hz": float("nan")}, "tick_rate_hz is nan"),
        ({"tick_rate_hz": 5000}, "tick_rate_hz is 5000"),
        ({"max_players": 0}, "max_players is 0; must be a whole number, 1 or more"),
        ({"max_players": 2.5}, r"max_players is 2\.5; must be a whole number"),
        ({"max_players": True}, "max_players is True"),
        ({"empty_timeout_s": -1}, "empty_timeout_s is -1; must be a number, 0 or more"),
        ({"empty_timeout_s": None}, "empty_timeout_s is None"),
        ({"fan_out_max": 0}, "fan_out_max is 0"),
        ({"checksum_ticks": 201}, "checksum_ticks is 201; must be a whole number, 1 to 200"),
        ({"room_type": "a/b"}, "room_type is 'a/b'; must be 1 to 64 characters, no slash"),
        ({"room_type": "a\n"}, "room_type is"),
        ({"room_type": "a" * 65}, "room_type is"),
        ({"room_type": 5}, "room_type is 5"),
        ({"durable": "yes"}, "durable is 'yes'; must be True or False"),
        ({"uses_ledger": 1}, "uses_ledger is 1"),
        ({"ticks_when_empty": None}, "ticks_when_empty is None"),
        ({"save_type": Fast}, "save_type: must be a subclass of SaveData"),
        ({"save_type": SaveData()}, "save_type: must be a subclass of SaveData"),
        ({"save_type": Shadowing}, r"Shadowing\.apply_upgrades: SaveData uses this name itself"),
        ({"save_type": Versioned}, r"Versioned\.version: SaveData uses this name itself"),
        (
            {"save_type": Plain},
            r"Quarry\.save_type is Plain, which has fields, but Quarry has no method `save`: each save would",
        ),
        ({"save_type": WithArray}, r"Heights\.heights: a ndarray cannot be saved and read again; use numbers, texts"),
        ({"save_type": WithPlayers}, r"WithPlayers\.owners: a Player cannot be saved and read again"),
        (
            {"save_type": Ambiguous},
            r"Quarry\.save_type: Ambiguous cannot be read again: Type unions may not",
        ),
        ({"tuning_type": WithoutDefault}, r"WithoutDefault\.speed: a tuning value must have a default"),
        ({"tuning_type": OutOfLimits}, r"OutOfLimits: a default is outside of its limits: Expected `float` <= 5"),
        ({"tuning_type": WithRow}, r"WithRow\.goal: a Row cannot be saved and read again"),
        ({"grid": Grid(cell=5, view=5)}, r"Quarry\.grid: a grid must contain at least one table"),
        ({"tuning_type": SaveData}, "tuning_type: must be a subclass of Tuning"),
        ({"grid": "stones"}, "grid: must be a Grid or None"),
        ({"schema_changes": {"stones": "rocks"}}, "schema_changes: must be a SchemaChanges"),
        ({"x": uint(bits=8)}, r"Quarry\.x: a column belongs to a Table, not to a room"),
        (
            {"on_joined": lambda s, p, o: None},
            r"Quarry\.on_joined is not a hook and would never be called; write on_join,",
        ),
        ({"on_inputt": lambda s, p, o: None}, "write on_input,"),
        ({"__init__": lambda self: None}, r"Quarry\.__init__ is called with \(self, \*, room_id, name, seed\)"),
        ({"__init__": classmethod(lambda cls: None)}, r"Quarry\.__init__: must be a plain method"),
        ({"grid": Grid("pebbles", cell=5, view=5)}, "grid contains pebbles, which is not a table of the room"),
        ({"input_type": {"dx": real(-1, 1, step=0.5)}}, "input_type must be a subclass of Input"),
        ({"input_type": Tuning}, "input_type must be a subclass of Input"),
        ({"input_type": input_of(dx=local(float))}, r"SlabInput: column 'dx' is local"),
        ({"input_type": input_of(words=text())}, "SlabInput: field 'words': an input must be a number"),
        (
            {"input_type": input_of(**{f"field_{number}": uint(bits=32) for number in range(17)})},
            "the fields of SlabInput have 68 bytes; at most 64",
        ),
    ],
)
def test_an_invalid_declaration_is_explained(attributes: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=f"{words}"):
        define(**attributes)


def test_an_annotation_that_declares_no_table_says_so() -> None:
    with pytest.raises(TypeError, match=r"Quarry\.stones: .* declares no table; write `stones: TheTable`"):
        define({"stones": FlatStones | None})
    for hint in (list[FlatStones], dict[str, FlatStones | None], Table):
        with pytest.raises(TypeError, match=r"Quarry\.stones: .* declares no table; write `stones: TheTable`"):
            define({"stones": hint})
    with pytest.raises(TypeError, match=r"Quarry: name 'Elsewhere' is not defined in its annotations: import"):
        define({"stones": "Elsewhere"})


def test_a_grid_over_a_table_without_positions_names_the_table() -> None:
    class Heaps(Table):
        x = uint(bits=8)
        y = real(-100, 100, step=1 / 16)

    with pytest.raises(
        TypeError, match=r"Quarry\.grid: the table Heaps of a grid must have a column 'x' of kind real"
    ):
        define({"heaps": Heaps}, grid=Grid("heaps", cell=5, view=5))
    with pytest.raises(TypeError, match=r"Quarry\.grid: the table FlatStones of a grid must have a column 'z'"):
        define({"stones": FlatStones}, grid=Grid("stones", cell=5, view=5, position=("x", "z")))
    with pytest.raises(TypeError, match=r"Quarry\.grid: a grid may have at most"):
        define({"stones": FlatStones}, grid=Grid("stones", cell=0.1, view=5))


def test_saved_state_needs_a_method_that_fills_it_also_in_a_base() -> None:
    base = define(save_type=Plain, save=lambda self: Plain(1))
    define(base=base, empty_timeout_s=5)
    define(save_type=SaveData)


def test_unusual_but_valid_declarations_are_accepted() -> None:
    class Cave(Room):
        class Crystals(Table):
            size = uint(bits=8)

        wall: ClassVar[type[Table]] = FlatStones
        stones: FlatStones

        def on_input(self, player: Player, wish: Any) -> None: ...

    class Deep(Cave):
        """Takes all inputs of a tick at once, which its base does not."""

        empty_timeout_s = float("inf")

        def on_inputs(self, inputs: InputBatch[Input]) -> None: ...

    define({"kind": type[FlatStones]}, on_round_end=lambda self: None, __init__=lambda self, **kwargs: None)
    assert Deep.tables == {"stones": FlatStones}
    assert define(room_type="").tables == {}


@pytest.mark.parametrize("name", sorted(TABLE_NAMES))
def test_a_column_cannot_have_a_reserved_name(name: str) -> None:
    with pytest.raises(TypeError, match=rf"Quarry\.{name}: (Table|Row) has an attribute of this name"):
        type("Quarry", (Table,), {name: uint(bits=8)})


def test_new_names_of_room_are_reserved_automatically() -> None:
    class NewRoom(Room):
        def __init__(self, **known: Any) -> None:
            super().__init__(**known)
            self.newest = 1

    assert own_attributes(NewRoom) - own_attributes(Room) == {"newest"}
