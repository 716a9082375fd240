"""The C# that is generated from a game. tests/csharp compiles and runs it."""

from __future__ import annotations

import enum
from typing import Annotated, Any

import msgspec
import pytest

from tests.harness.bazaar_rooms import Bazaar
from tests.harness.sample_rooms import Diary, Garden
from tickwire import Event, Player, Room, Table, command, uint
from tickwire.server.codegen.csharp import generate_csharp
from tickwire.server.codegen.game_reader import read_game
from tickwire.server.errors import ConfigError


def csharp(*rooms: type[Room], namespace: str = "Game") -> str:
    """Return the generated text, with short names and without its documentation comments' markers."""
    text = generate_csharp(read_game({room.room_type: room for room in rooms}), namespace)
    for prefix in ("global::System.Collections.Generic.", "global::System.Threading.Tasks.", "global::Tickwire."):
        text = text.replace(prefix, "")
    return text.replace("global::System.", "").replace(f"global::{namespace}.", "")


@pytest.mark.parametrize(
    "line",
    [
        "namespace Game\n{\n",
        "    /// <summary>A market.</summary>\n    public sealed class GrandBazaarRoom\n",
        '        public const string RoomType = "grand-bazaar";\n',
        "public TypedTable<GrandBazaarMerchants> Merchants { get; }",
        "JoinAsync(TickwireClient client, TraderOptions options = null, BazaarOptions createOptions = null, "
        "JoinOptions join = null)",
        "public uint SendInput(in GrandBazaarInputs inputs)",
        "public IDisposable OnTrade(Action<Traded> listener)",
        'return Room.On("listing_added", value => listener(ListingAdded.FromWire(value)));',
        '<param name="count">the number of items; 1 to 99; 1 by default</param>',
        "public async Task<long> SellAsync(Listing listing, Optional<long> count = default)",
        'if (count.HasValue) wire_["count"] = (object)count.Value;',
        "public async Task<ListingPage> BrowseAsync(Optional<string> order = default)",
        "public async Task<object> BuyAsync(string listing)",
        "public Task WaveAsync()",
        "public async Task<(long, string)> NoteAsync(object value)",
        "public Vec2 Place => reader_.Vec2(row_, 6);",
        "        /// <summary>of length 1</summary>\n        public Rotation Pose => reader_.Rotation(row_, 7);",
        "public GrandBazaarMerchantsMoodValue Mood => ",
        "public bool IsOpen => reader_.Integer(row_, 4) != 0;",
        "case 0: return (double)Walk;",
        "public Optional<Currency> Currency { get; set; }",
        "public Dictionary<long, Booth> Booths { get; set; }",
        'public string Type { get; set; } = "sale";',
        'new TaggedReader("sale", v1_ => Sale.FromWire(v1_)), new TaggedReader("gift", v1_ => Gift.FromWire(v1_))',
        "public string Closed { get; set; }",
        "        Unknown = -1,\n        Gold = 0,\n        Gems = 1,\n",
        'private static readonly object[] Wire = { "gold", "gems" };',
    ],
)
def test_the_declarations_of_a_room_are_typed(line: str) -> None:
    assert line in csharp(Bazaar)


def test_parts_of_quaternions_and_local_columns_are_not_members() -> None:
    text = csharp(Bazaar, Garden, Diary)
    assert '{ "place_x", "place_y", "coins", "mood", "is_open", "name", "place", "pose" }' in text
    assert "Speed" not in text
    assert text.index("class DiaryRoom") < text.index("class GardenRoom")


def test_only_sent_classes_are_written_and_only_received_ones_are_read() -> None:
    text = csharp(Bazaar)
    sides = {}
    for name in ("TraderOptions", "Listing", "Booth"):
        body = text[text.index(f"public sealed class {name}\n" if name == "Booth" else f"class {name} :") :]
        body = body[: body.index("\n    }\n")]
        sides[name] = ("ToWire()" in body, "FromWire(object" in body)
    assert sides == {"TraderOptions": (True, False), "Listing": (True, True), "Booth": (False, True)}


class Level(enum.Enum):
    LOW = 1
    VERY_HIGH = 10


class Score(Event):
    score: int
    level: Level


class OddlyNamed(Room):
    room_type = '9 "lives"\N{LINE SEPARATOR}\\'
    events = (Score,)

    @command
    def go_there(self, player: Player, object: int, params: bool = True, new: Any = None) -> dict[str, list[int]]:
        """Ends </summary> & here."""
        return {}


def test_text_of_the_game_is_escaped_and_keywords_are_marked() -> None:
    text = csharp(OddlyNamed)
    assert 'RoomType = "9 \\"lives\\"\\U00002028\\\\";' in text
    assert "<summary>Ends &lt;/summary&gt; &amp; here.</summary>" in text
    assert "GoThereAsync(long @object, Optional<bool> @params = default, Optional<object> @new = default)" in text
    assert "class _9LivesRoom" in text
    assert "ToMap(reply_, v0_ => WireValues.ToList(v0_, v1_ => WireValues.ToInteger(v1_)))" in text


def test_a_member_is_never_called_like_its_class() -> None:
    assert "public long Score_ { get; set; }" in csharp(OddlyNamed)


def test_integers_of_enumerations_are_kept() -> None:
    text = csharp(OddlyNamed)
    assert "        Low = 1,\n        VeryHigh = 10,\n" in text
    assert "return (Level)WireValues.ToInteger(value);" in text


class Moving(Table):
    in_x = uint(bits=4)
    inX = uint(bits=4)  # noqa: N815


class Clashing(Room):
    room_type = "clashing"
    moving: Moving


def test_two_fields_with_one_name_in_csharp_are_refused() -> None:
    with pytest.raises(ConfigError, match="two members of ClashingMoving would be called InX in C#; rename a field"):
        csharp(Clashing)


class ArgumentRoom(Event):
    count: Annotated[int, msgspec.Meta(ge=0)]


class Argument(Room):
    room_type = "argument"
    events = (ArgumentRoom,)


def test_two_types_with_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"two types in C# would be called ArgumentRoom"):
        csharp(Argument)


@pytest.mark.parametrize("namespace", ["", "my game", "1st", "a..b", "x;}"])
def test_a_text_that_is_no_namespace_is_refused(namespace: str) -> None:
    with pytest.raises(ConfigError, match="is not a namespace of C#"):
        csharp(Garden, namespace=namespace)
