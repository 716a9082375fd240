"""The GDScript that is generated of a game. tests/godot parses and runs it in Godot."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
import pytest

from tests.harness.bazaar_rooms import Bazaar
from tests.harness.sample_rooms import Diary, Garden
from tickwire import Event, Input, Player, Room, Table, command, real, uint
from tickwire.server.codegen.game_api import GameApi
from tickwire.server.codegen.game_reader import read_game
from tickwire.server.codegen.gdscript import generate_gdscript
from tickwire.server.codegen.json_document import generate_json
from tickwire.server.errors import ConfigError


def gdscript(*rooms: type[Room]) -> str:
    return generate_gdscript(read_game({room.room_type: room for room in rooms}))


@pytest.mark.parametrize(
    "lines",
    [
        'class GrandBazaarRoom extends RefCounted:\n\tconst ROOM_TYPE := "grand-bazaar"\n',
        "\tstatic func join(client: _Client, options: TraderOptions = null, room_options: BazaarOptions = null, "
        "join_options: Dictionary = {}) -> GrandBazaarRoom:\n",
        "## The players at the market.\nclass GrandBazaarMerchants extends _TypedTable:\n"
        '\t## -8 to 8\n\tfunc place_x(id: int) -> float:\n\t\treturn number(id, "place_x")\n',
        '\t## 0 calm, 1 merry\n\tfunc mood(id: int) -> int:\n\t\treturn integer(id, "mood")\n',
        '\tfunc is_open(id: int) -> bool:\n\t\treturn boolean(id, "is_open")\n',
        '\tfunc name(id: int) -> String:\n\t\treturn text(id, "name")\n',
        '\tfunc place(id: int) -> Vector2:\n\t\treturn vector(id, "place", Vector2.ZERO)\n',
        '\tfunc pose(id: int) -> Quaternion:\n\t\treturn vector(id, "pose", Quaternion.IDENTITY)\n',
        '\t## -1 to 1\n\tvar walk: float = 0.0\n\n\n\tfunc to_value() -> Dictionary:\n\t\treturn {"walk": walk}\n',
        "\t## Put an item up for sale.\n\t## [br][param listing] the item and its price\n"
        "\t## [br][param count] the number of items; 1 to 99; 1 by default\n\t## [br]The reply's value: int\n"
        "\tfunc sell(listing: Listing, count: int = 1) -> _Reply:\n"
        '\t\tvar arguments := {"listing": _Values.to_plain(listing), "count": count}\n'
        '\t\treturn await _room.command("sell", arguments)\n',
        '\tfunc browse(order: String = "age") -> _Reply:\n',
        "\t\tif reply.is_ok:\n\t\t\treply.value = ListingPage.from_value(reply.value)\n",
        "\t## The reply's value: Array: int, String or null\n\tfunc note(value: Variant) -> _Reply:\n",
        "\tsignal listing_added(payload: ListingAdded)\n\tsignal trade(payload: Traded)\n",
        '\t\t\t"trade":\n\t\t\t\ttrade.emit(Traded.from_value(payload))\n',
        "## An item for sale.\nclass Listing extends RefCounted:\n",
        '\t## Currency; "gold" by default\n\tvar currency: String = "gold"\n',
        '\t\tif fields.has("parts"):\n\t\t\tmade.parts = _Values.convert_list(fields["parts"], Listing.from_value)\n',
        '\t\t\tmade.booths = _Values.convert_map(fields["booths"], Booth.from_value)\n',
        '_Values.convert_tagged(fields["how"], "type", {"sale": Sale.from_value, "gift": Gift.from_value})\n',
        "\tvar season: Variant = null\n\n\n\tfunc to_value() -> Dictionary:\n\t\tvar fields := {}\n"
        '\t\tif season != null:\n\t\t\tfields["season"] = season\n',
        '## The kinds of money.\nclass Currency extends RefCounted:\n\tconst GOLD := "gold"\n',
    ],
)
def test_the_declarations_of_a_room_become_classes(lines: str) -> None:
    assert lines in gdscript(Bazaar)


def test_the_description_as_json_is_sufficient() -> None:
    api = read_game({"grand-bazaar": Bazaar})
    assert generate_gdscript(msgspec.json.decode(generate_json(api), type=GameApi)) == generate_gdscript(api)


def test_objects_convert_in_the_direction_in_which_they_are_sent() -> None:
    text = gdscript(Bazaar)
    classes = {part.partition(" ")[0]: part for part in text.split("\nclass ")}
    assert "from_value" in classes["Listing"]
    assert "to_value" in classes["Listing"]
    assert "to_value" not in classes["Gift"]
    assert "from_value" not in classes["TraderOptions"]


def test_local_columns_are_not_in_the_table() -> None:
    text = gdscript(Garden, Diary)
    assert "func speed" not in text
    assert text.index("class DiaryRoom") < text.index("class GardenRoom")


class Button(Event):
    class_: int = msgspec.field(name="class")
    fields: int
    label: str


class Shape(StrEnum):
    Node = "node"
    int = "int"


class ItemList(Event):
    script: str
    shape: Shape
    float_: float = msgspec.field(name="float")


class Things(Table):
    size = uint(bits=4)
    match = real(0, 1, step=1 / 4)


class ThingInput(Input):
    func = real(-1, 1, step=1 / 4)


class Toolbox(Room):
    room_type = "2 tools"
    input_type = ThingInput
    events = (Button, ItemList)
    things: Things
    joined: Things

    @command
    def tool(self, player: Player, tool: str) -> None: ...

    @command
    def connect(self, player: Player, arguments: int, var: Any = None) -> None: ...


def test_names_that_godot_has_get_an_underscore() -> None:
    text = gdscript(Toolbox)
    assert "class _2ToolsRoom extends" in text
    assert '\tfunc size_(id: int) -> int:\n\t\treturn integer(id, "size")\n' in text
    assert '\tfunc match_(id: int) -> float:\n\t\treturn number(id, "match")\n' in text
    assert "\tvar func_: float = 0.0\n" in text
    assert 'return {"func": func_}' in text
    assert "\tfunc connect_(arguments_: int, var_: Variant = null) -> _Reply:\n" in text
    assert 'var arguments := {"arguments": arguments_}\n\t\tif var_ != null:\n\t\t\targuments["var"] = var_\n' in text
    assert '\tfunc tool(tool_: String) -> _Reply:\n\t\tvar arguments := {"tool": tool_}\n' in text
    assert "signal button(payload: Button_)" in text
    assert "class Button_ extends RefCounted:\n\tvar class_: int = 0\n\tvar fields_: int = 0\n" in text
    assert "signal item_list(payload: ItemList_)" in text
    assert "class ItemList_ extends RefCounted:\n\tvar script_: String" in text
    assert "\tvar float_: float = 0.0\n" in text
    assert '\tconst Node_ := "node"\n\tconst int_ := "int"\n' in text
    assert '\t\tjoined_ = _2ToolsJoined.new(joined, "joined")\n' in text
    assert "## Array" not in text.partition("class Button_")[2].partition("class ")[0]


def test_text_of_the_game_stays_in_comments_and_literals() -> None:
    class Injected(Room):
        room_type = 'he said "hi"\N{LINE SEPARATOR}'

        @command
        def go(self, player: Player) -> None:
            """Ends [b]here.
            func injected(): pass"""

    text = gdscript(Injected)
    assert "\t## Ends [lb]b]here. func injected(): pass\n" in text
    assert 'const ROOM_TYPE := "he said \\"hi\\"' in text


def test_two_classes_with_one_name_are_refused() -> None:
    class ToolboxRoom(Event):
        made: bool

    class Other(Room):
        room_type = "toolbox"
        events = (ToolboxRoom,)

    with pytest.raises(ConfigError, match="two types in GDScript would be called ToolboxRoom"):
        gdscript(Other)


def test_two_members_with_one_name_are_refused() -> None:
    class Twice(Event):
        one: int = msgspec.field(name="a-b")
        other: int = msgspec.field(name="a_b")

    class ClashingMembers(Room):
        room_type = "clashing"
        events = (Twice,)

    with pytest.raises(ConfigError, match="two members of Twice would be called a_b in GDScript"):
        gdscript(ClashingMembers)


def test_two_parameters_with_one_name_are_refused() -> None:
    class ClashingParameters(Room):
        room_type = "clashing"

        @command
        def go(self, player: Player, match: int, match_: int) -> None: ...

    with pytest.raises(ConfigError, match="two members of the command go would be called match_ in GDScript"):
        gdscript(ClashingParameters)
