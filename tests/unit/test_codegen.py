"""The description of a game's API, and the code that generators make of it."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.harness.bazaar_rooms import Bazaar
from tests.harness.sample_rooms import Diary, Garden
from tickwire import Event, Player, Room, command
from tickwire.server.codegen import api_types
from tickwire.server.codegen.game_api import FORMAT, FieldApi, GameApi
from tickwire.server.codegen.game_reader import read_game
from tickwire.server.codegen.json_document import generate_json
from tickwire.server.codegen.typescript import generate_typescript
from tickwire.server.errors import ConfigError
from tickwire.server.game_modules import load_room_types

BAZAAR = {"grand-bazaar": Bazaar}


def typescript(*rooms: type[Room]) -> str:
    return generate_typescript(read_game({room.room_type: room for room in rooms}))


# -- the description ----------------------------------------------------------------------------------------


def test_commands_have_arguments_with_bounds_and_defaults_and_a_result() -> None:
    (bazaar,) = read_game(BAZAAR).rooms
    sell = next(each for each in bazaar.commands if each.name == "sell")
    assert sell.doc == "Put an item up for sale."
    assert sell.arguments == (
        FieldApi("listing", api_types.ReferenceType("Listing"), is_required=True, doc="the item and its price."),
        FieldApi("count", api_types.IntegerType(1, 99), is_required=False, default=1, doc="the number of items."),
    )
    assert sell.result == api_types.IntegerType()
    results = {each.name: each.result for each in bazaar.commands}
    assert (results["buy"], results["wave"]) == (api_types.AnyType(), api_types.NullType())


def test_classes_are_described_once_with_the_sides_that_send_them() -> None:
    api = read_game(BAZAAR)
    sides = {each.name: (each.is_from_client, each.is_from_server) for each in api.objects}
    assert sides == {
        "Gift": (False, True),
        "Listing": (True, True),
        "ListingAdded": (False, True),
        "ListingPage": (False, True),
        "Sale": (False, True),
        "Booth": (False, True),
        "Traded": (False, True),
        "TraderOptions": (True, False),
        "BazaarOptions": (True, False),
    }
    assert [(each.name, each.members) for each in api.enums] == [("Currency", (("GOLD", "gold"), ("GEMS", "gems")))]


def test_events_have_their_name_on_the_wire() -> None:
    (bazaar,) = read_game(BAZAAR).rooms
    assert [(event.name, event.payload) for event in bazaar.events] == [
        ("listing_added", api_types.ReferenceType("ListingAdded")),
        ("trade", api_types.ReferenceType("Traded")),
    ]


def test_two_classes_with_one_name_are_refused() -> None:
    def make(value: type) -> type[Event]:
        return msgspec.defstruct("Scored", [("value", value)], bases=(Event,))

    class FirstGame(Room):
        room_type = "one"
        events = (make(int),)

    class SecondGame(Room):
        room_type = "two"
        events = (make(str),)

    with pytest.raises(ConfigError, match="would both be called Scored in clients; rename one of them"):
        typescript(FirstGame, SecondGame)


# -- a second generator: any function from a GameApi to text ------------------------------------------------


def generate_gdscript_signals(api: GameApi) -> str:
    """A generator for another language, as small as one can be."""
    return "".join(f"signal {event.name}\n" for room in api.rooms for event in room.events)


def test_a_generator_needs_the_description_only() -> None:
    text = generate_json(read_game(BAZAAR))
    api = msgspec.json.decode(text, type=GameApi)  # as another program would read it
    assert generate_gdscript_signals(api) == "signal listing_added\nsignal trade\n"
    assert generate_typescript(api) == typescript(Bazaar)


def test_json_names_kinds_and_omits_what_is_not_declared() -> None:
    api = msgspec.json.decode(generate_json(read_game(BAZAAR)))
    assert api["format"] == FORMAT
    (bazaar,) = api["rooms"]
    assert bazaar["inputs"] == [
        {"name": "walk", "kind": "real", "bits": 4, "minimum": -1.0, "maximum": 1.0, "step": 0.25}
    ]
    assert bazaar["tables"][0]["columns"][-1] == {"name": "name", "kind": "text", "bytes_max": 24}
    wave = next(each for each in bazaar["commands"] if each["name"] == "wave")
    assert wave == {"name": "wave", "arguments": [], "result": {"kind": "null"}}


# -- TypeScript ---------------------------------------------------------------------------------------------


def test_tables_and_inputs_become_interfaces_with_value_comments() -> None:
    text = typescript(Garden, Diary)
    assert "export interface GardenWalkers {\n  /** -1000 to 1000 */\n  x: number;\n}" in text
    assert "  /** -1 to 1 */\n  dx?: number;\n  /** 0 or 1 */\n  is_bad?: number;\n" in text
    assert "tables: { walkers: GardenWalkers; flowers: GardenFlowers };" in text
    assert "speed" not in text, "local columns are not sent to clients"
    assert text.index("DiaryRoom") < text.index("GardenRoom")


def test_vectors_have_their_parts_and_quaternions_do_not() -> None:
    text = typescript(Bazaar)
    fields = text[text.index("export interface GrandBazaarMerchants") :].split("}")[0]
    assert re.findall(r"^  (\w+): (.+);$", fields, re.MULTILINE) == [
        ("place_x", "number"),
        ("place_y", "number"),
        ("coins", "number"),
        ("mood", "number"),
        ("is_open", "number"),
        ("name", "string"),
        ("place", "[number, number]"),
        ("pose", "[number, number, number, number]"),
    ]
    assert "/** 0 calm, 1 merry */" in fields


@pytest.mark.parametrize(
    "line",
    [
        '  "grand-bazaar": GrandBazaarRoom;',
        "  options: TraderOptions & BazaarOptions;",
        "export interface TraderOptions {\n  /** at most 16 characters */\n  nickname: string;\n"
        "  /** 5 by default */\n  coins?: number;\n}",
        "export interface BazaarOptions {\n  season?: string;\n}",
        "  /**\n   * Put an item up for sale.\n   *\n   * @param args.listing the item and its price\n"
        "   * @param args.count the number of items; 1 to 99; 1 by default\n   */\n"
        "  sell(args: { listing: Listing; count?: number }): Promise<number>;",
        '  browse(args?: { order?: "age" | "price" }): Promise<ListingPage>;',
        "  buy(args: { listing: string }): Promise<unknown>;",
        "  /** @param args.amount 1 to 9007199254740991 */\n  pay(args: { amount: number }): Promise<boolean>;",
        "  wave(): Promise<null>;",
        "  note(args: { value: unknown }): Promise<[number, string | null]>;",
        "export interface GrandBazaarEvents {\n  listing_added: ListingAdded;\n  trade: Traded;\n}",
        "/** A listing is new. */\nexport interface ListingAdded {\n"
        "  listing: Listing;\n  booths: Record<number, Booth>;\n}",
        "  place: [number, number];\n  /** null by default */\n  opened: Date | string | null;",
        '  type: "sale";\n  /** at most 2.5, above 0 */\n  amount: number;',
        '  type: "gift";\n  /** 1 to 20 characters */\n  to: string;',
        '/**\n * The kinds of money.\n * "gold" GOLD, "gems" GEMS\n */\nexport type Currency = "gold" | "gems";',
    ],
)
def test_the_declarations_of_a_room_are_typed(line: str) -> None:
    assert line in typescript(Bazaar)


def test_a_field_with_a_default_may_be_absent_where_its_sender_may_leave_it_out() -> None:
    text = typescript(Bazaar)
    assert "currency?: Currency;" in text, "clients send listings"
    assert "receipt: Uint8Array;" in text, "the server sends all fields of an event"
    assert "next?: string | null;" in text, "the server omits defaults of this class"


def test_text_of_the_game_cannot_end_a_comment_or_a_line() -> None:
    class Hostile(Room):
        room_type = 'he said "hi"\N{LINE SEPARATOR}'

        @command
        def go(self, player: Player) -> None:
            """Ends */ here."""

    text = typescript(Hostile)
    assert "/** Ends *\\/ here. */" in text
    assert '"he said \\"hi\\"' in text
    assert "HeSaidHiRoom" in text


class Colour(enum.Enum):
    RED = 1


class KeyedByNumber(Room):
    room_type = "keyed"

    @command
    def set(self, player: Player, values: dict[int, str]) -> None: ...


class KeyedByText(Room):
    room_type = "keyed"

    @command
    def set(self, player: Player, values: Mapping[str, Colour]) -> dict[int, Any]:
        return {}


def test_arguments_that_javascript_cannot_send_are_refused() -> None:
    with pytest.raises(ConfigError, match="values is a map whose keys are not texts"):
        typescript(KeyedByNumber)
    text = typescript(KeyedByText)
    assert "set(args: { values: Record<string, Colour> }): Promise<Record<number, unknown>>;" in text


class HasThen(Room):
    room_type = "then"

    @command
    def then(self, player: Player) -> None: ...


def test_a_command_that_would_make_the_commands_a_promise_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"then\.then cannot be called in JavaScript"):
        typescript(HasThen)


class Promise(Event):
    made: bool


class MadePromises(Room):
    room_type = "promises"
    events = (Promise,)


def test_names_that_typescript_already_has_are_refused() -> None:
    with pytest.raises(ConfigError, match="two types in TypeScript would be called Promise"):
        typescript(MadePromises)


def test_the_types_of_the_demo_are_current() -> None:
    games = ["tickwire.examples.arena", "tickwire.examples.cards", "tickwire.examples.plaza"]
    made = generate_typescript(read_game(load_room_types(games)))
    file = Path(__file__).parents[2] / "web" / "demo" / "src" / "generated" / "rooms.ts"
    assert file.read_text() == made, "run `make web-types`"
