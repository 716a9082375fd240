"""The options of a Join, in the types that on_join and on_create declare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_host, create_runtime
from tickwire import Player, Room
from tickwire.server.errors import InvalidArgument, RoomFailed, RoomFull
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import SeatRequest


class TeamOptions(msgspec.Struct):
    name: Annotated[str, Meta(max_length=16)] = "pilot"
    team: Annotated[int, Meta(ge=1, le=4)] = 1


class MapOptions(msgspec.Struct):
    size: Annotated[int, Meta(ge=10)] = 50


class TeamField(Room):
    room_type = "a field"
    max_players = 1

    def on_create(self, options: MapOptions) -> None:
        self.size = options.size
        self.joined: list[Any] = []

    def on_join(self, player: Player, options: TeamOptions) -> None:
        self.joined.append(options)


def seat(runtime: RoomRuntime, **options: Any) -> None:
    runtime.seat(SeatRequest(RecordingSubscriber("p"), "p", options))


def test_hooks_receive_options_in_their_types_with_defaults() -> None:
    runtime = create_runtime(TeamField, options={"size": 20, "name": 5, "of a newer client": {}})
    seat(runtime, name="ann", size="ignored here")
    assert runtime.room.size == 20  # type: ignore[attr-defined]
    assert runtime.room.joined == [TeamOptions("ann", 1)]  # type: ignore[attr-defined]


def test_options_that_do_not_fit_never_reach_the_room() -> None:
    runtime = create_runtime(TeamField)
    for _ in range(3):  # more often than there are seats
        with pytest.raises(InvalidArgument, match=r"options: Expected `int` <= 4 - at `\$\.team`"):
            seat(runtime, team=5)
    assert (runtime.room.joined, runtime.room.players, runtime.seats) == ([], {}, [])  # type: ignore[attr-defined]
    seat(runtime)
    with pytest.raises(RoomFull):
        seat(runtime)


def test_a_room_is_not_created_with_options_that_do_not_fit() -> None:
    with pytest.raises(InvalidArgument, match=r"options: Expected `int` >= 10 - at `\$\.size`"):
        create_runtime(TeamField, options={"size": 5})


class Invitation(msgspec.Struct):
    """Its check has a mistake: an unknown host is a KeyError."""

    host: str = "ann"

    def __post_init__(self) -> None:
        {"ann": 1}[self.host]


class MapChoice(msgspec.Struct):
    size: int


def needs_size(self: Any, options: MapChoice) -> None: ...


def test_the_options_of_a_durable_room_need_defaults_because_it_may_be_created_without_a_join() -> None:
    text = "Meadow.on_create: the options of a durable room need defaults, .*: Object missing required field `size`"
    with pytest.raises(TypeError, match=text):
        type("Meadow", (Room,), {"on_create": needs_size, "durable": True})
    type("Meadow", (Room,), {"on_create": needs_size})
    type("Meadow", (TeamField,), {"durable": True})


class PartyHall(Room):
    room_type = "party"

    def on_create(self, options: Invitation) -> None: ...
    def on_join(self, player: Player, options: Invitation) -> None: ...


def test_an_exception_of_a_type_of_the_game_fails_the_join_only() -> None:
    counters = RoomCounters()
    with pytest.raises(RoomFailed):
        create_runtime(PartyHall, options={"host": "eve"}, counters=counters)
    runtime = create_runtime(PartyHall, counters=counters)
    with pytest.raises(RoomFailed):
        seat(runtime, host="eve")
    assert (runtime.seats, counters.room_errors) == ([], {"party": 2})
    seat(runtime, host="ann")
    host = create_host(PartyHall)
    with pytest.raises(RoomFailed):
        host.check_options("party", {"host": "eve"}, may_create=False)
    assert host.counters.room_errors == {"party": 1}


class Inherited(TeamField):
    room_type = "an inherited field"

    def on_join(self, player, options):  # type: ignore[no-untyped-def]
        super().on_join(player, options)


class RawField(TeamField):
    room_type = "a raw field"

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        self.joined.append(options)


def test_without_an_annotation_the_type_is_that_of_the_base_class() -> None:
    assert (TeamField.options_type, TeamField.create_options_type) == (TeamOptions, MapOptions)
    assert (Inherited.options_type, Inherited.create_options_type) == (TeamOptions, MapOptions)
    assert (RawField.options_type, Room.options_type) == (Any, Any)
    runtime = create_runtime(RawField)
    seat(runtime, team=50)
    assert runtime.room.joined == [{"team": 50}]  # type: ignore[attr-defined]


def has_more(self: Any, player: Player, options: TeamOptions, more=None): ...  # type: ignore[no-untyped-def]
def takes_all(self: Any, *arguments): ...  # type: ignore[no-untyped-def]


def test_the_options_are_found_by_their_position() -> None:
    kinds = [type("Meadow", (Room,), {"on_join": hook}) for hook in (has_more, takes_all)]
    assert [kind.options_type for kind in kinds] == [TeamOptions, Any]


class WithPlayer(msgspec.Struct):
    friend: Player | None = None


def takes_player(self: Any, player: Player, options: WithPlayer) -> None: ...
def takes_list(self: Any, player: Player, options: list[int]) -> None: ...
def takes_text(self: Any, player: Player, options: str) -> None: ...
def takes_missing(self: Any, player: Player, options: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("hook", "text"),
    [
        (takes_player, "WithPlayer.friend: a Player cannot be sent by a client"),
        (takes_list, "Meadow.on_join: options must be a msgspec.Struct or a mapping, because clients send a map"),
        (takes_text, "Meadow.on_join: options must be a msgspec.Struct or a mapping, because clients send a map"),
        (takes_missing, "Meadow.on_join: name 'Missing' is not defined in its annotations: import the name"),
    ],
)
def test_options_that_cannot_work_are_refused_when_the_class_is_defined(hook: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        type("Meadow", (Room,), {"on_join": hook})
